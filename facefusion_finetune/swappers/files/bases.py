"""Linked files: a tuned model that leaves its frozen weights in the base file.

A copy of the base, named after its digest, must be next to the model. This module puts it there,
checks it, and removes it when no model needs it. The processor calls it inside FaceFusion: no
torch, and nothing is read before it is checked.
"""

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from facefusion_finetune import home, temporary
from facefusion_finetune.errors import RegistryError
from facefusion_finetune.swappers.card import decode_metadata
from facefusion_finetune.swappers.files.metadata import read_links, scan_links
from facefusion_finetune.swappers.files.wire import WireError

CHUNK = 1 << 22
SUFFIX = ".base"
"""Not .onnx, so that nothing mistakes the file for a model."""

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}-[0-9a-f]{16}\.base")
_FULL_DISK = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


def name_base(base_name: str, sha256: str) -> str:
    """File name of a base next to the models that need it: `NAME-DIGEST.base`.

    Args:
        base_name: As in the card; characters unsafe in a file name become `_`.
        sha256: Of the base file, 64 hex digits; the first 16 go into the name.
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", base_name).lstrip(".")[:64]
    return f"{plain or 'base'}-{sha256[:16]}{SUFFIX}"


def digest_file(path: Path) -> str:
    """sha256 of a file's bytes, 64 hex digits; recomputed only when the file's status changes.

    Raises:
        OSError: The file cannot be read.
    """
    status = path.stat()
    key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return _digest_static(path, key)


def holds_base(path: Path, sha256: str, hard_links: bool = False) -> bool:
    """Whether `path` is a separate file with that digest; see `check_base` for `hard_links`."""
    try:
        return _find_fault(path, sha256, hard_links) is None
    except OSError:
        return False


def place_base(
    source: Path, sha256: str, base_name: str, directory: Path, hard_links: bool = False
) -> Path:
    """Make sure that a folder holds the base, complete and with the expected digest.

    An existing file is kept if it is correct, and replaced if it is not. Where the file system
    supports it, the copy shares its blocks with the source.

    Args:
        source: Any file with the base's bytes.
        sha256: The base's digest.
        base_name: The base's name.
        directory: The destination; must exist.
        hard_links: Use a hard link where possible. FaceFusion's own folder needs a separate file,
            because onnx reads no weights from a file with several links.

    Returns:
        The base's path in the folder.

    Raises:
        RegistryError: The source's digest differs.
        OSError: The file cannot be read or written, for example because the disk is full.
    """
    target = directory / name_base(base_name, sha256)
    if holds_base(target, sha256, hard_links):
        return target
    source = source.resolve()
    if not (hard_links and _place_link(source, target, sha256)):
        home.write_whole(target, lambda file: _copy(source, file, sha256))
    return target


def find_base(sha256: str, base_name: str, sizes: range, folders: Iterable[Path]) -> Path | None:
    """Look for a base file; only files of a possible size are read.

    Args:
        sha256: The base's digest.
        base_name: Its likely name; files with this name are tried first.
        sizes: Possible sizes in bytes.
        folders: Searched in order for `.onnx` and `.base` files.

    Returns:
        A file with the digest, or None.
    """
    files = [
        path
        for folder in folders
        for path in sorted(folder.glob("*"))
        if path.suffix in (".onnx", SUFFIX)
    ]
    files.sort(key=lambda path: sha256[:16] not in path.name and path.stem != base_name)
    for path in files:
        try:
            status = path.stat()
            fits = stat.S_ISREG(status.st_mode) and status.st_size in sizes
            if fits and digest_file(path) == sha256:
                return path
        except OSError:
            continue
    return None


def check_base(model_path: Path, hard_links: bool = False) -> None:
    """Make sure that a linked model will run with the base it was tuned from.

    The base's digest is computed once per process, and again when the file's status changes.

    Args:
        model_path: A model; for a standalone file there is nothing to check.
        hard_links: Whether the base may have other hard links, which onnxruntime accepts, and onnx,
            and therefore FaceFusion, does not.

    Raises:
        RegistryError: The model cannot be read, or its base is missing, changed or replaced.
    """
    links = read_links(model_path)
    if not links.locations:
        return
    card = decode_metadata(links.metadata, str(model_path))
    name = name_base(card.base_name, card.base_sha256)
    todo = f"Restore it: facefusion-finetune models activate {card.person}@{card.version}."
    if links.locations != {name}:
        raise RegistryError(
            str(model_path),
            f"its weights are in {sorted(links.locations)}, but its card names the base {name}.",
            todo,
        )
    path = model_path.parent / name
    try:
        why = _find_fault(path, card.base_sha256, hard_links)
    except OSError as error:
        why = f"it cannot be read ({error.strerror or error})."
    if why is not None:
        raise RegistryError(f"base file {path} of model {card.name!r}", why, todo)


def remove_unused_bases(directory: Path) -> list[Path]:
    """Remove base files that no model in the folder uses, and what is left of unfinished ones.

    Returns:
        The files that were removed.
    """
    removed = temporary.sweep_folder(directory, _NAME.fullmatch)
    for path in sorted(directory.glob("*" + SUFFIX)):
        if not _NAME.fullmatch(path.name) or path.is_dir() or is_needed(path):
            continue
        # Hide it first: a model activated at this moment either finds its base missing and puts it
        # back, or is seen by the second check.
        with temporary.set_aside(path) as hidden:
            if is_needed(path):
                hidden.replace(path)
            else:
                hidden.unlink()
                removed.append(path)
    return removed


def is_needed(base: Path) -> bool:
    """Whether a model next to the base uses it, or cannot be read to find out."""
    for path in base.parent.glob("*.onnx"):
        try:
            if base.name in scan_links(path).locations:
                return True
        except (WireError, UnicodeDecodeError, FileNotFoundError):
            continue
        except OSError:
            return True
    return False


def _find_fault(path: Path, sha256: str, hard_links: bool) -> str | None:
    """Why the file is not the base; None if it is."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return "it is missing: it was deleted or moved."
    if not stat.S_ISREG(status.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "not a regular file"
        return f"it is {kind}."
    if status.st_nlink > 1 and not hard_links:
        return f"it has {status.st_nlink} hard links, and onnx refuses to read such a file."
    if digest_file(path) != sha256:
        return "it was changed or replaced: its sha256 is not the one the model was tuned from."
    return None


@lru_cache(maxsize=64)
def _digest_static(path: Path, _status: tuple[int, ...]) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _place_link(source: Path, target: Path, sha256: str) -> bool:
    """Hard link `source` to `target`; False where that is not possible or not allowed."""
    if source.suffix == SUFFIX and home.home_directory().resolve() not in source.parents:
        return False  # it is next to FaceFusion's models, and must stay a separate file
    _check_digest(digest_file(source), sha256, source)
    try:
        # What is there is not the base.
        target.unlink(missing_ok=True)
        os.link(source, target)
    except OSError:
        return False
    # The source may have changed in the meantime.
    if not holds_base(target, sha256, hard_links=True):
        target.unlink(missing_ok=True)
        return False
    return True


def _copy(source: Path, file: BinaryIO, sha256: str) -> None:
    digest = hashlib.sha256()
    with source.open("rb") as origin:
        if _clone(origin, file):
            # Check what was written: the source may have changed in the meantime.
            for start in range(0, os.fstat(file.fileno()).st_size, CHUNK):
                digest.update(os.pread(file.fileno(), CHUNK, start))
        else:
            while chunk := origin.read(CHUNK):
                digest.update(chunk)
                file.write(chunk)
    _check_digest(digest.hexdigest(), sha256, source)


def _clone(origin: BinaryIO, file: BinaryIO) -> bool:
    """Copy inside the kernel, which shares the blocks where the file system supports it.

    Returns:
        Whether everything was copied; otherwise both files are rewound and the new one is empty.

    Raises:
        OSError: The disk is full.
    """
    if not hasattr(os, "copy_file_range"):
        return False
    left = os.fstat(origin.fileno()).st_size
    try:
        while left and (done := os.copy_file_range(origin.fileno(), file.fileno(), left)):
            left -= done
    except OSError as error:
        if error.errno in _FULL_DISK:
            raise
    if left:
        origin.seek(0)
        file.seek(0)
        file.truncate()
    return not left


def _check_digest(digest: str, sha256: str, source: Path) -> None:
    if digest != sha256:
        raise RegistryError(
            str(source),
            f"its sha256 is {digest[:16]}…, but the required base has {sha256[:16]}….",
            "Restore the original base, for example by letting FaceFusion download it again.",
        )


def bases_directory() -> Path:
    """The folder of base files shared by all persons' linked models."""
    return home.home_directory() / "bases"
