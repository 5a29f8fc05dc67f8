"""Renders batches of demo pictures: background, body, head, skin, features, hair, light.

A swap replaces the inner face: the skin inside a soft oval, and all features. The target keeps the
outline of the head, the skin outside that oval, hair, ears, neck, clothes, pose, expression, light
and background. Layers are painted back to front, each with antialiased edges.
"""

import math

import torch

from facefusion_finetune.demo.features import (
    Brush,
    blend,
    colour_from_hue,
    over,
    paint_brows,
    paint_eyes,
    paint_mouth,
    paint_nose,
)
from facefusion_finetune.demo.geometry import FRAME_SIZE, Layout, Pose
from facefusion_finetune.demo.people import MOLES, WAVES, Factors, RenderBatch

_DARK_SKIN, _PALE_SKIN = (0.36, 0.21, 0.14), (1.0, 0.84, 0.73)


def render(cast: RenderBatch, views: torch.Tensor, size: int) -> torch.Tensor:
    """Render every picture of a batch.

    Args:
        cast: People and scenes, one row per picture.
        views: (batch, 2, 3) affine matrices from pixels of the picture to pixels of the frame.
        size: Width and height of the pictures.

    Returns:
        (batch, 3, size, size), RGB, 0 to 1.
    """
    pose = Pose.of(cast)
    layout = Layout.of(cast, pose)
    steps = torch.arange(size, dtype=torch.float32)
    across, down = steps[None, None, :], steps[None, :, None]
    view = views.float()[..., None, None]
    frame_x = view[:, 0, 0] * across + view[:, 0, 1] * down + view[:, 0, 2]
    frame_y = view[:, 1, 0] * across + view[:, 1, 1] * down + view[:, 1, 2]
    # an edge is as wide as the larger of a picture pixel and a frame pixel
    pixel = torch.hypot(view[:, 0, 0], view[:, 1, 0]).clamp(min=1.0)
    edge = 1.4 * pixel / pose.scale
    head_x, head_y = pose.to_head(frame_x, frame_y)
    plane = Brush(cast, layout, head_x, head_y, edge)
    face = Brush(cast, layout, *pose.to_face(head_x, head_y), edge)
    exposure = cast.scene.between("exposure", 0.85, 1.12)[:, None]
    figure, cover = _paint_body(plane)
    figure, cover = _paint_head(figure, cover, face)
    figure = _paint_skin(figure, face)
    for paint in (paint_eyes, paint_nose, paint_mouth, paint_brows):
        figure = paint(figure, face)
    figure, cover = _paint_fringe(figure, cover, face)
    wall = _paint_wall(cast.scene, frame_x / FRAME_SIZE, frame_y / FRAME_SIZE)
    picture = torch.lerp(wall, figure * _shade(face), cover[:, None].expand_as(wall))
    return (picture * exposure).clamp(0, 1)


def _shade(face: Brush) -> torch.Tensor:
    """(batch, 3, H, W): brightness and colour of the light on the figure."""
    scene = face.cast.scene
    strength = scene.between("light_strength", 0.10, 0.42)
    slope = scene["light_x"] * face.x * 1.1 + scene["light_y"] * face.y * 0.6
    level = 1 + strength * slope.clamp(-1.3, 1.3)
    rim = 0.10 * (face.x * face.x + 0.5 * face.y * face.y).clamp(max=1.5)
    warmth = scene["light_warmth"]
    tint = torch.stack([1 + 0.07 * warmth, 1 + 0.0 * warmth, 1 - 0.10 * warmth], dim=1)
    return (level - rim)[:, None] * tint


