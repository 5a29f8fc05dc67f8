"""Other people's faces in a person's footage, kept for training if requested."""

import shutil
from pathlib import Path

from facefusion_finetune import home
from facefusion_finetune.dataset.manifest import (
    CropRecord,
    cutout_name,
    read_records,
    write_records,
)
from facefusion_finetune.people.profile import Person

RECORDS = "others.jsonl"
ANOTHER_FACE = "another face"
"""Why another person's face was not kept."""


def keep_others(person: Person, folder: Path, records: list[CropRecord]) -> Path | None:
    """Copy the cut-outs of other people's faces into the person's `others` folder.

    The folder can be given to `train --others`. Neither embeddings nor the 68 landmarks are kept.

    Args:
        person: The person whose footage it is.
        folder: The folder of the cut-outs.
        records: Records of the faces; those with faults are skipped.

    Returns:
        The folder; None if there is no face to keep.
    """
    usable = [
        strip_record(record, "somebody else").model_copy(update={"sha256": record.sha256})
        for record in records
        if record.sha256 and not record.faults
    ]
    if not usable:
        return None
    target = person.directory / home.OTHERS_FOLDER
    home.create_inner_directory(target, person.directory)
    for record in usable:
        name = cutout_name(record.id)
        shutil.copyfile(folder / name, target / name)
        (target / name).chmod(0o600)
    former = read_records(target / RECORDS)
    new = {record.id for record in usable}
    kept = [record for record in former if record.id not in new]
    write_records(target / RECORDS, kept + usable)
    return target


def find_origins(path: Path) -> list[str]:
    """sha256 of the footage that `keep_others` cut a picture from; empty for other pictures."""
    return [
        record.source_sha256
        for record in read_records(path.parent / RECORDS)
        if cutout_name(record.id) == path.name
    ]


def strip_record(record: CropRecord, reason: str = ANOTHER_FACE) -> CropRecord:
    """What may be stored about a face without consent: only that it was there."""
    changes: dict[str, object] = dict.fromkeys(("embedding", "measures", "fingerprint"))
    changes |= {"landmark_68": [], "faults": [], "kept": False, "reason": reason, "sha256": ""}
    return record.model_copy(update=changes)
