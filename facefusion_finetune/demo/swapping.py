"""Train the demo's base swapper on true swaps, driven by the recogniser's vectors alone."""

from dataclasses import dataclass

import numpy
import torch
from torch.nn import functional

from facefusion_finetune.demo.crops import (
    Shoot,
    draw_crowd,
    draw_random_crowd,
    photograph,
)
from facefusion_finetune.demo.geometry import TEMPLATE_POINTS
from facefusion_finetune.demo.learning import Report, embed
from facefusion_finetune.demo.networks import Recogniser, Swapper
from facefusion_finetune.demo.people import DETAIL, Values

RATE = 2e-3
PEOPLE, PICTURES = 4096, 4
PLAIN_SHARE = 0.6
"""Share of the steps whose truths show no detail: less noise while the network learns the rest."""


@dataclass(frozen=True)
class Sources:
    """People to swap in, with vectors of pictures of them."""

    coarse: Values
    vectors: torch.Tensor
    """(people, pictures, 512), unit length; every picture with the person's detail."""

    def centroids(self) -> torch.Tensor:
        """(people, 512), unit length."""
        return functional.normalize(self.vectors.mean(dim=1))


def gather_sources(
    recogniser: Recogniser, seed: int, people: int = PEOPLE, pictures: int = PICTURES
) -> Sources:
    """Photograph training people and embed the pictures."""
    generator = numpy.random.default_rng([21, seed])
    crowd = draw_crowd(generator, people)
    albums = []
    for _ in range(pictures):
        parts = [
            embed(recogniser, photograph(generator, coarse, detail, 0.0))
            for coarse, detail in zip(
                numpy.array_split(crowd.coarse, max(1, people // 128)),
                numpy.array_split(crowd.detail, max(1, people // 128)),
                strict=True,
            )
        ]
        albums.append(torch.cat(parts))
    return Sources(crowd.coarse, torch.stack(albums, dim=1))


def draw_face(size: int) -> torch.Tensor:
    """(1, 1, size, size): 1 over the middle of an aligned crop, falling to 0 at its rim."""
    steps = torch.linspace(-1, 1, size)
    radius = torch.hypot(steps[None, :] / 0.72, (steps[:, None] - 0.1) / 0.80)
    return ((1.25 - radius) * 2).clamp(0, 1)[None, None]


def draw_features(size: int) -> torch.Tensor:
    """(1, 1, size, size): soft spots on the template's eyes and mouth."""
    steps = (torch.arange(size) + 0.5) / size
    left, right, _, *corners = TEMPLATE_POINTS
    mouth = ((corners[0][0] + corners[1][0]) / 2, corners[0][1])
    spots = [
        torch.exp(-(((steps[None, :] - x) / 0.13) ** 2) - ((steps[:, None] - y) / 0.10) ** 2)
        for x, y in (left, right, mouth)
    ]
    return torch.stack(spots).sum(dim=0)[None, None]


def measure_error(made: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Weighted L1 of the picture and of its fine structure.

    The face weighs three times as much as the rest, eyes and mouth twice as much again: they are
    small, and a plain mean would let the network paint them over with skin.
    """
    gap = made - truth
    weight = 0.5 + draw_face(gap.shape[-1]) + 2 * draw_features(gap.shape[-1])
    fine = gap - functional.avg_pool2d(gap, 3, 1, 1, count_include_pad=False)
    return (weight * gap.abs()).mean() + (weight * fine.abs()).mean()


def learn_to_swap(
    network: Swapper,
    sources: Sources,
    steps: int,
    seed: int,
    report: Report,
    batch: int = 16,
) -> None:
    """Train the swapper in place.

    The truth's detail is drawn anew for each sample: the vector does not know it, so that the
    best answer is the average one.
    """
    generator = numpy.random.default_rng([22, seed])
    optimiser = torch.optim.Adam(network.parameters(), lr=RATE, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RATE, total_steps=max(steps, 2), pct_start=0.08
    )
    network.to(memory_format=torch.channels_last)
    centroids = sources.centroids()
    for step in range(steps):
        rows = generator.integers(0, len(sources.coarse), batch)
        picture = generator.integers(0, sources.vectors.shape[1], batch)
        # half are driven by one picture, half by the mean of several, as a person model is
        single = torch.from_numpy(generator.uniform(size=batch) < 0.5)[:, None]
        vectors = torch.where(single, sources.vectors[rows, picture], centroids[rows])
        shoot = Shoot.of(generator, draw_random_crowd(generator, batch))
        detail = generator.uniform(-1, 1, (batch, len(DETAIL)))
        if step < PLAIN_SHARE * steps:
            detail = numpy.zeros_like(detail)
        truth = shoot.render(sources.coarse[rows], detail)
        made = network(shoot.render(), vectors @ network.emap)
        loss = measure_error(made, truth)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        if step % 100 == 99 or step == steps - 1:
            level = 255 * (made - truth).abs().mean().item()
            report(step + 1, {"loss": loss.item(), "grey_levels": level})
