"""Held-out metrics of the demo's networks, on people none of them has seen."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy
import torch
from torch import nn

from facefusion_finetune.demo.geometry import READER_FACTORS
from facefusion_finetune.demo.networks.crops import (
    CropBatch,
    PeopleBatch,
    gather_people,
    render_crops,
    sample_heads,
)
from facefusion_finetune.demo.networks.learning import (
    embed,
    measure_rank_1,
    measure_sibling_accuracy,
    normalise,
)
from facefusion_finetune.demo.networks.modules import Reader, Recogniser, Swapper
from facefusion_finetune.demo.networks.reading import select_factors
from facefusion_finetune.demo.networks.swapping import create_face_weight
from facefusion_finetune.demo.people import DETAIL, FIRST_UNSEEN_SEED, Values

PEOPLE, SIBLINGS = 200, 500
SWAPS = 128
PICTURES = 24
"""Pictures per person whose mean vector drives the base, as many as for a tuned model."""
DETAILS = 64
"""Renderings with random detail; their median is the best possible from the vector alone."""
SEED = 1


def evaluate_recognisers(
    networks: Mapping[str, nn.Module], first: int = FIRST_UNSEEN_SEED
) -> dict[str, float]:
    """Rank-1 among unseen people and sibling accuracy of each network."""
    people = gather_people(list(range(first, first + PEOPLE)))
    figures = {}
    for name, network in networks.items():
        figures[f"{name}_rank_1"] = measure_rank_1(network, people.coarse, people.detail, SEED)
        figures[f"{name}_siblings"] = measure_sibling_accuracy(
            network, people.coarse, SEED, SIBLINGS
        )
    return figures


@dataclass(frozen=True)
class Trial:
    """Swaps of unseen people onto others, with known truth."""

    people: PeopleBatch
    """The people swapped in."""
    batch: CropBatch
    """The targets, aligned by exact landmarks."""
    swapped: torch.Tensor
    """(SWAPS, 3, 64, 64): the base's swaps, driven by the mean vector of `PICTURES` pictures."""


@torch.no_grad()
def run_swapper(swapper: Swapper, recogniser: Recogniser, first: int = FIRST_UNSEEN_SEED) -> Trial:
    """Swap people with seeds from `first` onto those with the next seeds."""
    generator = numpy.random.default_rng([31, SEED])
    people = gather_people(list(range(first, first + SWAPS)))
    pictures = [
        embed(recogniser, render_crops(generator, people.coarse, people.detail, 0.0))
        for _ in range(PICTURES)
    ]
    vectors = nn.functional.normalize(torch.stack(pictures).mean(dim=0))
    targets = gather_people(list(range(first + SWAPS, first + 2 * SWAPS)))
    batch = CropBatch.of(generator, targets, jitter=0.0)
    return Trial(people, batch, swapper(batch.render(), vectors @ swapper.emap))


@torch.no_grad()
def evaluate_swapper(trial: Trial) -> dict[str, float]:
    """L1 distances to the true swap of unseen people, in grey levels on the face.

    `copy` is the unchanged target, `base` the swapper, `plain` the true swap without detail, and
    `average` the median of true swaps with random detail, the best possible without knowing the
    detail.
    """
    generator = numpy.random.default_rng([32, SEED])
    coarse, batch = trial.people.coarse, trial.batch
    truth = batch.render(coarse, trial.people.detail)
    others = [
        batch.render(coarse, generator.uniform(-1, 1, (SWAPS, len(DETAIL)))) for _ in range(DETAILS)
    ]
    answers = {
        "copy": batch.render(),
        "base": trial.swapped,
        "plain": batch.render(coarse, no_detail(SWAPS)),
        "average": torch.stack(others).median(dim=0).values,
    }
    weight = create_face_weight(truth.shape[-1])
    return {
        f"{name}_l1": (255 * (weight * (answer - truth).abs()).mean() / weight.mean()).item()
        for name, answer in answers.items()
    }


@torch.no_grad()
def evaluate_reader(
    reader: Reader, trial: Trial, first: int = FIRST_UNSEEN_SEED
) -> dict[str, dict[str, float]]:
    """Share of each factor's variance that the reader explains (R2; 0 for predicting the mean).

    Measured on pictures of unseen people, on true swaps of them, and on the base's swaps, where the
    truth is the target's.
    """
    generator = numpy.random.default_rng([33, SEED])
    people = gather_people(list(range(first, first + PEOPLE)))
    figures = {}
    for name, share in (("pictures", 0.0), ("true_swaps", 1.0)):
        batch = sample_heads(generator, people.coarse, people.detail, share)
        pictures = batch.render(people.coarse, people.detail)
        figures[name] = _explain(reader, pictures, batch.scenes)
    figures["base_swaps"] = _explain(reader, trial.swapped, trial.batch.scenes)
    return figures


def _explain(reader: Reader, pictures: torch.Tensor, scenes: Values) -> dict[str, float]:
    read, truth = reader(normalise(pictures)).double().numpy(), select_factors(scenes)
    awake = truth[:, READER_FACTORS.index("eye_close")] < 0.5
    figures = {}
    for column, name in enumerate(READER_FACTORS):
        rows = awake if name.startswith("gaze") else numpy.full(len(truth), True)
        goal = truth[rows, column]
        figures[name] = float(1 - ((read[rows, column] - goal) ** 2).mean() / goal.var())
    return figures


def no_detail(count: int) -> Values:
    """(count, len(DETAIL)): faces without detail."""
    return numpy.zeros((count, len(DETAIL)))
