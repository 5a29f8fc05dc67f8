"""Held-out figures of the demo's networks, on people none of them has seen."""

from collections.abc import Mapping

import numpy
import torch
from torch import nn

from facefusion_finetune.demo.crops import Shoot, gather_crowd, photograph
from facefusion_finetune.demo.learning import embed, rank_first, tell_siblings
from facefusion_finetune.demo.networks import Swapper
from facefusion_finetune.demo.people import DETAIL, FIRST_UNSEEN_SEED, Values
from facefusion_finetune.demo.swapping import draw_face

PEOPLE, SIBLINGS = 200, 500
SWAPS = 128
DETAILS = 16
"""Renderings with other detail that the best answer from the vector alone is averaged over."""
SEED = 1


def judge_recognisers(networks: Mapping[str, nn.Module]) -> dict[str, float]:
    """Rank-1 among unseen people and sibling accuracy of each network."""
    crowd = gather_crowd(list(range(FIRST_UNSEEN_SEED, FIRST_UNSEEN_SEED + PEOPLE)))
    figures = {}
    for name, network in networks.items():
        figures[f"{name}_rank_1"] = rank_first(network, crowd.coarse, crowd.detail, SEED)
        figures[f"{name}_siblings"] = tell_siblings(network, crowd.coarse, SEED, SIBLINGS)
    return figures


@torch.no_grad()
def judge_swapper(swapper: Swapper, recogniser: nn.Module) -> dict[str, float]:
    """Ladder of L1 distances to the true swap of unseen people, in grey levels on the face.

    `copy` leaves the target as it is, `base` is the swapper driven by the mean of four pictures'
    vectors, `plain` the true swap without any detail, `average` the median of true swaps with other
    detail, the best that can be done without knowing the detail.
    """
    generator = numpy.random.default_rng([31, SEED])
    seeds = range(FIRST_UNSEEN_SEED, FIRST_UNSEEN_SEED + 2 * SWAPS)
    crowd = gather_crowd(list(seeds[:SWAPS]))
    coarse, detail = crowd.coarse, crowd.detail
    pictures = [embed(recogniser, photograph(generator, coarse, detail, 0.0)) for _ in range(4)]
    vectors = nn.functional.normalize(torch.stack(pictures).mean(dim=0))
    shoot = Shoot.of(generator, gather_crowd(list(seeds[SWAPS:])), jitter=0.0)
    target, truth = shoot.render(), shoot.render(coarse, detail)
    others = [
        shoot.render(coarse, generator.uniform(-1, 1, (SWAPS, len(DETAIL)))) for _ in range(DETAILS)
    ]
    answers = {
        "copy": target,
        "base": swapper(target, vectors @ swapper.emap),
        "plain": shoot.render(coarse, no_detail(SWAPS)),
        "average": torch.stack(others).median(dim=0).values,
    }
    weight = draw_face(truth.shape[-1])
    return {
        f"{name}_l1": (255 * (weight * (answer - truth).abs()).mean() / weight.mean()).item()
        for name, answer in answers.items()
    }


def no_detail(count: int) -> Values:
    """(count, len(DETAIL)): faces without any detail."""
    return numpy.zeros((count, len(DETAIL)))
