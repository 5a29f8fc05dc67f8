"""Lists the versions of all persons, even if some are damaged, and rolls back to earlier ones."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from facefusion_finetune import home, temporary
from facefusion_finetune.errors import FinetuneError, RegistryError
from facefusion_finetune.host.models import (
    card_path,
    find_active,
    hash_path,
    model_path,
    models_directory,
)
from facefusion_finetune.people import profile
from facefusion_finetune.people.profile import DamagedPerson, Person
from facefusion_finetune.people.work import lock_person
from facefusion_finetune.registry import bases, store
from facefusion_finetune.registry.transfer import list_exports
from facefusion_finetune.runs.run import (
    MODEL_FILE,
    RECORD_FILE,
    REPORT_FILE,
    DamagedRun,
    Run,
    find_records,
    require_on_record,
    run_directory,
    scan_runs,
)
from facefusion_finetune.swappers.card import ModelCard

FINGERPRINTED = (RECORD_FILE, MODEL_FILE, REPORT_FILE)
"""Files of a run that determine its entry in a list of versions."""


@dataclass(frozen=True)
class ListedVersion:
    """One version of a person's model."""

    person: Person
    run: Run
    card: ModelCard | None
    """None if the run is not finished, or if the model cannot be read."""
    is_active: bool
    """Whether it is active in the given host."""
    error: FinetuneError | None = None
    """Error of the model, or of its copy in the given host."""

    @property
    def reference(self) -> str:
        """`NAME@VERSION`."""
        return self.run.reference

    @property
    def number(self) -> int:
        """The version number."""
        return self.run.record.version

    @property
    def is_proven(self) -> bool:
        """Whether it is proven to be better, on this machine."""
        return self.card is not None and bool(self.card.judge_result.get("proven"))

    @property
    def verdict(self) -> str:
        """The report's verdict; `not finished` or `damaged` if there is no model."""
        if self.card is None:
            return "damaged" if self.run.is_finished else "not finished"
        return str(self.card.judge_result.get("verdict") or "not judged")


@dataclass(frozen=True)
class DamagedEntry:
    """A version, or a person, with a damaged record, of which only the name is known."""

    reference: str
    """`NAME@VERSION`, or `NAME`."""
    is_finished: bool
    """Whether a model was written."""
    error: FinetuneError
    """Error of the settings, or of the person's record."""
    is_active: bool = False
    """Whether it is active in the given host."""


@dataclass
class Listing:
    """Readable and damaged versions."""

    versions: list[ListedVersion] = field(default_factory=list)
    """Readable versions by person, oldest first."""
    damaged: list[DamagedEntry] = field(default_factory=list)
    """Damaged ones, in the same order."""

    @property
    def problems(self) -> list[str]:
        """Messages of all errors."""
        errors = [entry.error for entry in self.damaged]
        errors += [version.error for version in self.versions if version.error]
        return list(map(str, errors))

    def find(self, reference: str | None) -> ListedVersion | None:
        """The version with this reference, if it is listed."""
        found = (version for version in self.versions if version.reference == reference)
        return next(found, None)


def list_versions(host: Path | None, name: str | None = None) -> Listing:
    """All versions of all persons or of one, including damaged ones.

    Args:
        host: The FaceFusion folder whose active models are marked.
        name: Name of the person; None for all.
    """
    active = find_active(models_directory(host)) if host else {}
    listing = Listing()
    for person in profile.scan_people():
        if name not in (None, person.name):
            continue
        if isinstance(person, DamagedPerson):
            listing.damaged.append(DamagedEntry(person.name, False, person.error))
            continue
        used = active.get(person.name, {})
        for run in scan_runs(person):
            if isinstance(run, DamagedRun):
                is_active = run.version in used
                entry = DamagedEntry(run.reference, run.is_finished, run.error, is_active)
                listing.damaged.append(entry)
            else:
                is_active = run.record.version in used
                listing.versions.append(_read_version(person, run, host, is_active))
    return listing


def fingerprint_versions(host: Path | None, name: str | None = None) -> list[object]:
    """A value that changes whenever the result of `list_versions` does; fast enough for polling."""
    folders = [profile.person_directory(name)] if name else home.people_directory().glob("*")
    paths = [
        path
        for folder in folders
        for path in (
            folder / home.PERSON_FILE,
            *(
                record.with_name(part)
                for record in find_records(folder / home.RUNS_FOLDER)
                for part in FINGERPRINTED
            ),
        )
    ]
    if host:
        for path in models_directory(host).glob("*.onnx"):
            paths += [path, hash_path(path), card_path(path)]
    return [[str(path), *_read_status(path)] for path in sorted(paths)]


