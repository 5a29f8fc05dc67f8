"""Eyes, brows, nose and mouth of a batch of demo faces."""

import math
from dataclasses import dataclass

import torch

from facefusion_finetune.demo.geometry import GAZE, LID_RANGE, LOWER_LID, Layout
from facefusion_finetune.demo.people import RenderBatch


@dataclass(frozen=True)
class Brush:
    """What painting a part needs: the faces, their layout, and the pixels' face coordinates."""

    cast: RenderBatch
    layout: Layout
    x: torch.Tensor
    """(batch, H, W), face units."""
    y: torch.Tensor
    edge: torch.Tensor
    """(batch, 1, 1): width of an antialiased edge, in face units."""

    def inside(self, distance: torch.Tensor) -> torch.Tensor:
        """Coverage 0..1 from a signed distance (negative inside), antialiased."""
        return (0.5 - distance / self.edge).clamp(0, 1)

    def ellipse(
        self,
        x: torch.Tensor | float,
        y: torch.Tensor | float,
        width: torch.Tensor | float,
        height: torch.Tensor | float,
    ) -> torch.Tensor:
        """Coverage of an ellipse given by its centre and semi-axes."""
        radius = torch.hypot((self.x - x) / width, (self.y - y) / height)
        shortest = torch.minimum(torch.as_tensor(width), torch.as_tensor(height))
        return self.inside((radius - 1) * shortest)

    def glow(
        self, x: torch.Tensor | float, y: torch.Tensor | float, width: float, height: float
    ) -> torch.Tensor:
        """A soft spot, 1 at its centre."""
        return torch.exp(-(((self.x - x) / width) ** 2) - ((self.y - y) / height) ** 2)


def over(picture: torch.Tensor, cover: torch.Tensor, colour: torch.Tensor) -> torch.Tensor:
    """Blend `colour` (batch, 3, 1 or H, 1 or W) over (batch, 3, H, W) by `cover`."""
    return torch.lerp(picture, colour.expand_as(picture), cover[:, None].expand_as(picture))


def colour_from_hue(
    hue: torch.Tensor, saturation: float | torch.Tensor, light: float | torch.Tensor
) -> torch.Tensor:
    """(batch, 3, 1, 1) colour of a hue, given in turns."""
    waves = [torch.cos(2 * math.pi * (hue - third / 3)) for third in range(3)]
    return torch.stack([light * (1 + saturation * wave) for wave in waves], dim=1)


def blend(low: tuple[float, ...], high: tuple[float, ...], share: torch.Tensor) -> torch.Tensor:
    """(batch, 3, 1, 1) colour between two colours, `share` from -1 to 1."""
    pairs = zip(low, high, strict=True)
    return torch.stack([a + (b - a) * (share + 1) * 0.5 for a, b in pairs], dim=1)


def paint_eyes(picture: torch.Tensor, brush: Brush) -> torch.Tensor:
    """Sockets, eyeballs, lids and lashes."""
    coarse, detail, scene, layout = (
        *(brush.cast.coarse, brush.cast.detail, brush.cast.scene),
        brush.layout,
    )
    iris = colour_from_hue(coarse["iris_hue"] * 0.5, 0.5, coarse.between("iris_light", 0.22, 0.62))
    lid = colour_from_hue(detail["lid_hue"] * 0.5, 0.55, 0.5)
    closed = scene.amount("eye_close")
    shadow = torch.full((1, 3, 1, 1), 0.12)
    white = torch.tensor([0.92, 0.91, 0.89]).view(1, 3, 1, 1)
    tilt = coarse["eye_tilt"] * 0.28
    for side, eye_y in zip((-1, 1), layout.eye_y, strict=True):
        x = brush.x - side * layout.eye_x
        y = brush.y - eye_y + side * tilt * x
        along = x / layout.eye_width
        bow = (1 - along * along).clamp(min=-3)
        upper = -layout.eye_height * bow * (1 - LID_RANGE * closed)
        lower = layout.eye_height * bow * LOWER_LID
        socket = torch.exp(-((along * 0.62) ** 2) - ((y + 0.04) / 0.16) ** 2)
        picture = over(picture, socket * coarse.between("socket", 0.0, 0.4), shadow)
        painted = torch.exp(-((along * 0.75) ** 2) - ((y + layout.eye_height) / 0.09) ** 2)
        picture = over(picture, painted * detail.amount("lid_colour") * 0.75, lid)
        ball = brush.inside(torch.maximum(upper - y, y - lower))
        picture = over(picture, ball, white * (0.86 + 0.14 * (y > 0)[:, None]))
        gaze_x = scene["gaze_x"] * GAZE[0] * layout.eye_width
        gaze_y = scene["gaze_y"] * GAZE[1] * layout.eye_height
        radius = torch.hypot(x - gaze_x, y - gaze_y)
        size = 0.055 + layout.eye_width * 0.22
        picture = over(picture, ball * brush.inside(radius - size), iris * 0.75)
        picture = over(picture, ball * brush.inside(radius - size * 0.78), iris)
        picture = over(picture, ball * brush.inside(radius - size * 0.42), iris * 0.3)
        spark = torch.hypot(x - gaze_x + size * 0.35, y - gaze_y + size * 0.4)
        picture = over(picture, ball * brush.inside(spark - size * 0.3) * 0.7, white)
        lash = brush.inside((y - upper).abs() - 0.022) * brush.inside((along.abs() - 1.05) * 0.15)
        picture = over(picture, lash * 0.8, shadow)
    return picture


