"""Grids of what went in, what came out and what should have."""

from pathlib import Path

import cv2
import numpy
from numpy.typing import NDArray

from facefusion_finetune import home

TITLE_HEIGHT = 22
GAP = 4
SMALLEST_TILE = 128


def draw_grid(
    columns: dict[str, NDArray[numpy.uint8] | NDArray[numpy.float32]],
) -> NDArray[numpy.uint8]:
    """One row a sample, one titled column a picture.

    Args:
        columns: (n, H, W, 3) BGR pictures by title.

    Returns:
        The grid, BGR.
    """
    drawn = []
    for title, pictures in columns.items():
        tiles = [_enlarge(picture) for picture in pictures]
        width = tiles[0].shape[1]
        head = numpy.full((TITLE_HEIGHT, width, 3), 255, dtype=numpy.uint8)
        cv2.putText(
            head, title, (3, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (40, 40, 40), 1, cv2.LINE_AA
        )
        gap = numpy.full((GAP, width, 3), 255, dtype=numpy.uint8)
        drawn.append(numpy.vstack([head, *(part for tile in tiles for part in (tile, gap))]))
    spacer = numpy.full((drawn[0].shape[0], GAP, 3), 255, dtype=numpy.uint8)
    return numpy.hstack([part for column in drawn for part in (column, spacer)])


def encode_png(picture: NDArray[numpy.uint8]) -> bytes:
    """A BGR picture as the bytes of a PNG file."""
    success, buffer = cv2.imencode(".png", picture)
    if not success:
        raise OSError(f"a picture of shape {picture.shape} cannot be encoded")
    return bytes(buffer.tobytes())


def save_picture(path: Path, picture: NDArray[numpy.uint8]) -> None:
    """Write a PNG whole or not at all."""
    home.write_bytes(path, encode_png(picture))


def choose_rows(scores: NDArray[numpy.float64], count: int = 5) -> list[int]:
    """Best, worst and the quartiles between, by a score: never by hand.

    Args:
        scores: (n,); smaller is better.
        count: At most so many rows.
    """
    order = numpy.argsort(scores, kind="stable")
    positions = numpy.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return [int(order[position]) for position in positions]


def _enlarge(picture: NDArray[numpy.uint8] | NDArray[numpy.float32]) -> NDArray[numpy.uint8]:
    pixels = picture.clip(0, 255).round().astype(numpy.uint8)
    height, width = pixels.shape[:2]
    factor = max(1, -(-SMALLEST_TILE // height))
    if factor == 1:
        return pixels
    larger = cv2.resize(pixels, (width * factor, height * factor), interpolation=cv2.INTER_CUBIC)
    return numpy.asarray(larger, dtype=numpy.uint8)
