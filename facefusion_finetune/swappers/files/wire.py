"""The bytes of an ONNX file, field by field, without parsing what they hold.

An ONNX file is one protobuf message. Where each initializer's numbers lie in it is what linked
files point at, and leaving the numbers on disk keeps reading cheap and safe.
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
TENSOR_NOTES = (12, 16)
"""What is said about a tensor: `doc_string` and `metadata_props`."""
ENTRY_KEY, ENTRY_VALUE = 1, 2

MOST_FIELDS = 200_000
"""Of one message. FaceFusion's largest graph has a few thousand."""

BLOCK = 1 << 16


class WireError(ValueError):
    """The bytes are no protobuf message of the expected kind."""


class FileBytes:
    """Bytes of an open file, read when they are asked for.

    A memory map would do the same, but ends the process when somebody shortens the file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self._start = 0
        self._block = b""

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        """Bytes of a part, which has a start, an end and no step.

        Raises:
            WireError: The file has become shorter.
        """
        start, end, _ = part.indices(self._size)
        if self._start <= start and end <= self._start + len(self._block):
            return self._block[start - self._start : end - self._start]
        if end - start > BLOCK:
            return self._read(start, end)
        self._block = self._read(start, min(start + BLOCK, self._size))
        self._start = start
        return self._block[: max(0, end - start)]

    def _read(self, start: int, end: int) -> bytes:
        self._file.seek(start)
        content = self._file.read(end - start)
        if len(content) != end - start:
            raise WireError("it has become shorter while it was read")
        return content


Data = bytes | FileBytes


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message: where it lies in the file."""

    number: int
    wire: int
    start: int
    """First byte of its tag."""
    body: int
    """First byte of its content."""
    end: int
    """One past its last byte."""
    value: int
    """Of a varint; 0 for others."""


def read_fields(data: Data, start: int, end: int) -> Iterator[Field]:
    """The fields of the message that lies in `data[start:end]`, in order.

    Raises:
        WireError: The message is truncated, or holds what onnx.proto does not know.
    """
    position, count = start, 0
    while position < end:
        count += 1
        if count > MOST_FIELDS:
            raise WireError(f"a message has more than {MOST_FIELDS} fields")
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
            raise WireError(f"wire type {wire} at byte {begin}")
        if not 0 < number < 1 << 29:
            raise WireError(f"the field at byte {begin} has the impossible number {number}")
        if position > end:
            raise WireError(f"the field at byte {begin} reaches beyond its message")
        yield Field(number, wire, begin, body, position, value)


def read_varint(data: Data, position: int, end: int) -> tuple[int, int]:
    """An unsigned number of 64 bits and the position after it.

    Raises:
        WireError: It does not end where it should.
    """
    value = shift = 0
    for byte in data[position : min(position + 10, end)]:
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
        shift += 7
    raise WireError(f"the number before byte {position} does not end")


def encode_varint(value: int) -> bytes:
    """The bytes of an unsigned number."""
    made = bytearray()
    while value >= 0x80:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def encode_head(number: int, length: int) -> bytes:
    """Tag and length of a field whose content follows."""
    return encode_varint(number << 3 | LENGTH) + encode_varint(length)


def encode_field(number: int, content: bytes) -> bytes:
    """A field of bytes, text or a message."""
    return encode_head(number, len(content)) + content


def encode_number(number: int, value: int) -> bytes:
    """A field of an unsigned number."""
    return encode_varint(number << 3 | VARINT) + encode_varint(value)
