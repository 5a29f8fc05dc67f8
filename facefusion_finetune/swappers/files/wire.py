"""The bytes of an ONNX file, field by field, without parsing their content.

An ONNX file is one protobuf message. Linked files point at the position of each initializer's
values in it, and leaving the values on disk keeps reading cheap and safe.
Source: protobuf's encoding guide, and onnx.proto for the field numbers.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5

MODEL_GRAPH, MODEL_METADATA = 7, 14
GRAPH_NODE, GRAPH_INITIALIZER = 1, 5
TENSOR_DIMS, TENSOR_TYPE, TENSOR_NAME = 1, 2, 8
TENSOR_FLOATS, TENSOR_RAW, TENSOR_EXTERNAL, TENSOR_LOCATION = 4, 9, 13, 14
TENSOR_ANNOTATIONS = (12, 16)
"""`doc_string` and `metadata_props` of a tensor."""
ENTRY_KEY, ENTRY_VALUE = 1, 2

MAX_FIELDS = 200_000
"""Of one message. FaceFusion's largest graph has a few thousand."""

BLOCK_BYTES = 1 << 16


class WireError(ValueError):
    """The bytes are not a protobuf message of the expected kind."""


class FileBytes:
    """Bytes of an open file, read on demand.

    A memory map would do the same, but it kills the process if the file is truncated.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self._start = 0
        self._block = b""

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        """Bytes of a slice, which has a start, an end and no step.

        Raises:
            WireError: The file was truncated.
        """
        start, end, _ = part.indices(self._size)
        if self._start <= start and end <= self._start + len(self._block):
            return self._block[start - self._start : end - self._start]
        if end - start > BLOCK_BYTES:
            return self._read(start, end)
        self._block = self._read(start, min(start + BLOCK_BYTES, self._size))
        self._start = start
        return self._block[: max(0, end - start)]

    def _read(self, start: int, end: int) -> bytes:
        self._file.seek(start)
        content = self._file.read(end - start)
        if len(content) != end - start:
            raise WireError("it was truncated while being read")
        return content


Data = bytes | FileBytes


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message: its position in the file."""

    number: int
    wire: int
    start: int
    """First byte of its tag."""
    body: int
    """First byte of its content."""
    end: int
    """One past its last byte."""
    value: int
    """Of a varint; 0 for other wire types."""


def read_fields(data: Data, start: int, end: int) -> Iterator[Field]:
    """The fields of the message in `data[start:end]`, in order.

    Raises:
        WireError: The message is truncated or malformed.
    """
    position, count = start, 0
    while position < end:
        count += 1
        if count > MAX_FIELDS:
            raise WireError(f"a message has more than {MAX_FIELDS} fields")
        begin = position
        tag, position = read_varint(data, position, end)
        number, wire = tag >> 3, tag & 7
        value = 0
        if wire == VARINT:
            body = position
            value, position = read_varint(data, position, end)
        elif wire == LENGTH:
            length, body = read_varint(data, position, end)
            position = body + length
        elif wire in (FIXED32, FIXED64):
            body = position
            position += 4 if wire == FIXED32 else 8
        else:
            raise WireError(f"the field at byte {begin} has the unknown wire type {wire}")
        if not 0 < number < 1 << 29:
            raise WireError(f"the field at byte {begin} has the impossible number {number}")
        if position > end:
            raise WireError(f"the field at byte {begin} extends beyond its message")
        yield Field(number, wire, begin, body, position, value)


def read_varint(data: Data, position: int, end: int) -> tuple[int, int]:
    """An unsigned 64-bit integer and the position after it.

    Raises:
        WireError: It does not end within `end` or ten bytes.
    """
    value = shift = 0
    for byte in data[position : min(position + 10, end)]:
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
        shift += 7
    raise WireError(f"the varint before byte {position} does not end")


def encode_varint(value: int) -> bytes:
    """An unsigned integer as a varint."""
    made = bytearray()
    while value >= 0x80:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def encode_header(number: int, length: int) -> bytes:
    """Tag and length of a field whose content follows."""
    return encode_varint(number << 3 | LENGTH) + encode_varint(length)


def encode_field(number: int, content: bytes) -> bytes:
    """A field that holds bytes, text or a message."""
    return encode_header(number, len(content)) + content


def encode_number(number: int, value: int) -> bytes:
    """A field that holds an unsigned integer."""
    return encode_varint(number << 3 | VARINT) + encode_varint(value)
