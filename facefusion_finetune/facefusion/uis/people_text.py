"""Texts about persons on the page."""

from pathlib import Path

from facefusion_finetune import home
from facefusion_finetune.dataset.manifest import read_manifest
from facefusion_finetune.errors import FinetuneError, UsageError
from facefusion_finetune.facefusion.uis.page import translate
from facefusion_finetune.jobs import queue
from facefusion_finetune.people.profile import Person, load_person, person_directory
from facefusion_finetune.runs.run import MODEL_FILE, scan_runs


def require_name(name: str | None) -> str:
    """The selected name.

    Raises:
        UsageError: No person is selected.
    """
    if not name:
        raise UsageError(
            translate("person.nobody_given"),
            translate("person.nobody_why"),
            translate("person.nobody_todo"),
        )
    return name


def require_person(name: str | None) -> Person:
    """The selected person, read from disk.

    Raises:
        UsageError: No person is selected, or the person was removed.
        ConsentError: The record is damaged.
    """
    return load_person(require_name(name))


def find_latest(names: list[str]) -> str | None:
    """The person to select at first: that of the running job, otherwise the one recorded last."""
    active = queue.find_active()
    if active is not None and active.request.person in names:
        return active.request.person
    return max(
        names,
        key=lambda name: fingerprint_file(person_directory(name) / home.PERSON_FILE)[0],
        default=None,
    )


def fingerprint_file(path: Path) -> tuple[int, int]:
    """Time and size of a file, to detect changes; zeros if it does not exist."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def fingerprint_person(name: str | None) -> object:
    """A value that changes whenever `describe_person` does."""
    if not name:
        return None
    folder = person_directory(name)
    finished = len(list(folder.glob(f"runs/*/{MODEL_FILE}")))
    return (
        fingerprint_file(folder / home.PERSON_FILE),
        fingerprint_file(folder / home.MANIFEST_FILE),
        finished,
    )


def describe_person(name: str | None) -> str:
    """A person's consent, crops and models, in a few lines."""
    if not name:
        return translate("person.nobody")
    try:
        person = load_person(name)
        records = read_manifest(person)
        versions = sum(run.is_finished for run in scan_runs(person))
    except FinetuneError as error:
        return str(error)
    kept = [record for record in records if record.kept]
    return "\n".join(
        [
            _describe_consent(person),
            translate(
                "person.crops",
                kept=len(kept),
                shots=len({record.shot for record in kept}),
                versions=versions,
            ),
        ]
    )


def _describe_consent(person: Person) -> str:
    try:
        consent = person.require_consent()
    except FinetuneError as error:
        return f"{error.why} {translate('person.no_consent_todo')}"
    until = translate("person.until", day=consent.expires) if consent.expires else ""
    return translate(
        "person.consent",
        kind=translate(f"person.kind_{consent.kind}"),
        text=consent.text,
        day=consent.recorded,
        until=until,
        scope=consent.scope,
    )
