"""Who drives the swaps of a run: the person, each of the person's frames, other people."""

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
    """The sources of a run, kept as `PersonSource.source` is."""

    person: PersonSource
    own: NDArray[Any]
    """(n, ...): of each crop that trains."""
    others: NDArray[Any]
    """(m, ...): of other people; none where a picture base has no pictures of others."""

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
    """The sources of a run.

    Args:
        crops: The crops that train.
        centroid: (512,), the mean direction of their vectors.
        maker: Of the base.
        analyser: Cuts pictures, knows other people.
        seed: Draws the other people.
    """
    embeddings = stack_embeddings([crop.record for crop in crops])
    vector = centroid
    if maker.family.needs_converter:
        # Rounded as the file carries it: what is trained and judged on is what is deployed.
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
    """Sources of other people.

    Args:
        maker: Of the base.
        analyser: Knows other people.
        count: How many.
        seed: Decides who.
        vector: (512,), the person's. A converter gets the others' at its length.
        for_judging: Take people who are never among those of training.

    Returns:
        (count, ...), kept as `PersonSource.source` is. None where the base is driven by pictures
        and there are none of others.
    """
    picture = maker.family.picture
    if picture is not None:
        return analyser.sample_other_pictures(count, seed, picture.template, picture.size)
    vectors = analyser.sample_other_vectors(count, seed, for_judging)
    if maker.family.needs_converter:
        vectors = vectors * numpy.linalg.norm(vector)
    return numpy.stack([maker.create_vector(other) for other in vectors])


def restore_person(card: ModelCard, emap: NDArray[numpy.float32] | None) -> PersonSource:
    """The person a tuned model carries; errors as in `restore_source`."""
    return PersonSource(card.get_vector(), restore_source(card, emap))


def check_preset(
    options: SwapperOptions, preset: Preset, analyser: FaceAnalyser, has_others: bool
) -> None:
    """Check that a base can do what a preset asks for.

    Args:
        options: Of the base.
        preset: What is asked for.
        analyser: Knows other people.
        has_others: Whether there is footage of other people.

    Raises:
        SwapperError: The base is driven by a picture: there is nobody else for the pairs that need
            somebody else, or no vector to tune or to gate by.
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
            "it is driven by a picture, so that cycle and prior pairs need pictures of other"
            f" people, and {analyser.name} has none.",
            advice,
        )
    if preset.gated or preset.vector:
        what = "gate the change by" if preset.gated else "tune"
        raise SwapperError(
            f"base {options.name!r}",
            f"it is driven by a picture, so that there is no vector to {what}.",
            advice,
        )
