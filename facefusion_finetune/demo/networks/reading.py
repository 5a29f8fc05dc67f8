"""Regression for the demo's recogniser and reader: factors from freshly rendered pictures."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy
import torch
from torch import nn
from torch.nn import functional

from facefusion_finetune.demo.geometry import READER_FACTORS
from facefusion_finetune.demo.networks.crops import (
    draw_random_people,
    render_crops,
    render_twins,
    sample_heads,
)
from facefusion_finetune.demo.networks.learning import SWAPPED, Report, normalise, spread_factors
from facefusion_finetune.demo.networks.modules import Reader, Recogniser
from facefusion_finetune.demo.people import COARSE, DETAIL, SCENE, Values

RATE = 3e-3
BATCH, BUFFER_SIZE, NEW_PER_STEP = 96, 4096, 32
"""Pictures per step, in the buffer, and replaced by each step."""
GROUPS, FITTED = 16, 32
"""Coarse identities per step, with four pictures each; steps used to fit the initial head."""
INVARIANCE_RATE = 1e-3


@dataclass(frozen=True)
class LabelledBatch:
    """Pictures, and the factors to predict from them."""

    pictures: torch.Tensor
    """(count, 3, 64, 64), -1 to 1."""
    factors: torch.Tensor
    """(count, n)."""
    weights: torch.Tensor
    """(count, n): weights of the errors."""

    def replace(self, start: int, other: "LabelledBatch") -> None:
        """Replace rows from `start` with `other`."""
        end = start + len(other.pictures)
        self.pictures[start:end] = other.pictures
        self.factors[start:end] = other.factors
        self.weights[start:end] = other.weights


def sample_recogniser_batch(generator: numpy.random.Generator, count: int) -> LabelledBatch:
    """Different people, half of them as true swaps; only coarse factors are predicted."""
    people = draw_random_people(generator, count)
    pictures = render_crops(generator, people.coarse, people.detail, SWAPPED)
    factors = torch.from_numpy(people.coarse).float()
    return LabelledBatch(normalise(pictures), factors, torch.ones_like(factors))


def sample_reader_batch(generator: numpy.random.Generator, count: int) -> LabelledBatch:
    """Pictures and true swaps, some blurred and noisy like a swapper's output."""
    people = draw_random_people(generator, count)
    batch = sample_heads(generator, people.coarse, people.detail, SWAPPED)
    pictures = soften(generator, batch.render(people.coarse, people.detail))
    factors = torch.from_numpy(select_factors(batch.scenes)).float()
    weights = torch.ones_like(factors)
    # the gaze of closed eyes cannot be determined
    weights[:, READER_FACTORS.index("gaze_x") :] = (
        1 - factors[:, READER_FACTORS.index("eye_close")][:, None]
    )
    return LabelledBatch(normalise(pictures), factors, weights)


def select_factors(scenes: Values) -> Values:
    """(count, len(READER_FACTORS)) of (count, len(SCENE)); values below 0 (closed) become 0."""
    read = scenes[:, [SCENE.index(name) for name in READER_FACTORS]]
    for name in ("mouth_open", "eye_close"):
        column = READER_FACTORS.index(name)
        read[:, column] = read[:, column].clip(min=0)
    return read


def soften(generator: numpy.random.Generator, crops: torch.Tensor) -> torch.Tensor:
    """Crops with a random amount of blur, and noise of up to 4 % of the range."""
    count = len(crops)
    blur, noise = (
        torch.from_numpy(generator.uniform(0, high, (count, 1, 1, 1))).float()
        for high in (1.0, 0.04)
    )
    smooth = functional.avg_pool2d(crops, 3, 1, 1, count_include_pad=False)
    grain = torch.from_numpy(generator.standard_normal(crops.shape, dtype=numpy.float32))
    return (torch.lerp(crops, smooth, blur.expand_as(crops)) + noise * grain).clamp(0, 1)


