"""File locks that show whether the process that holds them is still alive.

The system releases them however the process ends. filelock is not used because it creates missing
folders: checking a job would recreate the folder of a removed person.
"""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PAUSE = 0.05
"""Seconds between two attempts to acquire a lock."""

_FAR = 1 << 30
"""Offset of the locked byte on Windows, beyond any content, which others may read."""


@contextlib.contextmanager
def hold(path: Path, seconds: float = 0.0) -> Iterator[bool]:
    """Hold a file's lock while the block runs; the file is created if needed.

    Args:
        path: The file; its folder must exist.
        seconds: How long to wait for another process; `is_held` also takes the lock for a moment.

    Yields:
        Whether the lock was acquired.

    Raises:
        OSError: The file cannot be created; its folder may be missing.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + seconds
        while not (is_ours := try_lock(handle)) and time.monotonic() < deadline:
            time.sleep(PAUSE)
        yield is_ours
    finally:
        # Closing the file releases the lock.
        os.close(handle)


def is_held(path: Path) -> bool:
    """Whether a process holds a file's lock; False if the file does not exist."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return not try_lock(handle)
    finally:
        os.close(handle)


def try_lock(handle: int) -> bool:
    """Lock an open file if no other handle has it locked; closing the handle releases the lock.

    Returns:
        Whether the lock was acquired.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(handle, _FAR, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
