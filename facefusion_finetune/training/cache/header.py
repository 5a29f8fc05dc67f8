"""The cache's header, a small file that names its owner, and the rules for the cache folder."""

import contextlib
import re
import shutil
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from facefusion_finetune import home
from facefusion_finetune.damage import DamageError, read_file
from facefusion_finetune.errors import TrainingError

HEADER_FILE, DATA_FILE = "frontier-cache.json", "frontier-cache.bin"

LARGEST_RESERVE = 1 << 30
RESERVED_SHARE = 0.05
"""Disk space a cache leaves free: the lesser of this many bytes and this share of the disk."""

_OWN_NAME = re.compile(
    rf"{re.escape(DATA_FILE)}|{re.escape(HEADER_FILE)}|\.{re.escape(HEADER_FILE)}\..+\.part"
)


class CachedTensor(BaseModel):
    """Description of one tensor at the cut, stored for each row."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    shape: tuple[int, ...]
    """Without the batch axis."""
    dtype: str
    """PyTorch's name of the type, such as `float32`."""


class Origin(BaseModel):
    """What a cache was computed from. A cache is reused only if its origin is the same."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: str
    """Reference, `NAME@VERSION`."""
    base: str
    """sha256 of the base file."""
    digest: str
    """Digest of the pairs and of all settings that affect the cached values."""


class CacheHeader(BaseModel):
    """Contents of the data file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    origin: Origin
    limit: int
    """Maximum size in bytes when it was created."""
    tensors: tuple[CachedTensor, ...]
    """The tensors of a record, in order."""
    rows: int
    """Capacity of the data file in records."""
    chunked: bool
    """Whether it is a buffer for two chunks, which cannot be reused, instead of all rows."""
    checksum: int | None = None
    """CRC-32 of the data file; None until it has all rows."""


def check_folder(folder: Path, origin: Origin) -> CacheHeader | None:
    """Check whether a folder can be used for a cache; nothing is changed.

    Returns:
        The header of a cache of the same run; None if there is none or it is damaged.

    Raises:
        TrainingError: The folder contains other files or another run's cache.
    """
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise _refuse(folder, "it is not a folder.")
    try:
        entries = sorted(folder.iterdir())
        for entry in entries:
            if not _OWN_NAME.fullmatch(entry.name) or entry.is_symlink() or not entry.is_file():
                raise _refuse(folder, f"it contains files that are not a cache ({entry.name}).")
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
            f"it contains the cache of run {header.origin.run} (base"
            f" {header.origin.base[:16] or 'unknown'}), not of run {origin.run} (base"
            f" {origin.base[:16]}).",
            "Use another folder, or delete this one.",
        )
    return header


def write_header(folder: Path, header: CacheHeader) -> None:
    """Write the header, replacing an existing one.

    Raises:
        OSError: It cannot be written.
    """
    home.write_text(folder / HEADER_FILE, header.model_dump_json(indent=1) + "\n")


def read_owner(folder: Path) -> str | None:
    """Reference of the run whose cache is in a folder; None without a readable header."""
    try:
        return read_file(folder / HEADER_FILE, CacheHeader.model_validate_json).origin.run
    except (FileNotFoundError, DamageError):
        return None


def list_cache_files(folder: Path) -> list[Path]:
    """The cache's files in the order of deletion; empty if the folder does not exist.

    Raises:
        OSError: The folder cannot be read.
    """
    if not folder.is_dir():
        return []
    own = [entry for entry in folder.iterdir() if _OWN_NAME.fullmatch(entry.name)]
    # The header comes last: as long as there is data, its owner is known.
    return sorted(own, key=lambda entry: (entry.name == HEADER_FILE, entry))


def clear_cache(folder: Path) -> None:
    """Delete the cache's files, if any.

    Raises:
        OSError: They cannot be deleted.
    """
    for entry in list_cache_files(folder):
        # Another process may just be deleting it, too.
        entry.unlink(missing_ok=True)


def remove_cache(folder: Path) -> None:
    """Delete the cache as far as possible, and its folder if it is then empty."""
    with contextlib.suppress(OSError):
        clear_cache(folder)
        folder.rmdir()


def measure_room(folder: Path) -> int:
    """Bytes that a cache may use on the folder's disk, excluding the reserve."""
    usage = shutil.disk_usage(folder)
    return max(0, usage.free - min(LARGEST_RESERVE, round(usage.total * RESERVED_SHARE)))


def _refuse(folder: Path, why: str) -> TrainingError:
    return TrainingError(
        f"cache folder {folder}", why, "Use a new or empty folder; nothing was changed."
    )