def _paint_wall(scene: Factors, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """A gradient between two colours, with a slow wave."""
    saturation = scene.between("wall_colour", 0.05, 0.45)
    first = colour_from_hue(
        scene["wall_hue"] * 0.5, saturation, scene.between("wall_tone", 0.25, 0.70)
    )
    second = colour_from_hue(
        scene["wall_hue_2"] * 0.5, saturation, scene.between("wall_tone_2", 0.30, 0.75)
    )
    angle = scene["wall_angle"] * math.pi
    along = (x - 0.5) * torch.cos(angle) + (y - 0.5) * torch.sin(angle)
    across = (y - 0.5) * torch.cos(angle) - (x - 0.5) * torch.sin(angle)
    wave = torch.sin(across * scene.between("wall_spread", 4, 11) + math.pi * scene["wall_phase"])
    share = (0.5 + 0.75 * along + 0.14 * wave).clamp(0, 1)
    return torch.lerp(first, second, share[:, None])


def _paint_body(plane: Brush) -> tuple[torch.Tensor, torch.Tensor]:
    """Clothes, back hair, neck and ears in the head's plane; returns colour and coverage."""
    outer, layout = plane.cast.outer, plane.layout
    clothes = colour_from_hue(
        outer["clothes_hue"] * 0.5, 0.45, outer.between("clothes_tone", 0.25, 0.70)
    )
    skin = _skin(outer["skin_tone"], outer["outer_hue"], outer["outer_rosiness"])
    hair = _hair_colour(outer) * 0.72
    length = outer.between("hair_length", 0.85, 1.55)
    width = layout.head_width + outer.between("hair_width", 0.06, 0.24)
    figure = clothes.expand(-1, -1, *plane.x.shape[1:])
    cover = plane.ellipse(0.0, 3.1, 1.5, 1.85)
    back = plane.ellipse(0.0, length - 1.22, width, length)
    figure = over(figure, back, hair)
    neck = plane.inside(torch.maximum(plane.x.abs() - 0.36, (plane.y - 1.02).abs() - 0.42))
    figure = over(figure, neck, skin * 0.80)
    cover = torch.maximum(torch.maximum(cover, back), neck)
    for side in (-1, 1):
        size = outer.between("ear_size", 0.10, 0.17)
        ear = plane.ellipse(side * (layout.head_width + 0.02), 0.02, size, size * 1.5)
        figure = over(figure, ear, skin * 0.88)
        cover = torch.maximum(cover, ear)
    return figure, cover


def _outline(face: Brush) -> torch.Tensor:
    """(batch, H, W): 0 at the centre of the head, 1 on its outline."""
    jaw = face.cast.outer.between("jaw", 0.0, 0.22)
    low = face.y.clamp(0, 1.2)
    width = face.layout.head_width * (1 - jaw * low * low)
    return torch.hypot(face.x / width, face.y / face.layout.head_length)


def _paint_head(
    figure: torch.Tensor, cover: torch.Tensor, face: Brush
) -> tuple[torch.Tensor, torch.Tensor]:
    outer = face.cast.outer
    head = face.inside((_outline(face) - 1) * face.layout.head_width)
    skin = _skin(outer["skin_tone"], outer["outer_hue"], outer["outer_rosiness"])
    return over(figure, head, skin), torch.maximum(cover, head)


def _skin(tone: torch.Tensor, hue: torch.Tensor, rosiness: torch.Tensor) -> torch.Tensor:
    """(batch, 3, 1, 1) skin colour."""
    colour = blend(_DARK_SKIN, _PALE_SKIN, tone)
    shift = torch.stack([0.02 * rosiness, 0.035 * hue, -0.06 * hue - 0.03 * rosiness], dim=1)
    return colour * (1 + shift) + shift * 0.4


def inner_mask(face: Brush) -> torch.Tensor:
    """(batch, H, W): 1 where the skin is the source's, with a soft transition to the target's."""
    radius = torch.hypot(face.x / 0.70, (face.y - 0.14) / 0.86)
    return ((1.0 - radius) / 0.22).clamp(0, 1)


def _paint_skin(figure: torch.Tensor, face: Brush) -> torch.Tensor:
    """The source's skin and its features: blush, beard, pattern, moles, scar."""
    coarse, detail = face.cast.coarse, face.cast.detail
    inner = inner_mask(face)
    skin = _skin(face.cast.outer["skin_tone"], coarse["skin_hue"], coarse["skin_rosiness"])
    figure = over(figure, inner, skin)
    tint = colour_from_hue(0.5 * detail["pattern_hue"], 0.6, 0.5) - 0.5
    figure = figure + tint * (0.50 * detail["pattern"] * _waves(face) * inner)[:, None]
    rose = torch.tensor([0.90, 0.36, 0.34]).view(1, 3, 1, 1)
    for side in (-1, 1):
        cheek = face.glow(side * 0.42, 0.28, 0.20, 0.16)
        figure = over(figure, cheek * coarse.between("blush", 0.0, 0.55), rose)
    low = (face.y - 0.42).clamp(0, 0.25) * 4 * inner
    figure = over(
        figure,
        low * coarse.amount("beard") * 0.75,
        torch.tensor([0.22, 0.16, 0.13]).view(1, 3, 1, 1),
    )
    return _paint_marks(figure, face, inner)


def _waves(face: Brush) -> torch.Tensor:
    """(batch, H, W): a person's pattern of soft blotches, about -1 to 1."""
    detail = face.cast.detail
    total = torch.zeros_like(face.x)
    for index in range(WAVES):
        angle = math.pi * detail[f"wave_angle_{index}"]
        along = face.x * torch.cos(angle) + face.y * torch.sin(angle)
        # several waves on the face: the pattern must not look like a different skin colour
        speed = detail.between(f"wave_speed_{index}", 9.0, 15.0)
        total = total + torch.cos(speed * along + math.pi * detail[f"wave_phase_{index}"])
    return (total * 0.7).clamp(-1, 1)


def _paint_marks(figure: torch.Tensor, face: Brush, inner: torch.Tensor) -> torch.Tensor:
    detail = face.cast.detail
    brown = torch.tensor([0.30, 0.14, 0.09]).view(1, 3, 1, 1)
    pale = torch.tensor([1.0, 0.90, 0.80]).view(1, 3, 1, 1)
    angle = math.pi * detail["freckle_angle"]
    x = face.x * torch.cos(angle) + face.y * torch.sin(angle)
    y = face.y * torch.cos(angle) - face.x * torch.sin(angle)
    phase = math.pi * detail["freckle_phase"]
    dots = torch.cos(26 * x + 2 * torch.sin(5 * y + phase)) * torch.cos(24 * y + phase)
    place = face.glow(0.25 * detail["freckle_place"], 0.20, 0.50, 0.24)
    freckles = ((dots - 0.45) * 2.5).clamp(0, 1) * place * detail["freckles"]
    figure = over(figure, freckles.clamp(min=0) * inner * 0.8, brown)
    figure = over(figure, (-freckles).clamp(min=0) * inner * 0.8, pale)
    for index in range(MOLES):
        spot_x, spot_y = 0.55 * detail[f"mole_x_{index}"], 0.15 + 0.6 * detail[f"mole_y_{index}"]
        size = 0.07 * detail.amount(f"mole_size_{index}").sqrt()
        mole = face.inside(torch.hypot(face.x - spot_x, face.y - spot_y) - size)
        figure = over(figure, mole * inner * 0.85 * (size > 0.012), brown)
    turn = math.pi * detail["scar_angle"]
    x, y = face.x - 0.45 * detail["scar_x"], face.y - 0.15 - 0.5 * detail["scar_y"]
    along = (x * torch.cos(turn) + y * torch.sin(turn)).abs()
    across = (y * torch.cos(turn) - x * torch.sin(turn)).abs()
    scar = face.inside(torch.maximum(across - 0.022, along - 0.30 * detail.amount("scar")))
    figure = over(
        figure,
        scar * inner * 0.7 * (detail["scar"] > 0.1),
        torch.tensor([0.85, 0.48, 0.46]).view(1, 3, 1, 1),
    )
    return _paint_folds(figure, face, inner)


def _paint_folds(figure: torch.Tensor, face: Brush, inner: torch.Tensor) -> torch.Tensor:
    """Lines from nose to mouth, and a cleft chin."""
    detail, layout = face.cast.detail, face.layout
    dark = torch.tensor([0.32, 0.15, 0.12]).view(1, 3, 1, 1)
    for side in (-1, 1):
        x = side * face.x - 0.17 - 0.30 * (face.y - layout.nose_y)
        span = face.glow(side * 0.26, 0.42, 0.30, 0.14)
        line = torch.exp(-((x / 0.03) ** 2)) * span
        figure = over(figure, line * detail.amount("fold") * 0.6, dark)
    cleft = face.glow(0.0, 0.84, 0.025, 0.08) * detail.amount("cleft")
    return over(figure, cleft * inner * 0.7, dark)


def _hair_colour(outer: Factors) -> torch.Tensor:
    dark = blend((0.10, 0.07, 0.07), (0.30, 0.12, 0.06), outer["hair_warmth"])
    fair = blend((0.62, 0.58, 0.56), (0.93, 0.66, 0.30), outer["hair_warmth"])
    return torch.lerp(dark, fair, outer.between("hair_tone", 0.0, 1.0)[:, None])


def _paint_fringe(
    figure: torch.Tensor, cover: torch.Tensor, face: Brush
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hair over the forehead, with strands; always the target's."""
    outer, layout = face.cast.outer, face.layout
    part = 0.4 * outer["hair_part"]
    bend = (face.x - part) ** 2
    curl = 0.05 * torch.sin(14 * face.x + 3) * outer.amount("hair_wave")
    line = outer.between("hair_line", -0.68, -0.54) + 0.45 * bend + curl
    cap = (_outline(face) - 1.10) * layout.head_width
    hair = face.inside(torch.maximum(cap, (face.y - line) * 0.8))
    strands = torch.sin((face.x - part) * 24 / (1.2 + face.y.abs()))
    colour = _hair_colour(outer) * (1 + 0.13 * strands)[:, None]
    return over(figure, hair, colour), torch.maximum(cover, hair)
