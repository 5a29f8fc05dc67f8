"""Pictures that FaceFusion has written, to be compared."""

from pathlib import Path

import cv2
import numpy
from numpy.typing import NDArray

FACE = (slice(40, 200), slice(230, 380))
"""Rows and columns around the face of the bench's `asl_a/yes.mkv`, with a margin for the crop."""


def read_picture(path: Path) -> NDArray[numpy.int16]:
    """Height x width x 3, BGR, so wide that a difference fits."""
    image = cv2.imread(str(path))
    assert image is not None, path
    return numpy.asarray(image, numpy.int16)
