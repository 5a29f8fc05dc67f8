"""The material of an evaluation: held-out frames, other people's frames and embeddings."""

from dataclasses import dataclass, replace
from typing import Any

import numpy
from numpy.typing import NDArray

from facefusion_finetune.dataset.crops import AlignedCrop
from facefusion_finetune.dataset.duplicates import find_near_duplicates
from facefusion_finetune.dataset.manifest import CropRecord
from facefusion_finetune.dataset.split import GAP_SECONDS, find_dependent
from facefusion_finetune.errors import EvaluationError
from facefusion_finetune.evaluation.intervals import Block
from facefusion_finetune.evaluation.truths import Truths
from facefusion_finetune.faces.protocol import FaceAnalyser
from facefusion_finetune.runs.base_swapper import BaseSwapper, paste_others
from facefusion_finetune.runs.run import Run
from facefusion_finetune.runs.sources import draw_others
from facefusion_finetune.swappers.sessions import rgb_to_crops
from facefusion_finetune.swappers.source import SourceMaker

MAX_PAIRS = 60
MAX_TRAINED = 20
"""Maximum number of training crops for measuring memorisation."""
OTHER_PEOPLE = 12
TARGETS_PER_PERSON = 4
"""Number of targets that each of the other people is swapped onto."""

HELD_OUT_SEED = 7919
"""Draws the other people; fixed, and different from the training seeds."""
OTHERS_SEED = 7927

BLOCK_SECONDS = 1.0
BLOCK_FRAMES = 6
"""Used for pictures without a time."""


@dataclass(frozen=True)
class Pairs:
    """Real frames of the person, and inputs with someone else swapped onto the same frames."""

    crops: list[AlignedCrop]
    cutouts: list[NDArray[numpy.uint8]]
    """The frames' cut-outs with someone else pasted on."""
    inputs: NDArray[numpy.uint8]
    """(n, H, W, 3), BGR: crops of these cut-outs."""
    are_swapped: bool
    """False if there was no one else to swap on, so the inputs are the truths. Copying them would
    be perfect, so they prove nothing."""

    @property
    def truths(self) -> NDArray[numpy.uint8]:
        """(n, H, W, 3), BGR: the real frames."""
        return numpy.stack([crop.crop for crop in self.crops])

    @property
    def faces(self) -> NDArray[numpy.float32]:
        """(n, H, W)."""
        return numpy.stack([crop.face for crop in self.crops])

    @property
    def blocks(self) -> list[Block]:
        """Block of each pair."""
        return name_blocks([crop.record for crop in self.crops])


@dataclass(frozen=True)
class Material:
    """All inputs of base and tuned model."""

    held_out: Pairs
    trained: Pairs
    left_out: int
    """Number of held-out crops that were not independent of the training crops."""
    targets: list[AlignedCrop]
    """Frames that the person is swapped onto."""
    are_people: bool
    """Whether the targets are frames of other people; otherwise they are the person's, with someone
    else swapped on."""
    others: NDArray[Any] | None
    """(others, ...): sources of other people; None if there are none."""
    other_vectors: NDArray[numpy.float64] | None
    """(others, 512): their embeddings; None for picture-driven bases."""
    rows: NDArray[numpy.int64]
    """(m, 2): rows of a target and of the other person swapped onto it."""
    truths: Truths | None


def name_blocks(records: list[CropRecord]) -> list[Block]:
    """The block of each crop: its clip, and its second within the clip."""
    places: dict[str, int] = {}
    order = sorted(range(len(records)), key=lambda row: (records[row].source, records[row].frame))
    blocks: dict[int, Block] = {}
    for row in order:
        record = records[row]
        place = places.get(record.shot, 0)
        places[record.shot] = place + 1
        part = place // BLOCK_FRAMES if record.time is None else int(record.time // BLOCK_SECONDS)
        blocks[row] = Block(record.shot, str(part))
    return [blocks[row] for row in range(len(records))]


