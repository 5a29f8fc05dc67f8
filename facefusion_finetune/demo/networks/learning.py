"""Metric learning for the demo's judge, on freshly rendered people, and embedding metrics."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from facefusion_finetune.demo.networks.crops import draw_random_people, render_crops
from facefusion_finetune.demo.networks.modules import VECTOR, Judge
from facefusion_finetune.demo.people import COARSE, DETAIL, Values

Report = Callable[[int, dict[str, float]], None]
"""Called at intervals with the step and its metrics."""

TEMPERATURE = 0.1
RATE = 3e-3
BUFFER_SIZE, NEW_PER_STEP = 1024, 8
"""Pairs of pictures in the buffer, and pairs replaced by each step: rendering costs as much as
training, so a picture is used several times."""
SWAPPED = 0.5
"""Share of training pictures that are true swaps, so that swaps are recognised too."""


@dataclass(frozen=True)
class PairBatch:
    """Pairs of pictures: row i of `first` and of `second` shows the same identity."""

    first: torch.Tensor
    second: torch.Tensor
    """(batch, 3, 64, 64), -1 to 1."""
    factors: torch.Tensor
    """(batch, n): factors to predict from the embedding, as an auxiliary task."""

    def choose(self, rows: NDArray[numpy.int64]) -> "PairBatch":
        """The given rows."""
        return PairBatch(self.first[rows], self.second[rows], self.factors[rows])

    def replace(self, start: int, other: "PairBatch") -> None:
        """Replace rows from `start` with `other`."""
        end = start + len(other.first)
        self.first[start:end] = other.first
        self.second[start:end] = other.second
        self.factors[start:end] = other.factors


def spread_factors() -> torch.Tensor:
    """(len(COARSE), VECTOR): orthonormal directions, one per factor that an embedding encodes."""
    square = numpy.random.default_rng(14).standard_normal((VECTOR, len(COARSE)))
    return torch.from_numpy(numpy.linalg.qr(square)[0].T.copy()).float()


def normalise(crops: torch.Tensor) -> torch.Tensor:
    """RGB 0..1 to -1..1, equivalent to (x - 127.5) / 127.5 for uint8."""
    return crops * 2 - 1


def sample_judge_pairs(generator: numpy.random.Generator, count: int) -> PairBatch:
    """Two pictures of each person; each person's sibling, who differs in detail, is included."""
    coarse = numpy.repeat(draw_random_people(generator, count // 2).coarse, 2, axis=0)
    detail = draw_random_people(generator, len(coarse)).detail
    first, second = (render_crops(generator, coarse, detail, SWAPPED) for _ in range(2))
    factors = torch.from_numpy(numpy.concatenate([coarse, detail], axis=1)).float()
    return PairBatch(normalise(first), normalise(second), factors)


def info_nce(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Symmetric InfoNCE: each embedding must be closer to its partner than to all others.

    Source: van den Oord et al., arXiv 1807.03748; symmetric form as in CLIP, arXiv 2103.00020.
    """
    scores = functional.normalize(first) @ functional.normalize(second).T / TEMPERATURE
    own = torch.arange(len(first))
    return (functional.cross_entropy(scores, own) + functional.cross_entropy(scores.T, own)) / 2


def train_judge(
    network: Judge, steps: int, seed: int, report: Report, pairs: int = 64, stock: int = BUFFER_SIZE
) -> None:
    """Train a judge in place; it is left in evaluation mode.

    A linear head that predicts the factors from the hidden layer speeds up training; it is dropped.

    Args:
        network: The network to train.
        steps: Number of optimiser steps.
        seed: Seed of people, pictures and order.
        report: Called with the losses.
        pairs: Pairs of pictures per step, taken from the buffer.
        stock: Pairs in the buffer.
    """
    generator = numpy.random.default_rng([11, seed])
    head = nn.Linear(network.HIDDEN, len(COARSE) + len(DETAIL))
    parameters = [*network.parameters(), *head.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RATE, total_steps=max(steps, 2), pct_start=0.1
    )
    network.to(memory_format=torch.channels_last)
    network.train()
    ready = sample_judge_pairs(generator, stock)
    for step in range(steps):
        start = step * NEW_PER_STEP % (stock - NEW_PER_STEP + 1) // 2 * 2
        ready.replace(start, sample_judge_pairs(generator, NEW_PER_STEP))
        couples = generator.permutation(stock // 2)[: pairs // 2]
        batch = ready.choose(numpy.stack([2 * couples, 2 * couples + 1], axis=1).ravel())
        pictures = torch.cat([batch.first, batch.second])
        with torch.autocast("cpu", torch.bfloat16):
            hidden = network.describe(pictures.contiguous(memory_format=torch.channels_last))
        hidden = hidden.float()
        vectors = network.vector(hidden)
        apart = info_nce(vectors[:pairs], vectors[pairs:])
        predicted = functional.mse_loss(head(hidden), batch.factors.repeat(2, 1))
        loss = apart + 3 * predicted
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        if step % 100 == 99 or step == steps - 1:
            report(step + 1, {"contrast": apart.item(), "factors": predicted.item()})
    network.eval()


@torch.no_grad()
def embed(network: nn.Module, crops: torch.Tensor) -> torch.Tensor:
    """(batch, 512) unit vectors of RGB crops 0..1."""
    parts = [network(normalise(part)) for part in torch.split(crops, 256)]
    return functional.normalize(torch.cat(parts))


def measure_rank_1(network: nn.Module, coarse: Values, detail: Values, seed: int) -> float:
    """Share of people whose picture is closest to their own in a gallery of one picture each."""
    generator = numpy.random.default_rng([12, seed])
    gallery, probes = (
        embed(network, render_crops(generator, coarse, detail, 0.0)) for _ in range(2)
    )
    found = (probes @ gallery.T).argmax(dim=1)
    return (found == torch.arange(len(coarse))).float().mean().item()


def measure_sibling_accuracy(network: nn.Module, coarse: Values, seed: int, pairs: int) -> float:
    """Share of siblings (same coarse factors, other detail) distinguished; chance is 0.5."""
    generator = numpy.random.default_rng([13, seed])
    rows = numpy.tile(coarse, (math.ceil(pairs / len(coarse)), 1))[:pairs]
    details = [generator.uniform(-1, 1, (pairs, len(DETAIL))) for _ in range(2)]
    probe, own, other = (
        embed(network, render_crops(generator, rows, details[index], 0.0)) for index in (0, 0, 1)
    )
    return ((probe * own).sum(1) > (probe * other).sum(1)).float().mean().item()
