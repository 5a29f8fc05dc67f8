"""Changes to what is held about a person, and work of hours on it, beside other commands.

A change holds the person's lock (see `lock`). Work that takes long (an extraction, a training, an
evaluation) is announced instead by a file in the person's folder, `.work/PID-NUMBER.json`, locked
as long as the work goes on. A removal waits for its end, or ends it, before it deletes anything.
"""

import contextlib
import itertools
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from facefusion_finetune import home, locks
from facefusion_finetune.damage import DamageError, read_file
from facefusion_finetune.errors import BusyError, ConsentError, FinetuneError
from facefusion_finetune.people import lock
from facefusion_finetune.people.profile import Person, confirm_person

CROPS = "the crops"
"""What an extraction works on."""

_numbers = itertools.count(1)
_runs_one_command = threading.Event()
_own: dict[Path, int] = {}
"""Announcements of this process, with the thread that made them."""


class Announcement(BaseModel):
    """What a process is doing with a person's data."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    pid: int
    what: str | None = None
    """What is worked on, such as `CROPS` or `jane@2`; only one process may do so at a time."""
    is_command: bool = False
    """Whether the process does nothing else, so that a removal may end it."""


@dataclass(frozen=True)
class Work:
    """Work that has been announced."""

    person: Person
    path: Path

    def check(self) -> None:
        """Make sure that the work may go on; cheap enough for every frame and step.

        Raises:
            ConsentError: The person was or is being removed.
        """
        if lock.is_being_removed(self.person.name) or not self.path.exists():
            confirm_person(self.person)

    @property
    def is_over(self) -> bool:
        """Whether the person was or is being removed."""
        try:
            self.check()
        except ConsentError:
            return True
        return False

    def claim(self, what: str) -> None:
        """Announce what is worked on once it is known.

        Raises:
            BusyError: Another process already works on it.
            ConsentError: The person was or is being removed.
        """
        with lock_person(self.person):
            _refuse_second(self.person, what, self.path)
            _write(self.path, what)


@contextlib.contextmanager
def ending_with_removal() -> Iterator[None]:
    """Declare that the process runs one command, the block, so that a removal may end it."""
    _runs_one_command.set()
    try:
        yield
    finally:
        _runs_one_command.clear()


@contextlib.contextmanager
def lock_person(person: Person, idle: str | None = None) -> Iterator[Person]:
    """Hold a person's lock for one change.

    Args:
        person: The person as loaded before, possibly long ago.
        idle: What no process may be working on at the same time.

    Yields:
        The person's current record; whether consent is needed is up to the caller.

    Raises:
        BusyError: Another command is changing what is held about the person, or working on `idle`.
        ConsentError: The person was or is being removed, even if a person of the same name was
            added since.
    """
    # Before the lock as well: no lock file is made for a person who is gone.
    confirm_person(person)
    with lock.hold_name(person.name):
        current = confirm_person(person)
        _clear_abandoned(person)
        if idle is not None:
            _refuse_second(person, idle)
        yield current


@contextlib.contextmanager
def at_work(person: Person, what: str | None = None) -> Iterator[Work]:
    """Announce long work on a person's data while the block runs.

    Args:
        person: The person as loaded before.
        what: What is worked on; None if it is not known yet, see `Work.claim`.

    Raises:
        BusyError: Another process already works on it, or is changing the person's data.
        ConsentError: The person was or is being removed, also during the block, in place of an
            error that this caused.
    """
    with contextlib.ExitStack() as stack:
        with lock_person(person, idle=what):
            path, handle = _create_announcement(person)
            stack.callback(_withdraw, path, handle)
            _write(path, what)
        try:
            yield Work(person, path)
        except (OSError, FinetuneError):
            # It may have failed because the person was removed.
            confirm_person(person)
            raise


def list_others(directory: Path) -> dict[Path, Announcement]:
    """Work on a person's data that goes on now, except that of the current thread.

    Args:
        directory: The person's folder.

    Returns:
        The announcements by their files, which the processes at work keep open.
    """
    found = {}
    for path in sorted((directory / home.WORK_FOLDER).glob("*.json")):
        if _own.get(path) == threading.get_ident() or not locks.is_held(path):
            continue
        try:
            found[path] = read_file(path, Announcement.model_validate_json)
        except FileNotFoundError:
            continue
        except DamageError:
            number = path.name.partition("-")[0]
            found[path] = Announcement(pid=int(number) if number.isdecimal() else 0)
    return found


def _clear_abandoned(person: Person) -> None:
    """Delete the announcements of processes that were killed."""
    folder = person.directory / home.WORK_FOLDER
    for path in folder.glob("*.json"):
        if not locks.is_held(path):
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _refuse_second(person: Person, what: str, own: Path | None = None) -> None:
    for path in (person.directory / home.WORK_FOLDER).glob("*.json"):
        if path == own:
            continue
        with contextlib.suppress(FileNotFoundError, DamageError):
            other = read_file(path, Announcement.model_validate_json)
            if other.what == what:
                raise BusyError(
                    f"person {person.name!r}",
                    f"another process ({other.pid}) is working on {what} right now.",
                    "Wait until it is done, or stop it, then try again.",
                )


def _create_announcement(person: Person) -> tuple[Path, int]:
    folder = person.directory / home.WORK_FOLDER
    while True:
        home.create_inner_directory(folder, person.directory)
        path = folder / f"{os.getpid()}-{next(_numbers)}.json"
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue
        except FileNotFoundError:
            # Work that ended at this moment deleted the empty folder.
            continue
        # Nobody else has it locked: whoever looks for such files holds the person's lock.
        locks.try_lock(handle)
        _own[path] = threading.get_ident()
        return path, handle


def _withdraw(path: Path, handle: int) -> None:
    del _own[path]
    with contextlib.suppress(OSError):
        path.unlink()
        path.parent.rmdir()
    os.close(handle)


def _write(path: Path, what: str | None) -> None:
    made = Announcement(pid=os.getpid(), what=what, is_command=_runs_one_command.is_set())
    with home.naming(path):
        path.write_text(made.model_dump_json() + "\n", "utf-8")
