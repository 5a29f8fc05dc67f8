"""Trains the demo's base swapper on true swaps, driven only by the recogniser's embeddings.

It is first trained with the embeddings of an ideal recogniser, on truths without detail; then with
the actual recogniser's embeddings, on truths with detail.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy
import torch
from torch.nn import functional

from facefusion_finetune.demo.geometry import TEMPLATE_POINTS
from facefusion_finetune.demo.networks.crops import (
    CropBatch,
    draw_people,
    draw_random_people,
    render_crops,
)
from facefusion_finetune.demo.networks.learning import Report, embed, spread_factors
from facefusion_finetune.demo.networks.modules import Recogniser, Swapper
from facefusion_finetune.demo.networks.optimiser import Orthogonal
from facefusion_finetune.demo.people import DETAIL, Values

BATCH = 24
BUFFER_SIZE, NEW_PER_STEP = 6144, 8
"""Swaps in the buffer, and swaps replaced by each step: each is used about three times."""
PEOPLE, PICTURES = 2048, 24
Choose = Callable[[numpy.random.Generator, int], tuple[Values, torch.Tensor]]
"""Draws people to swap in: (count, len(COARSE)) and their (count, 512) source vectors.
"""


@dataclass(frozen=True)
class Sources:
    """People to swap in, with the embeddings of their pictures."""

    coarse: Values
    vectors: torch.Tensor
    """(people, pictures, 512), unit norm; every picture with the person's detail."""

    def centroids(self) -> torch.Tensor:
        """(people, 512), unit norm."""
        return functional.normalize(self.vectors.mean(dim=1))

    def choose(self, generator: numpy.random.Generator, count: int) -> tuple[Values, torch.Tensor]:
        """Random people, each with the mean embedding of one to all of their pictures."""
        rows = generator.integers(0, len(self.coarse), count)
        total = self.vectors.shape[1]
        # half use all pictures, as a tuned model does
        used = numpy.where(
            generator.uniform(size=count) < 0.5, total, generator.integers(1, total + 1, count)
        )
        share = torch.from_numpy(numpy.arange(total)[None] < used[:, None])
        mean = (self.vectors[rows] * share[..., None]).sum(dim=1)
        chosen: Values = self.coarse[rows]
        return chosen, functional.normalize(mean)


def choose_ideal(generator: numpy.random.Generator, count: int) -> tuple[Values, torch.Tensor]:
    """Random people with the embeddings of a recogniser without errors."""
    coarse = draw_random_people(generator, count).coarse
    vectors = torch.from_numpy(coarse).float() @ spread_factors()
    return coarse, functional.normalize(vectors)


