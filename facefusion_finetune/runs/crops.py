"""The crops of a run: which train and which judge."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TypeVar

import numpy

from facefusion_finetune.dataset.crops import AlignedCrop, load_crops
from facefusion_finetune.dataset.duplicates import find_near_duplicates
from facefusion_finetune.dataset.manifest import CropRecord, read_manifest
from facefusion_finetune.dataset.split import require_split, split_by_shot
from facefusion_finetune.errors import DatasetError
from facefusion_finetune.faces.protocol import FaceGeometry
from facefusion_finetune.people.profile import Person
from facefusion_finetune.runs.run import Run
from facefusion_finetune.swappers.catalogue import SwapperOptions

Item = TypeVar("Item")

MIN_SHOTS_FOR_VALIDATION = 6
"""Training shots from which on one of them is kept back; fewer are all needed."""


@dataclass(frozen=True)
class RunCrops:
    """The crops of a run."""

    records: list[CropRecord]
    """All of the person's."""
    train: list[AlignedCrop]
    held_out: list[AlignedCrop]
    validation: list[AlignedCrop] = field(default_factory=list)
    """Of a shot that tells when training has done its work; they neither train nor judge."""


def split_crops(
    person: Person,
    analyser: FaceGeometry,
    options: SwapperOptions,
    needed: int,
    with_validation: bool = False,
) -> RunCrops:
    """Split the person's crops for a new run; no training crop looks like a held-out one.

    Args:
        person: Whose.
        analyser: Aligns them.
        options: Of the base.
        needed: How many crops have to train.
        with_validation: Use a training shot as validation set, if there are enough shots and crops.

    Raises:
        DatasetError: There are too few, or some are damaged.
    """
    records = read_manifest(person)
    split = split_by_shot(records)
    require_split(person.name, records, len(split.train), len(split.held_out), needed)
    train, held_out = (
        load_crops(person, part, analyser, options) for part in (split.train, split.held_out)
    )
    alike = find_near_duplicates(
        *(numpy.stack([crop.crop for crop in crops]) for crops in (train, held_out))
    )
    kept = [crop for crop, is_alike in zip(train, alike, strict=True) if not is_alike]
    require_split(person.name, records, len(kept), len(held_out), needed)
    shot = _choose_shot(kept, needed) if with_validation else None
    return RunCrops(
        records,
        [crop for crop in kept if crop.record.shot != shot],
        held_out,
        [crop for crop in kept if crop.record.shot == shot],
    )


def _choose_shot(crops: list[AlignedCrop], needed: int) -> str | None:
    """The shot to keep back: it follows from the shots' names alone; None if all are needed."""
    counts = Counter(crop.record.shot for crop in crops)
    if len(counts) < MIN_SHOTS_FOR_VALIDATION:
        return None
    largest = max(sorted(counts), key=lambda shot: counts[shot])
    shots = sorted(counts, key=lambda shot: hashlib.sha256(shot.encode("utf-8")).hexdigest())
    fitting = (shot for shot in shots if shot != largest and len(crops) - counts[shot] >= needed)
    return next(fitting, None)


def reload_crops(
    person: Person, run: Run, analyser: FaceGeometry, options: SwapperOptions
) -> RunCrops:
    """The crops that a run was started with.

    Raises:
        DatasetError: Some are gone or damaged.
    """
    records = read_manifest(person)
    known = {record.id: record for record in records if record.kept}
    ids = [*run.config.train, *run.config.held_out, *run.config.kept_back]
    missing = [identifier for identifier in ids if identifier not in known]
    if missing:
        raise DatasetError(
            f"run {run.reference}",
            f"{len(missing)} of its crops are no longer among the person's.",
            "Train anew, without --resume.",
        )
    train, held_out, validation = (
        load_crops(person, [known[identifier] for identifier in part], analyser, options)
        for part in (run.config.train, run.config.held_out, run.config.kept_back)
    )
    return RunCrops(records, train, held_out, validation)


def spread(items: list[Item], count: int) -> list[Item]:
    """At most `count` items, evenly spread over the list."""
    if len(items) <= count:
        return items
    positions = numpy.linspace(0, len(items) - 1, count).round().astype(int)
    return [items[position] for position in positions]
