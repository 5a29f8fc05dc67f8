"""FaceFusion's crops, paste back and box mask, without FaceFusion.

The values are those that FaceFusion aligns by; the tests compare this module with its functions.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import cv2
import numpy
from numpy.typing import NDArray

from facefusion_finetune.faces.protocol import Mask, Matrix, Points, VisionFrame

TEMPLATES: Mapping[str, tuple[tuple[float, float], ...]] = MappingProxyType(
    {
        "arcface_112_v1": (
            (0.35473214, 0.45658929),
            (0.64526786, 0.45658929),
            (0.50000000, 0.61154464),
            (0.37913393, 0.77687500),
            (0.62086607, 0.77687500),
        ),
        "arcface_112_v2": (
            (0.34191607, 0.46157411),
            (0.65653393, 0.45983393),
            (0.50022500, 0.64050536),
            (0.37097589, 0.82469196),
            (0.63151696, 0.82325089),
        ),
        "arcface_128": (
            (0.36167656, 0.40387734),
            (0.63696719, 0.40235469),
            (0.50019687, 0.56044219),
            (0.38710391, 0.72160547),
            (0.61507734, 0.72034453),
        ),
        "dfl_whole_face": (
            (0.35342266, 0.39285716),
            (0.62797622, 0.39285716),
            (0.48660713, 0.54017860),
            (0.38839287, 0.68750011),
            (0.59821427, 0.68750011),
        ),
        "ffhq_512": (
            (0.37691676, 0.46864664),
            (0.62285697, 0.46912813),
            (0.50123859, 0.61331904),
            (0.39308822, 0.72541100),
            (0.61150205, 0.72490465),
        ),
        "mtcnn_512": (
            (0.36562865, 0.46733799),
            (0.63305391, 0.46585885),
            (0.50019127, 0.61942959),
            (0.39032951, 0.77598822),
            (0.61178945, 0.77476328),
        ),
        "styleganex_384": (
            (0.42353745, 0.52289879),
            (0.57725008, 0.52319972),
            (0.50123859, 0.61331904),
            (0.43364461, 0.68337652),
            (0.57015325, 0.68306005),
        ),
    }
)
"""Eyes, nose tip and mouth corners in the unit square of a crop, by template name."""

OUTLIER = 100.0
"""Distance in crop pixels from which a landmark is an outlier and excluded from the fit."""
BOX_BLUR = 0.3
"""FaceFusion's default: the box mask's falloff, as a share of half the crop's width."""


def warp_templates() -> dict[str, Points]:
    """Every template's five landmarks, as new arrays."""
    return {name: numpy.array(points) for name, points in TEMPLATES.items()}


def warp_face(
    vision_frame: VisionFrame, landmark_5: Points, template: str, size: tuple[int, int]
) -> tuple[VisionFrame, Matrix]:
    """The aligned crop of `size` (width, height) and its 2 x 3 affine matrix.

    Raises:
        KeyError: There is no such template.
    """
    goal = numpy.array(TEMPLATES[template]) * size
    matrix, _ = cv2.estimateAffinePartial2D(
        landmark_5, goal, method=cv2.RANSAC, ransacReprojThreshold=OUTLIER
    )
    crop = cv2.warpAffine(
        vision_frame, matrix, size, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
    )
    return crop, matrix


def paste_back(
    vision_frame: VisionFrame, crop: NDArray[Any], mask: Mask, matrix: Matrix
) -> VisionFrame:
    """A copy of the frame with `crop` (BGR, 0 to 255) blended in by `mask`."""
    back = cv2.invertAffineTransform(matrix)
    height, width = crop.shape[:2]
    corners = numpy.array([(0, 0), (width, 0), (width, height), (0, height)])
    covered = cv2.transform(corners[:, None], back)[:, 0]
    limits = vision_frame.shape[1::-1]
    left, top = numpy.floor(covered.min(axis=0)).astype(int).clip(0, limits).tolist()
    right, bottom = numpy.ceil(covered.max(axis=0)).astype(int).clip(0, limits).tolist()
    pasted = vision_frame.copy()
    size = (right - left, bottom - top)
    if min(size) == 0:
        return pasted
    back[:, 2] -= (left, top)
    share = cv2.warpAffine(mask, back, size).clip(0, 1)[..., None]
    laid = cv2.warpAffine(crop, back, size, borderMode=cv2.BORDER_REPLICATE)
    area = pasted[top:bottom, left:right]
    # not rounded: FaceFusion truncates
    pasted[top:bottom, left:right] = (area * (1 - share) + laid * share).astype(numpy.uint8)
    return pasted


def find_inside(
    frame_size: tuple[int, int], matrix: Matrix, size: tuple[int, int]
) -> NDArray[numpy.bool_]:
    """(H, W): which pixels of a crop show the frame; the others only repeat its border.

    Args:
        frame_size: Width and height of the frame.
        matrix: From the frame to the crop.
        size: Width and height of the crop.
    """
    frame = numpy.ones((frame_size[1], frame_size[0]), numpy.uint8)
    shown = cv2.warpAffine(frame, matrix, size, flags=cv2.INTER_NEAREST)
    return numpy.asarray(shown, dtype=numpy.bool_)


def create_box_mask(crop: VisionFrame) -> Mask:
    """FaceFusion's box mask with its default blur and padding: 1 inside, falling off outwards."""
    height, width = crop.shape[:2]
    blur = int(width * 0.5 * BOX_BLUR)
    rim = max(blur // 2, 1)
    mask: Mask = numpy.zeros((height, width), numpy.float32)
    mask[rim:-rim, rim:-rim] = 1
    return cv2.GaussianBlur(mask, (0, 0), blur * 0.25) if blur else mask


def fit_similarity(points: NDArray[Any], targets: NDArray[Any]) -> Matrix:
    """Least-squares rotation, uniform scale and shift that maps `points` to `targets`.

    Args:
        points: (..., n, 2).
        targets: (..., n, 2), or (n, 2) for all.

    Returns:
        (..., 2, 3) matrices. Source: Umeyama, 1991, in its two-dimensional complex form.
    """
    source = points[..., 0] + 1j * points[..., 1]
    target = targets[..., 0] + 1j * targets[..., 1]
    start = source - source.mean(axis=-1, keepdims=True)
    end = target - target.mean(axis=-1, keepdims=True)
    factor = (start.conj() * end).sum(axis=-1) / (start.conj() * start).sum(axis=-1)
    shift = target.mean(axis=-1) - factor * source.mean(axis=-1)
    rows = [[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]]
    return numpy.stack([numpy.stack(row, axis=-1) for row in rows], axis=-2)
