"""Opens picture files: checks what they are and how large, and decodes them upright, in sRGB."""

import contextlib
import io
import math
import os
import sys
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy
import pi_heif
from PIL import (
    AvifImagePlugin,
    Image,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from facefusion_finetune.faces.pictures import jpeg
from facefusion_finetune.faces.pictures.colours import (
    BAND_PIXELS,
    blend_deep,
    convert,
    flatten,
    name_base,
)
from facefusion_finetune.faces.pictures.formats import (
    HEAD_LENGTH,
    detect_picture,
    is_animated,
    name_content,
)
from facefusion_finetune.faces.pictures.limits import (
    MAX_BYTES,
    MAX_CANVAS_PIXELS,
    MAX_FRAME_PIXELS,
    MAX_MEMORY,
    MAX_PIXELS,
)
from facefusion_finetune.faces.protocol import VisionFrame

SHORTEST_DURATION = 20.0
DEFAULT_DURATION = 100.0
"""Milliseconds: browsers show pictures of an animation for the latter if they state less than the
former, and so do we."""

_ORIENTATION = 0x0112
_SUBFILE, _SUB_DIRECTORIES = 254, 330
_TILE_WIDTH, _TILE_LENGTH = 322, 323
_PROFILE = 34675
"""Tags of EXIF and TIFF."""

_PLUGINS = (AvifImagePlugin, TiffImagePlugin, WebPImagePlugin)
"""Imported so that Pillow finds them without importing every other plugin it has."""

pi_heif.register_heif_opener()


_MEMORY_WORDS = ("Insufficient memory", "OutOfMemory")
"""Parts of messages of OpenCV."""


class DecodeError(Exception):
    """A picture is not decoded.

    Args:
        why: Why, as a clause that ends with a full stop.
        todo: What the user can do about it.
    """

    def __init__(self, why: str, todo: str = "Convert it to PNG, or leave it out.") -> None:
        super().__init__(why, todo)
        self.why, self.todo = why, todo


@dataclass(frozen=True)
class Decoded:
    """One picture of a file."""

    pixels: VisionFrame
    """(H, W, 3), BGR; may be a view."""
    duration: float
    """Milliseconds for which an animation shows it."""


class PictureFile:
    """An open picture file.

    Args:
        path: The file.

    Raises:
        DecodeError: It is no picture, damaged, or too large.
        OSError: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO = path.open("rb")
        try:
            self._image = self._open()
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def decode(self, number: int = 0) -> Decoded | None:
        """One of its pictures; of an animation, they are read fastest in order.

        Args:
            number: Index of the picture, from 0.

        Returns:
            None if it has fewer pictures.

        Raises:
            DecodeError: It is damaged, or too large.
        """
        with _explain():
            if self._image is None:
                return Decoded(self._decode_tiff(), DEFAULT_DURATION)
            if number:
                try:
                    self._image.seek(number)
                except EOFError:
                    return None
            pixels = self._decode()
            duration = float(self._image.info.get("duration") or 0)
            if not duration >= SHORTEST_DURATION:
                duration = DEFAULT_DURATION
            return Decoded(pixels, duration)

    def _open(self) -> Image.Image | None:
        """The file as Pillow opens it; None for a TIFF of a kind that only OpenCV decodes."""
        size = os.fstat(self._file.fileno()).st_size
        if size > MAX_BYTES:
            raise DecodeError(
                f"it has {size / 1e6:,.0f} MB, more than the {MAX_BYTES / 1e6:.0f} MB that are"
                " decoded.",
                "Save it as JPEG, or leave it out.",
            )
        head = self._file.read(HEAD_LENGTH)
        name = detect_picture(head)
        if name is None:
            raise DecodeError(f"it cannot be decoded as an image ({name_content(head)}).")
        if name == "PNG":
            _check_png(self._file)
        if name == "WEBP" and size < int.from_bytes(head[4:8], "little") + 8:
            raise _create_damage_error("its end is missing")
        is_moving = is_animated(self._file)
        with _explain():
            try:
                image = Image.open(self._file, formats=(name,))
            except UnidentifiedImageError:
                if name != "TIFF":
                    raise DecodeError(
                        f"it cannot be decoded as an image (its {name} header is damaged, or of a"
                        " rare kind)."
                    ) from None
                return None
            _check_size(image.size, MAX_CANVAS_PIXELS if is_moving else MAX_PIXELS)
            if name == "TIFF":
                _check_tiff(image.tag_v2)  # type: ignore[attr-defined]
            return image

    def _decode(self) -> VisionFrame:
        image = self._image
        assert image is not None
        if image.format in ("JPEG", "MPO"):
            pixels = self._decode_jpeg(image)
        else:
            image.load()
            _check_size(image.size)
            pixels = flatten(image)
        # Last, since a PNG may state it behind its data; a TIFF that is loaded is upright.
        return _turn(_fit(pixels), image.getexif().get(_ORIENTATION, 1))

    def _decode_jpeg(self, image: Image.Image) -> VisionFrame:
        # A file that lacks no more than its end mark is whole to the eye.
        content = self._read_whole(b"\xff\xd9")
        with _capture_messages() as messages:
            flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
            pixels = cv2.imdecode(numpy.frombuffer(content, numpy.uint8), flags)
        if pixels is None or jpeg.is_damaged(content, messages()):
            raise _create_damage_error("part of its data is missing or overwritten")
        if image.mode == "CMYK":
            del pixels
            with Image.open(io.BytesIO(content), formats=("JPEG",)) as inks:
                inks.load()
                return flatten(inks)
        profile = image.info.get("icc_profile")
        return convert(numpy.asarray(pixels, numpy.uint8), profile, name_base(image.mode))

    def _read_whole(self, end: bytes = b"") -> bytearray:
        size = os.fstat(self._file.fileno()).st_size
        content = bytearray(size + len(end))
        self._file.seek(0)
        self._file.readinto(memoryview(content)[:size])  # type: ignore[attr-defined]
        content[size:] = end
        return content

    def _decode_tiff(self) -> VisionFrame:
        """A TIFF whose kind Pillow does not know: several channels of more than eight bits."""
        self._file.seek(0)
        tags = TiffImagePlugin.ImageFileDirectory_v2(self._read_tiff_header())
        self._file.seek(tags.next)
        tags.load(self._file)
        _check_size((int(tags.get(256, 0)), int(tags.get(257, 0))))
        _check_tiff(tags)
        content = numpy.frombuffer(self._read_whole(), numpy.uint8)
        pixels = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
        if pixels is None:
            raise DecodeError("it cannot be decoded as an image (a TIFF of a rare kind).")
        return _fit(convert(blend_deep(pixels), tags.get(_PROFILE), "RGB"))

    def _read_tiff_header(self) -> bytes:
        header = self._file.read(8)
        return header + self._file.read(8) if header[2:3] == b"+" else header


def _check_size(size: tuple[int, int], most: int = MAX_PIXELS) -> None:
    if size[0] * size[1] > most:
        raise _create_size_error(f" ({size[0]} x {size[1]})", most)


def _create_size_error(size: str = "", most: int = MAX_PIXELS) -> DecodeError:
    return DecodeError(
        f"it has more than {most // 1_000_000} million pixels{size}, too many to decode safely.",
        "Scale it down, or crop it to the face.",
    )


def _create_damage_error(reason: str) -> DecodeError:
    todo = "Copy it again from where it came from, or leave it out."
    return DecodeError(f"it is damaged ({reason}).", todo)


def _check_tiff(tags: Any) -> None:
    """Refuse what would be decoded as something else than the picture, or at another size."""
    if int(tags.get(_SUBFILE, 0)) & 1 and _SUB_DIRECTORIES in tags:
        raise DecodeError(
            "it is a camera's raw file, of which only a small preview could be read.",
            "Export it as JPEG, PNG or TIFF.",
        )
    _check_size((int(tags.get(_TILE_WIDTH, 0)), int(tags.get(_TILE_LENGTH, 0))))


def _check_png(file: BinaryIO) -> None:
    """Raise DecodeError where the checksum of a PNG's data does not fit."""
    file.seek(8)
    while len(header := file.read(8)) == 8:
        length = int.from_bytes(header[:4], "big")
        if header[4:] not in (b"IDAT", b"fdAT"):
            file.seek(length + 4, 1)
            continue
        checksum = zlib.crc32(header[4:])
        while length and (content := file.read(min(length, BAND_PIXELS))):
            checksum, length = zlib.crc32(content, checksum), length - len(content)
        stated = file.read(4)
        if length == 0 and len(stated) == 4 and int.from_bytes(stated, "big") != checksum:
            raise _create_damage_error("a checksum does not fit its data")


@contextlib.contextmanager
def _explain() -> Iterator[None]:
    """Turn what decoders raise into DecodeError; warnings of Pillow are not for the user."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except DecodeError:
        raise
    except Image.DecompressionBombError as error:
        raise _create_size_error() from error
    except MemoryError as error:
        raise create_memory_error() from error
    except Exception as error:  # decoders raise many types for damaged files
        text = str(error).strip()
        if "CV_IO_MAX_IMAGE" in text:
            raise _create_size_error() from error
        if any(words in text for words in _MEMORY_WORDS):
            raise create_memory_error() from error
        reason = text.splitlines()[-1][:200] if text else type(error).__name__
        raise DecodeError(f"it cannot be decoded as an image ({reason}).") from error


def create_memory_error() -> DecodeError:
    return DecodeError(
        f"decoding it takes more than {MAX_MEMORY / 1e6:.0f} MB of memory.",
        "Scale it down, or save it in another format.",
    )


@contextlib.contextmanager
def _capture_messages() -> Iterator[Callable[[], str]]:
    """What native code writes to the standard error stream in the block, readable behind it.

    It is the only way in which libjpeg tells that data is damaged. For one thread only.
    """
    said: list[str] = []
    sys.stderr.flush()
    former = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield lambda: "".join(said)
        finally:
            os.dup2(former, 2)
            os.close(former)
            file.seek(0)
            said.append(file.read(HEAD_LENGTH).decode("utf-8", "replace"))


def _fit(pixels: VisionFrame) -> VisionFrame:
    """The picture, scaled down to the size that is worked with."""
    height, width = pixels.shape[:2]
    scale = math.sqrt(MAX_FRAME_PIXELS / (height * width))
    if scale >= 1:
        return pixels
    size = max(int(width * scale), 1), max(int(height * scale), 1)
    return numpy.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), numpy.uint8)


def _turn(pixels: VisionFrame, orientation: object) -> VisionFrame:
    """A view of pixels that is upright, by an EXIF orientation, 1 to 8; others change nothing."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