def require_version(host: Path | None, reference: str | None) -> ListedVersion:
    """The version with this reference.

    Raises:
        RegistryError: The reference is None, or the version does not exist.
        TrainingError: Its settings are damaged.
        ConsentError: The person's record is damaged.
    """
    name = (reference or "").partition("@")[0]
    listing = list_versions(host, name) if name else Listing()
    found = listing.find(reference)
    for entry in listing.damaged:
        if entry.reference in (name, reference):
            raise entry.error
    if found is None:
        raise RegistryError(
            f"model {reference or 'none'}",
            "no such version exists.",
            "Choose another version.",
        )
    return found


def find_previous(host: Path, name: str) -> ListedVersion | None:
    """The newest finished version before a person's active one; None if there is none."""
    versions = list_versions(host, name).versions
    active = max((version.number for version in versions if version.is_active), default=0)
    earlier = [
        version for version in versions if version.card is not None and version.number < active
    ]
    return earlier[-1] if earlier else None


def roll_back(host: Path, name: str, force: bool = False) -> ListedVersion:
    """Activate the version before a person's active one.

    Args:
        host: The FaceFusion folder.
        name: The person's name.
        force: Also activate an unproven version.

    Returns:
        The newly active version.

    Raises:
        RegistryError: No version is active, there is none before it, or it cannot be activated.
        ConsentError: No valid consent is on record.
    """
    versions = list_versions(host, name).versions
    if not any(version.is_active for version in versions):
        raise RegistryError(
            f"models of {name!r}", "none is active.", "Choose a version and activate it."
        )
    previous = find_previous(host, name)
    if previous is None:
        active = max(version.number for version in versions if version.is_active)
        raise RegistryError(
            f"model {name}@{active}",
            "it is the active version, and there is no earlier finished one.",
            "Activate another version, or deactivate this one.",
        )
    store.activate(previous.person, previous.run, host, force)
    return previous


def _read_status(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _read_version(person: Person, run: Run, host: Path | None, is_active: bool) -> ListedVersion:
    card = error = None
    try:
        card = store.read_card(run.model_path) if run.is_finished else None
        if host is not None:
            path = model_path(models_directory(host), person.name, run.record.version)
            # Also if it is not listed as active: some of its files may be missing.
            if os.path.lexists(path):
                store.check_cards(path)
    except RegistryError as damage:
        error = damage
    return ListedVersion(person, run, card, is_active, error)


def remove_version(person: Person, run: Run, host: Path | None) -> list[Path]:
    """Delete a run, its active copies in FaceFusion, and its exports in the person's folder.

    The run's folder goes at once, after its copies: until then, an interrupted removal can be
    repeated, and from then on, `finish_removal` completes it.

    Args:
        person: The run's person.
        run: A finished or unfinished run.
        host: A FaceFusion folder to clean in addition to the recorded ones.

    Returns:
        The deleted files and folders, including bases that are no longer needed.

    Raises:
        BusyError: Another process is training or evaluating the run, or changing what is held
            about the person.
        ConsentError: The person was removed.
        TrainingError: The run was removed in the meantime.
        RegistryError: The record of the FaceFusion folders is damaged.
        OSError: A file cannot be deleted.
    """
    with lock_person(person, idle=run.reference):
        require_on_record(run)
        person.sweep()
        return _remove_version(person, run, host)


def _remove_version(person: Person, run: Run, host: Path | None) -> list[Path]:
    version = run.record.version
    folders = {*store.known_hosts(person), *([host.resolve()] if host else [])}
    removed = [
        path for folder in sorted(folders) for path in store.deactivate(person, folder, version)
    ]
    for path in list_exports(person, version):
        path.unlink(missing_ok=True)
        removed.append(path)
    temporary.remove_folder(run.directory)
    return [*removed, run.directory, *bases.release_home_bases()]


def finish_removal(person: Person, version: int) -> list[Path]:
    """Complete the interrupted removal of a version.

    Returns:
        The run's folder and the bases deleted now; empty if no removal was interrupted.
    """
    directory = run_directory(person, version)
    is_unfinished = bool(temporary.sweep(directory))
    # In any case: the interrupted removal may have lacked only this.
    released = bases.release_home_bases()
    return [directory, *released] if is_unfinished else []
