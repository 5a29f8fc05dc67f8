"""The factors of the demo's people and scenes: named values from -1 to 1, drawn from seeds.

A person has three groups of factors. `coarse` is what the recogniser's embedding encodes; `detail`
is what it ignores, with zero for a face without detail; both are swapped. `outer` (outline of the
head, hair, ears, neck, clothes, skin tone) stays with the target, as in a real face swap. A scene
holds the rest: pose, expression, light, background and position in the frame.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy
import torch
from numpy.typing import NDArray

FIRST_UNSEEN_SEED = 1_000_000
"""The demo's networks are trained only on people with lower seeds."""

COARSE = (
    *("skin_hue", "skin_rosiness", "blush", "beard"),
    *("eye_spacing", "eye_height", "eye_size", "eye_roundness", "eye_tilt"),
    *("iris_hue", "iris_light", "socket"),
    *("brow_height", "brow_length", "brow_weight", "brow_tilt", "brow_tone"),
    *("nose_length", "nose_width", "nose_bridge"),
    *("mouth_height", "mouth_width", "lip_weight", "lip_hue", "lip_tone"),
)
WAVES = 4
MOLES = 4
DETAIL = (
    *("pattern", "pattern_hue"),
    *(f"wave_{part}_{index}" for index in range(WAVES) for part in ("angle", "speed", "phase")),
    *("freckles", "freckle_angle", "freckle_phase", "freckle_place"),
    *(f"mole_{part}_{index}" for index in range(MOLES) for part in ("x", "y", "size")),
    *("scar", "scar_x", "scar_y", "scar_angle"),
    *("brow_arch", "brow_taper", "brow_slit", "brow_slit_place", "brow_uneven"),
    *("lip_bow", "lip_lobes", "lip_corner", "lip_stripe"),
    *("tooth_gap", "tooth_length"),
    *("eyes_uneven", "mouth_shift", "nose_bend"),
    *("lid_colour", "lid_hue", "fold", "cleft"),
)
OUTER = (
    *("head_width", "head_length", "jaw", "skin_tone", "outer_hue", "outer_rosiness"),
    *("hair_tone", "hair_warmth", "hair_length", "hair_width", "hair_line", "hair_part"),
    *("hair_wave", "ear_size", "clothes_hue", "clothes_tone"),
)
POSE = ("yaw", "pitch", "roll")
EXPRESSION = ("mouth_open", "smile", "eye_close", "gaze_x", "gaze_y", "brow_raise")
LIGHT = ("light_x", "light_y", "light_strength", "light_warmth", "exposure")
BACKGROUND = (
    *("wall_hue", "wall_tone", "wall_colour", "wall_hue_2", "wall_tone_2"),
    *("wall_angle", "wall_spread", "wall_phase"),
)
PLACE = ("centre_x", "centre_y", "scale")
SCENE = (*POSE, *EXPRESSION, *LIGHT, *BACKGROUND, *PLACE)

Values = NDArray[numpy.float64]
"""(number of factors,) or (batch, number of factors), each -1 to 1."""

_STREAMS = {"coarse": 1, "detail": 2, "outer": 3, "scene": 4, "shot": 5}


@dataclass(frozen=True)
class Person:
    """One procedural person; every array holds values from -1 to 1."""

    coarse: Values
    detail: Values
    outer: Values


def draw(group: str, seed: int, count: int) -> Values:
    """(count,) uniform values; identical for a group and seed on every machine."""
    return numpy.random.default_rng([_STREAMS[group], seed]).uniform(-1, 1, count)


def draw_person(seed: int, detail_seed: int | None = None) -> Person:
    """The person of a seed; with `detail_seed`, a sibling who differs only in detail.

    The skin outside the inner face starts as the person's own, so that no one looks masked.
    """
    coarse = draw("coarse", seed, len(COARSE))
    outer = draw("outer", seed, len(OUTER))
    for name in ("hue", "rosiness"):
        outer[OUTER.index(f"outer_{name}")] = coarse[COARSE.index(f"skin_{name}")]
    detail = draw("detail", seed if detail_seed is None else detail_seed, len(DETAIL))
    return Person(coarse, detail, outer)


