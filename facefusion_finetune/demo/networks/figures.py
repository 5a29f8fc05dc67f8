"""Held-out figures of the demo's networks, on people none of them has seen."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy
import torch
from torch import nn

from facefusion_finetune.demo.geometry import READ
from facefusion_finetune.demo.networks.crops import (
    Crowd,
    Shoot,
    gather_crowd,
    photograph,
    pose_heads,
)
from facefusion_finetune.demo.networks.learning import embed, normalise, rank_first, tell_siblings
from facefusion_finetune.demo.networks.modules import Reader, Recogniser, Swapper
from facefusion_finetune.demo.networks.reading import name_scenes
from facefusion_finetune.demo.networks.swapping import draw_face
from facefusion_finetune.demo.people import DETAIL, FIRST_UNSEEN_SEED, Values

PEOPLE, SIBLINGS = 200, 500
SWAPS = 128
PICTURES = 24
"""Pictures of a person whose mean vector drives the base, as many as a person model has."""
DETAILS = 64
"""Renderings with other detail that the best answer from the vector alone is the median of."""
SEED = 1


def judge_recognisers(
    networks: Mapping[str, nn.Module], first: int = FIRST_UNSEEN_SEED
) -> dict[str, float]:
    """Rank-1 among unseen people and sibling accuracy of each network."""
    crowd = gather_crowd(list(range(first, first + PEOPLE)))
    figures = {}
    for name, network in networks.items():
        figures[f"{name}_rank_1"] = rank_first(network, crowd.coarse, crowd.detail, SEED)
        figures[f"{name}_siblings"] = tell_siblings(network, crowd.coarse, SEED, SIBLINGS)
    return figures


@dataclass(frozen=True)
class Trial:
    """Swaps of unseen people onto others, whose truth is known."""

    crowd: Crowd
    """Who is swapped in."""
    shoot: Shoot
    """Onto whom, aligned by exact landmarks."""
    swapped: torch.Tensor
    """(SWAPS, 3, 64, 64): the base's swaps, driven by the mean vector of `PICTURES` pictures."""


@torch.no_grad()
def try_swapper(swapper: Swapper, recogniser: Recogniser, first: int = FIRST_UNSEEN_SEED) -> Trial:
    """Swap people from seed `first` on onto the next ones."""
    generator = numpy.random.default_rng([31, SEED])
    crowd = gather_crowd(list(range(first, first + SWAPS)))
    pictures = [
        embed(recogniser, photograph(generator, crowd.coarse, crowd.detail, 0.0))
        for _ in range(PICTURES)
    ]
    vectors = nn.functional.normalize(torch.stack(pictures).mean(dim=0))
    hosts = gather_crowd(list(range(first + SWAPS, first + 2 * SWAPS)))
    shoot = Shoot.of(generator, hosts, jitter=0.0)
    return Trial(crowd, shoot, swapper(shoot.render(), vectors @ swapper.emap))


@torch.no_grad()
def judge_swapper(trial: Trial) -> dict[str, float]:
    """Ladder of L1 distances to the true swap of unseen people, in grey levels on the face.

    `copy` leaves the target as it is, `base` is the swapper, `plain` the true swap without any
    detail, `average` the median of true swaps with other detail, the best that can be done without
    knowing the detail.
    """
    generator = numpy.random.default_rng([32, SEED])
    coarse, shoot = trial.crowd.coarse, trial.shoot
    truth = shoot.render(coarse, trial.crowd.detail)
    others = [
        shoot.render(coarse, generator.uniform(-1, 1, (SWAPS, len(DETAIL)))) for _ in range(DETAILS)
    ]
    answers = {
        "copy": shoot.render(),
        "base": trial.swapped,
        "plain": shoot.render(coarse, no_detail(SWAPS)),
        "average": torch.stack(others).median(dim=0).values,
    }
    weight = draw_face(truth.shape[-1])
    return {
        f"{name}_l1": (255 * (weight * (answer - truth).abs()).mean() / weight.mean()).item()
        for name, answer in answers.items()
    }


@torch.no_grad()
def judge_reader(
    reader: Reader, trial: Trial, first: int = FIRST_UNSEEN_SEED
) -> dict[str, dict[str, float]]:
    """Share of each factor's variance that the reader tells (R2; 1 is all, 0 is the mean).

    On pictures of unseen people, on true swaps of them, and on the base's swaps, where the truth is
    what the target does.
    """
    generator = numpy.random.default_rng([33, SEED])
    crowd = gather_crowd(list(range(first, first + PEOPLE)))
    figures = {}
    for name, share in (("pictures", 0.0), ("true_swaps", 1.0)):
        shoot = pose_heads(generator, crowd.coarse, crowd.detail, share)
        pictures = shoot.render(crowd.coarse, crowd.detail)
        figures[name] = _explain(reader, pictures, shoot.scenes)
    figures["base_swaps"] = _explain(reader, trial.swapped, trial.shoot.scenes)
    return figures


def _explain(reader: Reader, pictures: torch.Tensor, scenes: Values) -> dict[str, float]:
    read, truth = reader(normalise(pictures)).double().numpy(), name_scenes(scenes)
    awake = truth[:, READ.index("eye_close")] < 0.5
    figures = {}
    for column, name in enumerate(READ):
        rows = awake if name.startswith("gaze") else numpy.full(len(truth), True)
        goal = truth[rows, column]
        figures[name] = float(1 - ((read[rows, column] - goal) ** 2).mean() / goal.var())
    return figures


def no_detail(count: int) -> Values:
    """(count, len(DETAIL)): faces without any detail."""
    return numpy.zeros((count, len(DETAIL)))
