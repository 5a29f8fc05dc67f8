"""Where the face, and its eyes and mouth, lie in an aligned crop of the demo's world."""

import numpy

from facefusion_finetune.demo.geometry import CROP_CENTRE, CROP_UNIT, MEAN_POINTS
from facefusion_finetune.faces.protocol import FaceMasks, Mask


def draw_masks(height: int, width: int) -> FaceMasks:
    """Ovals by the template's geometry; each (height, width), 0 to 1."""
    across = ((numpy.arange(width) + 0.5) / width - CROP_CENTRE[0])[None] / CROP_UNIT
    down = ((numpy.arange(height) + 0.5) / height - CROP_CENTRE[1])[:, None] / CROP_UNIT

    def oval(x: float, y: float, wide: float, high: float) -> Mask:
        radius = numpy.hypot((across - x) / wide, (down - y) / high)
        cover: Mask = ((1 - radius) / 0.15 + 0.5).clip(0, 1).astype(numpy.float32)
        return cover

    left, right, _, *corners = MEAN_POINTS
    mouth = (corners[0][0] + corners[1][0]) / 2, corners[0][1]
    ovals = [oval(*left, 0.28, 0.19), oval(*right, 0.28, 0.19), oval(*mouth, 0.40, 0.22)]
    return FaceMasks(
        face=oval(0.0, 0.14, 0.76, 0.92),
        visible=numpy.ones((height, width), dtype=numpy.float32),
        features=numpy.maximum.reduce(ovals),
    )
