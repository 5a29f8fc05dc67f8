"""A memory-mapped store of the tensors at the swapper's cut, one record per row of the pairs.

A cache found on disk is reused only if it is intact and of the same origin; any other cache of the
same run is recreated.
"""

import errno
import math
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from facefusion_finetune import home
from facefusion_finetune.errors import TrainingError
from facefusion_finetune.training.cache.header import (
    DATA_FILE,
    CachedTensor,
    CacheHeader,
    Origin,
    check_folder,
    clear_cache,
    measure_room,
    remove_cache,
    write_header,
)

_FULL_DISK = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_BLOCK = 1 << 24


@dataclass(frozen=True)
class CacheSpec:
    """Requirements of a run's cache."""

    folder: Path
    origin: Origin
    limit: int
    """Maximum size in bytes."""
    rows: int
    """Number of rows of the pairs."""
    min_chunk: int
    """Minimum rows per chunk; a smaller cache is useless."""


class RecordStore:
    """An open cache, with records addressed by position.

    One thread may write while another reads, as long as they access different positions.
    """

    def __init__(self, folder: Path, header: CacheHeader) -> None:
        self.folder = folder
        self.header = header
        self._ends = list(numpy.cumsum([_count_bytes(tensor) for tensor in header.tensors]))
        self._file = (folder / DATA_FILE).open("r+b")
        self._records = numpy.memmap(
            self._file, numpy.uint8, "r", shape=(header.rows, count_record_bytes(header.tensors))
        ).view(numpy.ndarray)

    @property
    def is_complete(self) -> bool:
        """Whether it contains all rows of the pairs."""
        return self.header.checksum is not None

    def write(self, start: int, tensors: Sequence[Tensor]) -> None:
        """Write n records from position `start`; tensors (n, ...) in the header's order.

        Raises:
            OSError: It cannot be written, for example because the disk is full.
        """
        block = numpy.concatenate([_view_bytes(tensor) for tensor in tensors], axis=1)
        # Not through the memory map: there a full disk kills the process instead of raising.
        self._file.seek(start * block.shape[1])
        self._file.write(block.data)
        self._file.flush()

    def read(self, places: Sequence[int], device: str) -> tuple[Tensor, ...]:
        """The records at `places`, (n, ...) for each tensor."""
        pinned = torch.device(device).type == "cuda"
        made = []
        begin = 0
        for tensor, end in zip(self.header.tensors, self._ends, strict=True):
            shape = (len(places), *tensor.shape)
            copy = torch.empty(shape, dtype=getattr(torch, tensor.dtype), pin_memory=pinned)
            rows = copy.view(len(places), -1).view(torch.uint8).numpy()
            for row, place in zip(rows, places, strict=True):
                row[:] = self._records[place, begin:end]
            made.append(copy.to(device, non_blocking=pinned))
            begin = end
        return tuple(made)

    def finish(self) -> None:
        """Mark the store as complete.

        Raises:
            OSError: The data or the header cannot be written.
        """
        os.fsync(self._file.fileno())
        self.header = self.header.model_copy(update={"checksum": self.measure_checksum()})
        write_header(self.folder, self.header)

    def measure_checksum(self) -> int:
        """CRC-32 of the data file."""
        checksum = 0
        self._file.seek(0)
        while block := self._file.read(_BLOCK):
            checksum = zlib.crc32(block, checksum)
        return checksum

    def close(self) -> None:
        """Close the file; it stays on disk."""
        del self._records
        self._file.close()


def open_cache(
    spec: CacheSpec, sample: Sequence[tuple[str, Tensor]], on_note: Callable[[str], None]
) -> RecordStore | None:
    """Reopen the existing cache, or create a new one.

    Args:
        spec: The requirements.
        sample: Name of each tensor at the cut and its values for the first rows; a cache with other
            values is recreated.
        on_note: Called if there is less disk space than the limit allows.

    Returns:
        A store that `is_complete`, an empty one for all rows, or one for two chunks; None if there
        is too little space for a useful one, and then no files are left.

    Raises:
        TrainingError: The folder contains other files or another run's cache, or cannot be used.
    """
    former = check_folder(spec.folder, spec.origin)
    tensors = tuple(_describe(name, values) for name, values in sample)
    try:
        if former is not None and former.origin == spec.origin and former.tensors == tensors:
            store = _reopen(spec, former, [values for _, values in sample])
            if store is not None:
                return store
        clear_cache(spec.folder)
        home.create_private_directory(spec.folder)
        return _create(spec, tensors, on_note)
    except OSError as error:
        if is_full(error):
            disable_cache(spec.folder, on_note)
            return None
        raise TrainingError(
            f"cache folder {spec.folder}",
            f"it cannot be used ({error.strerror}).",
            "Use another folder, or turn the cache off.",
        ) from error


