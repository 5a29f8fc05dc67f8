"""Pose and expression of a swap against those of the frame it was made for."""

import numpy
from numpy.typing import NDArray

from facefusion_finetune.faces.protocol import FaceAttributes

ATTRIBUTES = ("pose", "blink", "mouth", "gaze")
DIFFERENCES = 7
"""Numbers that `compare_attributes` gives."""

Values = NDArray[numpy.float64]


def compare_attributes(seen: FaceAttributes, expected: FaceAttributes) -> list[float]:
    """Signed differences: yaw and pitch, both eyes' lids, mouth, gaze right and down."""
    lids = numpy.subtract(seen.eye_opening, expected.eye_opening)
    gaze = numpy.subtract(seen.gaze, expected.gaze)
    return [
        *(seen.yaw - expected.yaw, seen.pitch - expected.pitch),
        *(float(lid) for lid in lids),
        seen.mouth_opening - expected.mouth_opening,
        *(float(part) for part in gaze),
    ]


def join_differences(differences: Values) -> dict[str, Values]:
    """(n, 7) of `compare_attributes` to (n,) errors: degrees, eye, mouth and eye widths."""
    yaw, pitch, left, right, mouth, across, down = numpy.abs(differences.T)
    return {
        "pose": numpy.hypot(yaw, pitch),
        "blink": (left + right) / 2,
        "mouth": mouth,
        "gaze": numpy.hypot(across, down),
    }
