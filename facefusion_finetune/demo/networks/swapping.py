"""Train the demo's base swapper on true swaps, driven by the recogniser's vectors alone.

It learns to draw first, driven by vectors as a recogniser without error would give them, on truths
without detail; then it gets used to the recogniser's own vectors, on truths with detail.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy
import torch
from torch.nn import functional

from facefusion_finetune.demo.geometry import TEMPLATE_POINTS
from facefusion_finetune.demo.networks.crops import Shoot, draw_crowd, draw_random_crowd, photograph
from facefusion_finetune.demo.networks.learning import Report, embed, spread_factors
from facefusion_finetune.demo.networks.modules import Recogniser, Swapper
from facefusion_finetune.demo.networks.optimiser import Orthogonal
from facefusion_finetune.demo.people import DETAIL, Values

BATCH = 24
STOCK, FRESH = 6144, 8
"""Swaps kept ready, and swaps that each step renders anew: each is used about three times."""
PEOPLE, PICTURES = 2048, 24
Choose = Callable[[numpy.random.Generator, int], tuple[Values, torch.Tensor]]
"""Draws people to swap in: (count, len(COARSE)) and the (count, 512) vectors that stand for them.
"""


@dataclass(frozen=True)
class Sources:
    """People to swap in, with vectors of pictures of them."""

    coarse: Values
    vectors: torch.Tensor
    """(people, pictures, 512), unit length; every picture with the person's detail."""

    def centroids(self) -> torch.Tensor:
        """(people, 512), unit length."""
        return functional.normalize(self.vectors.mean(dim=1))

    def choose(self, generator: numpy.random.Generator, count: int) -> tuple[Values, torch.Tensor]:
        """People at random, each by the mean of some pictures: from one to all there are."""
        rows = generator.integers(0, len(self.coarse), count)
        total = self.vectors.shape[1]
        # half get all of them, as a person model does
        used = numpy.where(
            generator.uniform(size=count) < 0.5, total, generator.integers(1, total + 1, count)
        )
        share = torch.from_numpy(numpy.arange(total)[None] < used[:, None])
        mean = (self.vectors[rows] * share[..., None]).sum(dim=1)
        chosen: Values = self.coarse[rows]
        return chosen, functional.normalize(mean)


def choose_ideal(generator: numpy.random.Generator, count: int) -> tuple[Values, torch.Tensor]:
    """People at random with the vectors of a recogniser that reads their factors without error."""
    coarse = draw_random_crowd(generator, count).coarse
    vectors = torch.from_numpy(coarse).float() @ spread_factors()
    return coarse, functional.normalize(vectors)


def gather_sources(recogniser: Recogniser, seed: int, people: int = PEOPLE) -> Sources:
    """Photograph training people, each in `PICTURES` scenes, and embed the pictures."""
    generator = numpy.random.default_rng([21, seed])
    crowd = draw_crowd(generator, people)
    albums = []
    for _ in range(PICTURES):
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
        torch.exp(-(((steps[None, :] - x) / 0.15) ** 2) - ((steps[:, None] - y) / 0.12) ** 2)
        for x, y in (left, right, mouth)
    ]
    return torch.stack(spots).sum(dim=0)[None, None]


def measure_error(made: torch.Tensor, truth: torch.Tensor, squared: float = 0.0) -> torch.Tensor:
    """Weighted L1 of the picture and of its fine structure, and `squared` times squared error.

    The face weighs three times as much as the rest, eyes and mouth twice as much again: they are
    small, and a plain mean would let the network paint them over with skin.
    """
    gap = made - truth
    weight = 0.5 + draw_face(gap.shape[-1]) + 2 * draw_features(gap.shape[-1])
    fine = gap - functional.avg_pool2d(gap, 3, 1, 1, count_include_pad=False)
    size = gap.abs() + fine.abs() + squared * gap * gap
    return (weight * size).mean()


@dataclass(frozen=True)
class Stock:
    """Swaps ready to learn from, as bytes."""

    target: torch.Tensor
    truth: torch.Tensor
    """(count, 3, 64, 64), 0 to 255."""
    vectors: torch.Tensor
    """(count, 512)."""

    @staticmethod
    def render(
        generator: numpy.random.Generator, choose: Choose, count: int, detailed: bool
    ) -> "Stock":
        """New swaps; the truth shows no detail or any, since the vector does not know it."""
        coarse, vectors = choose(generator, count)
        shoot = Shoot.of(generator, draw_random_crowd(generator, count))
        detail = generator.uniform(-1, 1, (count, len(DETAIL))) * detailed
        pictures = (shoot.render(), shoot.render(coarse, detail))
        target, truth = ((picture * 255).round().to(torch.uint8) for picture in pictures)
        return Stock(target, truth, vectors)

    def replace(self, start: int, other: "Stock") -> None:
        """Put `other` in the place of as many rows, from `start` on."""
        end = start + len(other.target)
        self.target[start:end] = other.target
        self.truth[start:end] = other.truth
        self.vectors[start:end] = other.vectors


@dataclass(frozen=True)
class Course:
    """How one part of the training goes."""

    number: int
    """Goes into the seed."""
    rate: float
    """The largest rate of the optimiser; it rises and falls along a cosine."""
    share: float
    """Share of the cosine that is used; 1 ends at a rate of nothing."""
    plain: float
    """Share of the steps in which new truths show no detail, so that there is less noise."""
    squared: float
    """Weight of the squared error, which finds small features before L1 does."""


SKETCH = Course(0, 3e-3, 5500 / 12000, plain=1.0, squared=4.0)
FINISH = Course(1, 2e-3, 1.0, plain=0.4, squared=0.0)
POLISH = Course(2, 1.2e-3, 1.0, plain=0.0, squared=0.0)


def learn_to_swap(
    network: Swapper,
    choose: Choose,
    course: Course,
    steps: int,
    seed: int,
    report: Report,
    stock: int = STOCK,
) -> None:
    """Train the swapper in place.

    Args:
        network: What to train.
        choose: Draws people and vectors.
        course: `SKETCH`, `FINISH` or `POLISH`.
        steps: Steps of the optimiser.
        seed: Decides people, pictures and order.
        report: Gets the losses.
        stock: Swaps kept ready.
    """
    generator = numpy.random.default_rng([22, course.number, seed])
    optimiser = Orthogonal(network, course.rate)
    planned = max(2, round(steps / course.share))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, course.rate, total_steps=planned, pct_start=0.04, cycle_momentum=False
    )
    network.to(memory_format=torch.channels_last)
    parts = [Stock.render(generator, choose, 64, course.plain == 0) for _ in range(stock // 64)]
    ready = Stock(*(torch.cat([getattr(part, name) for part in parts]) for name in _PARTS))
    for step in range(steps):
        start = step * FRESH % (stock - FRESH + 1)
        detailed = step >= course.plain * steps
        ready.replace(start, Stock.render(generator, choose, FRESH, detailed))
        rows = torch.from_numpy(generator.integers(0, stock, BATCH))
        target, truth = ready.target[rows] / 255, ready.truth[rows] / 255
        if step % 2:
            # a mirrored swap is a swap as well
            target, truth = target.flip(3), truth.flip(3)
        with torch.autocast("cpu", torch.bfloat16):
            made = network(
                target.contiguous(memory_format=torch.channels_last),
                ready.vectors[rows] @ network.emap,
            )
        loss = measure_error(made.float(), truth, course.squared)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 99 or step == steps - 1:
            level = 255 * (made.float() - truth).abs().mean().item()
            report(step + 1, {"loss": loss.item(), "grey_levels": level})


_PARTS = ("target", "truth", "vectors")