def is_full(error: OSError) -> bool:
    """Whether the disk or the user's quota is full."""
    return error.errno in _FULL_DISK


def disable_cache(folder: Path, on_note: Callable[[str], None]) -> None:
    """Delete the cache because the disk is full, and note it."""
    remove_cache(folder)
    on_note(f"The disk of {folder} is full, so training continues without a cache, more slowly.")


def count_record_bytes(tensors: Sequence[CachedTensor]) -> int:
    """Size of one record in bytes."""
    return sum(map(_count_bytes, tensors))


def _reopen(spec: CacheSpec, former: CacheHeader, sample: Sequence[Tensor]) -> RecordStore | None:
    """The cache of an interrupted run; None if it cannot be reused."""
    size = former.rows * count_record_bytes(former.tensors)
    path = spec.folder / DATA_FILE
    if not path.exists() or path.stat().st_size != size or size > spec.limit:
        return None
    if former.chunked:
        # The chunks must be the same as before, or the run would continue with different rows.
        fits = 2 * spec.min_chunk <= former.rows < spec.rows and former.rows % 2 == 0
        return RecordStore(spec.folder, former) if fits and former.limit == spec.limit else None
    if former.checksum is None or former.rows != spec.rows:
        return None
    store = RecordStore(spec.folder, former)
    first = store.read(range(len(sample[0])), "cpu")
    # The same network may give other values than before: on another device, with more threads.
    if store.measure_checksum() == former.checksum and all(
        torch.equal(kept, made.cpu()) for kept, made in zip(first, sample, strict=True)
    ):
        return store
    store.close()
    return None


def _create(
    spec: CacheSpec, tensors: tuple[CachedTensor, ...], on_note: Callable[[str], None]
) -> RecordStore | None:
    record = count_record_bytes(tensors)
    room = measure_room(spec.folder)
    needed = min(spec.limit, spec.rows * record)
    places = min(needed, room) // record
    rows = spec.rows if places >= spec.rows else places // 2 * 2
    if rows < min(spec.rows, 2 * spec.min_chunk):
        remove_cache(spec.folder)
        why = (
            f"the disk of {spec.folder} has too little space"
            if room < needed
            else f"its limit is only {spec.limit / 1e6:.0f} MB"
        )
        on_note(f"Training without a cache, more slowly: {why} ({record} bytes per sample).")
        return None
    if room < needed:
        on_note(
            f"Little space on the disk of {spec.folder}: the cache uses {rows * record / 1e9:.2f}"
            f" GB instead of {needed / 1e9:.2f} GB and has only some of the samples at a time."
        )
    header = CacheHeader(
        origin=spec.origin,
        limit=spec.limit,
        tensors=tensors,
        rows=rows,
        chunked=rows < spec.rows,
    )
    write_header(spec.folder, header)
    _allocate(spec.folder / DATA_FILE, rows * record)
    return RecordStore(spec.folder, header)


def _allocate(path: Path, size: int) -> None:
    """Create a file with its disk space allocated, if the system supports that."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(handle, 0, size)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise
        os.ftruncate(handle, size)
    finally:
        os.close(handle)


def _describe(name: str, values: Tensor) -> CachedTensor:
    dtype = str(values.dtype).removeprefix("torch.")
    return CachedTensor(name=name, shape=tuple(values.shape[1:]), dtype=dtype)


def _count_bytes(tensor: CachedTensor) -> int:
    dtype: torch.dtype = getattr(torch, tensor.dtype)
    return math.prod(tensor.shape) * dtype.itemsize


def _view_bytes(tensor: Tensor) -> NDArray[numpy.uint8]:
    """(n, ...) of any type as (n, bytes), since numpy lacks some of PyTorch's types."""
    rows = tensor.detach().cpu().contiguous().view(len(tensor), -1)
    return numpy.asarray(rows.view(torch.uint8).numpy())