def paint_brows(picture: torch.Tensor, brush: Brush) -> torch.Tensor:
    """Two tapered strokes; arch, taper and a shaved slit are detail."""
    coarse, detail, layout = brush.cast.coarse, brush.cast.detail, brush.layout
    colour = blend((0.09, 0.06, 0.05), (0.70, 0.50, 0.30), coarse["brow_tone"])
    weight = coarse.between("brow_weight", 0.028, 0.080)
    for side, brow_y in zip((-1, 1), layout.brow_y, strict=True):
        along = (brush.x - side * layout.eye_x) * side / layout.brow_width
        arch = (0.035 + 0.055 * detail["brow_arch"]) * (along * along - 0.4)
        y = brush.y - brow_y - arch + coarse["brow_tilt"] * 0.06 * along
        thick = weight * (1 - 0.60 * detail["brow_taper"] * along).clamp(min=0.15)
        cover = brush.inside(torch.maximum(y.abs() - thick, (along.abs() - 1) * 0.2))
        slit = (along - 0.7 * detail["brow_slit_place"]).abs() * layout.brow_width
        # the slit is in one brow only, like that of a scar or a razor
        if side > 0:
            cover = cover * (1 - brush.inside(slit - 0.05 * detail.amount("brow_slit")))
        picture = over(picture, cover * 0.92, colour)
    return picture


def paint_nose(picture: torch.Tensor, brush: Brush) -> torch.Tensor:
    """Bridge, tip, wings and nostrils; the bridge is darker on the side away from the light."""
    coarse, scene, layout = brush.cast.coarse, brush.cast.scene, brush.layout
    top = (layout.eye_y[0] + layout.eye_y[1]) / 2
    down = ((brush.y - top) / (layout.nose_y - top)).clamp(0, 1.2)
    line = brush.x - layout.nose_x * down
    span = (brush.y > top) * brush.inside(brush.y - layout.nose_y)
    width = layout.nose_width * (0.35 + 0.35 * down)
    away = torch.sign(scene["light_x"]) * line / width
    bridge = span * torch.exp(-((away - 0.9) ** 2)) * coarse.between("nose_bridge", 0.05, 0.40)
    picture = over(picture, bridge, torch.tensor([0.28, 0.13, 0.10]).view(1, 3, 1, 1))
    x, y = layout.nose_x, layout.nose_y
    tip = brush.glow(x, y - 0.01, 0.05, 0.04) * 0.35
    picture = over(picture, tip, torch.ones(1, 3, 1, 1))
    ring = torch.hypot((brush.x - x) / layout.nose_width, (brush.y - y) / 0.09)
    under = (brush.y > y) * brush.inside((ring - 1).abs() * 0.09 - 0.018)
    picture = over(picture, under * 0.55, torch.tensor([0.30, 0.13, 0.10]).view(1, 3, 1, 1))
    dark = torch.tensor([0.18, 0.07, 0.06]).view(1, 3, 1, 1)
    for side in (-1, 1):
        hole = brush.ellipse(x + side * layout.nose_width * 0.48, y + 0.045, 0.034, 0.02)
        picture = over(picture, hole * 0.85, dark)
    return picture


def paint_mouth(picture: torch.Tensor, brush: Brush) -> torch.Tensor:
    """Lips, and teeth and tongue if it is open; lip bow, lobes and tooth gap are detail."""
    coarse, detail, layout = brush.cast.coarse, brush.cast.detail, brush.layout
    share = (brush.x - layout.mouth_x) / layout.mouth_width
    flat = (1 - share * share).clamp(min=-1)
    line = layout.lip_line(share.clamp(-1.3, 1.3))
    bow = 1 - (0.5 + 0.5 * detail["lip_bow"]) * torch.exp(-((share / 0.22) ** 2))
    lobes = 1 + 0.45 * detail["lip_lobes"] * torch.cos(2 * math.pi * share)
    upper = line - (layout.gap * 0.5) * flat - layout.upper_lip * flat * bow
    lower = line + layout.gap * flat + layout.lower_lip * flat * lobes
    lips = brush.inside(torch.maximum(upper - brush.y, brush.y - lower))
    colour = colour_from_hue(coarse["lip_hue"] * 0.10, 0.38, coarse.between("lip_tone", 0.40, 0.68))
    picture = over(picture, lips * 0.9, colour)
    stripe = brush.inside((brush.x - layout.mouth_x).abs() - 0.07 * detail.amount("lip_stripe"))
    picture = over(picture, lips * stripe * (detail["lip_stripe"] > 0.1), colour * 0.35)
    shine = torch.exp(
        -((share / 0.5) ** 2) - ((brush.y - lower + layout.lower_lip * 0.5) / 0.03) ** 2
    )
    picture = over(picture, shine * lips * 0.25, torch.ones(1, 3, 1, 1))
    top, bottom = line - layout.gap * 0.5 * flat, line + layout.gap * flat
    hole = brush.inside(torch.maximum(top - brush.y, brush.y - bottom) - 0.012)
    hole = hole * brush.inside((share.abs() - 1) * 0.2)
    picture = over(picture, hole, torch.tensor([0.27, 0.07, 0.09]).view(1, 3, 1, 1))
    tongue = brush.ellipse(layout.mouth_x, layout.mouth_y + layout.gap + 0.04, 0.13, 0.075)
    picture = over(picture, hole * tongue * 0.8, torch.tensor([0.78, 0.35, 0.38]).view(1, 3, 1, 1))
    length = 0.05 * (1 + 0.6 * detail["tooth_length"])
    teeth = hole * brush.inside(brush.y - top - length) * brush.inside(share.abs() - 0.75)
    teeth = teeth * (layout.gap > 0.012)
    gap = brush.inside((brush.x - layout.mouth_x).abs() - 0.035 * detail.amount("tooth_gap"))
    return over(picture, teeth * (1 - gap), torch.tensor([0.98, 0.97, 0.92]).view(1, 3, 1, 1))
