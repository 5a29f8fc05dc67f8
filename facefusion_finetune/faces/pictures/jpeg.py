"""Whether the data of a JPEG is damaged, although it was decoded.

A JPEG has no checksum, and libjpeg goes on with whatever it reads. Damage shows where codes turn up
that do not exist, where data is left over or missing at the end, and where a stretch of it was
replaced by zeros. Single bits that are wrong mostly cannot be noticed.
"""

import re
import struct
from collections.abc import Iterator

MAX_LEFT_OVER = 4
"""Bytes that may be left over: some programs write a few too many."""

ZEROS = re.compile(rb"\0{32,}")
"""A stretch that was not written, or is lost: the sectors of a disk are longer."""

_LOST = re.compile(r"bad huffman code|bad arithmetic code|premature end|instead of rst")
_LEFT_OVER = re.compile(r"(\d+) extraneous bytes before marker 0x(?:d\d|da|c4)")
"""What libjpeg says, in lower case. Before other markers there is no picture data."""

_SEQUENTIAL = (0xC0, 0xC1)
_TABLES, _SCAN = 0xC4, 0xDA


def is_damaged(content: bytes | bytearray, said: str) -> bool:
    """Whether the picture in a JPEG is not what was stored.

    Args:
        content: The file.
        said: libjpeg's messages when it was decoded.
    """
    said = said.lower()
    left = _LEFT_OVER.search(said)
    return (
        _LOST.search(said) is not None
        or (left is not None and int(left[1]) > MAX_LEFT_OVER)
        or _has_zeros(content)
    )


def _has_zeros(content: bytes | bytearray) -> bool:
    """Whether the data has a stretch of zeros that no picture gives.

    Zeros stand for the first code of each table again and again. Where those codes end a block, as
    in tables made for a picture with plain parts, such a stretch can be a plain part.
    """
    is_sequential, is_plausible = False, True
    for kind, start, end in _list_segments(content):
        is_sequential = is_sequential or kind in _SEQUENTIAL
        if kind == _TABLES:
            is_plausible = is_plausible and not any(_list_first_sizes(content[start:end]))
        if kind == _SCAN:
            if is_plausible or not is_sequential:
                return False
            return ZEROS.search(content, end, content.find(b"\xff\xd9", end)) is not None
    return False


def _list_segments(content: bytes | bytearray) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of the segments up to the first scan."""
    place = 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        kind = content[place + 1]
        if kind == 0xFF:
            place += 1
            continue
        (length,) = struct.unpack_from(">H", content, place + 2)
        yield kind, place + 4, place + 2 + length
        place += 2 + length


def _list_first_sizes(tables: bytes | bytearray) -> Iterator[int]:
    """For each Huffman table of AC coefficients, the bits that follow its first code."""
    place = 0
    while place + 17 < len(tables):
        if tables[place] >> 4:
            yield tables[place + 17] & 15
        place += 17 + sum(tables[place + 1 : place + 17])
