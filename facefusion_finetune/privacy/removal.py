"""Delete a person: crops, vectors, runs, and models wherever they were activated; and prove it."""

import contextlib
import glob
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from facefusion_finetune import home
from facefusion_finetune.errors import FinetuneError, RegistryError, SwapperError
from facefusion_finetune.host.locate import recall
from facefusion_finetune.host.models import models_directory
from facefusion_finetune.jobs.stopping import STOP_SECONDS, stop_all
from facefusion_finetune.people import elsewhere
from facefusion_finetune.people.profile import find_directory
from facefusion_finetune.privacy.search import Finding, search_disk
from facefusion_finetune.privacy.traces import (
    Traces,
    collect_traces,
    walk_files,
)
from facefusion_finetune.registry import bases, store
from facefusion_finetune.swappers.files.bases import bases_directory, remove_unused_bases
from facefusion_finetune.training.cache.header import list_cache_files, read_owner
from facefusion_finetune.training.cache.places import list_cache_folders

LAST = (
    home.MANIFEST_FILE,
    home.SOURCES_FILE,
    home.HOSTS_FILE,
    home.ELSEWHERE_FILE,
    home.PERSON_FILE,
)
"""What goes last, in this order: as long as anything is left, the person is on record, and the
removal can be repeated with all it has to know."""

ROUNDS = 3
"""How often the folder is gone through, since a job that is at work may still write into it."""


class RemovalError(FinetuneError):
    """Something that is held about a person could not be deleted."""


@dataclass
class Removal:
    """What became of a removal."""

    traces: Traces
    """As they were before."""
    hosts: list[Path] = field(default_factory=list)
    """FaceFusion folders that were looked into."""
    removed: list[Path] = field(default_factory=list)
    """Files that are gone, bases that no model needs any more among them."""
    failed: dict[Path, str] = field(default_factory=dict)
    """What could not be deleted, and why."""
    findings: list[Finding] = field(default_factory=list)
    """What was not deleted because it is not this package's to delete, or remains."""
    files_searched: int | None = None
    """None where nothing was searched, because something could not be deleted."""

    def require_complete(self) -> None:
        """Make sure that nothing is held any more.

        Raises:
            RemovalError: A file could not be deleted, or data of the person was found.
        """
        left = [f"{path} ({why})" for path, why in self.failed.items()]
        left += [f"{found.path} ({found.what})" for found in self.findings if found.remains]
        if left:
            raise RemovalError(
                f"person {self.traces.name!r}",
                f"{len(left)} files are still there: {', '.join(left)}.",
                "End what uses them or grant access, then remove the person again; what FaceFusion"
                " has under another name, delete by hand. Everything else is gone.",
            )

    def delete(self, path: Path) -> None:
        """Delete one file or link, or note why not; what a link points to stays, and is noted."""
        target = path.resolve() if path.is_symlink() else None
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self.failed[path] = error.strerror or str(error)
            return
        self.failed.pop(path, None)
        self.removed.append(path)
        if target is not None:
            todo = "It was not touched; delete it if it is this person's."
            self.findings.append(Finding(str(target), f"was what {path} pointed to", todo))


def remove_person(name: str, host: Path | None = None, exports: bool = False) -> Removal:
    """Delete everything held about a person, then search the disk for what is left.

    What cannot be deleted is noted, and the rest goes all the same; `Removal.require_complete`
    tells. Killed at any moment, it can be repeated. Links are deleted, not followed. The person's
    jobs are ended first, so that nothing is written back.

    Args:
        name: Who is to be forgotten; the record and all other files may be damaged.
        host: A FaceFusion folder to look into beside the linked one and those on record.
        exports: Delete exported files, too, where they are still models of this person.

    Raises:
        UsageError: There is no such person.
        RemovalError: The person's folder is a link, or a job cannot be ended; nothing was deleted.
    """
    directory = find_directory(name)
    if directory.is_symlink():
        raise RemovalError(
            f"person {name!r}",
            f"{directory} is a link to {directory.resolve()}, and links are not followed to delete"
            " something.",
            "Put that folder itself in the link's place, then remove the person again.",
        )
    # Not even a step is waited for longer: nothing of what the job does is to stay.
    if alive := stop_all(name, STOP_SECONDS):
        raise RemovalError(
            f"person {name!r}",
            f"what works on {', '.join(alive)} cannot be ended, and would write data back.",
            "End that process, or restart the machine, then remove the person again.",
        )
    memory = elsewhere.recall(directory)
    removal = Removal(collect_traces(name, directory))
    _note_damage(removal, memory)
    _empty_hosts(removal, memory.hosts, host)
    for entry in memory.elsewhere:
        _handle_elsewhere(removal, entry, exports)
    _empty_folder(removal, directory)
    if not removal.failed:
        _delete_last(removal, directory)
    if not removal.failed:
        told = {Path(found.path) for found in removal.findings}
        search = search_disk(removal.traces, removal.hosts, told)
        removal.files_searched = search.files
        removal.findings += search.findings
    return removal


