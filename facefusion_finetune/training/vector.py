"""The person's vector is tuned before any weight: nobody else's swap changes by it.

Source: the pivot of Roich et al., PTI (arXiv 2106.05744), and textual inversion (Gal et al.,
arXiv 2208.01618), with a face swapper's source in place of the latent or the word.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy
import torch
from accelerate.utils.memory import clear_device_cache
from numpy.typing import NDArray
from torch import Tensor, nn

from facefusion_finetune.errors import SwapperError, TrainingError, is_out_of_memory
from facefusion_finetune.presets.preset import PairMix, Preset, VectorStage
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.source import PersonSource, SourceMaker
from facefusion_finetune.training.losses.swap_loss import SwapLoss, scale_to_rgb
from facefusion_finetune.training.pairs.pair_set import Kind, PairSet, draw_batch

DRIVEN: tuple[Kind, ...] = ("cycle", "cross")
"""Pairs that show what the vector does: a self pair is solved by copying its input."""


class _Direction(nn.Module):
    """The person's source as a function of a free vector that begins at length 1.

    It is tuned as the recogniser's vector, or behind a converter, which has no gradient.
    """

    def __init__(self, maker: SourceMaker, person: PersonSource, emap: Tensor | None) -> None:
        super().__init__()
        family = maker.family
        self._converted = family.needs_converter
        self._fixed_length = family.source != "converted"
        start = torch.from_numpy(
            (person.source if self._converted else person.vector).astype(numpy.float64)
        )
        length = start.norm()
        self.free = nn.Parameter((start / length).float())
        self._length = float(length) if self._converted else 1.0
        self._emap = emap

    def forward(self) -> Tensor:
        """(512,): the source, as the swapper takes it."""
        row = self._limit(self.free)
        if self._emap is not None:
            # Rounded, the product would be somewhat another person's.
            with torch.autocast(row.device.type, enabled=False):
                row = row @ self._emap
        return row * self._length

    @torch.no_grad()
    def shorten(self) -> None:
        """Take the length back to 1 where it says nothing, so that steps keep their size."""
        self.free.copy_(self._limit(self.free))

    def finish(self, maker: SourceMaker, person: PersonSource) -> PersonSource:
        """The person with what was tuned."""
        if self._converted:
            source: NDArray[numpy.float32] = self().detach().cpu().numpy()
            return replace(person, source=source)
        # Rounded as the file carries it: what weights are trained on is what is deployed.
        vector = self._limit(self.free).detach().cpu().numpy().astype(numpy.float64)
        return PersonSource(vector, maker.create_vector(vector))

    def _limit(self, row: Tensor) -> Tensor:
        return row / row.norm() if self._fixed_length else row


def tune_vector(
    swapper: TorchSwapper,
    options: SwapperOptions,
    maker: SourceMaker,
    person: PersonSource,
    pairs: PairSet,
    loss: SwapLoss,
    stage: VectorStage,
    preset: Preset,
    seed: int,
    on_step: Callable[[int, int, dict[str, float]], None] = lambda step, total, values: None,
) -> PersonSource:
    """Tune the vector until the swaps of some pairs are nearer to their truth.

    It depends on nothing but the arguments, so that a resumed run can do it again. The networks
    compute as the autocast around the call says.

    Args:
        swapper: Its weights stay as they are.
        options: Of the base.
        maker: Of the base.
        person: The person as deployed so far.
        pairs: With cycle or cross pairs; the sources they were made with are not used.
        loss: What is minimised.
        stage: How long and how fast.
        preset: Says the shares of the pairs and the size of a batch.
        seed: Decides which pairs come when.
        on_step: Told about each step: its number, that of all, and what was measured.

    Returns:
        The vector at its kind of length, see `PersonSource`, and its source. Behind a converter the
        source is tuned and the vector stays.

    Raises:
        SwapperError: The base is driven by a picture.
        TrainingError: There are no pairs to tune on, the loss is no number any more, or the memory
            does not suffice for one sample.
    """
    if options.family.picture is not None:
        raise SwapperError(
            f"base {options.name!r}",
            "it is driven by a picture, so that there is no vector to tune.",
            "Leave [vector] out of the preset, or use a base that is driven by a vector, such as"
            " inswapper_128.",
        )
    mix = _choose_pairs(pairs, preset)
    device = next(swapper.parameters()).device
    emap = torch.from_numpy(swapper.graph.emap) if maker.family.needs_emap else None
    direction = _Direction(maker, person, emap).to(device)
    work = _Work(swapper, options, pairs, loss, direction, preset.batch_size)
    optimiser = torch.optim.Adam([direction.free], betas=(0.9, 0.99))
    for step in range(stage.steps):
        optimiser.param_groups[0]["lr"] = (
            stage.learning_rate * 0.5 * (1 + math.cos(math.pi * step / stage.steps))
        )
        values = work.measure(draw_batch(pairs, mix, preset.batch_size, seed, step))
        if not math.isfinite(values["loss"]):
            raise TrainingError(
                f"the person's vector, step {step + 1}",
                "the loss is not a number any more.",
                "Lower learning_rate in [vector] of the preset.",
            )
        optimiser.step()
        direction.shorten()
        on_step(step + 1, stage.steps, values)
    return direction.finish(maker, person)


def _choose_pairs(pairs: PairSet, preset: Preset) -> PairMix:
    shares = {kind: getattr(preset.pairs, kind) for kind in DRIVEN if pairs.count(kind)}
    if not any(shares.values()):
        raise TrainingError(
            "the preset's [vector]",
            "a vector is tuned on cycle or cross pairs, and there are none.",
            "Ask for cycle pairs in [pairs], or leave [vector] out.",
        )
    return PairMix(**shares)


@dataclass
class _Work:
    """Works out the gradient of a direction, in as many parts as the memory asks for."""

    swapper: TorchSwapper
    options: SwapperOptions
    pairs: PairSet
    loss: SwapLoss
    direction: _Direction
    part: int
    """Samples at a time."""

    def measure(self, rows: Sequence[int]) -> dict[str, float]:
        """Place the gradient of the mean loss of some pairs; what was measured."""
        while True:
            try:
                return self._accumulate(rows)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if self.part == 1:
                    raise TrainingError(
                        "the person's vector",
                        "the memory does not suffice for one sample.",
                        "Leave [vector] out of the preset, or use another device.",
                    ) from error
            # After the handler, which holds the tensors of what failed.
            clear_device_cache(garbage_collection=True)
            self.part = -(-self.part // 2)

    def _accumulate(self, rows: Sequence[int]) -> dict[str, float]:
        free = self.direction.free
        gradient = torch.zeros_like(free)
        sums: dict[str, float] = defaultdict(float)
        for start in range(0, len(rows), self.part):
            batch = self.pairs.select(
                rows[start : start + self.part], self.options, str(free.device)
            )
            source = self.direction().expand(len(batch.target), -1)
            output = self.swapper(batch.target, source)
            total, terms = self.loss(scale_to_rgb(output.float(), self.options), batch)
            # Asked for the direction alone, so that no gradient of a weight is worked out.
            gradient += torch.autograd.grad(total.sum() / len(rows), free)[0]
            for name, values in {"loss": total.detach(), **terms}.items():
                sums[name] += float(values.sum()) / len(rows)
        free.grad = gradient
        return dict(sums)
