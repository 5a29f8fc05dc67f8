"""Reads an image file as a frame: upright, eight bits, opaque. Encodes pictures as PNG.

OpenCV decodes what it can, as in FaceFusion; Pillow reads the size before anything is decoded,
provides the transparency, and decodes what OpenCV cannot (HEIC via libheif).
"""

import warnings
from pathlib import Path

import cv2
import numpy
import pi_heif
from numpy.typing import NDArray
from PIL import Image, ImageOps

from facefusion_finetune.errors import UnreadableError
from facefusion_finetune.faces.protocol import VisionFrame

PILLOW_SUFFIXES = frozenset({".avif", ".heic", ".heif", ".hif"})
IMAGE_SUFFIXES = PILLOW_SUFFIXES | {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}

MAX_PIXELS = 178_000_000
"""Larger images take over half a gigabyte to decode. Pillow's own limit is slightly higher."""

BACKGROUND_GREY = 128
"""Grey level shown through transparent parts, whose hidden colours were never visible."""

pi_heif.register_heif_opener()


def read_image(path: Path) -> VisionFrame:
    """Decode an image as BGR, rotated upright according to its EXIF orientation.

    Sixteen bits become eight, and transparent parts grey; of several pictures, the first is read.

    Raises:
        UnreadableError: The file cannot be read or decoded, or is too large to decode safely.
    """
    try:
        if not path.stat().st_size:
            raise _refuse(path, "it is empty (0 bytes).", "Copy it again, or leave it out.")
        size, has_alpha = _read_header(path)
        if size[0] * size[1] > MAX_PIXELS:
            raise _refuse_size(path, f" ({size[0]} x {size[1]})")
        by_pillow = path.suffix.lower() in PILLOW_SUFFIXES
        pixels = None if by_pillow else _decode(path)
        if pixels is None or has_alpha:
            pixels = _decode_by_pillow(path, pixels)
    except UnreadableError:
        raise
    except Image.DecompressionBombError as error:
        raise _refuse_size(path, "") from error
    except PermissionError as error:
        raise _refuse(
            path, "permission to read it is denied.", "Grant access, or leave it out."
        ) from error
    except Exception as error:  # decoders raise many types for damaged files
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise _refuse(
            path,
            f"it cannot be decoded as an image ({reason[0]}).",
            "Convert it to PNG, or leave it out.",
        ) from error
    return pixels


def _read_header(path: Path) -> tuple[tuple[int, int], bool]:
    """Width and height, and whether it may be transparent; nothing is decoded."""
    with warnings.catch_warnings():
        # Pillow warns about pictures that are large but within our limit.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path) as image:
            return image.size, "A" in image.getbands() or "transparency" in image.info


def _decode(path: Path) -> VisionFrame | None:
    # Read by Python, since OpenCV cannot open every file name on every platform.
    content = numpy.fromfile(path, dtype=numpy.uint8)
    pixels = cv2.imdecode(content, cv2.IMREAD_COLOR)
    return None if pixels is None else numpy.asarray(pixels, dtype=numpy.uint8)


def _decode_by_pillow(path: Path, opaque: VisionFrame | None) -> VisionFrame:
    """The picture over grey; `opaque` is the picture without transparency, if known."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image).convert("RGBA")
    every = numpy.asarray(upright)
    if opaque is None:
        opaque = numpy.ascontiguousarray(every[..., 2::-1])
    alpha: NDArray[numpy.uint8] = every[..., 3]
    if alpha.shape != opaque.shape[:2] or alpha.min() == 255:
        return opaque
    share = alpha[..., None].astype(numpy.uint16)
    mixed = (opaque * share + BACKGROUND_GREY * (255 - share) + 127) // 255
    return mixed.astype(numpy.uint8)


def _refuse_size(path: Path, size: str) -> UnreadableError:
    limit = MAX_PIXELS // 1_000_000
    return _refuse(
        path,
        f"it has more than {limit} million pixels{size}, too many to decode safely.",
        "Scale it down, or crop it to the face.",
    )


def _refuse(path: Path, why: str, todo: str) -> UnreadableError:
    return UnreadableError(str(path), why, todo)


def encode_png(picture: NDArray[numpy.uint8], level: int | None = None) -> bytes:
    """Encode a picture as PNG.

    Args:
        picture: (H, W, 3) BGR, or (H, W) grey.
        level: Compression level, 0 to 9; None for OpenCV's default.

    Raises:
        OSError: OpenCV cannot encode the picture.
    """
    options = [] if level is None else [cv2.IMWRITE_PNG_COMPRESSION, level]
    success, buffer = cv2.imencode(".png", picture, options)
    if not success:
        raise OSError(f"a picture of shape {picture.shape} cannot be encoded")
    return bytes(buffer.tobytes())
