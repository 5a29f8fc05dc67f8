"""Batches of aligned crops for training the demo's networks, rendered on the fly."""

from dataclasses import dataclass

import numpy
import torch

from facefusion_finetune.demo.geometry import CROP_SIZE, align_to_template, invert_affine
from facefusion_finetune.demo.landmarks import locate_landmarks
from facefusion_finetune.demo.people import (
    COARSE,
    DETAIL,
    FIRST_UNSEEN_SEED,
    OUTER,
    Cast,
    Values,
    draw,
    draw_scenes,
)
from facefusion_finetune.demo.render import render

JITTER = 0.5
"""Standard deviation, in frame pixels, by which training moves the landmarks it aligns with."""


@dataclass(frozen=True)
class Crowd:
    """People as arrays, one row each."""

    coarse: Values
    detail: Values
    outer: Values


def draw_crowd(generator: numpy.random.Generator, count: int) -> Crowd:
    """People for training, each with a seed below `FIRST_UNSEEN_SEED`."""
    return gather_crowd(generator.integers(0, FIRST_UNSEEN_SEED, count).tolist())


def gather_crowd(seeds: list[int]) -> Crowd:
    """The people of these seeds, by the same draws as `draw_person`."""
    coarse = numpy.stack([draw("coarse", seed, len(COARSE)) for seed in seeds])
    detail = numpy.stack([draw("detail", seed, len(DETAIL)) for seed in seeds])
    outer = numpy.stack([draw("outer", seed, len(OUTER)) for seed in seeds])
    for name in ("hue", "rosiness"):
        outer[:, OUTER.index(f"outer_{name}")] = coarse[:, COARSE.index(f"skin_{name}")]
    return Crowd(coarse, detail, outer)


@dataclass(frozen=True)
class Shoot:
    """Targets to crop: who stands there, in which scene, aligned how."""

    crowd: Crowd
    scenes: Values
    views: torch.Tensor
    """(batch, 2, 3): crop pixels to frame pixels, aligned by the target's own landmarks."""

    @staticmethod
    def of(
        generator: numpy.random.Generator,
        crowd: Crowd,
        jitter: float = JITTER,
        scenes: Values | None = None,
    ) -> "Shoot":
        """Put every member of the crowd into a scene of their own, or into the given ones."""
        scenes = draw_scenes(generator, len(crowd.coarse)) if scenes is None else scenes
        cast = Cast.of(crowd.coarse, crowd.detail, crowd.outer, scenes)
        points = locate_landmarks(cast)[0]
        points = points + jitter * generator.standard_normal(points.shape)
        views = torch.from_numpy(invert_affine(align_to_template(points)))
        return Shoot(crowd, scenes, views)

    @torch.no_grad()
    def render(self, coarse: Values | None = None, detail: Values | None = None) -> torch.Tensor:
        """(batch, 3, CROP_SIZE, CROP_SIZE) crops, RGB 0..1; of the true swap if another's
        `coarse` and `detail` are given.
        """
        coarse = self.crowd.coarse if coarse is None else coarse
        detail = self.crowd.detail if detail is None else detail
        cast = Cast.of(coarse, detail, self.crowd.outer, self.scenes)
        return render(cast, self.views, CROP_SIZE)


def photograph(
    generator: numpy.random.Generator, coarse: Values, detail: Values, swapped: float
) -> torch.Tensor:
    """Pictures as recognisers see them: any head, any scene.

    Args:
        generator: Decides heads and scenes.
        coarse: (batch, len(COARSE)).
        detail: (batch, len(DETAIL)).
        swapped: Share of pictures that are true swaps onto another person, aligned by that
            person's landmarks; the others are aligned by their own.

    Returns:
        (batch, 3, CROP_SIZE, CROP_SIZE), RGB, 0 to 1.
    """
    return pose_heads(generator, coarse, detail, swapped).render(coarse, detail)


def pose_heads(
    generator: numpy.random.Generator, coarse: Values, detail: Values, swapped: float
) -> Shoot:
    """The heads and scenes of `photograph`, to be rendered with one detail or several."""
    count = len(coarse)
    hosts = draw_random_crowd(generator, count)
    own = generator.uniform(size=count) >= swapped
    hosts.coarse[own], hosts.detail[own] = coarse[own], detail[own]
    return Shoot.of(generator, hosts)


def photograph_twins(
    generator: numpy.random.Generator,
    coarse: Values,
    details: tuple[Values, ...],
    swapped: float,
) -> list[torch.Tensor]:
    """As `photograph`, with each detail, on the same heads in the same scenes."""
    count = len(coarse)
    hosts = draw_random_crowd(generator, count)
    own = (generator.uniform(size=count) >= swapped)[:, None]
    scenes = draw_scenes(generator, count)
    pictures = []
    for detail in details:
        shown = (numpy.where(own, coarse, hosts.coarse), numpy.where(own, detail, hosts.detail))
        shoot = Shoot.of(generator, Crowd(*shown, hosts.outer), scenes=scenes)
        pictures.append(shoot.render(coarse, detail))
    return pictures


def draw_random_crowd(generator: numpy.random.Generator, count: int) -> Crowd:
    """People without a seed, for one picture only; faster than `draw_crowd`."""
    sizes = (len(COARSE), len(DETAIL), len(OUTER))
    return Crowd(*(generator.uniform(-1, 1, (count, size)) for size in sizes))
