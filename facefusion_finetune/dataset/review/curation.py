"""The user's choices about single crops: they override the checks, and outlast extractions."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from facefusion_finetune import home
from facefusion_finetune.damage import DamageError, read_file
from facefusion_finetune.dataset import manifest
from facefusion_finetune.dataset.manifest import CropRecord
from facefusion_finetune.errors import DatasetError, UsageError
from facefusion_finetune.people.profile import Person
from facefusion_finetune.people.work import CROPS, lock_person

MIN_PREFIX_DIGITS = 4
"""Fewest digits of an id to give."""

Choice = Literal["rejected", "restored"]

_CHOICES = TypeAdapter(dict[str, Choice])


@dataclass(frozen=True)
class CurationResult:
    """The result of a choice."""

    changed: list[CropRecord]
    unchanged: list[CropRecord]
    """Already in that state."""
    kept: int
    """Crops of the person that are now used for training."""


def choices_path(person: Person) -> Path:
    """File of the choices by id, separate from the crops, so that they outlive them."""
    return person.directory / home.CHOICES_FILE


def reject(person: Person, ids: Sequence[str]) -> CurationResult:
    """Exclude crops from training. Their cut-outs stay, so that they can be restored.

    Args:
        person: The crops' person; using less of someone's data needs no consent.
        ids: Ids, or prefixes of ids with at least `MIN_PREFIX_DIGITS` digits.

    Raises:
        UsageError: An id is unknown or ambiguous; nothing was changed.
        BusyError: An extraction is running, or another command is changing the crops.
        ConsentError: The person was removed.
        DatasetError: The manifest or the file of choices is damaged.
    """
    with lock_person(person, idle=CROPS):
        records = manifest.read_manifest(person)
        return _choose(person, records, find_records(person, records, ids), "rejected")


def restore(person: Person, ids: Sequence[str]) -> CurationResult:
    """Use rejected crops for training, whatever the checks' result.

    Args:
        person: Whose crops they are.
        ids: As for `reject`.

    Raises:
        ConsentError: No valid consent is on record, or the person was removed.
        UsageError: An id is unknown or ambiguous, or the face is not the person's; nothing was
            changed.
        BusyError: An extraction is running, or another command is changing the crops.
        DatasetError: A cut-out is missing, or the manifest or the file of choices is damaged.
    """
    person.require_consent()
    with lock_person(person, idle=CROPS) as current:
        current.require_consent()
        records = manifest.read_manifest(person)
        chosen = find_records(person, records, ids)
        others = [record.id for record in chosen if not record.is_person]
        if others:
            raise UsageError(
                ", ".join(others),
                "that face is not the person's, and no data about it was kept.",
                "If it is the person, extract that footage alone with --reference FILE.",
            )
        gone = [record.id for record in chosen if not _has_files(person, record)]
        if gone:
            raise DatasetError(
                ", ".join(gone),
                "its cut-out is missing, so there is nothing to train on.",
                "Nothing was changed. Extract that footage again, then restore it.",
            )
        return _choose(person, records, chosen, "restored")


def apply_choices(person: Person, records: Sequence[CropRecord]) -> list[CropRecord]:
    """Apply the user's earlier choices to records, for example of a new extraction.

    Ids are derived from the footage, so they are the same when it is extracted again. Crops without
    a cut-out and other people's faces stay unchanged.

    Args:
        person: Whose crops they are.
        records: Any records of the person's footage.

    Raises:
        DatasetError: The file of choices is damaged.
    """
    choices = read_choices(person)
    return [_apply(record, choices.get(record.id)) for record in records]


def read_choices(person: Person) -> dict[str, Choice]:
    """All choices so far, by id.

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
            f"the file of crops rejected and restored by hand is damaged ({error}).",
            'It should have {"ID": "rejected"} or "restored" for each crop: repair it, or delete it'
            " and choose again.",
        ) from error


def find_records(
    person: Person, records: Sequence[CropRecord], ids: Sequence[str]
) -> list[CropRecord]:
    """The records for ids or prefixes of ids; each once.

    Raises:
        UsageError: Some are unknown, ambiguous or too short; the message lists all of them.
    """
    found: dict[str, CropRecord] = {}
    faults = []
    for given in ids:
        prefix = given.strip().lower()
        matches = [record for record in records if record.id.startswith(prefix)]
        if len(prefix) < MIN_PREFIX_DIGITS:
            faults.append(f"{given!r} has fewer than {MIN_PREFIX_DIGITS} digits")
        elif not matches:
            faults.append(f"{given!r} is unknown")
        elif len(matches) > 1:
            some = ", ".join(record.id for record in matches[:3])
            faults.append(f"{given!r} matches {len(matches)} ids ({some}...)")
        else:
            found[matches[0].id] = matches[0]
    if faults:
        raise UsageError(
            f"crops of {person.name!r}",
            f"{'; '.join(faults)}. Nothing was changed.",
            "Give more digits. The ids are on the contact sheets: facefusion-finetune dataset"
            f" review {person.name}.",
        )
    return list(found.values())


def _choose(
    person: Person, records: list[CropRecord], chosen: Sequence[CropRecord], choice: Choice
) -> CurationResult:
    is_kept = choice == "restored"
    changed = [record for record in chosen if record.kept != is_kept]
    ids = {record.id for record in changed}
    after = [
        record.decide(record.faults, choice) if record.id in ids else record for record in records
    ]
    if changed:
        choices = read_choices(person) | dict.fromkeys(ids, choice)
        # If interrupted between the two files, the choice takes effect at the next extraction.
        text = json.dumps(choices, indent=1, sort_keys=True)
        home.write_text(choices_path(person), text + "\n")
        manifest.write_manifest(person, after)
    return CurationResult(
        changed=[record for record in after if record.id in ids],
        unchanged=[record for record in chosen if record.id not in ids],
        kept=sum(record.kept for record in after),
    )


def _apply(record: CropRecord, choice: Choice | None) -> CropRecord:
    if choice is None or choice == record.choice or not record.is_person or not record.sha256:
        return record
    return record.decide(record.faults, choice)


def _has_files(person: Person, record: CropRecord) -> bool:
    """Whether the files that training needs exist."""
    paths = (manifest.cutout_path(person, record.id), manifest.masks_path(person, record.id))
    return all(path.is_file() for path in paths)
