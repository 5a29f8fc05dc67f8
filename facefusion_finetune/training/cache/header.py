"""What says whose a cache is: one small file beside the data, and the rules for its folder."""

import contextlib
import re
import shutil
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from facefusion_finetune import home
from facefusion_finetune.errors import TrainingError

HEADER_FILE, DATA_FILE = "frontier-cache.json", "frontier-cache.bin"

LARGEST_RESERVE = 1 << 30
RESERVED_SHARE = 0.05
"""Bytes, and share of a disk, whichever is less: what a cache leaves free."""

_OWN_NAME = re.compile(
    rf"{re.escape(DATA_FILE)}|{re.escape(HEADER_FILE)}|\.{re.escape(HEADER_FILE)}\..+\.part"
)


class CachedTensor(BaseModel):
    """One tensor of the cut, as it is kept for each row."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    shape: tuple[int, ...]
    """Without the axis of the samples."""
    dtype: str
    """PyTorch's name, such as `float32`."""


class Origin(BaseModel):
    """What a cache belongs to. Only one of the same origin is used again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: str
    """Reference, `NAME@VERSION`."""
    base: str
    """sha256 of the base file."""
    digest: str
    """Of the pairs and of all settings that what is cached depends on."""


class CacheHeader(BaseModel):
    """What the data file holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    origin: Origin
    limit: int
    """Bytes that were allowed."""
    tensors: tuple[CachedTensor, ...]
    """A record holds them one after the other."""
    rows: int
    """Records that the data file has room for."""
    chunked: bool
    """Whether it holds two chunks in turn, which nobody can use again, instead of all rows."""
    checksum: int | None = None
    """CRC-32 of the data file once all rows are in it."""


def check_folder(folder: Path, origin: Origin) -> CacheHeader | None:
    """What a folder that is to hold a cache says of itself; nothing is changed.

    Returns:
        The header of a cache of the same run, or None where there is none or it is damaged.

    Raises:
        TrainingError: The folder holds something else, or another run's cache.
    """
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise _refuse(folder, "it is no folder.")
    try:
        entries = sorted(folder.iterdir())
        for entry in entries:
            if not _OWN_NAME.fullmatch(entry.name) or entry.is_symlink() or not entry.is_file():
                raise _refuse(folder, f"it holds something else than a cache ({entry.name}).")
        content = (folder / HEADER_FILE).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _refuse(folder, f"it cannot be read ({error.strerror}).") from error
    try:
        header = CacheHeader.model_validate_json(content)
    except ValidationError:
        return None
    if (header.origin.run, header.origin.base) != (origin.run, origin.base):
        raise TrainingError(
            f"cache folder {folder}",
            f"it holds the cache of run {header.origin.run} (base"
            f" {header.origin.base[:16] or 'unknown'}), not of run {origin.run} (base"
            f" {origin.base[:16]}).",
            "Give another folder, or delete it.",
        )
    return header


def write_header(folder: Path, header: CacheHeader) -> None:
    """Replace the folder's header.

    Raises:
        OSError: It cannot be written.
    """
    home.write_text(folder / HEADER_FILE, header.model_dump_json(indent=1) + "\n")


def read_owner(folder: Path) -> str | None:
    """Reference of the run whose cache lies in a folder; None where nothing legible says so."""
    try:
        return CacheHeader.model_validate_json((folder / HEADER_FILE).read_bytes()).origin.run
    except (OSError, ValidationError):
        return None


def list_cache_files(folder: Path) -> list[Path]:
    """A cache's files in the order they are to be deleted in; none where there is no folder.

    Raises:
        OSError: The folder cannot be read.
    """
    if not folder.is_dir():
        return []
    own = [entry for entry in folder.iterdir() if _OWN_NAME.fullmatch(entry.name)]
    # The header goes last: as long as there is data, something says whose it is.
    return sorted(own, key=lambda entry: (entry.name == HEADER_FILE, entry))


def clear_cache(folder: Path) -> None:
    """Delete a cache's files; what is not there is no matter.

    Raises:
        OSError: They cannot be deleted.
    """
    for entry in list_cache_files(folder):
        entry.unlink()


def remove_cache(folder: Path) -> None:
    """Delete a cache as far as possible, and its folder if nothing else is in there."""
    with contextlib.suppress(OSError):
        clear_cache(folder)
        folder.rmdir()


def measure_room(folder: Path) -> int:
    """Bytes that a cache may take of a folder's disk, a reserve for everybody else left out."""
    usage = shutil.disk_usage(folder)
    return max(0, usage.free - min(LARGEST_RESERVE, round(usage.total * RESERVED_SHARE)))


def _refuse(folder: Path, why: str) -> TrainingError:
    return TrainingError(
        f"cache folder {folder}", why, "Give a new or an empty folder; nothing was changed."
    )
