"""Pose, blink, mouth and gaze of a face, measured from its 68 landmarks and its pixels.

The landmarks are in the iBUG order: jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, mouth 48-67.
Left and right are the picture's. What cannot be measured is NaN, and nothing fails: a swapped
picture may contain anything.
"""

import math
from collections.abc import Sequence

import numpy
from numpy.typing import NDArray

from facefusion_finetune.faces.protocol import (
    DetectedFace,
    FaceAttributes,
    Points,
    VisionFrame,
)

FACE_3D = {
    **{36: (-45, 0, 21), 39: (-16, 1, 14), 42: (16, 1, 14), 45: (45, 0, 21)},
    **{27: (0, 0, 0), 28: (0, 12, -6), 29: (0, 25, -14), 30: (0, 38, -22)},
    **{31: (-13, 46, -3), 32: (-7, 48, -7), 33: (0, 50, -9), 34: (7, 48, -7), 35: (13, 46, -3)},
    **{48: (-26, 71, 9), 54: (26, 71, 9)},
}
"""Millimetres to the right, down and away from the camera, by landmark index: an average adult's
eye corners, nose and mouth corners, which lids, brows and jaw do not move. Source: widths and
heights rounded from Farkas et al., International anthropometric study of facial morphology, 2005;
depths are those of a typical profile."""

EYES = ((36, 37, 38, 39, 40, 41), (42, 43, 44, 45, 46, 47))
"""Left corner, two points of the upper lid, right corner, lower lid from right to left."""

LIPS = ((61, 67), (62, 66), (63, 65))
"""Opposite points of the upper and lower inner edges; the corners are 60 and 64."""

CLOSED_EYE = 0.12
"""Opening below which the iris cannot be distinguished from the lashes."""
MAX_DISTANCE = 0.5
"""How far a face may be from its expected position, in eye distances."""
GRID = 48
"""Samples across an eye."""
INSET = 0.1
"""Share of the eye that is ignored at each lid, because of the lashes."""
MIN_IRIS_CONTRAST = 12.0
"""Smallest difference between the dark and bright parts of an eye with a visible iris, in grey
levels."""

NOT_A_NUMBER = math.nan

_NUMBERS = list(FACE_3D)
_FACE = numpy.array(list(FACE_3D.values()), dtype=numpy.float64)
_SOLVE = numpy.linalg.pinv(_FACE - _FACE.mean(axis=0))


def measure_landmarks(vision_frame: VisionFrame, landmark_68: Points) -> FaceAttributes:
    """Attributes of the face at the landmarks.

    Args:
        vision_frame: The picture.
        landmark_68: (68, 2), in its pixels; points may be outside it.
    """
    yaw, pitch = measure_pose(landmark_68)
    left, right = (_measure_opening(landmark_68[list(eye)]) for eye in EYES)
    upper, lower = (landmark_68[list(edge)] for edge in zip(*LIPS, strict=True))
    mouth = _divide(_measure_distance(upper, lower), _measure_distance(*landmark_68[[60, 64]]))
    gaze = _measure_gaze(vision_frame, landmark_68, (left, right))
    return FaceAttributes(yaw, pitch, (left, right), mouth, gaze)


def measure_pose(landmark_68: Points) -> tuple[float, float]:
    """Yaw and pitch in degrees, as in `FaceAttributes`, for any roll.

    Fits the affine camera that maps `FACE_3D` to the landmarks by least squares, then takes the
    closest rotation. Source: scaled orthography, as in DeMenthon and Davis, Model-based object
    pose, 1995.
    """
    points = landmark_68[_NUMBERS]
    camera = (_SOLVE @ (points - points.mean(axis=0))).T
    if not numpy.isfinite(camera).all():
        return NOT_A_NUMBER, NOT_A_NUMBER
    left, sizes, right = numpy.linalg.svd(camera, full_matrices=False)
    # all points on a line or in one place: no direction
    if sizes[1] < 1e-3 * max(sizes[0], 1e-6):
        return NOT_A_NUMBER, NOT_A_NUMBER
    across, down = left @ right
    roll = math.atan2(down[0], across[0])
    x, y, z = -numpy.array([across[2], down[2], numpy.cross(across, down)[2]])
    # the direction of the nose, with the head upright
    x, y = x * math.cos(roll) + y * math.sin(roll), y * math.cos(roll) - x * math.sin(roll)
    return math.degrees(math.atan2(x, -z)), math.degrees(math.asin(min(max(y, -1.0), 1.0)))


