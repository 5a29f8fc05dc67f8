"""Measures one face in its frame: sharpness, light, occlusion, pose, expression."""

import math

import cv2
import numpy
from numpy.typing import NDArray

from facefusion_finetune.dataset.manifest import CropMeasures
from facefusion_finetune.faces.attributes import measure_landmarks
from facefusion_finetune.faces.protocol import DetectedFace, FaceMasks, Matrix, VisionFrame
from facefusion_finetune.faces.warp import find_inside

SHARPNESS_SIDE = 128
"""Larger faces are measured at this size: swappers do not see finer detail."""
REBLUR = 9
"""Width of the blur, in pixels, that the picture is compared with."""
BLACK = 16
BURNT = 250
"""Luma below and above which a pixel carries no information."""


def measure_face(
    vision_frame: VisionFrame,
    face: DetectedFace,
    crop: VisionFrame,
    matrix: Matrix,
    masks: FaceMasks,
) -> CropMeasures:
    """Measure a face.

    Args:
        vision_frame: The frame.
        face: The face, in pixels of `vision_frame`.
        crop: The aligned face, (H, W, 3).
        matrix: From `vision_frame` to `crop`.
        masks: Masks of `crop`.
    """
    attributes = measure_landmarks(vision_frame, face.landmark_68)
    hull = draw_hull(face, matrix, crop.shape[:2])
    shown = find_inside(vision_frame.shape[1::-1], matrix, crop.shape[1::-1])
    luma = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
    inside = luma[hull]
    x1, y1, x2, y2 = face.bounding_box
    across = face.landmark_5[1] - face.landmark_5[0]
    return CropMeasures(
        size=round(float(min(x2 - x1, y2 - y1)), 2),
        sharpness=round(measure_sharpness(_cut_box(vision_frame, face)), 4),
        brightness=round(float(inside.mean()), 2),
        contrast=round(float(inside.std()), 2),
        dark=round(float((inside < BLACK).mean()), 4),
        bright=round(float((inside > BURNT).mean()), 4),
        visible=round(float((masks.visible * shown)[hull].mean()), 4),
        outside=round(float(1 - shown.mean()), 4),
        face_outside=round(float(1 - shown[hull].mean()), 4),
        yaw=_read(attributes.yaw),
        pitch=_read(attributes.pitch),
        roll=round(math.degrees(math.atan2(across[1], across[0])), 2),
        eye_opening=(_read(attributes.eye_opening[0]), _read(attributes.eye_opening[1])),
        mouth_opening=_read(attributes.mouth_opening),
        light=_measure_light(luma, hull),
        glasses=None if masks.glasses is None else round(float(masks.glasses[hull].mean()), 4),
    )


def measure_sharpness(grey: NDArray[numpy.float32]) -> float:
    """How much a picture loses when it is blurred: a blurred picture has little to lose.

    Source: Crete, Dolmiere, Ladret and Nicolas, The blur effect, 2007, subtracted from 1.

    Args:
        grey: (H, W), 0 to 255.

    Returns:
        0 (blurred in at least one direction) to 1.
    """
    scale = SHARPNESS_SIDE / min(grey.shape)
    if scale < 1:
        grey = numpy.asarray(
            cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), numpy.float32
        )
    lost = []
    for axis, kernel in ((0, (1, REBLUR)), (1, (REBLUR, 1))):
        steps = numpy.abs(numpy.diff(grey, axis=axis))
        smeared = numpy.abs(numpy.diff(cv2.blur(grey, kernel), axis=axis))
        total = float(steps.sum())
        lost.append(float(numpy.maximum(steps - smeared, 0).sum()) / total if total else 0.0)
    return min(lost)


def draw_hull(face: DetectedFace, matrix: Matrix, size: tuple[int, int]) -> NDArray[numpy.bool_]:
    """(H, W) of `size`: the convex hull of the 68 landmarks in the aligned crop, never empty."""
    points = face.landmark_68 @ matrix[:, :2].T + matrix[:, 2]
    canvas = numpy.zeros(size, dtype=numpy.uint8)
    hull = cv2.convexHull(points.round().astype(numpy.int32))
    cv2.fillConvexPoly(canvas, hull, (1,))
    drawn = canvas.astype(numpy.bool_)
    return drawn if drawn.any() else numpy.ones(size, dtype=numpy.bool_)


def _cut_box(vision_frame: VisionFrame, face: DetectedFace) -> NDArray[numpy.float32]:
    height, width = vision_frame.shape[:2]
    x1, y1 = numpy.floor(face.bounding_box[:2]).clip(0, (width - 2, height - 2)).astype(int)
    x2, y2 = numpy.ceil(face.bounding_box[2:]).astype(int)
    x2, y2 = numpy.clip((x2, y2), (x1 + 2, y1 + 2), (width, height))
    part = vision_frame[y1:y2, x1:x2]
    return numpy.asarray(cv2.cvtColor(part, cv2.COLOR_BGR2GRAY), dtype=numpy.float32)


def _measure_light(luma: NDArray[numpy.uint8], hull: NDArray[numpy.bool_]) -> tuple[float, float]:
    rows, columns = numpy.nonzero(hull)
    values = luma[rows, columns].astype(numpy.float64)
    mean = max(float(values.mean()), 1.0)
    halves = []
    for places in (columns, rows):
        after = places > (places.min() + places.max()) / 2
        if after.all() or not after.any():
            halves.append(0.0)
            continue
        halves.append(round(float(values[after].mean() - values[~after].mean()) / mean, 4))
    return halves[0], halves[1]


def _read(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None
