"""Temporary files and folders, named so that what a killed process left of them is recognised.

A temporary file lies next to the one it becomes, as `.NAME.TOKEN.part`, and is locked by the
process that made it. The system releases the lock however the process ends, so one that is not
locked was left behind, and is deleted by the next command that writes the same file or sweeps the
folder.
"""

import contextlib
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from facefusion_finetune import locks

_TOKEN = "[a-z0-9_]{8}"
_NAME = re.compile(rf"\.(?P<name>.+)\.{_TOKEN}\.part", re.DOTALL)
_FORMER_FOLDER = re.compile(rf"\.(?P<name>import|dry-run)-{_TOKEN}")
"""Written by former versions of this package."""

_MOMENT = 0.005
"""Seconds that sweeping a new file may take."""

_ATTEMPTS = 5
"""Names to try: another process may just be sweeping the first, before it is locked."""


def create_file(path: Path) -> tuple[int, Path]:
    """Create a temporary file for `path`, open for writing, accessible only to the user.

    Returns:
        Its descriptor, which holds the lock, and its path.

    Raises:
        OSError: It cannot be created.
    """

    def create() -> tuple[int, Path]:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        return handle, Path(name)

    return _create_locked(create)


@contextlib.contextmanager
def stage_folder(path: Path) -> Iterator[Path]:
    """A temporary folder for `path`, accessible only to the user, to be filled and renamed.

    At the end of the block it is deleted if it was not renamed.

    Raises:
        OSError: It cannot be created.
    """
    sweep(path)

    def create() -> tuple[int, Path]:
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        return _open(folder), folder

    handle, folder = _create_locked(create)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _close(handle)


@contextlib.contextmanager
def set_aside(path: Path) -> Iterator[Path]:
    """Give a file or folder a temporary name while the block decides about it.

    Whatever still has that name after the block, or after the process was killed, is swept.

    Raises:
        OSError: It does not exist, or cannot be renamed.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    handle = _NONE
    with contextlib.suppress(OSError):
        handle = _open(path)
    try:
        _try_lock(handle)
        path.replace(aside)
        yield aside
    finally:
        _close(handle)


def remove_folder(path: Path) -> None:
    """Delete a folder with all it holds; if the process is killed, it is there whole or not at all.

    Raises:
        OSError: It does not exist, or cannot be deleted.
    """
    with set_aside(path) as aside:
        shutil.rmtree(aside)


def sweep(path: Path) -> list[Path]:
    """Delete the temporary files and folders that killed processes left for `path`.

    Returns:
        What was deleted.
    """
    # Without a look at each entry, as `sweep_folder` takes: there may be thousands beside it.
    start, removed = f".{path.name}.", []
    with contextlib.suppress(OSError):
        for name in os.listdir(path.parent):
            found = _NAME.fullmatch(name) if name.startswith(start) else None
            if found and found["name"] == path.name and _delete_abandoned(path.with_name(name)):
                removed.append(path.with_name(name))
    return removed


def sweep_folder(
    folder: Path, is_own: Callable[[str], object] = lambda name: True, deep: bool = False
) -> list[Path]:
    """Delete the temporary files and folders that killed processes left in a folder.

    Args:
        folder: The folder; it may not exist.
        is_own: Whether a file or folder of that name is written here by this package; by default
            all are, as in a person's folder.
        deep: Also in the folders below.

    Returns:
        What was deleted.
    """
    removed = []
    for parent, folders, files in os.walk(folder):
        for name in sorted([*folders, *files]):
            found = _NAME.fullmatch(name) or _FORMER_FOLDER.fullmatch(name)
            if found and is_own(found["name"]) and _delete_abandoned(Path(parent, name)):
                removed.append(Path(parent, name))
        if not deep:
            break
    return removed


def is_temporary(name: str) -> bool:
    """Whether a file or folder of that name is a temporary one."""
    return _NAME.fullmatch(name) is not None


def _create_locked(create: Callable[[], tuple[int, Path]]) -> tuple[int, Path]:
    for _ in range(_ATTEMPTS):
        handle, path = create()
        if handle != _NONE and not _try_lock(handle):
            # Another process is just sweeping it, or the file system has no locks.
            time.sleep(_MOMENT)
        # Until it was locked, another process may have swept it.
        if os.path.lexists(path):
            break
        _close(handle)
    return handle, path


def _delete_abandoned(path: Path) -> bool:
    """Delete a temporary file or folder unless a process holds it; whether it was deleted."""
    handle = _NONE
    try:
        mode = path.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            return False
        if os.name == "nt":
            # A file that is open cannot be deleted there; for a folder there is no such proof.
            if stat.S_ISREG(mode):
                path.unlink()
            return stat.S_ISREG(mode)
        handle = _open(path)
        if not _try_lock(handle) or not os.path.samestat(os.fstat(handle), path.lstat()):
            return False
        shutil.rmtree(path) if stat.S_ISDIR(mode) else path.unlink()
    except OSError:
        return False
    finally:
        _close(handle)
    return True


_NONE = -1
"""No descriptor: the system opens no folders."""


def _open(path: Path) -> int:
    if os.name == "nt":
        return _NONE
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)


def _close(handle: int) -> None:
    if handle != _NONE:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    """Lock an open file or folder; False if another process has, or the file system cannot."""
    return handle != _NONE and locks.try_lock(handle)
