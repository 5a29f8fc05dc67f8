"""The sources of a run: the person, each of the person's frames, other people."""

from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from facefusion_finetune.dataset.crops import AlignedCrop
from facefusion_finetune.dataset.manifest import stack_embeddings
from facefusion_finetune.errors import SwapperError
from facefusion_finetune.faces.protocol import FaceAnalyser, Recognisers
from facefusion_finetune.presets.preset import Preset
from facefusion_finetune.swappers.card import ModelCard
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.source import PersonSource, SourceMaker, restore_source
from facefusion_finetune.swappers.vectors import cut_source_picture

OTHER_PEOPLE = 64


@dataclass(frozen=True)
class SourceTable:
    """The sources of a run, in the form of `PersonSource.source`."""

    person: PersonSource
    own: NDArray[Any]
    """(n, ...): one for each training crop."""
    others: NDArray[Any]
    """(m, ...): of other people; empty if a picture-driven base has no pictures of others."""

    def stack(self) -> NDArray[Any]:
        """(1 + n + m, ...): the person, then `own`, then `others`."""
        return numpy.concatenate([self.person.source[None], self.own, self.others])


def gather_sources(
    crops: list[AlignedCrop],
    centroid: NDArray[numpy.float64],
    maker: SourceMaker,
    analyser: FaceAnalyser,
    seed: int,
) -> SourceTable:
    """Create the sources of a run.

    Args:
        crops: The training crops.
        centroid: (512,), mean direction of their embeddings.
        maker: The base's source maker.
        analyser: Crops pictures, and provides other people.
        seed: Draws the other people.
    """
    embeddings = stack_embeddings([crop.record for crop in crops])
    vector = centroid
    if maker.family.needs_converter:
        # Rounded as stored in the file, so that training and evaluation use the deployed values.
        length = numpy.linalg.norm(embeddings.astype(numpy.float64), axis=1).mean()
        vector = (centroid * length).astype(numpy.float32).astype(numpy.float64)
    own: NDArray[Any]
    if maker.family.picture is None:
        own = numpy.stack([maker.create_vector(embedding) for embedding in embeddings])
        person = PersonSource(vector, maker.create_vector(vector))
    else:
        own = numpy.stack(
            [
                cut_source_picture(
                    maker.family,
                    crop.cutout,
                    crop.record.landmarks_in_cutout(),
                    analyser.warp_face,
                )
                for crop in crops
            ]
        )
        likeness = embeddings @ centroid / numpy.linalg.norm(embeddings, axis=1)
        person = PersonSource(vector, own[int(likeness.argmax())])
    others = draw_others(maker, analyser, OTHER_PEOPLE, seed, vector)
    return SourceTable(person, own, own[:0] if others is None else others)


def draw_others(
    maker: SourceMaker,
    analyser: Recognisers,
    count: int,
    seed: int,
    vector: NDArray[numpy.float64],
    for_judging: bool = False,
) -> NDArray[Any] | None:
    """Draw sources of other people.

    Args:
        maker: The base's source maker.
        analyser: Provides other people.
        count: Number of people.
        seed: Determines the people.
        vector: (512,), the person's; for a converter, the others' are scaled to its norm.
        for_judging: Draw people who are never used for training.

    Returns:
        (count, ...), in the form of `PersonSource.source`. None if the base is driven by pictures
        and there are none of other people.
    """
    picture = maker.family.picture
    if picture is not None:
        return analyser.sample_other_pictures(count, seed, picture.template, picture.size)
    vectors = analyser.sample_other_vectors(count, seed, for_judging)
    if maker.family.needs_converter:
        vectors = vectors * numpy.linalg.norm(vector)
    return numpy.stack([maker.create_vector(other) for other in vectors])


def restore_person(card: ModelCard, emap: NDArray[numpy.float32] | None) -> PersonSource:
    """The person stored in a tuned model's card; errors as in `restore_source`."""
    return PersonSource(card.get_vector(), restore_source(card, emap))


def check_preset(
    options: SwapperOptions, preset: Preset, analyser: FaceAnalyser, has_others: bool
) -> None:
    """Check that a base supports a preset.

    Args:
        options: The base's options.
        preset: The preset.
        analyser: Provides other people.
        has_others: Whether there is footage of other people.

    Raises:
        SwapperError: The base is driven by a picture, and pictures of other people are missing for
            the preset's pairs, or it needs a vector to tune or gate by.
    """
    picture = options.family.picture
    if picture is None:
        return
    advice = (
        "Use a preset with self pairs only, such as 'reconstruction', or a base that is driven by a"
        " vector, such as inswapper_128."
    )
    pairs = preset.pairs
    needs_strangers = pairs.cycle or pairs.prior or (pairs.cross and not has_others)
    if (
        needs_strangers
        and analyser.sample_other_pictures(1, 0, picture.template, picture.size) is None
    ):
        raise SwapperError(
            f"base {options.name!r}",
            "it is driven by a picture, so cycle and prior pairs need pictures of other people, and"
            f" {analyser.name} has none.",
            advice,
        )
    if preset.gated or preset.vector:
        what = "gate the change by" if preset.gated else "tune"
        raise SwapperError(
            f"base {options.name!r}",
            f"it is driven by a picture, so there is no vector to {what}.",
            advice,
        )
