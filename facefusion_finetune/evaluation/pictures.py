"""Grids of inputs, outputs and truths."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy
from numpy.typing import NDArray

from facefusion_finetune import home
from facefusion_finetune.faces.images import encode_png

TITLE_HEIGHT = 22
GAP = 4
MIN_TILE = 128
FONT = cv2.FONT_HERSHEY_SIMPLEX
FONT_SCALE = 0.42


@dataclass(frozen=True)
class Picture:
    """A grid of a report."""

    name: str
    """File name."""
    title: str
    text: str
    """Caption."""
    pixels: NDArray[numpy.uint8]
    """(H, W, 3), BGR."""


def draw_grid(
    columns: dict[str, NDArray[numpy.uint8] | NDArray[numpy.float32]],
    labels: Sequence[str] | None = None,
) -> NDArray[numpy.uint8]:
    """Draw one row per sample and one titled column per kind of picture.

    Args:
        columns: (n, H, W, 3) BGR pictures by title.
        labels: n labels, drawn to the left of the rows.

    Returns:
        The grid, BGR.
    """
    drawn = []
    for title, pictures in columns.items():
        tiles = [_enlarge(picture) for picture in pictures]
        drawn.append(_stack(title, tiles))
    if labels is not None:
        height = (drawn[0].shape[0] - TITLE_HEIGHT) // len(labels) - GAP
        drawn.insert(0, _stack("", _draw_labels(labels, height)))
    spacer = numpy.full((drawn[0].shape[0], GAP, 3), 255, dtype=numpy.uint8)
    return numpy.hstack([part for column in drawn for part in (column, spacer)])


def save_picture(path: Path, picture: NDArray[numpy.uint8]) -> None:
    """Write a PNG atomically."""
    home.write_bytes(path, encode_png(picture))


def choose_rows(scores: NDArray[numpy.float64], count: int = 5) -> list[int]:
    """Select best, worst and the quartiles between by score.

    Args:
        scores: (n,); lower is better. Rows without a score (NaN) are ignored.
        count: Maximum number of rows.

    Returns:
        Distinct rows from best to worst; empty if there are no scores.
    """
    order = _rank(scores)
    positions = numpy.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return [order[position] for position in positions]


def label_rows(scores: NDArray[numpy.float64], rows: Sequence[int]) -> list[str]:
    """Label each row by its rank: `best`, `median`, `worst`, or `between`.

    Args:
        scores: (n,); lower is better.
        rows: Rows selected by `choose_rows` from these scores.
    """
    order = _rank(scores)
    places = {row: place for place, row in enumerate(order)}
    last = len(order) - 1
    # A single row is all three at once and labelled `median`.
    names = {round(last / 2): "median"} | ({0: "best", last: "worst"} if last else {})
    return [names.get(places[row], "between") for row in rows]


def _rank(scores: NDArray[numpy.float64]) -> list[int]:
    """Rows with a score, best first; ties keep their order."""
    order = numpy.argsort(scores, kind="stable")
    return [int(row) for row in order if not numpy.isnan(scores[row])]


def _stack(title: str, tiles: Sequence[NDArray[numpy.uint8]]) -> NDArray[numpy.uint8]:
    """A column with its title, then the tiles with a gap after each."""
    width = tiles[0].shape[1]
    head = numpy.full((TITLE_HEIGHT, width, 3), 255, dtype=numpy.uint8)
    _write(head, title, 15)
    gap = numpy.full((GAP, width, 3), 255, dtype=numpy.uint8)
    return numpy.vstack([head, *(part for tile in tiles for part in (tile, gap))])


def _draw_labels(words: Sequence[str], height: int) -> list[NDArray[numpy.uint8]]:
    """One white tile per label, all of the same width."""
    widths = [cv2.getTextSize(word, FONT, FONT_SCALE, 1)[0][0] for word in words]
    tiles = []
    for word in words:
        tile = numpy.full((height, max(widths) + 6, 3), 255, dtype=numpy.uint8)
        _write(tile, word, height // 2 + 4)
        tiles.append(tile)
    return tiles


def _write(picture: NDArray[numpy.uint8], text: str, baseline: int) -> None:
    cv2.putText(picture, text, (3, baseline), FONT, FONT_SCALE, (40, 40, 40), 1, cv2.LINE_AA)


def _enlarge(picture: NDArray[numpy.uint8] | NDArray[numpy.float32]) -> NDArray[numpy.uint8]:
    pixels = picture.clip(0, 255).round().astype(numpy.uint8)
    height, width = pixels.shape[:2]
    factor = max(1, -(-MIN_TILE // height))
    if factor == 1:
        return pixels
    larger = cv2.resize(pixels, (width * factor, height * factor), interpolation=cv2.INTER_CUBIC)
    return numpy.asarray(larger, dtype=numpy.uint8)
