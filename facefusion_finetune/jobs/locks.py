"""Locks of files that show whether the process that took them still lives.

The system releases them however the process ends. filelock is not used here because it makes the
missing folders of a file: a look at a job would bring back the folder of a person who was removed.
"""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_PAUSE = 0.05


@contextlib.contextmanager
def hold(path: Path, seconds: float = 0.0) -> Iterator[bool]:
    """Hold the lock of a file, which is made if need be, while the block runs.

    Args:
        path: Its folder must exist.
        seconds: How long to wait for another process. One that only looks holds it for a moment.

    Yields:
        Whether the lock is held; not where another process kept it.

    Raises:
        OSError: The file cannot be made; its folder may be gone.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + seconds
        while not (is_ours := _try_lock(handle)) and time.monotonic() < deadline:
            time.sleep(_PAUSE)
        yield is_ours
    finally:
        # What a handle holds is released with it.
        os.close(handle)


def is_held(path: Path) -> bool:
    """Whether a process holds the lock of a file; nobody does where there is none."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return not _try_lock(handle)
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
