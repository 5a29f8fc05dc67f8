"""Metric learning for the demo's judge, on freshly rendered people, and figures of vectors."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from facefusion_finetune.demo.networks.crops import draw_random_crowd, photograph
from facefusion_finetune.demo.networks.modules import VECTOR, Judge
from facefusion_finetune.demo.people import COARSE, DETAIL, Values

Report = Callable[[int, dict[str, float]], None]
"""Called now and then with the step and its figures."""

TEMPERATURE = 0.1
RATE = 3e-3
STOCK, FRESH = 1024, 8
"""Pairs of pictures kept ready, and pairs that each step renders anew: rendering costs as much as
learning, so that a picture is used several times."""
SWAPPED = 0.5
"""Share of training pictures that are true swaps, so that a swap is recognised as well."""


@dataclass(frozen=True)
class Album:
    """Pairs of pictures: row i of `first` and of `second` shows the same identity."""

    first: torch.Tensor
    second: torch.Tensor
    """(batch, 3, 64, 64), -1 to 1."""
    factors: torch.Tensor
    """(batch, n): what the vector should tell, as a helping task."""

    def choose(self, rows: NDArray[numpy.int64]) -> "Album":
        """The album of these rows."""
        return Album(self.first[rows], self.second[rows], self.factors[rows])

    def replace(self, start: int, other: "Album") -> None:
        """Put `other` in the place of as many rows, from `start` on."""
        end = start + len(other.first)
        self.first[start:end] = other.first
        self.second[start:end] = other.second
        self.factors[start:end] = other.factors


def spread_factors() -> torch.Tensor:
    """(len(COARSE), VECTOR): orthonormal directions, one for each factor a vector encodes."""
    square = numpy.random.default_rng(14).standard_normal((VECTOR, len(COARSE)))
    return torch.from_numpy(numpy.linalg.qr(square)[0].T.copy()).float()


def normalise(crops: torch.Tensor) -> torch.Tensor:
    """RGB 0..1 to -1..1, which is what (x - 127.5) / 127.5 makes of bytes."""
    return crops * 2 - 1


def pose_for_judge(generator: numpy.random.Generator, count: int) -> Album:
    """Two pictures of each person; every person's sibling, who differs in detail, is present."""
    coarse = numpy.repeat(draw_random_crowd(generator, count // 2).coarse, 2, axis=0)
    detail = draw_random_crowd(generator, len(coarse)).detail
    first, second = (photograph(generator, coarse, detail, SWAPPED) for _ in range(2))
    factors = torch.from_numpy(numpy.concatenate([coarse, detail], axis=1)).float()
    return Album(normalise(first), normalise(second), factors)


def contrast(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """InfoNCE both ways: each vector must be nearer its partner than to anybody else's.

    Source: van den Oord et al., arXiv 1807.03748; symmetric form as in CLIP, arXiv 2103.00020.
    """
    scores = functional.normalize(first) @ functional.normalize(second).T / TEMPERATURE
    own = torch.arange(len(first))
    return (functional.cross_entropy(scores, own) + functional.cross_entropy(scores.T, own)) / 2


def learn_metric(
    network: Judge, steps: int, seed: int, report: Report, pairs: int = 64, stock: int = STOCK
) -> None:
    """Train a judge in place; afterwards it is in evaluation mode.

    A linear head that reads the factors off the hidden layer speeds learning up; it is dropped.

    Args:
        network: What to train.
        steps: Steps of the optimiser.
        seed: Decides people, pictures and order.
        report: Gets the losses.
        pairs: Pairs of pictures in a step, chosen from the stock.
        stock: Pairs kept ready.
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
    ready = pose_for_judge(generator, stock)
    for step in range(steps):
        start = step * FRESH % (stock - FRESH + 1) // 2 * 2
        ready.replace(start, pose_for_judge(generator, FRESH))
        couples = generator.permutation(stock // 2)[: pairs // 2]
        album = ready.choose(numpy.stack([2 * couples, 2 * couples + 1], axis=1).ravel())
        pictures = torch.cat([album.first, album.second])
        with torch.autocast("cpu", torch.bfloat16):
            hidden = network.describe(pictures.contiguous(memory_format=torch.channels_last))
        hidden = hidden.float()
        vectors = network.vector(hidden)
        apart = contrast(vectors[:pairs], vectors[pairs:])
        told = functional.mse_loss(head(hidden), album.factors.repeat(2, 1))
        loss = apart + 3 * told
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        if step % 100 == 99 or step == steps - 1:
            report(step + 1, {"contrast": apart.item(), "factors": told.item()})
    network.eval()


@torch.no_grad()
def embed(network: nn.Module, crops: torch.Tensor) -> torch.Tensor:
    """(batch, 512) unit vectors of RGB crops 0..1."""
    parts = [network(normalise(part)) for part in torch.split(crops, 256)]
    return functional.normalize(torch.cat(parts))


def rank_first(network: nn.Module, coarse: Values, detail: Values, seed: int) -> float:
    """Share of people who are found by one picture among one picture of everybody."""
    generator = numpy.random.default_rng([12, seed])
    album, probes = (embed(network, photograph(generator, coarse, detail, 0.0)) for _ in range(2))
    found = (probes @ album.T).argmax(dim=1)
    return (found == torch.arange(len(coarse))).float().mean().item()


def tell_siblings(network: nn.Module, coarse: Values, seed: int, pairs: int) -> float:
    """Share of siblings (same coarse identity, other detail) told apart; chance is 0.5."""
    generator = numpy.random.default_rng([13, seed])
    rows = numpy.tile(coarse, (math.ceil(pairs / len(coarse)), 1))[:pairs]
    details = [generator.uniform(-1, 1, (pairs, len(DETAIL))) for _ in range(2)]
    probe, own, other = (
        embed(network, photograph(generator, rows, details[index], 0.0)) for index in (0, 0, 1)
    )
    return ((probe * own).sum(1) > (probe * other).sum(1)).float().mean().item()
