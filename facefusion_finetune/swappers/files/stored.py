"""Where an initializer's values are: in the model's file, or in one next to it.

Both files are untrusted input. A tensor's location is checked against its dims, the file's size and
the folder before anything is read from it.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path, PurePosixPath

import numpy
from numpy.typing import NDArray
from onnx import TensorProto, helper

from facefusion_finetune.damage import open_regular
from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.files import wire
from facefusion_finetune.swappers.files.checks import check_tensor

MAX_FILE_BYTES = (1 << 31) - 1
"""Protobuf's limit for one message."""

MAX_TENSOR_FIELDS = 64
MAX_FOLDERS = 8
MAX_HEADER = 4096
"""Bytes of a name, or of dims."""
ENTRIES = frozenset({"location", "offset", "length", "checksum"})
"""Keys of external data in onnx.proto."""

Stamp = tuple[int, int, int]
"""Inode, size and modification time of a file, to detect that it was changed or replaced."""


@dataclass(frozen=True)
class Payload:
    """Where a tensor's values are, little-endian and contiguous."""

    path: Path
    offset: int
    length: int
    stamp: Stamp | None = None
    """Of the file when it was checked."""


@dataclass(frozen=True)
class StoredTensor:
    """An initializer of a model file."""

    name: str
    dims: tuple[int, ...]
    data_type: int
    """`TensorProto.DataType`."""
    start: int
    """First byte of its field in the file."""
    end: int
    """One past its last byte."""
    payload: Payload | None
    """None where the values are not stored as one contiguous array."""

    @property
    def dtype(self) -> numpy.dtype[numpy.generic]:
        """Of its values."""
        return helper.tensor_dtype_to_np_dtype(self.data_type)


@contextmanager
def open_file(path: Path) -> Iterator[tuple[BufferedReader, Stamp]]:
    """Open a regular file, and nothing else, for reading.

    Raises:
        OSError: It is not a regular file, or cannot be read.
    """
    with open_regular(path) as file:
        status = os.fstat(file.fileno())
        yield file, (status.st_ino, status.st_size, status.st_mtime_ns)


def read_payload(stored: StoredTensor) -> NDArray[numpy.generic]:
    """The values of a tensor that has a payload.

    Raises:
        SwapperError: The file has changed, or cannot be read.
    """
    payload = stored.payload
    assert payload is not None
    try:
        with open_file(payload.path) as (file, stamp):
            if payload.stamp not in (None, stamp):
                raise OSError("it was changed since it was opened")
            file.seek(payload.offset)
            content = bytearray(payload.length)
            if file.readinto(content) != payload.length:
                raise OSError("it was truncated")
    except OSError as error:
        raise SwapperError(
            str(payload.path),
            f"the weights of {stored.name!r} cannot be read ({error}).",
            "Restore the original file.",
        ) from error
    return numpy.frombuffer(content, stored.dtype).reshape(stored.dims)


def read_stored(
    data: wire.Data, field: wire.Field, path: Path, stamp: Stamp
) -> tuple[StoredTensor, bytes]:
    """An initializer's description, and its encoded field without its values.

    Args:
        data: The model's file.
        field: The initializer's field in it.
        path: The model's path.
        stamp: The model's stamp.

    Raises:
        WireError: It is damaged, or its values are in a location that is not allowed.
    """
    header: list[bytes] = []
    ranges: list[tuple[int, int]] = []
    entries: dict[str, str] = {}
    others = packed = outside = False
    for count, part in enumerate(wire.read_fields(data, field.body, field.end)):
        if count >= MAX_TENSOR_FIELDS:
            raise wire.WireError("an initializer has too many fields")
        if part.number in (wire.TENSOR_DIMS, wire.TENSOR_TYPE, wire.TENSOR_NAME):
            if part.end - part.start > MAX_HEADER:
                raise wire.WireError("an initializer's name or dims are too long")
            header.append(data[part.start : part.end])
        elif part.number in (wire.TENSOR_RAW, wire.TENSOR_FLOATS) and part.wire == wire.LENGTH:
            ranges.append((part.body, part.end - part.body))
            packed |= part.number == wire.TENSOR_FLOATS
        elif part.number == wire.TENSOR_EXTERNAL and part.wire == wire.LENGTH:
            _read_entry(data, part, entries)
        elif part.number == wire.TENSOR_LOCATION:
            outside = part.value == TensorProto.EXTERNAL
        elif part.number not in wire.TENSOR_ANNOTATIONS:
            # Typed lists of other kinds: they are small, and onnx decodes them.
            others = True
    tensor = TensorProto()
    tensor.ParseFromString(b"".join(header))
    check_tensor(tensor, False)
    others |= packed and tensor.data_type != TensorProto.FLOAT
    place = (tensor.name, tuple(tensor.dims), tensor.data_type, field.start, field.end)
    length = _count_bytes(StoredTensor(*place, None))
    payload: Payload | None = None
    if outside != bool(entries) or (entries and (ranges or others)):
        raise wire.WireError(
            f"initializer {tensor.name!r} is neither clearly in the file nor clearly external"
        )
    if entries:
        payload = _resolve(entries, length, path, tensor.name)
        # onnx would treat it as a tensor in the file and look for the location itself.
        if payload.path == path or payload.stamp == stamp:
            raise wire.WireError(
                f"initializer {tensor.name!r} names the model itself as its external file"
            )
    elif not others and len(ranges) == 1:
        offset, found = ranges[0]
        if found != length:
            raise wire.WireError(
                f"initializer {tensor.name!r} of shape {list(tensor.dims)} needs {length} bytes"
                f" but has {found}"
            )
        payload = Payload(path, offset, length, stamp)
    elif not others and (ranges or length):
        raise wire.WireError(f"initializer {tensor.name!r} has no values, or has them twice")
    return StoredTensor(*place, payload), wire.encode_field(
        wire.GRAPH_INITIALIZER, b"".join(header)
    )


