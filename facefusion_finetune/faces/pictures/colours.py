"""The pixels of decoded pictures, as the package works with them: sRGB, eight bits, opaque."""

import contextlib
import io
import math
from collections.abc import Iterator
from typing import Any

import cv2
import numpy
from numpy.typing import NDArray
from PIL import Image, ImageCms

from facefusion_finetune.faces.protocol import VisionFrame

BACKGROUND_GREY = 128
"""Grey level shown through transparent parts, whose hidden colours were never visible."""

BAND_PIXELS = 1 << 20
"""Pixels converted at a time: large pictures are never held twice."""

SAME_LEVELS = 2
"""Levels by which a profile's colours may differ from sRGB's and count as the same: variants of
sRGB's own profile do."""

_PROFILE_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Pillow's mode for the colour space of a profile."""


def flatten(image: Image.Image) -> VisionFrame:
    """A loaded picture of any mode as BGR: in sRGB, eight bits, over grey."""
    width, height = image.size
    scale = _find_scale(image) if image.mode[0] in "IF" else 0.0
    is_transparent = image.has_transparency_data and not scale
    profile = image.info.get("icc_profile")
    to_srgb = _Conversion(profile, name_base(image.mode))
    pixels = numpy.empty((height, width, 3), numpy.uint8)
    for rows in list_bands(height, width):
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


def convert(pixels: VisionFrame, profile: bytes | None, base: str) -> VisionFrame:
    """BGR pixels in the colours of a profile, in sRGB."""
    to_srgb = _Conversion(profile, base)
    if to_srgb.is_needed:
        height, width = pixels.shape[:2]
        for rows in list_bands(height, width):
            band = Image.fromarray(numpy.ascontiguousarray(pixels[rows, :, ::-1]))
            pixels[rows] = _blend(to_srgb.apply(band), None)
    return pixels


def list_bands(height: int, width: int) -> Iterator[slice]:
    rows = max(1, BAND_PIXELS // width)
    return (slice(top, min(top + rows, height)) for top in range(0, height, rows))


def name_base(mode: str) -> str:
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


def blend_deep(pixels: NDArray[Any]) -> VisionFrame:
    """OpenCV's pixels of any depth, with or without transparency, as eight bits of BGR."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    height, width, channels = pixels.shape
    scale = max(_find_array_scale(pixels[rows]) for rows in list_bands(height, width))
    result = numpy.empty((height, width, 3), numpy.uint8)
    for rows in list_bands(height, width):
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
        for rows in list_bands(height, width)
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
