"""Which picture format a file has, by its first bytes: neither its name nor a decoder decides."""

import struct
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

IMAGE_SUFFIXES = frozenset(
    {".avif", ".gif", ".heic", ".heif", ".hif", ".webp"}
    | {".bmp", ".dib", ".jfif", ".jpe", ".jpeg", ".jpg", ".tif", ".tiff"}
    | {".apng", ".png"}
)

HEAD_LENGTH = 4096
"""Bytes that are read of a file to tell what it is."""

MOST_CHUNKS = 1000
"""Chunks before the data of a PNG that are looked at; usual are a dozen."""

_BITMAP_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
"""Sizes of a BMP's second header, by version."""
_HEIF_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
)
_AVIF_BRANDS = frozenset({b"avif", b"avis"})

_FOREIGN = (
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),
    (b"%PDF", "PDF"),
    (b"8BPS", "a Photoshop document"),
    (b"<svg", "SVG"),
    (b"<?xml", "XML"),
    (b"<!doctype html", "a web page"),
    (b"<html", "a web page"),
    (b"#define", "an X bitmap"),
    (b"/* xpm", "an X pixmap"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"FUJIFILMCCD-RAW", "a camera's raw data"),
    (b"PK\x03\x04", "a ZIP archive"),
)
"""What files that are no picture here begin with, for the error."""


def detect_picture(head: bytes) -> str | None:
    """The picture format of a file, by Pillow's name; None if it is none that is read here.

    Args:
        head: The file's first `HEAD_LENGTH` bytes, or all of it.

    Returns:
        `AVIF`, `BMP`, `GIF`, `HEIF`, `JPEG`, `PNG`, `TIFF` or `WEBP`. Nothing else is ever opened:
        some of the other formats that Pillow knows start programs, or refer to other files.
    """
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith(b"BM") and _read_number(head[14:18], "<I") in _BITMAP_HEADERS:
        return "BMP"
    brands = read_brands(head)
    if brands[:1] and brands[0] in _AVIF_BRANDS | _HEIF_BRANDS:
        return "AVIF" if _AVIF_BRANDS.intersection(brands) else "HEIF"
    return None


def read_brands(head: bytes) -> list[bytes]:
    """The brands of an ISO base media file (MP4, HEIC and others), major first; empty if none."""
    if head[4:8] != b"ftyp":
        return []
    content = head[8 : _read_number(head[:4], ">I")]
    # The second word is the version of the first brand.
    return [content[:4], *(content[place : place + 4] for place in range(8, len(content), 4))]


def name_content(head: bytes) -> str:
    """What a file that is no picture holds instead, for an error: "PostScript, not a picture"."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for start, name in _FOREIGN:
        if head.startswith(start) or text[: len(start)].lower() == start.lower():
            return f"its content is {name}"
    return "its content has no known picture format"


def is_animated(file: BinaryIO) -> bool:
    """Whether a picture file holds an animation: a GIF, or a PNG, WebP or AVIF made as one.

    Args:
        file: The open file; its position changes.
    """
    file.seek(0)
    head = file.read(HEAD_LENGTH)
    name = detect_picture(head)
    if name == "PNG":
        return b"acTL" in islice(_list_png_chunks(file), MOST_CHUNKS)
    if name == "WEBP":
        return head[12:16] == b"VP8X" and len(head) > 20 and bool(head[20] & 2)
    return name == "GIF" or (name == "AVIF" and b"avis" in read_brands(head)[:1])


def _list_png_chunks(file: BinaryIO) -> Iterator[bytes]:
    """The kinds of a PNG's chunks, up to the first picture data."""
    file.seek(8)
    while len(header := file.read(8)) == 8 and header[4:] != b"IDAT":
        yield header[4:]
        file.seek(int.from_bytes(header[:4], "big") + 4, 1)


def _read_number(content: bytes, layout: str) -> int:
    return int(struct.unpack(layout, content)[0]) if len(content) == 4 else 0
