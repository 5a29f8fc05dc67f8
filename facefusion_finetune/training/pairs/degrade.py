"""Degrades inputs like poor footage: compression, blur, noise, upscaling from low resolution.

Swapped and real inputs are degraded alike, so that quality does not distinguish them.
"""

import cv2
import numpy
from numpy.typing import NDArray

JPEG_QUALITY = (30, 80)
BLUR = (0.006, 0.012)
"""Standard deviation as a share of the picture's width: 0.8 to 1.5 pixels of 128."""
NOISE = (2.0, 10.0)
"""Standard deviation in grey levels."""
SHRINK = (1.3, 3.0)


def choose_degraded(
    count: int, share: float, generator: numpy.random.Generator
) -> NDArray[numpy.int64]:
    """Indices of the inputs to degrade: a random share of `count`, in ascending order."""
    return numpy.sort(generator.permutation(count)[: round(share * count)])


def degrade_picture(
    picture: NDArray[numpy.uint8], generator: numpy.random.Generator
) -> NDArray[numpy.uint8]:
    """Degrade a picture in one of four ways.

    Args:
        picture: (H, W, 3), BGR.
        generator: Draws the kind and strength of the degradation.

    Returns:
        (H, W, 3), BGR.
    """
    height, width = picture.shape[:2]
    way = generator.integers(4)
    if way == 0:
        quality = int(generator.integers(*JPEG_QUALITY, endpoint=True))
        _, content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        made = cv2.imdecode(content, cv2.IMREAD_COLOR)
    elif way == 1:
        made = cv2.GaussianBlur(picture, (0, 0), generator.uniform(*BLUR) * width)
    elif way == 2:
        noise = generator.standard_normal(picture.shape) * generator.uniform(*NOISE)
        made = (picture + noise).round().clip(0, 255)
    else:
        factor = generator.uniform(*SHRINK)
        size = (max(1, round(width / factor)), max(1, round(height / factor)))
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        made = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return numpy.asarray(made, dtype=numpy.uint8)
