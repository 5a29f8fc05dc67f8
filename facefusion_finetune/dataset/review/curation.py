"""What the user decides about single crops: it counts over the checks, and over new extractions."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from facefusion_finetune import home
from facefusion_finetune.damage import DamageError, read_file
from facefusion_finetune.dataset import manifest
from facefusion_finetune.dataset.lock import hold_crops
from facefusion_finetune.dataset.manifest import CropRecord
from facefusion_finetune.errors import DatasetError, UsageError
from facefusion_finetune.people.profile import Person

SHORTEST_PREFIX = 4
"""Digits of an id that have to be given at least."""

Choice = Literal["rejected", "restored"]

_CHOICES = TypeAdapter(dict[str, Choice])


@dataclass(frozen=True)
class Curation:
    """What came of a choice."""

    changed: list[CropRecord]
    unchanged: list[CropRecord]
    """Were that way before."""
    kept: int
    """Crops of the person that train now."""


def choices_path(person: Person) -> Path:
    """The choices by id, apart from the crops, so that they outlive them."""
    return person.directory / home.CHOICES_FILE


def reject(person: Person, ids: Sequence[str]) -> Curation:
    """Let crops train no more. Their cut-outs stay, so that they can be restored.

    Args:
        person: Whose crops they are; no consent is needed to use less of somebody.
        ids: Ids, or the beginnings of ids, of at least `SHORTEST_PREFIX` digits.

    Raises:
        UsageError: An id is unknown or ambiguous; nothing was changed.
        DatasetError: The manifest or the file of choices is damaged, or an extraction is running.
    """
    with hold_crops(person):
        records = manifest.read_manifest(person)
        return _choose(person, records, find_records(person, records, ids), "rejected")


def restore(person: Person, ids: Sequence[str]) -> Curation:
    """Let rejected crops train, whatever the checks say of them.

    Args:
        person: Whose crops they are.
        ids: As for `reject`.

    Raises:
        ConsentError: No valid consent is on record.
        UsageError: An id is unknown or ambiguous, or the face is not the person's; nothing was
            changed.
        DatasetError: A cut-out is gone, the manifest or the file of choices is damaged, or an
            extraction is running.
    """
    person.require_consent()
    with hold_crops(person):
        records = manifest.read_manifest(person)
        chosen = find_records(person, records, ids)
        others = [record.id for record in chosen if not record.is_person]
        if others:
            raise UsageError(
                ", ".join(others),
                "that face is not the person's, and nothing of it was kept.",
                "If it is the person after all, extract that footage alone with --reference FILE.",
            )
        gone = [record.id for record in chosen if not _has_files(person, record)]
        if gone:
            raise DatasetError(
                ", ".join(gone),
                "its cut-out is not there, so there is nothing to train on.",
                "Nothing was changed. Extract that footage again, then restore it.",
            )
        return _choose(person, records, chosen, "restored")


def apply_choices(person: Person, records: Sequence[CropRecord]) -> list[CropRecord]:
    """Decide records as the user chose earlier, for example those of a new extraction.

    Ids follow from the footage, so that they are the same when it is extracted again. A crop
    without a cut-out and somebody else's face stay as they are.

    Args:
        person: Whose crops they are.
        records: Any records of the person's footage.

    Raises:
        DatasetError: The file of choices is damaged.
    """
    choices = read_choices(person)
    return [_apply(record, choices.get(record.id)) for record in records]


def read_choices(person: Person) -> dict[str, Choice]:
    """What was chosen so far, by id.

    Raises:
        DatasetError: The file is damaged.
    """
    path = choices_path(person)
    try:
        return read_file(path, _CHOICES.validate_json)
    except FileNotFoundError:
        return {}
    except DamageError as error:
        raise DatasetError(
            str(path),
            f"the file of what was rejected and restored by hand is damaged ({error}).",
            'It holds {"ID": "rejected"} or "restored" for each crop: mend it, or delete it and'
            " choose again.",
        ) from error


def find_records(
    person: Person, records: Sequence[CropRecord], ids: Sequence[str]
) -> list[CropRecord]:
    """The records that ids, or beginnings of ids, stand for; each once.

    Raises:
        UsageError: Some are unknown, ambiguous or too short; all of them are named.
    """
    found: dict[str, CropRecord] = {}
    faults = []
    for given in ids:
        prefix = given.strip().lower()
        matches = [record for record in records if record.id.startswith(prefix)]
        if len(prefix) < SHORTEST_PREFIX:
            faults.append(f"{given!r} has fewer than {SHORTEST_PREFIX} digits")
        elif not matches:
            faults.append(f"{given!r} is unknown")
        elif len(matches) > 1:
            some = ", ".join(record.id for record in matches[:3])
            faults.append(f"{given!r} begins {len(matches)} ids ({some}...)")
        else:
            found[matches[0].id] = matches[0]
    if faults:
        raise UsageError(
            f"crops of {person.name!r}",
            f"{'; '.join(faults)}. Nothing was changed.",
            "Ids stand on the contact sheets: facefusion-finetune dataset review"
            f" {person.name}. Give more digits.",
        )
    return list(found.values())


def _choose(
    person: Person, records: list[CropRecord], chosen: Sequence[CropRecord], choice: Choice
) -> Curation:
    is_kept = choice == "restored"
    changed = [record for record in chosen if record.kept != is_kept]
    ids = {record.id for record in changed}
    after = [
        record.decide(record.faults, choice) if record.id in ids else record for record in records
    ]
    if changed:
        choices = read_choices(person) | dict.fromkeys(ids, choice)
        # Whatever happens between the two files, the choice is made at the next extraction.
        text = json.dumps(choices, indent=1, sort_keys=True)
        home.write_text(choices_path(person), text + "\n")
        manifest.write_manifest(person, after)
    return Curation(
        changed=[record for record in after if record.id in ids],
        unchanged=[record for record in chosen if record.id not in ids],
        kept=sum(record.kept for record in after),
    )


def _apply(record: CropRecord, choice: Choice | None) -> CropRecord:
    if choice is None or choice == record.choice or not record.is_person or not record.sha256:
        return record
    return record.decide(record.faults, choice)


def _has_files(person: Person, record: CropRecord) -> bool:
    """Training needs both."""
    paths = (manifest.cutout_path(person, record.id), manifest.masks_path(person, record.id))
    return all(path.is_file() for path in paths)
