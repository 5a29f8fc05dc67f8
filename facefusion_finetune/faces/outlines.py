"""Masks of face, eyes and mouth from the 68 landmarks, without a face parser."""

import cv2
import numpy

from facefusion_finetune.faces.protocol import FaceMasks, Mask, Points

BROWS = slice(17, 27)
NOSE_BASE = 33
EYES = (slice(36, 42), slice(42, 48))
MOUTH = slice(48, 60)
FOREHEAD = 0.8
"""How far the face extends above the brows, as a share of the distance from the brows to the base
of the nose. An average forehead is as high as that distance, and hair begins below its top."""
EYE_GROWTH = 1.3
"""An eye's landmarks are on its opening; this includes lids and lashes."""
BLUR = 5 / 512
"""Standard deviation of the edge blur, as a share of the crop's width."""


def draw_masks(landmark_68: Points, size: tuple[int, int]) -> FaceMasks:
    """Masks of one face, which counts as not occluded.

    Args:
        landmark_68: (68, 2), in pixels of the crop; points may be outside it.
        size: Width and height of the crop in pixels.
    """
    brows = landmark_68[BROWS]
    up = brows.mean(axis=0) - landmark_68[NOSE_BASE]
    eyes = [_grow(landmark_68[eye], EYE_GROWTH) for eye in EYES]
    return FaceMasks(
        face=_fill([numpy.concatenate([landmark_68, brows + FOREHEAD * up])], size),
        visible=numpy.ones(size[::-1], numpy.float32),
        features=_fill([*eyes, landmark_68[MOUTH]], size),
    )


def _grow(points: Points, factor: float) -> Points:
    middle = points.mean(axis=0)
    grown: Points = middle + factor * (points - middle)
    return grown


def _fill(groups: list[Points], size: tuple[int, int]) -> Mask:
    """(H, W): 1 inside the convex hull of each group of points, with a soft inner edge."""
    width, height = size
    mask: Mask = numpy.zeros((height, width), numpy.float32)
    for points in groups:
        hull = cv2.convexHull(points.round().astype(numpy.int32))
        cv2.fillConvexPoly(mask, hull, 1.0)
    blurred = cv2.GaussianBlur(mask, (0, 0), BLUR * width)
    # like FaceFusion's masks: 0 outside the outline
    soft: Mask = (blurred.clip(0.5, 1) - 0.5) * 2
    return soft
