"""The validation set, pairs of a held-out training shot, and its score for early stopping."""

from dataclasses import dataclass

import numpy
import torch

from facefusion_finetune.dataset.crops import AlignedCrop
from facefusion_finetune.faces.protocol import FaceAnalyser
from facefusion_finetune.runs.base_swapper import FORWARD_BATCH, BaseSwapper, create_cycle_inputs
from facefusion_finetune.runs.sources import SourceTable
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.training.losses.swap_loss import scale_to_rgb
from facefusion_finetune.training.pairs.build import PairBuilder
from facefusion_finetune.training.pairs.pair_set import CYCLE, PairSet

VALIDATION_SEED = 7949
"""Draws the people swapped on; the same in every run, so scores are comparable."""


def create_validation_pairs(
    crops: list[AlignedCrop], sources: SourceTable, base: BaseSwapper, analyser: FaceAnalyser
) -> PairSet:
    """One cycle pair per crop, not degraded, driven by P's deployed source.

    Args:
        crops: Validation crops of P; at least one.
        sources: Sources of the training crops, of P as deployed, and of others.
        base: The frozen base.
        analyser: Aligns, masks and pastes back.
    """
    table = numpy.concatenate([sources.person.source[None], sources.others])
    builder = PairBuilder(crops, analyser, table)
    generator = numpy.random.default_rng(VALIDATION_SEED)
    who = 1 + generator.integers(0, len(sources.others), len(crops))
    swapped = builder.add_pictures(create_cycle_inputs(crops, table[who], base, analyser))
    rows = numpy.arange(len(crops))
    builder.add(CYCLE, rows, swapped, numpy.zeros_like(rows), rows, True)
    return PairSet(**builder.build(0.0, generator))


@dataclass(frozen=True)
class ValidationScore:
    """Mean distance of the swaps to the real validation frames."""

    swapper: TorchSwapper
    pairs: PairSet
    options: SwapperOptions
    device: str

    @torch.no_grad()
    def __call__(self) -> float:
        """Mean L1 inside the face, in grey levels, with the swapper's current weights."""
        distances: list[float] = []
        for start in range(0, len(self.pairs), FORWARD_BATCH):
            rows = range(start, min(start + FORWARD_BATCH, len(self.pairs)))
            batch = self.pairs.select(rows, self.options, self.device)
            output = scale_to_rgb(self.swapper(batch.target, batch.source).float(), self.options)
            error = (output.clamp(0, 1) - batch.truth).abs().mean(dim=1, keepdim=True)
            inside = (error * batch.face).sum(dim=(1, 2, 3)) / batch.face.sum(dim=(1, 2, 3))
            distances += (255 * inside).tolist()
        return float(numpy.mean(distances))
