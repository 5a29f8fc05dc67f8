"""Exact landmarks of rendered faces, computed from the layout that the renderer uses."""

import math

import numpy
import torch
from numpy.typing import NDArray

from facefusion_finetune.demo.geometry import Layout, Pose
from facefusion_finetune.demo.people import RenderBatch

Point = tuple[torch.Tensor, torch.Tensor]


def locate_landmarks(cast: RenderBatch) -> tuple[NDArray[numpy.float64], NDArray[numpy.float64]]:
    """The 5 and 68 landmarks of every face, in frame pixels.

    Returns:
        (batch, 5, 2): eyes, nose tip, mouth corners; (batch, 68, 2) in the iBUG order: jaw 17,
        brows 5 + 5, nose 4 + 5, eyes 6 + 6, mouth 12 + 8.
    """
    pose = Pose.of(cast)
    layout = Layout.of(cast, pose)
    five = [*_eye_centres(layout), (layout.nose_x, layout.nose_y), *_corners(layout)]
    many = [*_jaw(layout), *_brows(layout), *_nose(layout), *_eyes(layout), *_mouth(layout)]
    return _project(pose, five), _project(pose, many)


def bound_face(landmark_68: NDArray[numpy.float64]) -> NDArray[numpy.float64]:
    """(batch, 4): x1, y1, x2, y2 around the points, with room for the forehead."""
    low, high = landmark_68.min(axis=1), landmark_68.max(axis=1)
    low = low - (high - low) * numpy.array([0.03, 0.12])
    return numpy.concatenate([low, high], axis=1)


def _project(pose: Pose, points: list[Point]) -> NDArray[numpy.float64]:
    placed = [torch.cat(pose.to_frame(x, y), dim=2) for x, y in points]
    return torch.cat(placed, dim=1).numpy().astype(numpy.float64)


def _eye_centres(layout: Layout) -> list[Point]:
    return [(-layout.eye_x, layout.eye_y[0]), (layout.eye_x, layout.eye_y[1])]


def _corners(layout: Layout) -> list[Point]:
    height = layout.lip_line(torch.ones(1))
    return [(layout.mouth_x + side * layout.mouth_width, height) for side in (-1, 1)]


def _jaw(layout: Layout) -> list[Point]:
    angles = [math.pi * (1 - step / 16) for step in range(17)]
    return [
        (layout.head_width * math.cos(angle), layout.head_length * math.sin(angle))
        for angle in angles
    ]


def _brows(layout: Layout) -> list[Point]:
    return [
        (side * layout.eye_x + layout.brow_width * step / 2, height)
        for side, height in zip((-1, 1), layout.brow_y, strict=True)
        for step in range(-2, 3)
    ]


def _nose(layout: Layout) -> list[Point]:
    top = (layout.eye_y[0] + layout.eye_y[1]) / 2
    bridge = [
        (layout.nose_x * step / 3, top + (layout.nose_y - top) * step / 3) for step in range(4)
    ]
    base = [
        (layout.nose_x + layout.nose_width * step / 2, layout.nose_y + 0.07)
        for step in range(-2, 3)
    ]
    return [*bridge, *base]


def _eyes(layout: Layout) -> list[Point]:
    ring = [(-1.0, 0.0), (-0.4, -0.8), (0.4, -0.8), (1.0, 0.0), (0.4, 0.8), (-0.4, 0.8)]
    return [
        (side * layout.eye_x + layout.eye_width * x, height + layout.eye_height * y)
        for side, height in zip((-1, 1), layout.eye_y, strict=True)
        for x, y in ring
    ]


def _mouth(layout: Layout) -> list[Point]:
    def at(share: float, thick: torch.Tensor) -> Point:
        flat = 1 - share * share
        height = layout.lip_line(torch.tensor(share)) + thick * flat
        return layout.mouth_x + layout.mouth_width * share, height

    upper, lower = -(layout.gap * 0.5 + layout.upper_lip), layout.gap + layout.lower_lip
    outside = [at(step / 3, upper) for step in range(-3, 4)]
    outside += [at(-step / 3, lower) for step in range(-2, 3)]
    inside = [at(step * 0.4, -layout.gap * 0.5) for step in range(-2, 3)]
    inside += [at(-step * 0.4, layout.gap) for step in range(-1, 2)]
    return [*outside, *inside]
