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
    RenderBatch,
    Values,
    draw,
    draw_scenes,
)
from facefusion_finetune.demo.render import render

JITTER = 0.5
"""Standard deviation, in frame pixels, of the noise on the landmarks used for alignment."""


@dataclass(frozen=True)
class PeopleBatch:
    """People as arrays, one row per person."""

    coarse: Values
    detail: Values
    outer: Values


def draw_people(generator: numpy.random.Generator, count: int) -> PeopleBatch:
    """People for training, each with a seed below `FIRST_UNSEEN_SEED`."""
    return gather_people(generator.integers(0, FIRST_UNSEEN_SEED, count).tolist())


def gather_people(seeds: list[int]) -> PeopleBatch:
    """The people with these seeds, identical to those of `draw_person`."""
    coarse = numpy.stack([draw("coarse", seed, len(COARSE)) for seed in seeds])
    detail = numpy.stack([draw("detail", seed, len(DETAIL)) for seed in seeds])
    outer = numpy.stack([draw("outer", seed, len(OUTER)) for seed in seeds])
    for name in ("hue", "rosiness"):
        outer[:, OUTER.index(f"outer_{name}")] = coarse[:, COARSE.index(f"skin_{name}")]
    return PeopleBatch(coarse, detail, outer)


@dataclass(frozen=True)
class CropBatch:
    """Crops of targets to render: the people, their scenes, and the alignment."""

    people: PeopleBatch
    scenes: Values
    views: torch.Tensor
    """(batch, 2, 3): crop pixels to frame pixels, aligned by the target's own landmarks."""

    @staticmethod
    def of(
        generator: numpy.random.Generator,
        people: PeopleBatch,
        jitter: float = JITTER,
        scenes: Values | None = None,
    ) -> "CropBatch":
        """Put each person into a random scene, or into the given ones."""
        scenes = draw_scenes(generator, len(people.coarse)) if scenes is None else scenes
        cast = RenderBatch.of(people.coarse, people.detail, people.outer, scenes)
        points = locate_landmarks(cast)[0]
        points = points + jitter * generator.standard_normal(points.shape)
        views = torch.from_numpy(invert_affine(align_to_template(points)))
        return CropBatch(people, scenes, views)

    @torch.no_grad()
    def render(self, coarse: Values | None = None, detail: Values | None = None) -> torch.Tensor:
        """(batch, 3, CROP_SIZE, CROP_SIZE) crops, RGB 0..1; true swaps if other people's
        `coarse` and `detail` are given.
        """
        coarse = self.people.coarse if coarse is None else coarse
        detail = self.people.detail if detail is None else detail
        cast = RenderBatch.of(coarse, detail, self.people.outer, self.scenes)
        return render(cast, self.views, CROP_SIZE)


def render_crops(
    generator: numpy.random.Generator, coarse: Values, detail: Values, swapped: float
) -> torch.Tensor:
    """Crops as recognisers see them: any head, any scene.

    Args:
        generator: Source of heads and scenes.
        coarse: (batch, len(COARSE)).
        detail: (batch, len(DETAIL)).
        swapped: Share of pictures that are true swaps onto another person, aligned by that
            person's landmarks; the rest are aligned by their own.

    Returns:
        (batch, 3, CROP_SIZE, CROP_SIZE), RGB, 0 to 1.
    """
    return sample_heads(generator, coarse, detail, swapped).render(coarse, detail)


def sample_heads(
    generator: numpy.random.Generator, coarse: Values, detail: Values, swapped: float
) -> CropBatch:
    """The heads and scenes for `render_crops`, to be rendered with one or more details."""
    count = len(coarse)
    targets = draw_random_people(generator, count)
    own = generator.uniform(size=count) >= swapped
    targets.coarse[own], targets.detail[own] = coarse[own], detail[own]
    return CropBatch.of(generator, targets)


def render_twins(
    generator: numpy.random.Generator,
    coarse: Values,
    details: tuple[Values, ...],
    swapped: float,
) -> list[torch.Tensor]:
    """As `render_crops`, once per detail, with the same heads in the same scenes."""
    count = len(coarse)
    targets = draw_random_people(generator, count)
    own = (generator.uniform(size=count) >= swapped)[:, None]
    scenes = draw_scenes(generator, count)
    pictures = []
    for detail in details:
        shown = (numpy.where(own, coarse, targets.coarse), numpy.where(own, detail, targets.detail))
        batch = CropBatch.of(generator, PeopleBatch(*shown, targets.outer), scenes=scenes)
        pictures.append(batch.render(coarse, detail))
    return pictures


def draw_random_people(generator: numpy.random.Generator, count: int) -> PeopleBatch:
    """People without a seed, for single use; faster than `draw_people`."""
    sizes = (len(COARSE), len(DETAIL), len(OUTER))
    return PeopleBatch(*(generator.uniform(-1, 1, (count, size)) for size in sizes))