def choose_independent(
    run: Run,
    records: list[CropRecord],
    train: list[AlignedCrop],
    held_out: list[AlignedCrop],
) -> list[AlignedCrop]:
    """The held-out crops from shots and pictures that differ from the training crops'.

    Args:
        run: The run.
        records: All of the person's records.
        train: The training crops.
        held_out: The held-out crops.

    Raises:
        EvaluationError: No crop is left; the message says how much footage is missing.
    """
    dependent = find_dependent(
        records, {crop.record.id for crop in train}, {crop.record.id for crop in held_out}
    )
    alike = find_near_duplicates(*(_stack(crops) for crops in (held_out, train)))
    kept = [
        crop
        for crop, is_alike in zip(held_out, alike, strict=True)
        if not is_alike and crop.record.id not in dependent
    ]
    if not kept:
        raise EvaluationError(
            f"run {run.reference}",
            f"no held-out shot is left: of its {len(held_out)} held-out crops, {len(dependent)} are"
            f" from the same recordings as training crops and {int(alike.sum())} are"
            " near-duplicates of one, so a model that memorised its training frames would pass.",
            f"Film at least one more shot of {GAP_SECONDS:.0f} s or more in another place or light,"
            " extract it, and train again.",
        )
    return kept


def make_pairs(
    crops: list[AlignedCrop],
    maker: SourceMaker,
    base: BaseSwapper,
    analyser: FaceAnalyser,
    vector: NDArray[numpy.float64],
    seed: int,
) -> Pairs:
    """Swap someone else onto frames of the person.

    Args:
        crops: Real frames of the person.
        maker: The base's source maker.
        base: The frozen base.
        analyser: Masks and pastes back.
        vector: (512,), the person's vector.
        seed: Determines who is swapped on.
    """
    others = draw_others(maker, analyser, len(crops), seed, vector, for_judging=True)
    if others is None:
        return Pairs(crops, [crop.cutout for crop in crops], _stack(crops), are_swapped=False)
    cutouts = paste_others(crops, others, base, analyser)
    inputs = [
        crop.crop_again(cutout, analyser, base.options)
        for crop, cutout in zip(crops, cutouts, strict=True)
    ]
    return Pairs(crops, cutouts, numpy.stack(inputs), are_swapped=True)


def make_stand_ins(pairs: Pairs) -> list[AlignedCrop]:
    """Targets if there is no footage of others: the person's frames with someone else's face."""
    return [
        replace(crop, cutout=cutout, crop=picture)
        for crop, cutout, picture in zip(pairs.crops, pairs.cutouts, pairs.inputs, strict=True)
    ]


def pair_others(targets: int) -> NDArray[numpy.int64]:
    """(m, 2): rows of a target and another person, with the targets evenly spaced."""
    order = numpy.arange(OTHER_PEOPLE * TARGETS_PER_PERSON)
    return numpy.stack([order * targets // len(order), order % OTHER_PEOPLE], axis=1)


def _stack(crops: list[AlignedCrop]) -> NDArray[numpy.uint8]:
    return numpy.stack([crop.crop for crop in crops]) if crops else numpy.empty(0, numpy.uint8)


Pictures = NDArray[numpy.float32]
"""(n, H, W, 3), BGR, 0 to 255."""


@dataclass(frozen=True)
class Swaps:
    """The swaps of one model on the material."""

    held_out: Pictures
    """The person swapped back onto held-out frames."""
    trained: Pictures
    """The person swapped back onto training frames."""
    targets: Pictures
    """The person swapped onto the targets."""
    others: Pictures | None
    """Other people swapped onto targets, in the order of `Material.rows`."""


def make_swaps(model: BaseSwapper, source: NDArray[Any], material: Material) -> Swaps:
    """Run a model on the material.

    Args:
        model: The base or the tuned model.
        source: The person's, in the form of `PersonSource.source`.
        material: The material.
    """

    def swap(crops: NDArray[numpy.uint8], sources: NDArray[Any]) -> Pictures:
        return numpy.asarray(rgb_to_crops(model.swap(crops, sources)), dtype=numpy.float32)

    def swap_person(crops: NDArray[numpy.uint8]) -> Pictures:
        return swap(crops, numpy.repeat(source[None], len(crops), axis=0))

    targets = numpy.stack([target.crop for target in material.targets])
    others = None
    if material.others is not None:
        rows, people = material.rows.T
        others = swap(targets[rows], material.others[people])
    return Swaps(
        held_out=swap_person(material.held_out.inputs),
        trained=swap_person(material.trained.inputs),
        targets=swap_person(targets),
        others=others,
    )
