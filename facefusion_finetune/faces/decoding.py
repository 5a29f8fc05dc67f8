"""Decodes picture files in a process of its own, which may be killed: `faces.images` starts it.

Pictures come out as the package works with them: upright, in sRGB, eight bits, opaque. A decoder is
native code that a file can make run for ever, take all memory or crash; here, that costs a file
with a sentence about it, and nothing else.

The process answers requests, one JSON object on a line of its standard input each, until that ends,
which also ends the decoding: it does not outlive the process that started it.
"""

import contextlib
import faulthandler
import io
import json
import math
import os
import signal
import sys
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy
from numpy.typing import NDArray

from facefusion_finetune.faces import jpeg
from facefusion_finetune.faces.formats import HEAD_LENGTH, detect_picture, is_animated, name_content
from facefusion_finetune.faces.limits import (
    MAX_BYTES,
    MAX_CANVAS_PIXELS,
    MAX_MEMORY,
    MAX_PIXELS,
    MAX_SECONDS,
    MAX_WAIT,
)

# OpenCV reads these when it is imported.
os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MAX_PIXELS)

import cv2
import pi_heif
from PIL import (
    AvifImagePlugin,
    Image,
    ImageCms,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

VisionFrame = NDArray[numpy.uint8]

BACKGROUND_GREY = 128
"""Grey level shown through transparent parts, whose hidden colours were never visible."""

BAND_PIXELS = 1 << 20
"""Pixels converted at a time: large pictures are never held twice."""

SHORTEST_DURATION = 20.0
DEFAULT_DURATION = 100.0
"""Milliseconds: browsers show pictures of an animation for the latter if they state less than the
former, and so do we."""

SAME_LEVELS = 2
"""Levels by which a profile's colours may differ from sRGB's and count as the same: variants of
sRGB's own profile do."""

_ORIENTATION = 0x0112
_SUBFILE, _SUB_DIRECTORIES = 254, 330
_TILE_WIDTH, _TILE_LENGTH = 322, 323
_PROFILE = 34675
"""Tags of EXIF and TIFF."""

_PROFILE_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Pillow's mode for the colour space of a profile."""
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
            pixels = _flatten(image)
        # Last, since a PNG may state it behind its data; a TIFF that is loaded is upright.
        return _turn(pixels, image.getexif().get(_ORIENTATION, 1))

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
                return _flatten(inks)
        profile = image.info.get("icc_profile")
        return _convert(numpy.asarray(pixels, numpy.uint8), profile, _name_base(image.mode))

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
        return _convert(_blend_deep(pixels), tags.get(_PROFILE), "RGB")

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
        raise _create_memory_error() from error
    except Exception as error:  # decoders raise many types for damaged files
        text = str(error).strip()
        if "CV_IO_MAX_IMAGE" in text:
            raise _create_size_error() from error
        if any(words in text for words in _MEMORY_WORDS):
            raise _create_memory_error() from error
        reason = text.splitlines()[-1][:200] if text else type(error).__name__
        raise DecodeError(f"it cannot be decoded as an image ({reason}).") from error


def _create_memory_error() -> DecodeError:
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


def _flatten(image: Image.Image) -> VisionFrame:
    """A loaded picture of any mode as BGR: in sRGB, eight bits, over grey."""
    width, height = image.size
    scale = _find_scale(image) if image.mode[0] in "IF" else 0.0
    is_transparent = image.has_transparency_data and not scale
    profile = image.info.get("icc_profile")
    to_srgb = _Conversion(profile, _name_base(image.mode))
    pixels = numpy.empty((height, width, 3), numpy.uint8)
    for rows in _list_bands(height, width):
        band = image.crop((0, rows.start, width, rows.stop))
        alpha = None
        if is_transparent:
            band = band.convert("RGBA")
            alpha = numpy.asarray(band.getchannel("A"))
            if alpha.min() == 255:
                alpha = None
        elif scale:
            band = Image.fromarray(_scale(numpy.asarray(band), scale))
        pixels[rows] = _blend(to_srgb.apply(band), alpha)
    return pixels


def _convert(pixels: VisionFrame, profile: bytes | None, base: str) -> VisionFrame:
    """BGR pixels in the colours of a profile, in sRGB."""
    to_srgb = _Conversion(profile, base)
    if to_srgb.is_needed:
        height, width = pixels.shape[:2]
        for rows in _list_bands(height, width):
            band = Image.fromarray(numpy.ascontiguousarray(pixels[rows, :, ::-1]))
            pixels[rows] = _blend(to_srgb.apply(band), None)
    return pixels


def _list_bands(height: int, width: int) -> Iterator[slice]:
    rows = max(1, BAND_PIXELS // width)
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


def _name_base(mode: str) -> str:
    """The mode of a picture without transparency, with eight bits, for a profile."""
    return mode if mode in ("CMYK", "LAB") else "L" if mode[0] in "1LIF" else "RGB"


class _Conversion:
    """Converts pictures to sRGB.

    Args:
        profile: The ICC profile; one that is damaged, or for other colours, counts as sRGB.
        base: Pillow's mode of the pictures without their transparency.
    """

    def __init__(self, profile: bytes | None, base: str) -> None:
        self._transform: ImageCms.ImageCmsTransform | None = None
        self._mode = base
        with contextlib.suppress(Exception):  # lcms refuses profiles in many ways
            if base == "LAB":
                self._transform = self._build(ImageCms.createProfile("LAB"), "LAB")
            elif profile:
                content = ImageCms.ImageCmsProfile(io.BytesIO(profile))
                mode = _PROFILE_MODES[content.profile.xcolor_space]
                if mode == base or (mode, base) == ("RGB", "L"):
                    self._set(content, mode)

    @property
    def is_needed(self) -> bool:
        """Whether the colours change."""
        return self._transform is not None

    def apply(self, band: Image.Image) -> Image.Image:
        """The picture, of the given mode or with transparency, as RGB."""
        if self._transform is None:
            return band if band.mode == "RGB" else band.convert("RGB")
        if band.mode != self._mode:
            band = band.convert(self._mode)
        return self._transform.apply(band)

    def _set(self, profile: Any, mode: str) -> None:
        transform = self._build(profile, mode)
        if mode == "RGB":
            # Nearly every picture states sRGB: its levels are not to change by rounding.
            steps = numpy.arange(0, 256, 17, dtype=numpy.uint8)
            colours = numpy.stack(numpy.meshgrid(steps, steps, steps), axis=-1).reshape(16, -1, 3)
            made = numpy.asarray(transform.apply(Image.fromarray(colours)))
            if numpy.abs(made.astype(int) - colours).max() <= SAME_LEVELS:
                return
        self._transform, self._mode = transform, mode

    @staticmethod
    def _build(profile: Any, mode: str) -> ImageCms.ImageCmsTransform:
        if not isinstance(profile, ImageCms.ImageCmsProfile):
            profile = ImageCms.ImageCmsProfile(profile)
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        # With a table instead of the curve, lcms is 10 levels off for dark greys, and no faster.
        flags = ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.NONE
        return ImageCms.ImageCmsTransform(profile, srgb, mode, "RGB", flags=flags)


def _blend(picture: Image.Image, alpha: NDArray[numpy.uint8] | None) -> VisionFrame:
    """RGB as BGR, over grey where it is transparent."""
    # Several times as fast as reversing the channels in numpy.
    opaque = numpy.asarray(cv2.cvtColor(numpy.asarray(picture), cv2.COLOR_RGB2BGR), numpy.uint8)
    if alpha is None:
        return opaque
    share = alpha[..., None].astype(numpy.uint16)
    mixed = (opaque * share + BACKGROUND_GREY * (255 - share) + 127) // 255
    return mixed.astype(numpy.uint8)


def _blend_deep(pixels: NDArray[Any]) -> VisionFrame:
    """OpenCV's pixels of any depth, with or without transparency, as eight bits of BGR."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    height, width, channels = pixels.shape
    scale = max(_find_array_scale(pixels[rows]) for rows in _list_bands(height, width))
    result = numpy.empty((height, width, 3), numpy.uint8)
    for rows in _list_bands(height, width):
        band = _scale(pixels[rows], scale)
        if channels < 3:
            band = numpy.repeat(band[..., :1], 3, axis=-1)
        alpha = band[..., 3] if channels == 4 else None
        result[rows] = _blend(Image.fromarray(band[..., 2::-1].copy()), alpha)
    return result


def _find_scale(image: Image.Image) -> float:
    """The value of white in a grey picture of more than eight bits."""
    if image.mode.startswith("I;16"):
        return 65535.0
    width, height = image.size
    bands = (
        numpy.asarray(image.crop((0, rows.start, width, rows.stop)))
        for rows in _list_bands(height, width)
    )
    return max(map(_find_array_scale, bands))


def _find_array_scale(values: NDArray[Any]) -> float:
    """The value of white: by the type, or where that leaves it open, by the largest value.

    Programs write floating-point TIFFs in the range of 1, of eight bits and of sixteen; highlights
    may exceed it.
    """
    if values.dtype in (numpy.uint8, numpy.uint16):
        return float(numpy.iinfo(values.dtype).max)
    finite = values[numpy.isfinite(values)]
    largest = float(finite.max(initial=0))
    if values.dtype.kind == "f":
        steps = (16.0, 1.0), (512.0, 255.0), (math.inf, 65535.0)
    else:
        steps = (255.0, 255.0), (65535.0, 65535.0), (math.inf, float(2**31 - 1))
    return next(white for limit, white in steps if largest <= limit)


def _scale(values: NDArray[Any], white: float) -> NDArray[numpy.uint8]:
    share = numpy.nan_to_num(values.astype(numpy.float32), posinf=white, neginf=0) / white
    return (share.clip(0, 1) * 255 + 0.5).astype(numpy.uint8)


def _turn(pixels: VisionFrame, orientation: object) -> VisionFrame:
    """A view of pixels that is upright, by an EXIF orientation, 1 to 8; others change nothing."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def main() -> None:
    """Answer requests until the standard input ends.

    A request is a JSON object with `path` (its bytes as hexadecimal digits), `number`, `more` if
    later pictures of the file will be asked for, and `side`: if not 0, the picture is scaled to
    that width and height. An answer is a line of JSON: with `shape`, `size` (width and height) and
    `duration` before the pixels, with `end` if there is no such picture, or with `why` and `todo`.
    """
    _limit_process()
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    # What native code prints must not get between the answers.
    os.dup2(2, 1)
    opened: PictureFile | None = None
    with open(os.devnull, "w", encoding="ascii") as nowhere:
        for line in requests:
            faulthandler.dump_traceback_later(MAX_WAIT, exit=True, file=nowhere)
            _grant_time()
            _set_end_with_input(True)
            request = json.loads(line)
            path = Path(os.fsdecode(bytes.fromhex(request["path"])))
            pixels: VisionFrame | None = None
            decoded: Decoded | None = None
            try:
                if opened is None or opened.path != path or not request["number"]:
                    if opened is not None:
                        opened.close()
                    opened = None
                    opened = PictureFile(path)
                decoded = opened.decode(request["number"])
            except DecodeError as error:
                answer: dict[str, Any] = {"why": error.why, "todo": error.todo}
            except OSError as error:
                why = f"it cannot be read ({error.strerror or error})."
                answer = {"why": why, "todo": "Grant access, or leave it out."}
            except MemoryError:
                refusal = _create_memory_error()
                answer = {"why": refusal.why, "todo": refusal.todo}
            else:
                answer = {"end": True}
                if decoded is not None:
                    pixels, side = decoded.pixels, request["side"]
                    size = pixels.shape[1::-1]
                    if side:
                        whole = numpy.ascontiguousarray(pixels)
                        pixels = cv2.resize(whole, (side, side), interpolation=cv2.INTER_AREA)
                    shape = pixels.shape
                    answer = {"shape": shape, "size": size, "duration": decoded.duration}
            if opened is not None and not request["more"]:
                opened.close()
                opened = None
            decoded = None
            _set_end_with_input(False)
            # The other process may take its time to read.
            faulthandler.cancel_dump_traceback_later()
            answers.write(json.dumps(answer).encode("ascii") + b"\n")
            if pixels is not None:
                for rows in _list_bands(*pixels.shape[:2]):
                    answers.write(numpy.ascontiguousarray(pixels[rows]).data)
            answers.flush()
            del pixels


def _limit_process() -> None:
    """Bound memory, and let Ctrl-C end the process that asks, not this one before its answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Frames and tiles that Pillow finds later are held against the limit, too; twice this raises.
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
    # Each thread of a decoder counts with its stack.
    AvifImagePlugin.DEFAULT_MAX_THREADS = pi_heif.options.DECODE_THREADS = 2
    cv2.setNumThreads(1)
    if sys.platform != "win32":
        import fcntl
        import resource

        signal.signal(signal.SIGIO, signal.SIG_IGN)
        fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY, MAX_MEMORY))


def _set_end_with_input(is_ending: bool) -> None:
    """Whether the process ends when something happens at its input, even within native code.

    While a picture is decoded, nothing is written there; so it is the other process that has ended.
    """
    if sys.platform != "win32":
        signal.signal(signal.SIGIO, signal.SIG_DFL if is_ending else signal.SIG_IGN)


def _grant_time() -> None:
    """Processor time for one more picture; the system ends a process that exceeds it."""
    if sys.platform != "win32":
        import resource

        usage = resource.getrusage(resource.RUSAGE_SELF)
        most = resource.getrlimit(resource.RLIMIT_CPU)[1]
        soft = math.ceil(usage.ru_utime + usage.ru_stime) + MAX_SECONDS
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_CPU, (soft, most))


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