def check_ranges(tensors: Iterable[StoredTensor], path: Path) -> None:
    """Check that no two tensors share bytes of an external file.

    Raises:
        WireError: Two tensors do, or their total size is too large.
    """
    payloads = [
        stored.payload
        for stored in tensors
        if stored.payload is not None and stored.payload.path != path and stored.payload.length
    ]
    if sum(payload.length for payload in payloads) > MAX_FILE_BYTES:
        raise wire.WireError("its weights are larger than any swapper's")
    end: dict[Path, int] = {}
    for payload in sorted(payloads, key=lambda payload: payload.offset):
        if payload.offset < end.get(payload.path, 0):
            raise wire.WireError("two of its tensors overlap in their external file")
        end[payload.path] = payload.offset + payload.length


def _read_entry(data: wire.Data, field: wire.Field, entries: dict[str, str]) -> None:
    values = {wire.ENTRY_KEY: "", wire.ENTRY_VALUE: ""}
    if field.end - field.start > MAX_HEADER:
        raise wire.WireError("a path is too long")
    for part in wire.read_fields(data, field.body, field.end):
        if part.number not in values or part.wire != wire.LENGTH:
            raise wire.WireError("an entry of external data is damaged")
        try:
            values[part.number] = data[part.body : part.end].decode("utf-8")
        except UnicodeDecodeError as error:
            raise wire.WireError("an entry of external data is not UTF-8") from error
    key = values[wire.ENTRY_KEY]
    if key not in ENTRIES or key in entries:
        raise wire.WireError(f"external data has an unknown or duplicate entry {key!r}")
    entries[key] = values[wire.ENTRY_VALUE]


def _count_bytes(stored: StoredTensor) -> int:
    count = 1
    for dim in stored.dims:
        count *= dim
    return count * stored.dtype.itemsize


def _resolve(entries: dict[str, str], length: int, path: Path, name: str) -> Payload:
    """The external data's location, which must be a regular file inside the model's folder."""
    location = entries.get("location", "")
    parts = PurePosixPath(location).parts
    if (
        not 0 < len(parts) <= MAX_FOLDERS
        or any(sign in location for sign in "\\\0:")
        or PurePosixPath(location).is_absolute()
        or ".." in parts
    ):
        raise wire.WireError(f"initializer {name!r} is outside the folder: {location!r}")
    place = path.parent
    for part in parts:
        place = place / part
        if place.is_symlink():
            raise wire.WireError(f"the external data {location!r} is a symbolic link")
    if not place.is_file():
        raise wire.WireError(
            f"the file {location!r} next to it, which holds its weights, is missing"
        )
    offset, given = (
        _read_number(entries.get(key, usual), name)
        for key, usual in (("offset", "0"), ("length", str(length)))
    )
    status = place.stat()
    if given != length or offset + length > status.st_size:
        raise wire.WireError(
            f"the external data of {name!r} extends beyond its file, or its length is wrong"
        )
    return Payload(place, offset, length, (status.st_ino, status.st_size, status.st_mtime_ns))


def _read_number(text: str, name: str) -> int:
    # Python accepts more spellings of an integer than onnxruntime does.
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise wire.WireError(
            f"the external data of {name!r} has an invalid offset or length: {text[:40]!r}"
        )
    return int(text)
