"""A memory-mapped store of the tensors at a swapper's cut, one record for each row of the pairs.

What is found on disk is used only if it is whole and of the very same origin; everything else of
the same run is made anew.
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
class Wanted:
    """A cache as a run would like it."""

    folder: Path
    origin: Origin
    limit: int
    """Bytes."""
    rows: int
    """Of the pairs."""
    smallest: int
    """Rows of a chunk below which a cache is of no use."""


class RecordStore:
    """A cache that is open: records by their place in the file.

    One thread may write while another one reads, as long as they keep to different places.
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
        """Whether it holds all rows of the pairs."""
        return self.header.checksum is not None

    def write(self, start: int, tensors: Sequence[Tensor]) -> None:
        """Write n records from place `start` on; tensors (n, ...) in the header's order.

        Raises:
            OSError: It cannot be written, for example because the disk is full.
        """
        block = numpy.concatenate([_view_bytes(tensor) for tensor in tensors], axis=1)
        # Not through the map, where a full disk ends the process instead of raising an error.
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
        """Note that all rows are written.

        Raises:
            OSError: The disk does not take it.
        """
        os.fsync(self._file.fileno())
        self.header = self.header.model_copy(update={"checksum": self.measure_checksum()})
        write_header(self.folder, self.header)

    def measure_checksum(self) -> int:
        """CRC-32 of the data as it lies there."""
        checksum = 0
        self._file.seek(0)
        while block := self._file.read(_BLOCK):
            checksum = zlib.crc32(block, checksum)
        return checksum

    def close(self) -> None:
        """Close the file; the cache stays where it is."""
        del self._records
        self._file.close()


def open_cache(
    wanted: Wanted, sample: Sequence[tuple[str, Tensor]], on_note: Callable[[str], None]
) -> RecordStore | None:
    """Open the cache that is there, or make room for a new one.

    Args:
        wanted: What it is to be.
        sample: Name of each tensor of the cut and its values for the first rows: a cache that
            holds others is made anew.
        on_note: Told when there is less room than the limit allows.

    Returns:
        A store that `is_complete`, or one of all rows to be filled, or one of two chunks; None if
        there is no room for one of use, and then nothing of it is left.

    Raises:
        TrainingError: The folder holds something else, or another run's cache, or cannot be used.
    """
    former = check_folder(wanted.folder, wanted.origin)
    tensors = tuple(_describe(name, values) for name, values in sample)
    try:
        if former is not None and former.origin == wanted.origin and former.tensors == tensors:
            store = _reopen(wanted, former, [values for _, values in sample])
            if store is not None:
                return store
        clear_cache(wanted.folder)
        home.create_private_directory(wanted.folder)
        return _create(wanted, tensors, on_note)
    except OSError as error:
        if is_full(error):
            drop_cache(wanted.folder, on_note)
            return None
        raise TrainingError(
            f"cache folder {wanted.folder}",
            f"it cannot be used ({error.strerror}).",
            "Give another folder, or do without a cache.",
        ) from error


def is_full(error: OSError) -> bool:
    """Whether the disk, or what of it one may use, is full."""
    return error.errno in _FULL_DISK


def drop_cache(folder: Path, on_note: Callable[[str], None]) -> None:
    """Do without a cache, because the disk is full."""
    remove_cache(folder)
    on_note(f"The disk of {folder} is full, so training goes on without a cache, and slower.")


def count_record_bytes(tensors: Sequence[CachedTensor]) -> int:
    """Size of one row's record."""
    return sum(map(_count_bytes, tensors))


def _reopen(wanted: Wanted, former: CacheHeader, sample: Sequence[Tensor]) -> RecordStore | None:
    """The cache of an interrupted run, if it can be trusted."""
    size = former.rows * count_record_bytes(former.tensors)
    path = wanted.folder / DATA_FILE
    if not path.exists() or path.stat().st_size != size or size > wanted.limit:
        return None
    if former.chunked:
        # The chunks have to be those of before, or the run would go on with other rows.
        fits = 2 * wanted.smallest <= former.rows < wanted.rows and former.rows % 2 == 0
        return RecordStore(wanted.folder, former) if fits and former.limit == wanted.limit else None
    if former.checksum is None or former.rows != wanted.rows:
        return None
    store = RecordStore(wanted.folder, former)
    first = store.read(range(len(sample[0])), "cpu")
    # The same network may compute otherwise than before: on another device, with more threads.
    if store.measure_checksum() == former.checksum and all(
        torch.equal(kept, made.cpu()) for kept, made in zip(first, sample, strict=True)
    ):
        return store
    store.close()
    return None


def _create(
    wanted: Wanted, tensors: tuple[CachedTensor, ...], on_note: Callable[[str], None]
) -> RecordStore | None:
    record = count_record_bytes(tensors)
    room = measure_room(wanted.folder)
    bytes_wanted = min(wanted.limit, wanted.rows * record)
    places = min(bytes_wanted, room) // record
    rows = wanted.rows if places >= wanted.rows else places // 2 * 2
    if rows < min(wanted.rows, 2 * wanted.smallest):
        remove_cache(wanted.folder)
        why = (
            f"the disk of {wanted.folder} has too little room"
            if room < bytes_wanted
            else (f"it may take {wanted.limit / 1e6:.0f} MB only")
        )
        on_note(f"Training goes on without a cache, and slower: {why} ({record} bytes a sample).")
        return None
    if room < bytes_wanted:
        on_note(
            f"The disk of {wanted.folder} is short: the cache takes {rows * record / 1e9:.2f} GB"
            f" instead of {bytes_wanted / 1e9:.2f} GB and holds some of the samples at a time."
        )
    header = CacheHeader(
        origin=wanted.origin,
        limit=wanted.limit,
        tensors=tensors,
        rows=rows,
        chunked=rows < wanted.rows,
    )
    write_header(wanted.folder, header)
    _allocate(wanted.folder / DATA_FILE, rows * record)
    return RecordStore(wanted.folder, header)


def _allocate(path: Path, size: int) -> None:
    """Make a file with all its room taken, where the system can do so."""
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
    """(n, ...) of any type as (n, bytes): numpy does not know all of PyTorch's types."""
    rows = tensor.detach().cpu().contiguous().view(len(tensor), -1)
    return numpy.asarray(rows.view(torch.uint8).numpy())
