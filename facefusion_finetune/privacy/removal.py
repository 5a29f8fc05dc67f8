"""Deletes a person: crops, embeddings, runs, and models wherever they are active; verifies it."""

import contextlib
import glob
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from facefusion_finetune import home
from facefusion_finetune.errors import FinetuneError, RegistryError, SwapperError
from facefusion_finetune.host.locate import recall
from facefusion_finetune.host.models import models_directory
from facefusion_finetune.jobs.stopping import STOP_SECONDS, end_others, stop_all
from facefusion_finetune.people import elsewhere, lock
from facefusion_finetune.people.profile import find_directory, validate_name
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

DELETED_LAST = (
    home.MANIFEST_FILE,
    home.SOURCES_FILE,
    home.HOSTS_FILE,
    home.ELSEWHERE_FILE,
    home.PERSON_FILE,
)
"""Deleted last, in this order: while anything is left, the person stays on record, and the removal
can be repeated with everything it needs to know."""

MAX_PASSES = 3
"""Passes over the folder and over FaceFusion's: something may still write to them."""
PAUSE = 0.1
"""Seconds between two passes."""


class RemovalError(FinetuneError):
    """Something held about a person could not be deleted."""


@dataclass
class Removal:
    """The result of a removal."""

    traces: Traces
    """As collected before the removal."""
    directory: Path
    """The person's folder."""
    hosts: list[Path] = field(default_factory=list)
    """FaceFusion folders that were searched."""
    removed: list[Path] = field(default_factory=list)
    """Deleted files, including bases that no model uses any longer."""
    failed: dict[Path, str] = field(default_factory=dict)
    """What could not be deleted, and why."""
    findings: list[Finding] = field(default_factory=list)
    """What was left because this package must not delete it, and what remains."""
    files_searched: int | None = None
    """None if nothing was searched because something could not be deleted."""

    @property
    def footage(self) -> list[str]:
        """Paths of the footage outside the person's folder, sorted; it was only read.

        What was uploaded from the page lay in that folder, and was deleted with it.
        """
        folders = (self.directory, self.directory.resolve())
        return sorted(
            path
            for path in self.traces.footage
            if not any(folder in Path(path).parents for folder in folders)
        )

    def require_complete(self) -> None:
        """Make sure that nothing is held any longer.

        Raises:
            RemovalError: A file could not be deleted, or data of the person was found.
        """
        left = [f"{path} ({why})" for path, why in self.failed.items()]
        left += [f"{found.path} ({found.what})" for found in self.findings if found.remains]
        if left:
            raise RemovalError(
                f"person {self.traces.name!r}",
                f"{len(left)} files could not be removed: {', '.join(left)}.",
                "Close the programs that use them or grant access, then remove the person again;"
                " delete files that FaceFusion has under other names by hand. Everything else was"
                " deleted.",
            )

    def delete(self, path: Path) -> None:
        """Delete one file or link, or note why not; a link's target is kept and noted."""
        target = path.resolve() if path.is_symlink() else None
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self.failed[path] = error.strerror or str(error)
            return
        self.failed.pop(path, None)
        self.removed.append(path)
        if target is not None:
            todo = "It was kept; delete it if it belongs to this person."
            self.findings.append(Finding(str(target), f"was the target of the link {path}", todo))


def remove_person(name: str, host: Path | None = None, exports: bool = False) -> Removal:
    """Delete everything held about a person, then search the disk for remains.

    What cannot be deleted is noted, and the rest is still deleted; see `Removal.require_complete`.
    If it is interrupted at any point, it can be repeated, and until then nothing else can be done
    with the person. Links are deleted, not followed. No other command changes anything meanwhile:
    the person's jobs and other work are ended first, so that nothing is written back.

    Args:
        name: The person to delete; the record and all other files may be damaged.
        host: A FaceFusion folder to search in addition to the linked one and those on record.
        exports: Also delete exported files, if they are still models of this person.

    Raises:
        UsageError: There is no such person.
        BusyError: Another command is changing what is held about the person; nothing was deleted.
        RemovalError: The person's folder is a link, or a job or other work cannot be ended; nothing
            was deleted.
    """
    validate_name(name)
    with lock.hold_name(name, is_removal=True):
        directory = _find_folder(name)
        was_begun = lock.is_being_removed(name)
        # From here on, whoever is at work finds out at the next step.
        lock.mark_removal(name, True)
        try:
            _end_work(name, directory)
        except BaseException:
            lock.mark_removal(name, was_begun)
            raise
        return _remove(name, directory, host, exports)


def _find_folder(name: str) -> Path:
    directory = find_directory(name)
    if directory.is_symlink():
        raise RemovalError(
            f"person {name!r}",
            f"{directory} is a link to {directory.resolve()}, and links are not followed when"
            " deleting.",
            "Replace the link with that folder, then remove the person again.",
        )
    return directory


def _end_work(name: str, directory: Path) -> None:
    """End everything that is at work on the person's data.

    Nobody gets time to finish a step: nothing it does is to be kept.
    """
    alive = stop_all(name, STOP_SECONDS)
    alive += [f"{work.what or 'it'} (process {work.pid})" for work in end_others(directory)]
    if alive:
        raise RemovalError(
            f"person {name!r}",
            f"the process working on {', '.join(alive)} cannot be stopped, and would write data"
            " back.",
            "Stop that process, or restart the machine, then remove the person again. Nothing was"
            " deleted.",
        )