def train_regression(
    network: Recogniser | Reader,
    sample: Callable[[numpy.random.Generator, int], LabelledBatch],
    steps: int,
    seed: int,
    report: Report,
    stock: int = BUFFER_SIZE,
) -> None:
    """Train in place with squared error; the network is left in evaluation mode.

    Args:
        network: A reader, or a recogniser with a linear head on its hidden layer; the head is
            dropped, and `train_detail_invariance` fits a better one.
        sample: Renders a number of pictures.
        steps: Number of optimiser steps.
        seed: Seed of people, pictures and order.
        report: Called with the error; guessing gives about 0.33.
        stock: Pictures in the buffer.
    """
    generator = numpy.random.default_rng([15, seed])
    head = nn.Linear(network.HIDDEN, len(COARSE)) if isinstance(network, Recogniser) else None
    parameters = [*network.parameters(), *(head.parameters() if head else ())]
    optimiser = torch.optim.Adam(parameters, lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RATE, total_steps=max(steps, 2), pct_start=0.1
    )
    network.to(memory_format=torch.channels_last)
    network.train()
    parts = [sample(generator, 64) for _ in range(stock // 64)]
    ready = LabelledBatch(*(torch.cat([getattr(part, name) for part in parts]) for name in _PARTS))
    for step in range(steps):
        ready.replace(
            step * NEW_PER_STEP % (stock - NEW_PER_STEP + 1), sample(generator, NEW_PER_STEP)
        )
        rows = torch.from_numpy(generator.permutation(stock)[:BATCH])
        pictures = ready.pictures[rows].contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            if isinstance(network, Recogniser):
                assert head is not None
                predicted = head(network.describe(pictures))
            else:
                predicted = network(pictures)
        gap = predicted.float() - ready.factors[rows]
        loss = (ready.weights[rows] * gap * gap).mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        if step % 100 == 99 or step == steps - 1:
            report(step + 1, {"error": loss.item()})
    network.eval()


_PARTS = ("pictures", "factors", "weights")


def train_detail_invariance(
    recogniser: Recogniser, invariance: float, steps: int, seed: int, report: Report
) -> None:
    """Continue training a recogniser from `train_regression` until it ignores detail.

    Siblings are distinguished by a shift that detail causes equally in every scene. Its square is
    estimated without bias as the product of the shifts in two scenes, and added to the error. Each
    picture is used once, since the product for memorised pictures could become negative. At the
    end, each factor gets its own direction in the embedding.

    Args:
        recogniser: Trained in place, and left in evaluation mode.
        invariance: Weight of the shift relative to the error.
        steps: Number of optimiser steps.
        seed: Seed of people, pictures and order.
        report: Called with the error and the shift.
    """
    generator = numpy.random.default_rng([16, seed])
    head = nn.Linear(recogniser.HIDDEN, len(COARSE))
    batches = [sample_twins(generator, GROUPS) for _ in range(FITTED)]
    with torch.no_grad():
        hidden = torch.cat([recogniser.describe(batch.pictures) for batch in batches])
        _fit(head, hidden, torch.cat([batch.factors for batch in batches]))
    optimiser = torch.optim.Adam([*recogniser.parameters(), *head.parameters()], lr=INVARIANCE_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, INVARIANCE_RATE, total_steps=max(steps, 2), pct_start=0.1
    )
    recogniser.train()
    for step in range(steps):
        batch = sample_twins(generator, GROUPS)
        with torch.autocast("cpu", torch.bfloat16):
            hidden = recogniser.describe(
                batch.pictures.contiguous(memory_format=torch.channels_last)
            )
        predicted = head(hidden.float())
        error = functional.mse_loss(predicted, batch.factors)
        first, twin, second, other = predicted.view(-1, 4, len(COARSE)).unbind(1)
        shift = ((first - twin) * (second - other)).mean() / 2
        loss = error + invariance * shift
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        if step % 100 == 99 or step == steps - 1:
            report(step + 1, {"error": error.item(), "shift": shift.item()})
    recogniser.eval()
    directions = spread_factors()
    with torch.no_grad():
        recogniser.vector.weight.copy_(directions.T @ head.weight)
        recogniser.vector.bias.copy_(directions.T @ head.bias)


def sample_twins(generator: numpy.random.Generator, groups: int) -> LabelledBatch:
    """Four pictures of each coarse identity: two details in each of two scenes."""
    coarse = draw_random_people(generator, groups).coarse
    details = tuple(generator.uniform(-1, 1, (groups, len(DETAIL))) for _ in range(2))
    pictures = [
        picture for _ in range(2) for picture in render_twins(generator, coarse, details, SWAPPED)
    ]
    factors = torch.from_numpy(numpy.repeat(coarse, 4, axis=0)).float()
    crops = torch.stack(pictures, dim=1).flatten(0, 1)
    return LabelledBatch(normalise(crops), factors, torch.ones_like(factors))


def _fit(head: nn.Linear, hidden: torch.Tensor, factors: torch.Tensor) -> None:
    """Least squares, with slight ridge regularisation in case a layer has not learnt anything."""
    mean, goal = hidden.double().mean(dim=0), factors.double()
    rows = hidden.double() - mean
    spread = rows.T @ rows
    spread = spread + 1e-6 * spread.diagonal().mean() * torch.eye(len(spread))
    weight = torch.linalg.solve(spread, rows.T @ goal).T
    head.weight.copy_(weight)
    head.bias.copy_(goal.mean(dim=0) - weight @ mean)
