"""One image file as a frame: upright, eight bits, nothing transparent.

OpenCV decodes what it can, as FaceFusion does; Pillow says how large a picture is before anything
is decoded, brings the transparency, and decodes what OpenCV cannot (HEIC by way of libheif).
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

MOST_PIXELS = 178_000_000
"""More takes half a gigabyte and more to decode. Pillow itself refuses a little more than this."""

BEHIND = 128
"""Grey level that is seen through transparent parts; what they hide was never shown."""

pi_heif.register_heif_opener()


def read_image(path: Path) -> VisionFrame:
    """Decode an image as BGR, turned upright as its EXIF entry says.

    Sixteen bits become eight, transparent parts grey; of several pictures the first is taken.

    Raises:
        UnreadableError: The file cannot be read or decoded, or is too large to be decoded safely.
    """
    try:
        if not path.stat().st_size:
            raise _refuse(path, "it is empty (0 bytes).", "Copy it again, or leave it out.")
        size, has_alpha = _look(path)
        if size[0] * size[1] > MOST_PIXELS:
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
        raise _refuse(path, "you may not read it.", "Grant access, or leave it out.") from error
    except Exception as error:  # decoders of damaged files raise whatever they like
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise _refuse(
            path,
            f"it is no image that can be decoded ({reason[0]}).",
            "Convert it to PNG, or leave it out.",
        ) from error
    return pixels


def _look(path: Path) -> tuple[tuple[int, int], bool]:
    """Width and height, and whether parts may be transparent; nothing is decoded."""
    with warnings.catch_warnings():
        # Pillow warns of pictures that are large but within our limit.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path) as image:
            return image.size, "A" in image.getbands() or "transparency" in image.info


def _decode(path: Path) -> VisionFrame | None:
    # Read by Python, since OpenCV does not open every file name on every platform.
    content = numpy.fromfile(path, dtype=numpy.uint8)
    pixels = cv2.imdecode(content, cv2.IMREAD_COLOR)
    return None if pixels is None else numpy.asarray(pixels, dtype=numpy.uint8)


def _decode_by_pillow(path: Path, opaque: VisionFrame | None) -> VisionFrame:
    """The picture over grey; `opaque` is what it shows without its transparency, if known."""
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
    mixed = (opaque * share + BEHIND * (255 - share) + 127) // 255
    return mixed.astype(numpy.uint8)


def _refuse_size(path: Path, size: str) -> UnreadableError:
    limit = MOST_PIXELS // 1_000_000
    return _refuse(
        path,
        f"it has more than {limit} million pixels{size}, too many to be decoded safely.",
        "Scale it down, or cut the face out.",
    )


def _refuse(path: Path, why: str, todo: str) -> UnreadableError:
    return UnreadableError(str(path), why, todo)
