"""Where the parts of a demo face are, shared by the renderer and the landmarks.

Three coordinate systems: pixels of the frame; the head's plane, whose unit is about half a face
width, x to the picture's right, y down, upright with the head; and the face, the head's plane
seen from the front. The head is a shallow paraboloid, so turning it moves raised parts (nose,
mouth) further than flat ones (cheeks, outline): pseudo-3D, exactly invertible.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from numpy.typing import NDArray

from facefusion_finetune.demo.people import RenderBatch
from facefusion_finetune.faces.warp import fit_similarity

FRAME_SIZE = 192
"""Width and height of a demo frame in pixels."""
CROP_SIZE = 64
TEMPLATE = "demo_64"
CROP_UNIT = 0.54
"""Length of one face unit in the aligned crop, as a share of the crop's width."""
CROP_CENTRE = (0.5, 0.425)
"""The face's origin in the aligned crop, in the unit square."""
MEAN_POINTS = ((-0.34, -0.12), (0.34, -0.12), (0.0, 0.215), (-0.265, 0.53), (0.265, 0.53))
"""Eyes, nose tip, mouth corners of the average face, in face units."""
TEMPLATE_POINTS = tuple(
    (CROP_CENTRE[0] + CROP_UNIT * x, CROP_CENTRE[1] + CROP_UNIT * y) for x, y in MEAN_POINTS
)

HEIGHT, WIDE, LONG = 0.5, 0.95, 1.25
NOSE_HEIGHT = 0.16
LIMITS = {"yaw": 22.0, "pitch": 13.0, "roll": 20.0}
"""Degrees for a factor of 1."""
MOUTH_GAP = 0.10
"""How far the lower lip of a fully open mouth moves, in face units; the upper lip moves half."""
LID_RANGE, LOWER_LID = 1.35, 0.62
"""Travel of the upper lid and height of the lower one, as shares of the open eye's height."""
GAZE = (0.32, 0.22)
"""How far the iris moves, as a share of half the eye's width and of its height."""


