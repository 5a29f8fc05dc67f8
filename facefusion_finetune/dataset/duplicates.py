"""Crops that show nearly the same picture, wherever they were taken."""

import cv2
import numpy
from numpy.typing import NDArray

THUMBNAIL = 32
NEARLY_EQUAL = 3.0
"""Mean grey-level difference of two aligned thumbnails under which they count as one picture: what
another compression of the same frame leaves."""


def find_near_duplicates(
    crops: NDArray[numpy.uint8], others: NDArray[numpy.uint8]
) -> NDArray[numpy.bool_]:
    """Which crops show nearly the same picture as one of the others.

    Args:
        crops: (n, H, W, 3), aligned.
        others: (m, H, W, 3), aligned alike.

    Returns:
        (n,).
    """
    if not len(crops) or not len(others):
        return numpy.zeros(len(crops), dtype=numpy.bool_)
    known = _shrink(others)
    return numpy.array(
        [bool((numpy.abs(known - row).mean(axis=1) < NEARLY_EQUAL).any()) for row in _shrink(crops)]
    )


def _shrink(crops: NDArray[numpy.uint8]) -> NDArray[numpy.float32]:
    """(n, THUMBNAIL * THUMBNAIL * 3)."""
    size = (THUMBNAIL, THUMBNAIL)
    small = [cv2.resize(crop, size, interpolation=cv2.INTER_AREA) for crop in crops]
    return numpy.stack(small).reshape(len(crops), -1).astype(numpy.float32)
