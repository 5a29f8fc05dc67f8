"""The crops of a run: which train and which judge."""

from dataclasses import dataclass

import numpy

from facefusion_finetune.dataset.crops import AlignedCrop, load_crops
from facefusion_finetune.dataset.duplicates import find_near_duplicates
from facefusion_finetune.dataset.manifest import CropRecord, read_manifest
from facefusion_finetune.dataset.split import require_split, split_by_shot
from facefusion_finetune.errors import DatasetError
from facefusion_finetune.faces.protocol import FaceAnalyser
from facefusion_finetune.people.profile import Person
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.training.run import Run


@dataclass(frozen=True)
class RunCrops:
    """The crops of a run."""

    records: list[CropRecord]
    """All of the person's."""
    train: list[AlignedCrop]
    held_out: list[AlignedCrop]


def split_crops(
    person: Person, analyser: FaceAnalyser, options: SwapperOptions, needed: int
) -> RunCrops:
    """Split the person's crops for a new run; no training crop looks like a held-out one.

    Args:
        person: Whose.
        analyser: Aligns them.
        options: Of the base.
        needed: How many crops have to train.

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
    return RunCrops(records, kept, held_out)


def reload_crops(
    person: Person, run: Run, analyser: FaceAnalyser, options: SwapperOptions
) -> RunCrops:
    """The crops that a run was started with.

    Raises:
        DatasetError: Some are gone or damaged.
    """
    records = read_manifest(person)
    known = {record.id: record for record in records if record.kept}
    ids = [*run.config.train, *run.config.held_out]
    missing = [identifier for identifier in ids if identifier not in known]
    if missing:
        raise DatasetError(
            f"run {run.reference}",
            f"{len(missing)} of its crops are no longer among the person's.",
            "Train anew, without --resume.",
        )
    train, held_out = (
        load_crops(person, [known[identifier] for identifier in part], analyser, options)
        for part in (run.config.train, run.config.held_out)
    )
    return RunCrops(records, train, held_out)
