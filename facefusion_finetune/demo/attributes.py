"""From the factors the reader tells to the attributes the rest of the package compares.

Factors are turned into angles and proportions of the demo's average face. So they say what the face
does and not whose it is: a true swap, which has another's eyes and mouth, keeps them.
"""

import math
from typing import Any

import numpy
from numpy.typing import NDArray

from facefusion_finetune.demo.geometry import GAPE, GAZE, LID_RANGE, LIMITS, LOWER_LID, MEAN_POINTS
from facefusion_finetune.demo.networks import READ
from facefusion_finetune.faces.protocol import FaceAttributes

ROUNDNESS = 0.70
"""Height over width of the average eye's opening, one lid alone."""
CLOSED = 0.7
"""From this `eye_close` on, the irises are out of sight."""
MOUTH_WIDTH = 2 * MEAN_POINTS[4][0]


def convert_factors(factors: NDArray[Any]) -> FaceAttributes:
    """The attributes of a picture, from (len(READ),) factors; both eyes are equally open."""
    values = {name: float(value) for name, value in zip(READ, factors, strict=True)}
    closing, gaping = (
        float(numpy.clip(values[name], 0, 1)) for name in ("eye_close", "mouth_open")
    )
    opening = ROUNDNESS * (1 - LID_RANGE * closing + LOWER_LID) / 2
    gaze = (GAZE[0] * values["gaze_x"] / 2, GAZE[1] * ROUNDNESS * values["gaze_y"] / 2)
    return FaceAttributes(
        yaw=LIMITS["yaw"] * values["yaw"],
        pitch=LIMITS["pitch"] * values["pitch"],
        eye_opening=(opening, opening),
        mouth_opening=1.5 * GAPE * gaping / MOUTH_WIDTH,
        gaze=(math.nan, math.nan) if closing > CLOSED else gaze,
    )