@dataclass(frozen=True)
class Pose:
    """Sines and cosines of a batch of heads, and their frame positions; each (batch, 1, 1)."""

    yaw_sin: torch.Tensor
    yaw_cos: torch.Tensor
    pitch_sin: torch.Tensor
    pitch_cos: torch.Tensor
    roll_sin: torch.Tensor
    roll_cos: torch.Tensor
    centre_x: torch.Tensor
    centre_y: torch.Tensor
    scale: torch.Tensor
    """Pixels of the frame per face unit."""

    @staticmethod
    def of(cast: RenderBatch) -> "Pose":
        """Pose and position: yaw to 22 degrees, pitch to 13, roll to 20."""
        angles = [cast.scene[name] * math.radians(limit) for name, limit in LIMITS.items()]
        turns = [turn(angle) for angle in angles for turn in (torch.sin, torch.cos)]
        centre = [FRAME_SIZE * cast.scene.between(f"centre_{axis}", 0.45, 0.55) for axis in "xy"]
        return Pose(*[*turns, *centre, cast.scene.between("scale", 32.0, 48.0)])

    def to_head(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Frame pixels to the head's plane."""
        x, y = (x - self.centre_x) / self.scale, (y - self.centre_y) / self.scale
        return x * self.roll_cos + y * self.roll_sin, y * self.roll_cos - x * self.roll_sin

    def to_face(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The head's plane to the face: solves `to_frame`'s projection for the near side."""
        wide, long = 1 / (self.yaw_cos * WIDE) ** 2, 1 / (self.pitch_cos * LONG) ** 2
        square = HEIGHT * (self.yaw_sin**2 * wide + self.pitch_sin**2 * long)
        slope = 1 - 2 * HEIGHT * (x * self.yaw_sin * wide + y * self.pitch_sin * long)
        level = HEIGHT * (1 - x * x * wide - y * y * long)
        # there is no solution beyond the silhouette; the clamp extrapolates smoothly enough
        root = (slope * slope + 4 * square * level).clamp(min=1e-4).sqrt()
        depth = (2 * level / (slope + root).clamp(min=0.2)).clamp(min=-1.0)
        return (x - depth * self.yaw_sin) / self.yaw_cos, (
            y - depth * self.pitch_sin
        ) / self.pitch_cos

    def to_frame(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Points of the face to frame pixels."""
        depth = HEIGHT * (1 - (x / WIDE) ** 2 - (y / LONG) ** 2)
        x = x * self.yaw_cos + depth * self.yaw_sin
        y = y * self.pitch_cos + depth * self.pitch_sin
        x, y = x * self.roll_cos - y * self.roll_sin, x * self.roll_sin + y * self.roll_cos
        return self.centre_x + self.scale * x, self.centre_y + self.scale * y


@dataclass(frozen=True)
class Layout:
    """Positions and sizes of a batch of faces in face units; each (batch, 1, 1)."""

    eye_x: torch.Tensor
    eye_y: tuple[torch.Tensor, torch.Tensor]
    """Left eye, right eye, as seen in the picture."""
    eye_width: torch.Tensor
    eye_height: torch.Tensor
    brow_y: tuple[torch.Tensor, torch.Tensor]
    brow_width: torch.Tensor
    nose_x: torch.Tensor
    nose_y: torch.Tensor
    nose_width: torch.Tensor
    mouth_x: torch.Tensor
    mouth_y: torch.Tensor
    mouth_width: torch.Tensor
    gap: torch.Tensor
    """Half the opening of the mouth at its middle."""
    corner_rise: torch.Tensor
    """How far the mouth's corners are above its middle."""
    upper_lip: torch.Tensor
    lower_lip: torch.Tensor
    head_width: torch.Tensor
    head_length: torch.Tensor

    @staticmethod
    def of(cast: RenderBatch, pose: Pose) -> "Layout":
        """Lay out the faces of a batch with their expressions."""
        coarse, detail, outer, scene = cast.coarse, cast.detail, cast.outer, cast.scene
        eye_y = coarse.between("eye_height", -0.17, -0.07)
        eye_uneven, brow_uneven = 0.04 * detail["eyes_uneven"], 0.055 * detail["brow_uneven"]
        eye_width = coarse.between("eye_size", 0.15, 0.24)
        brow_y = eye_y - coarse.between("brow_height", 0.20, 0.32) - 0.06 * scene["brow_raise"]
        opening, smile = scene.amount("mouth_open"), scene["smile"]
        lip = coarse.between("lip_weight", 0.04, 0.11)
        nose_turn_x = NOSE_HEIGHT * pose.yaw_sin / pose.yaw_cos
        nose_turn_y = NOSE_HEIGHT * pose.pitch_sin / pose.pitch_cos
        return Layout(
            eye_x=coarse.between("eye_spacing", 0.30, 0.38),
            eye_y=(eye_y - eye_uneven, eye_y + eye_uneven),
            eye_width=eye_width,
            eye_height=eye_width * coarse.between("eye_roundness", 0.45, 0.95),
            brow_y=(brow_y - brow_uneven, brow_y + brow_uneven),
            brow_width=coarse.between("brow_length", 0.16, 0.26),
            nose_x=0.055 * detail["nose_bend"] + nose_turn_x,
            nose_y=coarse.between("nose_length", 0.15, 0.28) + nose_turn_y,
            nose_width=coarse.between("nose_width", 0.09, 0.20),
            mouth_x=0.06 * detail["mouth_shift"],
            mouth_y=coarse.between("mouth_height", 0.48, 0.58),
            mouth_width=coarse.between("mouth_width", 0.20, 0.33) * (1 + 0.12 * smile),
            gap=MOUTH_GAP * opening,
            corner_rise=0.09 * smile + 0.06 * detail["lip_corner"],
            upper_lip=lip,
            lower_lip=lip * 1.25,
            head_width=outer.between("head_width", 0.68, 0.84),
            head_length=outer.between("head_length", 0.95, 1.10),
        )

    def lip_line(self, share: torch.Tensor) -> torch.Tensor:
        """y of the closed mouth's line at -1 (left corner) to 1 (right corner)."""
        return self.mouth_y + self.corner_rise * (0.4 - share * share)


READER_FACTORS = ("yaw", "pitch", "mouth_open", "eye_close", "gaze_x", "gaze_y")
"""The scene factors that the reader predicts, in its output order."""


Matrices = NDArray[numpy.float64]
"""(batch, 2, 3) affine matrices."""


def align_to_template(landmark_5: NDArray[Any], size: int = CROP_SIZE) -> Matrices:
    """(batch, 2, 3): frame pixels to pixels of the `size` x `size` crop.

    Args:
        landmark_5: (batch, 5, 2) in frame pixels.
    """
    return fit_similarity(landmark_5, numpy.array(TEMPLATE_POINTS) * size)


def invert_affine(matrices: Matrices) -> Matrices:
    """(batch, 2, 3): the inverse matrices."""
    linear = numpy.linalg.inv(matrices[:, :, :2])
    return numpy.concatenate([linear, -linear @ matrices[:, :, 2:]], axis=2)
