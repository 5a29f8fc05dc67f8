"""Where things are on disk, and how they are written atomically."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import platformdirs

from facefusion_finetune import temporary
from facefusion_finetune.errors import UsageError

HOME_VARIABLE = "FACEFUSION_FINETUNE_HOME"

PERSON_FILE = "person.toml"
MANIFEST_FILE = "crops.jsonl"
CROPS_FOLDER = "crops"
SOURCES_FILE = "sources.jsonl"
CHOICES_FILE = "choices.json"
COVERAGE_PICTURE = "coverage.png"
REVIEW_FOLDER = "review"
THUMBNAILS_FOLDER = "shown"
EXTRACTION_FOLDER = "extraction"
OTHERS_FOLDER = "others"
JOBS_FOLDER = "jobs"
WORK_FOLDER = ".work"
RUNS_FOLDER = "runs"
EXPORTS_FOLDER = "exports"
HOSTS_FILE = "hosts.json"
ELSEWHERE_FILE = "elsewhere.json"
"""Names in a person's folder; other modules use only these constants."""

COPY_CHUNK = 1 << 20
"""Bytes copied at a time."""


def home_directory() -> Path:
    """The data folder: `FACEFUSION_FINETUNE_HOME`, else one in the platform's user data folder.

    Raises:
        UsageError: It cannot be told, since the user has no home folder.
    """
    configured = os.environ.get(HOME_VARIABLE)
    if configured:
        return resolve_path(configured, f"{HOME_VARIABLE}={configured}")
    with contextlib.suppress(RuntimeError):
        path = Path(platformdirs.user_data_dir("facefusion-finetune", appauthor=False))
        # In older versions of platformdirs, `~` stays, and would become a folder's name.
        if path.is_absolute():
            return path
    raise UsageError(
        "data folder",
        "this user has no home folder: HOME is not set, and the system knows none.",
        f"Set {HOME_VARIABLE} to the path of a folder.",
    )


def expand_path(path: str | Path, given: str | None = None) -> Path:
    """A path given by the user, with `~` expanded.

    Args:
        path: The path.
        given: What the user gave, for the error message; by default, the path.

    Raises:
        UsageError: It begins with the home folder of a user who has none.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UsageError(
            given or str(path), "there is no such home folder.", "Give the whole path."
        ) from error


def resolve_path(path: str | Path, given: str | None = None) -> Path:
    """Like `expand_path`, but absolute, and with links followed.

    Raises:
        UsageError: As `expand_path`; or its links lead in a circle, or it has a null character.
    """
    try:
        return expand_path(path, given).resolve()
    except (RuntimeError, ValueError) as error:
        raise UsageError(
            given or str(path), f"it cannot be resolved ({error}).", "Give another path."
        ) from error


@contextlib.contextmanager
def use_home(folder: Path) -> Iterator[None]:
    """Use `folder` as the home within the context."""
    former = os.environ.get(HOME_VARIABLE)
    os.environ[HOME_VARIABLE] = str(folder)
    try:
        yield
    finally:
        if former is None:
            del os.environ[HOME_VARIABLE]
        else:
            os.environ[HOME_VARIABLE] = former


def locks_directory() -> Path:
    """Folder of the persons' locks, outside their folders, so that these can go first."""
    return home_directory() / "locks"


def people_directory() -> Path:
    """Folder that holds one folder per person."""
    return home_directory() / "people"


def create_private_directory(path: Path) -> Path:
    """Create a folder and its missing parents, accessible only to the user.

    Inside the folder of a person or a run, use `create_inner_directory`.
    """
    for folder in [*reversed(path.parents), path]:
        # `parents=True` would create the missing parents with the default mode.
        folder.mkdir(mode=0o700, exist_ok=True)
    return path


def create_inner_directory(path: Path, root: Path) -> None:
    """Create a private folder and its missing parents below `root`.

    Args:
        path: A folder below `root`.
        root: The folder of a person, a run or a job. It is never created: what was removed in the
            meantime must not come back.

    Raises:
        FileNotFoundError: `root` does not exist.
    """
    missing = []
    while path != root and not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file in errors of the block: the system's error for a full disk does not."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def write_whole(path: Path, write: Callable[[BinaryIO], object], mode: int = 0o600) -> None:
    """Write a file atomically: fill a temporary file in its folder, sync it to disk, rename it.

    A reader sees the old file or the new one, never a part. On any exception, the temporary file
    is removed and `path` is left unchanged. What a killed process left is removed by the next one
    that writes the same file, see `temporary`.

    Args:
        path: The file to create or replace; its folder must exist.
        write: Writes the content to the binary file it is given.
        mode: Permission bits of the new file.

    Raises:
        OSError: The file cannot be written, for example because the disk is full.
    """
    temporary.sweep(path)
    handle, part = temporary.create_file(path)
    try:
        with os.fdopen(handle, "wb") as file:
            with naming(path):
                write(file)
                file.flush()
                os.fsync(file.fileno())
            part.chmod(mode)
            if os.name != "nt":
                # While it is open, and so locked: no other process may sweep it.
                part.replace(path)
        if os.name == "nt":
            part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def copy_whole(source: Path, path: Path, mode: int = 0o600) -> None:
    """Copy a file to `path` atomically; see `write_whole`."""

    def copy(file: BinaryIO) -> None:
        with source.open("rb") as origin:
            shutil.copyfileobj(origin, file, COPY_CHUNK)

    write_whole(path, copy, mode)


def write_bytes(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write `content` to `path` atomically; see `write_whole`."""
    write_whole(path, lambda file: file.write(content), mode)


def write_text(path: Path, content: str, mode: int = 0o600) -> None:
    """Write `content` as UTF-8 to `path` atomically; see `write_whole`."""
    write_bytes(path, content.encode("utf-8"), mode)