def find_nearest(faces: Sequence[DetectedFace], landmark_5: Points) -> DetectedFace | None:
    """The face whose five landmarks are closest to the expected ones.

    Args:
        faces: The candidates.
        landmark_5: (5, 2), expected landmarks in pixels of the same picture.

    Returns:
        None if no face's landmarks are, on average, within `MAX_DISTANCE` eye distances.
    """
    reach = MAX_DISTANCE * _measure_distance(*landmark_5[:2])
    distances = [_measure_distance(face.landmark_5, landmark_5) for face in faces]
    near = [pair for pair in zip(distances, faces, strict=True) if pair[0] <= reach]
    return min(near, key=lambda pair: pair[0])[1] if near else None


def _measure_opening(eye: Points) -> float:
    """Source: the eye aspect ratio of Soukupova and Cech, 2016."""
    return _divide(_measure_distance(eye[1:3], eye[[5, 4]]), _measure_distance(eye[0], eye[3]))


def _measure_gaze(
    vision_frame: VisionFrame, landmark_68: Points, openings: tuple[float, float]
) -> tuple[float, float]:
    """Mean over the open, visible eyes; along and across the line of the eyes."""
    middles = [landmark_68[[eye[0], eye[3]]].mean(axis=0) for eye in EYES]
    found = [
        _locate_iris(vision_frame, landmark_68[list(eye)], middles[1] - middles[0])
        for eye, opening in zip(EYES, openings, strict=True)
        if opening >= CLOSED_EYE
    ]
    seen = [place for place in found if place is not None]
    if not seen:
        return NOT_A_NUMBER, NOT_A_NUMBER
    x, y = numpy.mean(seen, axis=0)
    return float(x), float(y)


def _locate_iris(
    vision_frame: VisionFrame, eye: Points, right: NDArray[numpy.float64]
) -> NDArray[numpy.float64] | None:
    """(2,): offset of an open eye's dark part from the eye's centre, in eye widths.

    Args:
        vision_frame: The picture.
        eye: (6, 2), see `EYES`.
        right: (2,), along the line of the eyes.

    Returns:
        None if less than half of the eye is in the picture, or nothing in it is dark.
    """
    width, length = _measure_distance(eye[0], eye[3]), float(numpy.linalg.norm(right))
    if not (numpy.isfinite(eye).all() and 0 < length < math.inf):
        return None
    across = right / length
    axes = numpy.array([across, (-across[1], across[0])]) * width
    middle = (eye[0] + eye[3]) / 2
    outline = (eye - middle) @ axes.T / width**2
    steps = (numpy.arange(GRID) + 0.5) / GRID - 0.5
    upper, lower = (_trace_lid(outline[list(lid)], steps) for lid in ((0, 1, 2, 3), (0, 5, 4, 3)))
    inset = INSET * (lower - upper)
    x, y = numpy.meshgrid(steps, steps)
    inside = (y > upper + inset) & (y < lower - inset)
    places = numpy.stack([x[inside], y[inside]], axis=1)
    shades, is_seen = _sample_grey(vision_frame, middle + places @ axes)
    if is_seen.sum() < max(len(places) / 2, 1):
        return None
    dark, bright = numpy.percentile(shades[is_seen], [5, 90])
    if bright - dark < MIN_IRIS_CONTRAST:
        return None
    # pixels brighter than halfway are the white of the eye or a reflection
    weights = ((dark + bright) / 2 - shades).clip(0, (bright - dark) / 2) * is_seen
    centre: NDArray[numpy.float64] = weights @ places / weights.sum()
    return centre


def _trace_lid(lid: Points, steps: NDArray[numpy.float64]) -> NDArray[numpy.float64]:
    """y of a lid at the steps, from its four points."""
    order = numpy.argsort(lid[:, 0])
    heights: NDArray[numpy.float64] = numpy.interp(steps, lid[order, 0], lid[order, 1])
    return heights


def _sample_grey(
    vision_frame: VisionFrame, places: Points
) -> tuple[NDArray[numpy.float64], NDArray[numpy.bool_]]:
    """(n,) bilinearly sampled brightness, and which of the points are in the picture."""
    height, width = vision_frame.shape[:2]
    last = numpy.array([width - 1, height - 1])
    is_seen = numpy.all((places >= 0) & (places <= last), axis=1)
    places = places.clip(0, last)
    start = numpy.floor(places).astype(int)
    share_x, share_y = (places - start).T
    (x, y), (x2, y2) = start.T, numpy.minimum(start + 1, last).T
    grey = [vision_frame[rows, columns].mean(axis=1) for rows in (y, y2) for columns in (x, x2)]
    top = grey[0] * (1 - share_x) + grey[1] * share_x
    bottom = grey[2] * (1 - share_x) + grey[3] * share_x
    return top * (1 - share_y) + bottom * share_y, is_seen


def _measure_distance(first: Points, second: Points) -> float:
    """Mean distance between pairs of points."""
    return float(numpy.linalg.norm(first - second, axis=-1).mean())


def _divide(distance: float, width: float) -> float:
    return distance / width if width > 0 else NOT_A_NUMBER
