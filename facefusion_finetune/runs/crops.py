"""The crops of a run: training, validation and held-out."""

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
"""Minimum number of training shots for using one as validation set."""


@dataclass(frozen=True)
class RunCrops:
    """The crops of a run."""

    records: list[CropRecord]
    """The records of all of the person's crops."""
    train: list[AlignedCrop]
    held_out: list[AlignedCrop]
    validation: list[AlignedCrop] = field(default_factory=list)
    """The validation set, crops of one shot, used for early stopping only."""


def split_crops(
    person: Person,
    analyser: FaceGeometry,
    options: SwapperOptions,
    needed: int,
    with_validation: bool = False,
) -> RunCrops:
    """Split the person's crops for a new run; near-duplicates of held-out crops do not train.

    Args:
        person: The person.
        analyser: Aligns the crops.
        options: The base's options.
        needed: Minimum number of training crops.
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
    """The validation shot, determined by the shots' names only; None if all are needed."""
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
        DatasetError: Some are missing or damaged.
    """
    records = read_manifest(person)
    known = {record.id: record for record in records if record.kept}
    ids = [*run.config.train, *run.config.held_out, *run.config.kept_back]
    missing = [identifier for identifier in ids if identifier not in known]
    if missing:
        raise DatasetError(
            f"run {run.reference}",
            f"{len(missing)} of its crops no longer exist or were rejected.",
            "Train again without --resume.",
        )
    train, held_out, validation = (
        load_crops(person, [known[identifier] for identifier in part], analyser, options)
        for part in (run.config.train, run.config.held_out, run.config.kept_back)
    )
    return RunCrops(records, train, held_out, validation)


def spread(items: list[Item], count: int) -> list[Item]:
    """At most `count` items, evenly spaced over the list."""
    if len(items) <= count:
        return items
    positions = numpy.linspace(0, len(items) - 1, count).round().astype(int)
    return [items[position] for position in positions]