def gather_sources(recogniser: Recogniser, seed: int, people: int = PEOPLE) -> Sources:
    """Render training people, each in `PICTURES` scenes, and embed the pictures."""
    generator = numpy.random.default_rng([21, seed])
    crowd = draw_people(generator, people)
    albums = []
    for _ in range(PICTURES):
        parts = [
            embed(recogniser, render_crops(generator, coarse, detail, 0.0))
            for coarse, detail in zip(
                numpy.array_split(crowd.coarse, max(1, people // 128)),
                numpy.array_split(crowd.detail, max(1, people // 128)),
                strict=True,
            )
        ]
        albums.append(torch.cat(parts))
    return Sources(crowd.coarse, torch.stack(albums, dim=1))


def create_face_weight(size: int) -> torch.Tensor:
    """(1, 1, size, size): 1 in the middle of an aligned crop, falling to 0 at its edge."""
    steps = torch.linspace(-1, 1, size)
    radius = torch.hypot(steps[None, :] / 0.72, (steps[:, None] - 0.1) / 0.80)
    return ((1.25 - radius) * 2).clamp(0, 1)[None, None]


def create_feature_weight(size: int) -> torch.Tensor:
    """(1, 1, size, size): soft spots at the template's eyes and mouth."""
    steps = (torch.arange(size) + 0.5) / size
    left, right, _, *corners = TEMPLATE_POINTS
    mouth = ((corners[0][0] + corners[1][0]) / 2, corners[0][1])
    spots = [
        torch.exp(-(((steps[None, :] - x) / 0.15) ** 2) - ((steps[:, None] - y) / 0.12) ** 2)
        for x, y in (left, right, mouth)
    ]
    return torch.stack(spots).sum(dim=0)[None, None]


def measure_error(made: torch.Tensor, truth: torch.Tensor, squared: float = 0.0) -> torch.Tensor:
    """Weighted L1 of the picture and of its high frequencies, and `squared` times squared error.

    The face has three times the weight of the rest, eyes and mouth more still: they are small, and
    with a plain mean the network would paint skin over them.
    """
    gap = made - truth
    weight = 0.5 + create_face_weight(gap.shape[-1]) + 2 * create_feature_weight(gap.shape[-1])
    fine = gap - functional.avg_pool2d(gap, 3, 1, 1, count_include_pad=False)
    size = gap.abs() + fine.abs() + squared * gap * gap
    return (weight * size).mean()


@dataclass(frozen=True)
class SwapBuffer:
    """Swaps to train on, as uint8."""

    target: torch.Tensor
    truth: torch.Tensor
    """(count, 3, 64, 64), 0 to 255."""
    vectors: torch.Tensor
    """(count, 512)."""

    @staticmethod
    def render(
        generator: numpy.random.Generator, choose: Choose, count: int, detailed: bool
    ) -> "SwapBuffer":
        """New swaps; the truth has no detail or random detail, which the vector does not encode."""
        coarse, vectors = choose(generator, count)
        batch = CropBatch.of(generator, draw_random_people(generator, count))
        detail = generator.uniform(-1, 1, (count, len(DETAIL))) * detailed
        pictures = (batch.render(), batch.render(coarse, detail))
        target, truth = ((picture * 255).round().to(torch.uint8) for picture in pictures)
        return SwapBuffer(target, truth, vectors)

    def replace(self, start: int, other: "SwapBuffer") -> None:
        """Replace rows from `start` with `other`."""
        end = start + len(other.target)
        self.target[start:end] = other.target
        self.truth[start:end] = other.truth
        self.vectors[start:end] = other.vectors


@dataclass(frozen=True)
class Phase:
    """Settings of one phase of the training."""

    number: int
    """Part of the seed."""
    rate: float
    """The largest learning rate; it rises and falls along a cosine."""
    share: float
    """Share of the cosine that is used; 1 ends at a learning rate of 0."""
    plain: float
    """Share of the steps in which new truths have no detail, which reduces noise."""
    squared: float
    """Weight of the squared error, which learns small features sooner than L1."""


SKETCH = Phase(0, 3e-3, 5500 / 12000, plain=1.0, squared=4.0)
FINISH = Phase(1, 2e-3, 1.0, plain=0.4, squared=0.0)
POLISH = Phase(2, 1.2e-3, 1.0, plain=0.0, squared=0.0)


def train_swapper(
    network: Swapper,
    choose: Choose,
    phase: Phase,
    steps: int,
    seed: int,
    report: Report,
    stock: int = BUFFER_SIZE,
) -> None:
    """Train the swapper in place.

    Args:
        network: The network to train.
        choose: Draws people and vectors.
        phase: `SKETCH`, `FINISH` or `POLISH`.
        steps: Number of optimiser steps.
        seed: Seed of people, pictures and order.
        report: Called with the losses.
        stock: Swaps in the buffer.
    """
    generator = numpy.random.default_rng([22, phase.number, seed])
    optimiser = Orthogonal(network, phase.rate)
    planned = max(2, round(steps / phase.share))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, phase.rate, total_steps=planned, pct_start=0.04, cycle_momentum=False
    )
    network.to(memory_format=torch.channels_last)
    parts = [SwapBuffer.render(generator, choose, 64, phase.plain == 0) for _ in range(stock // 64)]
    ready = SwapBuffer(*(torch.cat([getattr(part, name) for part in parts]) for name in _PARTS))
    for step in range(steps):
        start = step * NEW_PER_STEP % (stock - NEW_PER_STEP + 1)
        detailed = step >= phase.plain * steps
        ready.replace(start, SwapBuffer.render(generator, choose, NEW_PER_STEP, detailed))
        rows = torch.from_numpy(generator.integers(0, stock, BATCH))
        target, truth = ready.target[rows] / 255, ready.truth[rows] / 255
        if step % 2:
            # a mirrored swap is also a swap
            target, truth = target.flip(3), truth.flip(3)
        with torch.autocast("cpu", torch.bfloat16):
            made = network(
                target.contiguous(memory_format=torch.channels_last),
                ready.vectors[rows] @ network.emap,
            )
        loss = measure_error(made.float(), truth, phase.squared)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 99 or step == steps - 1:
            level = 255 * (made.float() - truth).abs().mean().item()
            report(step + 1, {"loss": loss.item(), "grey_levels": level})


_PARTS = ("target", "truth", "vectors")