def _note_damage(removal: Removal, memory: elsewhere.Memory) -> None:
    for error in memory.damaged:
        removal.findings.append(
            Finding(
                error.given,
                "was damaged, so that not all places may be known that the person's models or"
                " caches were written to",
                "Look for files called "
                f"{removal.traces.name}-VERSION in .assets/models/finetuned of every FaceFusion.",
            )
        )


def _empty_hosts(removal: Removal, known: list[Path], given: Path | None) -> None:
    linked = recall()
    asked = {path.resolve() for path in (given, linked) if path is not None and path.is_dir()}
    for host in sorted({path.resolve() for path in known} | asked):
        if not host.is_dir():
            what = "is not there now, but a model of the person was active in it"
            todo = "If it lies on another disk, delete .assets/models/finetuned/"
            todo += f"{removal.traces.name}-* in it."
            removal.findings.append(Finding(str(host), what, todo))
            continue
        removal.hosts.append(host)
        # Models first: without them FaceFusion no longer offers the person.
        for path in store.list_model_files(removal.traces.name, host):
            removal.delete(path)
        with _noting(removal, models_directory(host)):
            removal.removed += remove_unused_bases(models_directory(host))


def _handle_elsewhere(removal: Removal, entry: elsewhere.Elsewhere, exports: bool) -> None:
    path = Path(entry.path)
    about = f" of {entry.about}" if entry.about else ""
    if entry.kind == "tracker":
        what = f"was sent settings and measures{about}"
        removal.findings.append(Finding(entry.path, what, "Delete that run there."))
    elif entry.kind == "cache":
        with _noting(removal, path):
            _delete_caches(removal, path)
    else:
        rest = path.parent.glob(f".{glob.escape(path.name)}.*.part")
        for file in [path, *sorted(rest)]:
            if not file.exists() and not file.is_symlink():
                continue
            is_own = file != path or _is_model_of(file, removal.traces.name)
            if exports and is_own:
                removal.delete(file)
            else:
                what = f"was exported{about} on {entry.recorded:%Y-%m-%d}"
                if not is_own:
                    what += ", but is no model of this person now"
                todo = "It is yours to delete; what was sent on from it is out of reach."
                removal.findings.append(Finding(str(file), what, todo))


def _delete_caches(removal: Removal, path: Path) -> None:
    for folder in list_cache_folders(path):
        owner = read_owner(folder)
        if owner is None or owner.partition("@")[0] != removal.traces.name:
            what = f"holds a cache of {owner or 'a run that is not legible'}"
            todo = "Delete it if it is this person's."
            removal.findings.append(Finding(str(folder), what, todo))
            continue
        for file in list_cache_files(folder):
            removal.delete(file)
        with contextlib.suppress(OSError):
            folder.rmdir()


def _is_model_of(path: Path, name: str) -> bool:
    try:
        return store.read_card(path).person == name
    except (RegistryError, SwapperError, OSError):
        return False


def _empty_folder(removal: Removal, directory: Path) -> None:
    """Delete all but what goes last."""
    last = {directory / name for name in LAST}
    for _ in range(ROUNDS):
        for path in walk_files(directory, lambda error: _note(removal, directory, error)):
            if path not in last:
                removal.delete(path)
        _remove_folders(directory)
        if not any(path not in last for path in directory.iterdir()):
            break
    with _noting(removal, bases_directory()):
        removal.removed += bases.release_home_bases()


def _remove_folders(directory: Path) -> None:
    folders = [path for path in directory.rglob("*") if path.is_dir() and not path.is_symlink()]
    for folder in sorted(folders, reverse=True):
        with contextlib.suppress(OSError):
            folder.rmdir()


def _delete_last(removal: Removal, directory: Path) -> None:
    rest = [path for path in directory.iterdir() if path.name not in LAST]
    for path in rest:
        removal.failed[path] = "something is still written into it"
    for name in LAST:
        if removal.failed:
            return
        path = directory / name
        if path.exists() or path.is_symlink():
            removal.delete(path)
    with _noting(removal, directory):
        directory.rmdir()


@contextlib.contextmanager
def _noting(removal: Removal, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        _note(removal, path, error)


def _note(removal: Removal, path: Path, error: OSError) -> None:
    removal.failed[Path(error.filename or path)] = error.strerror or str(error)