def without_detail(person: Person) -> Person:
    """The person without detail, as a control: the same embedding, and nothing beyond it."""
    return Person(person.coarse, numpy.zeros_like(person.detail), person.outer)


def swap_person(source: Person, target: Person) -> Person:
    """The true swap: the source's inner face on the target's head."""
    return Person(source.coarse, source.detail, target.outer)


def draw_scene(seed: int) -> Values:
    """(len(SCENE),): pose, expression, light, background and position of one still picture."""
    scene: Values = draw_scenes(numpy.random.default_rng([_STREAMS["scene"], seed]), 1)[0]
    return scene


def draw_scenes(generator: numpy.random.Generator, count: int) -> Values:
    """(count, len(SCENE)): unrelated stills; eyes are mostly open."""
    scenes = generator.uniform(-1, 1, (count, len(SCENE)))
    scenes[:, SCENE.index("eye_close")] **= 3
    return scenes


def draw_shot(seed: int, frames: int) -> Values:
    """(frames, len(SCENE)): fixed background and light; pose, expression and position move."""
    generator = numpy.random.default_rng([_STREAMS["shot"], seed])
    base = generator.uniform(-1, 1, len(SCENE))
    scenes = numpy.repeat(base[None], frames, axis=0)
    time = numpy.arange(frames) / 25.0
    for index, name in enumerate(SCENE):
        if name not in (*POSE, *EXPRESSION, *PLACE):
            continue
        # two slow waves, seconds long: neighbouring frames are similar, the shot as a whole varies
        speed = generator.uniform([0.5, 1.5], [1.5, 4.0])
        phase = generator.uniform(0, 2 * numpy.pi, 2)
        waves = numpy.sin(numpy.outer(speed, time) + phase[:, None])
        # on some processors, the rounding of a matrix product depends on its length
        swing = 0.35 * waves[0] + 0.2 * waves[1]
        scenes[:, index] = base[index] * 0.45 + swing
    # a blink every few seconds, about a fifth of a second long
    blink = ((time + generator.uniform(0, 3)) % 3.0) / 0.2
    closed = numpy.where(blink < 1, numpy.sin(numpy.pi * blink), 0.0)
    column = SCENE.index("eye_close")
    scenes[:, column] = numpy.maximum(scenes[:, column] * 0.5 - 0.3, closed)
    return numpy.clip(scenes, -1, 1)


class Factors(Mapping[str, torch.Tensor]):
    """A batch of factors by name, as tensors that broadcast over pictures."""

    def __init__(self, names: tuple[str, ...], values: torch.Tensor) -> None:
        """Wrap `values`, (batch, len(names))."""
        self._columns = dict(zip(names, values.unbind(1), strict=True))

    def __getitem__(self, name: str) -> torch.Tensor:
        """(batch, 1, 1), -1 to 1."""
        return self._columns[name][:, None, None]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def between(self, name: str, low: float, high: float) -> torch.Tensor:
        """(batch, 1, 1): the factor mapped from -1..1 to low..high."""
        return low + (self[name] + 1) * (0.5 * (high - low))

    def amount(self, name: str) -> torch.Tensor:
        """(batch, 1, 1): the positive part; zero for half of all people."""
        return self[name].clamp(min=0)


@dataclass(frozen=True)
class RenderBatch:
    """A batch of pictures to render: the people and the scenes."""

    coarse: Factors
    detail: Factors
    outer: Factors
    scene: Factors

    @staticmethod
    def of(coarse: Values, detail: Values, outer: Values, scene: Values) -> "RenderBatch":
        """Create a batch from four (batch, factors) arrays."""
        groups = ((COARSE, coarse), (DETAIL, detail), (OUTER, outer), (SCENE, scene))
        made = [Factors(names, torch.from_numpy(numpy.float32(rows))) for names, rows in groups]
        return RenderBatch(*made)

    @staticmethod
    def single(person: Person, scenes: Values) -> "RenderBatch":
        """One person in (batch, len(SCENE)) scenes."""
        groups = (person.coarse, person.detail, person.outer)
        coarse, detail, outer = (numpy.repeat(row[None], len(scenes), axis=0) for row in groups)
        return RenderBatch.of(coarse, detail, outer, scenes)
