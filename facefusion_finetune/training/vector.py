"""Tunes the person's vector before any weight, which leaves other people's swaps unchanged.

Source: the pivot of Roich et al., PTI (arXiv 2106.05744), and textual inversion (Gal et al.,
arXiv 2208.01618), with a face swapper's source in place of the latent or the word embedding.
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

TUNING_KINDS: tuple[Kind, ...] = ("cycle", "cross")
"""Pairs whose output depends on the vector: a self pair is solved by copying its input."""


class _TunableSource(nn.Module):
    """The person's source as a function of a trainable vector that starts with unit norm.

    The recogniser's vector is tuned, or the converter's output, as the converter has no gradient.
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
        """(512,): the source, as the swapper's input."""
        row = self._normalise(self.free)
        if self._emap is not None:
            # In half precision, rounding would shift the source towards another person.
            with torch.autocast(row.device.type, enabled=False):
                row = row @ self._emap
        return row * self._length

    @torch.no_grad()
    def renormalise(self) -> None:
        """Reset the norm to 1 if it is irrelevant, so that the step size stays constant."""
        self.free.copy_(self._normalise(self.free))

    def finish(self, maker: SourceMaker, person: PersonSource) -> PersonSource:
        """The person with the tuned vector or source."""
        if self._converted:
            source: NDArray[numpy.float32] = self().detach().cpu().numpy()
            return replace(person, source=source)
        # Rounded as stored in the file, so that the weights are trained on the deployed values.
        vector = self._normalise(self.free).detach().cpu().numpy().astype(numpy.float64)
        return PersonSource(vector, maker.create_vector(vector))

    def _normalise(self, row: Tensor) -> Tensor:
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
    """Tune the vector to bring the swaps of the given pairs closer to their truths.

    The result depends only on the arguments, so a resumed run can repeat it. The networks run in
    the precision of the surrounding autocast.

    Args:
        swapper: Its weights are not changed.
        options: The base's options.
        maker: The base's source maker.
        person: The person as deployed so far.
        pairs: Include cycle or cross pairs; the sources they were made with are not used.
        loss: The loss to minimise.
        stage: Number of steps and learning rate.
        preset: Has the shares of the pairs and the batch size.
        seed: Determines the order of the pairs.
        on_step: Called after each step with its number, the total, and the measured values.

    Returns:
        The vector with the norm that `PersonSource` expects, and its source. With a converter, the
        source is tuned and the vector is unchanged.

    Raises:
        SwapperError: The base is driven by a picture.
        TrainingError: There are no pairs to tune on, the loss became NaN or infinite, or memory is
            too small for one sample.
    """
    if options.family.picture is not None:
        raise SwapperError(
            f"base {options.name!r}",
            "it is driven by a picture, so there is no vector to tune.",
            "Remove [vector] from the preset, or use a base that is driven by a vector, such as"
            " inswapper_128.",
        )
    mix = _choose_pairs(pairs, preset)
    device = next(swapper.parameters()).device
    emap = torch.from_numpy(swapper.graph.emap) if maker.family.needs_emap else None
    source = _TunableSource(maker, person, emap).to(device)
    gradients = _VectorGradients(swapper, options, pairs, loss, source, preset.batch_size)
    optimizer = torch.optim.Adam([source.free], betas=(0.9, 0.99))
    for step in range(stage.steps):
        optimizer.param_groups[0]["lr"] = (
            stage.learning_rate * 0.5 * (1 + math.cos(math.pi * step / stage.steps))
        )
        values = gradients.compute(draw_batch(pairs, mix, preset.batch_size, seed, step))
        if not math.isfinite(values["loss"]):
            raise TrainingError(
                f"the person's vector, step {step + 1}",
                "the loss became NaN or infinite.",
                "Lower learning_rate in the preset's [vector].",
            )
        optimizer.step()
        source.renormalise()
        on_step(step + 1, stage.steps, values)
    return source.finish(maker, person)


def _choose_pairs(pairs: PairSet, preset: Preset) -> PairMix:
    shares = {kind: getattr(preset.pairs, kind) for kind in TUNING_KINDS if pairs.count(kind)}
    if not any(shares.values()):
        raise TrainingError(
            "the preset's [vector]",
            "the vector is tuned on cycle or cross pairs, and there are none.",
            "Add cycle pairs in [pairs], or remove [vector].",
        )
    return PairMix(**shares)


@dataclass
class _VectorGradients:
    """Computes the gradient of the vector, in micro-batches that fit into memory."""

    swapper: TorchSwapper
    options: SwapperOptions
    pairs: PairSet
    loss: SwapLoss
    source: _TunableSource
    micro_batch: int
    """Samples per forward and backward pass."""

    def compute(self, rows: Sequence[int]) -> dict[str, float]:
        """Set the gradient of the mean loss of the given pairs; returns the measured values."""
        while True:
            try:
                return self._accumulate(rows)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if self.micro_batch == 1:
                    raise TrainingError(
                        "the person's vector",
                        "memory is too small for one sample.",
                        "Remove [vector] from the preset, or use another device.",
                    ) from error
            # Outside the handler, which still references the tensors of the failed pass.
            clear_device_cache(garbage_collection=True)
            self.micro_batch = -(-self.micro_batch // 2)

    def _accumulate(self, rows: Sequence[int]) -> dict[str, float]:
        free = self.source.free
        gradient = torch.zeros_like(free)
        sums: dict[str, float] = defaultdict(float)
        for start in range(0, len(rows), self.micro_batch):
            part = rows[start : start + self.micro_batch]
            batch = self.pairs.select(part, self.options, str(free.device))
            source = self.source().expand(len(batch.target), -1)
            output = self.swapper(batch.target, source)
            total, terms = self.loss(scale_to_rgb(output.float(), self.options), batch)
            # With respect to the vector only, so that no gradients of weights are computed.
            gradient += torch.autograd.grad(total.sum() / len(rows), free)[0]
            for name, values in {"loss": total.detach(), **terms}.items():
                sums[name] += float(values.sum()) / len(rows)
        free.grad = gradient
        return dict(sums)
