"""What a run is judged on: frames no step has seen, others' frames and vectors."""

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

MOST_PAIRS = 60
MOST_TRAINED = 20
"""Training crops that memorisation is measured on."""
OTHER_PEOPLE = 12
TARGETS_OF_EACH = 4
"""Targets that each of the other people is swapped onto."""

HELD_OUT_SEED = 7919
"""Draws the other people; fixed, and apart from the seeds that training uses."""
GENERALITY_SEED = 7927

BLOCK_SECONDS = 1.0
BLOCK_FRAMES = 6
"""For pictures without a time."""


@dataclass(frozen=True)
class Pairs:
    """Real frames of the person, and what is swapped back: somebody else on the same frames."""

    crops: list[AlignedCrop]
    cutouts: list[NDArray[numpy.uint8]]
    """The frames' cut-outs with somebody else pasted on."""
    inputs: NDArray[numpy.uint8]
    """(n, H, W, 3), BGR: crops of these."""
    are_swapped: bool
    """False where there was nobody else to swap on, so that the inputs are the truths. To copy
    them would be perfect, so that nothing can be judged by them."""

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
        """What each pair was taken with."""
        return name_blocks([crop.record for crop in self.crops])


@dataclass(frozen=True)
class Material:
    """Everything that base and tuned model are run on."""

    held_out: Pairs
    trained: Pairs
    left_out: int
    """Held-out crops that were not independent of the training crops."""
    targets: list[AlignedCrop]
    """What the person is swapped onto: `crop` and `cutout` are of the target."""
    are_people: bool
    """Whether they are frames of other people; otherwise of the person, with somebody swapped
    on."""
    others: NDArray[Any] | None
    """(others, ...): sources of other people; None where there are none."""
    other_vectors: NDArray[numpy.float64] | None
    """(others, 512): what the recogniser should see in swaps of them; None for picture bases."""
    rows: NDArray[numpy.int64]
    """(m, 2): targets, and which of the others is swapped onto each."""
    truths: Truths | None


def name_blocks(records: list[CropRecord]) -> list[Block]:
    """The clip and the second each crop was taken in."""
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
    """The held-out crops that were not taken in one go with training crops, and look unlike them.

    Args:
        run: Whose.
        records: All records of the person.
        train: The crops that train.
        held_out: The crops that are to judge.

    Raises:
        EvaluationError: None is left; it says how much footage is missing.
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
            f"no held-out shot is left: of its {len(held_out)} held-out crops {len(dependent)} were"
            f" taken in one go with training crops and {int(alike.sum())} show nearly the same"
            " picture as one of them, so that a model that learnt its training frames by heart"
            " would pass.",
            f"Film one more shot of at least {GAP_SECONDS:.0f} s, better several, in another place"
            " or light; extract it and train anew.",
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
    """Swap somebody else onto frames of the person.

    Args:
        crops: Real frames of the person.
        maker: Of the base.
        base: The frozen base.
        analyser: Masks and pastes.
        vector: (512,), the person's.
        seed: Decides who is swapped on.
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
    """Targets where no footage of others is at hand: somebody else on the person's own frames."""
    return [
        replace(crop, cutout=cutout, crop=picture)
        for crop, cutout, picture in zip(pairs.crops, pairs.cutouts, pairs.inputs, strict=True)
    ]


def pair_others(targets: int) -> NDArray[numpy.int64]:
    """(m, 2): which target each of the other people is swapped onto, spread over the targets."""
    order = numpy.arange(OTHER_PEOPLE * TARGETS_OF_EACH)
    return numpy.stack([order * targets // len(order), order % OTHER_PEOPLE], axis=1)


def _stack(crops: list[AlignedCrop]) -> NDArray[numpy.uint8]:
    return numpy.stack([crop.crop for crop in crops]) if crops else numpy.empty(0, numpy.uint8)


Pictures = NDArray[numpy.float32]
"""(n, H, W, 3), BGR, 0 to 255."""


@dataclass(frozen=True)
class Swaps:
    """What one model makes of the material."""

    held_out: Pictures
    """The person back on held-out frames."""
    trained: Pictures
    """The person back on training frames."""
    targets: Pictures
    """The person on the targets."""
    others: Pictures | None
    """Other people on some of the targets, in the order of `Material.rows`."""


def make_swaps(model: BaseSwapper, source: NDArray[Any], material: Material) -> Swaps:
    """Run a model on everything it is judged on.

    Args:
        model: Base or tuned.
        source: The person's, as in `PersonSource.source`.
        material: What to run on.
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
