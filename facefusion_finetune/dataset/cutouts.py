"""Lossless cut-outs of the original frame, large enough for every warp template.

A cut-out begins at whole pixels of the frame, so that warping from it gives what warping from the
frame gives: one extraction serves every base swapper, and the footage is not needed again.
"""

from collections.abc import Mapping

import numpy

from facefusion_finetune.faces.protocol import Points, VisionFrame
from facefusion_finetune.faces.warp import fit_similarity

MARGIN_SHARE = 0.08
"""Added on each side: a host fits its matrix robustly, which may differ from least squares."""

MARGIN_PIXELS = 4
"""Added on each side for the interpolation at the rim."""


def find_cutout_box(
    landmark_5: Points, templates: Mapping[str, Points], frame_size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """The part of a frame that any template's crop of this face is warped from.

    Args:
        landmark_5: (5, 2), pixels of the frame.
        templates: (5, 2) points in the unit square, by name.
        frame_size: Width and height of the frame.

    Returns:
        x1, y1, x2, y2 in whole pixels, within the frame.
    """
    square = numpy.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    corners = []
    for template in templates.values():
        matrix = fit_similarity(template, landmark_5)
        corners.append(square @ matrix[:, :2].T + matrix[:, 2])
    every = numpy.concatenate(corners)
    low, high = every.min(axis=0), every.max(axis=0)
    margin = (high - low) * MARGIN_SHARE + MARGIN_PIXELS
    x1, y1 = numpy.clip(numpy.floor(low - margin), 0, frame_size).astype(int)
    x2, y2 = numpy.clip(numpy.ceil(high + margin), 0, frame_size).astype(int)
    return int(x1), int(y1), int(x2), int(y2)


def cut_out(vision_frame: VisionFrame, box: tuple[int, int, int, int]) -> VisionFrame:
    """A copy of the frame inside `box` (x1, y1, x2, y2)."""
    x1, y1, x2, y2 = box
    return vision_frame[y1:y2, x1:x2].copy()
