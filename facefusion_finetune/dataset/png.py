"""Encodes pictures as PNG."""

import cv2
import numpy
from numpy.typing import NDArray


def encode_png(picture: NDArray[numpy.uint8], level: int | None = None) -> bytes:
    """A picture as the bytes of a PNG file.

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
