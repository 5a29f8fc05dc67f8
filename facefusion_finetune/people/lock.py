"""One lock per person: whatever changes what is held about a person holds it meanwhile.

It is a file `locks/NAME.lock` in the home, outside the person's folder, so that a removal can hold
it until nothing of that folder is left. It is held for one change at a time (an activation, an
export, the start of a training), never for hours; see `work` for those. A file that is not empty
marks a removal that has begun: from then on, nothing but the removal may change anything.

Locks are taken in this order: the person's lock, then the lock of the crops or of a job. The latter
are not waited for while the person's lock is held.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from facefusion_finetune import home, locks
from facefusion_finetune.errors import BusyError, ConsentError

WAIT_SECONDS = 60.0
"""How long to wait for another command; the longest is a copy of a large model."""


class _HeldNames(threading.local):
    """Names whose lock the current thread holds, so that one change can be part of another."""

    def __init__(self) -> None:
        self.names: set[str] = set()


_held = _HeldNames()


def lock_path(name: str) -> Path:
    """The lock file of the person with this name, however its letters are cased."""
    return home.locks_directory() / f"{name.lower()}.lock"


@contextlib.contextmanager
def hold_name(name: str, is_removal: bool = False, is_new: bool = False) -> Iterator[None]:
    """Hold the lock of a name while the block runs; the same thread may do so again inside.

    The file is deleted at the end if there is no folder of such a person.

    Args:
        name: A valid name; there may be no such person.
        is_removal: The caller removes the person, or completes an interrupted removal.
        is_new: The caller adds the person, and therefore waits for the end of a removal.

    Raises:
        BusyError: Another command has held the lock for `WAIT_SECONDS`.
        ConsentError: The person is being removed, or a removal was interrupted.
        OSError: The file cannot be created.
    """
    key = name.lower()
    if key in _held.names:
        yield
        return
    handle = _acquire(name, may_wait_for_removal=is_removal or is_new)
    path = lock_path(name)
    _held.names.add(key)
    try:
        if not is_removal and is_being_removed(name):
            if _has_folder(name):
                raise create_removal_error(name)
            # The removal was interrupted after everything was deleted.
            mark_removal(name, False)
        yield
    finally:
        _held.names.discard(key)
        if not _has_folder(name):
            # On Windows, an open file cannot be deleted.
            with contextlib.suppress(OSError):
                path.unlink()
        os.close(handle)


def mark_removal(name: str, is_begun: bool) -> None:
    """Mark a removal as begun or, if nothing was deleted, as not begun; the lock must be held.

    Raises:
        OSError: The mark cannot be written.
    """
    with lock_path(name).open("r+b") as file:
        # Only the size counts: on a full disk, it can still be changed.
        file.truncate(1 if is_begun else 0)
        os.fsync(file.fileno())


def is_being_removed(name: str) -> bool:
    """Whether the removal of a person has begun; cheap enough to ask at every step."""
    try:
        return lock_path(name).stat().st_size > 0
    except OSError:
        return False


def create_removal_error(name: str) -> ConsentError:
    """The error of a command whose person is being removed."""
    return ConsentError(
        f"person {name!r}",
        "the person is being removed, which withdraws the consent.",
        "Nothing more can be done with this person. If the removal was interrupted, complete it:"
        f" facefusion-finetune person remove {name}.",
    )


def _acquire(name: str, may_wait_for_removal: bool) -> int:
    """The open and locked file, which is the one at the path."""
    path = lock_path(name)
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        if not path.parent.is_dir():
            home.create_private_directory(path.parent)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        is_ours = locks.try_lock(handle)
        # Whoever held it before may have deleted the file; then others lock a new one.
        if is_ours and _is_at(handle, path):
            return handle
        os.close(handle)
        if is_ours:
            continue
        if not may_wait_for_removal and is_being_removed(name):
            raise create_removal_error(name)
        if time.monotonic() > deadline:
            raise BusyError(
                f"person {name!r}",
                "another command has been changing what is held about this person for"
                f" {WAIT_SECONDS:.0f} seconds.",
                "Wait until it is done, then try again. Nothing was changed.",
            )
        time.sleep(locks.PAUSE)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _has_folder(name: str) -> bool:
    return os.path.lexists(home.people_directory() / name)