def _remove(name: str, directory: Path, host: Path | None, exports: bool) -> Removal:
    locations = elsewhere.recall(directory)
    removal = Removal(collect_traces(name, directory), directory)
    _note_damage(removal, locations)
    _find_hosts(removal, locations.hosts, host)
    _empty_hosts(removal)
    for entry in locations.elsewhere:
        _handle_elsewhere(removal, entry, exports)
    _empty_folder(removal, directory)
    if not removal.failed:
        _delete_last(removal, directory)
    _look_again(removal)
    if not removal.failed:
        known = {Path(found.path) for found in removal.findings} | {lock.lock_path(name)}
        search = search_disk(removal.traces, removal.hosts, known)
        removal.files_searched = search.files
        removal.findings += search.findings
    return removal


def _note_damage(removal: Removal, locations: elsewhere.Locations) -> None:
    for error in locations.damaged:
        removal.findings.append(
            Finding(
                error.given,
                "was damaged, so some places that hold the person's models or caches may be"
                " unknown",
                "Look for files named "
                f"{removal.traces.name}-VERSION in .assets/models/finetuned of every FaceFusion.",
            )
        )


def _find_hosts(removal: Removal, known: list[Path], given: Path | None) -> None:
    linked = recall()
    asked = {path.resolve() for path in (given, linked) if path is not None and path.is_dir()}
    for host in sorted({path.resolve() for path in known} | asked):
        if not host.is_dir():
            what = "does not exist now, but a model of the person was active in it"
            todo = "If it is on another disk, delete .assets/models/finetuned/"
            todo += f"{removal.traces.name}-* in it."
            removal.findings.append(Finding(str(host), what, todo))
            continue
        removal.hosts.append(host)


def _empty_hosts(removal: Removal) -> None:
    for host in removal.hosts:
        # Models first: without them, FaceFusion no longer offers the person.
        for path in store.list_model_files(removal.traces.name, host):
            removal.delete(path)
        with _noting(removal, models_directory(host)):
            removal.removed += remove_unused_bases(models_directory(host))


def _look_again(removal: Removal) -> None:
    """Delete what was written meanwhile by a program that does not know of the person's lock."""
    directory = removal.directory
    for _ in range(MAX_PASSES):
        is_back = directory.is_dir() and not removal.failed
        found = [path for host in removal.hosts for path in _list_models(removal, host)]
        if not is_back and not found:
            return
        time.sleep(PAUSE)
        _empty_hosts(removal)
        if is_back:
            _empty_folder(removal, directory)
            _delete_last(removal, directory)
    if directory.is_dir() and not removal.failed:
        with _noting(removal, directory):
            directory.rmdir()


def _list_models(removal: Removal, host: Path) -> list[Path]:
    files = store.list_model_files(removal.traces.name, host)
    return [path for path in files if path not in removal.failed]


def _handle_elsewhere(removal: Removal, entry: elsewhere.Location, exports: bool) -> None:
    path = Path(entry.path)
    about = f" of {entry.about}" if entry.about else ""
    if entry.kind == "tracker":
        what = f"received settings and metrics{about}"
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
                    what += ", but is not a model of this person now"
                todo = "Delete it yourself; copies passed on to others are out of reach."
                removal.findings.append(Finding(str(file), what, todo))


def _delete_caches(removal: Removal, path: Path) -> None:
    for folder in list_cache_folders(path):
        owner = read_owner(folder)
        if owner is None or owner.partition("@")[0] != removal.traces.name:
            what = f"holds a cache of {owner or 'an unknown run'}"
            todo = "Delete it if it belongs to this person."
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
    """Delete everything except `DELETED_LAST`."""
    last = {directory / name for name in DELETED_LAST}
    for _ in range(MAX_PASSES):
        for path in walk_files(directory, lambda error: _note(removal, directory, error)):
            if path not in last:
                removal.delete(path)
        _remove_folders(directory)
        if not any(path not in last for path in directory.iterdir()):
            break
        time.sleep(PAUSE)
    with _noting(removal, bases_directory()):
        removal.removed += bases.release_home_bases()


def _remove_folders(directory: Path) -> None:
    folders = [path for path in directory.rglob("*") if path.is_dir() and not path.is_symlink()]
    for folder in sorted(folders, reverse=True):
        with contextlib.suppress(OSError):
            folder.rmdir()


def _delete_last(removal: Removal, directory: Path) -> None:
    rest = [path for path in directory.iterdir() if path.name not in DELETED_LAST]
    for path in rest:
        removal.failed[path] = "something still writes to it"
    for name in DELETED_LAST:
        if removal.failed:
            return
        path = directory / name
        if path.exists() or path.is_symlink():
            removal.delete(path)
    # Whatever keeps it is dealt with by `_look_again`.
    with contextlib.suppress(OSError):
        directory.rmdir()


@contextlib.contextmanager
def _noting(removal: Removal, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        _note(removal, path, error)


def _note(removal: Removal, path: Path, error: OSError) -> None:
    removal.failed[Path(error.filename or path)] = error.strerror or str(error)
