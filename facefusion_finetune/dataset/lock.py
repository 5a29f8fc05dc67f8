"""A lock, so that only one process at a time changes a person's crops."""

import contextlib
from collections.abc import Iterator

import filelock

from facefusion_finetune.errors import DatasetError
from facefusion_finetune.people.profile import Person


@contextlib.contextmanager
def lock_crops(person: Person) -> Iterator[None]:
    """Keep other processes from changing a person's crops.

    Raises:
        DatasetError: Another process is changing them.
    """
    path = person.directory / ".lock"
    lock = filelock.FileLock(path, timeout=0, mode=0o600)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise DatasetError(
            f"person {person.name!r}",
            "another process is changing this person's crops right now.",
            "Wait until it is done, then try again.",
        ) from error
    try:
        yield
    finally:
        lock.release()
