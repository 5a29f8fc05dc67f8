"""The optimisation itself: batches in, tuned weights out, resumable at every checkpoint."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

from facefusion_finetune.errors import TrainingError
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    read_moments,
    restore_moments,
    save_checkpoint,
)
from facefusion_finetune.training.losses import SwapLoss, scale_to_rgb
from facefusion_finetune.training.pairs import PairSet, draw_batch
from facefusion_finetune.training.presets import Preset
from facefusion_finetune.training.run import Run

StepCallback = Callable[[int, int, dict[str, float]], None]
"""Called after each step with its number, the number of all steps, and what was measured."""


@dataclass(frozen=True)
class Trainer:
    """What the loop needs; see `optimise`."""

    accelerator: Accelerator
    swapper: TorchSwapper
    pairs: PairSet
    options: SwapperOptions
    loss: SwapLoss
    preset: Preset
    steps: int
    seed: int
    run: Run

    def optimise(
        self, resume: bool, on_step: StepCallback, on_preview: Callable[[int], object]
    ) -> None:
        """Train; afterwards the swapper holds the weights to be written out.

        Args:
            resume: Go on from the run's checkpoint.
            on_step: Told about each step.
            on_preview: Called when a preview is due, with the averaged weights in place.

        Raises:
            TrainingError: The loss is no number any more, or the checkpoint cannot be used.
        """
        trained = self.swapper.trained
        # Before a checkpoint is loaded, so that a resumed run has the rates it began with.
        scales = self._scale_rates()
        optimiser = torch.optim.Adam(
            [{"params": [tensor]} for tensor in trained.values()],
            lr=self.preset.learning_rate,
            betas=(0.9, 0.99),
        )
        average = {name: tensor.detach().clone() for name, tensor in trained.items()}
        start = self._restore(optimiser, average) if resume else 0
        swapper, prepared = self.accelerator.prepare(self.swapper, optimiser)
        for step in range(start, self.steps):
            began = time.perf_counter()
            rate = self._rate(step)
            for group, scale in zip(prepared.param_groups, scales, strict=True):
                group["lr"] = rate * scale
            rows = draw_batch(
                self.pairs, self.preset.pairs, self.preset.batch_size, self.seed, step
            )
            batch = self.pairs.select(rows, self.options, str(self.accelerator.device))
            with self.accelerator.autocast():
                output = swapper(batch.target, batch.source)
            total, terms = self.loss(scale_to_rgb(output.float(), self.options), batch)
            if not torch.isfinite(total):
                raise TrainingError(
                    f"run {self.run.reference}, step {step + 1}",
                    "the loss is not a number any more.",
                    "Lower the preset's learning_rate; the last checkpoint is kept.",
                )
            prepared.zero_grad()
            self.accelerator.backward(total)
            norm = self.accelerator.clip_grad_norm_(trained.values(), self.preset.clip_norm)
            prepared.step()
            self._update(average, step)
            done = step + 1
            values = {
                "loss": float(total.detach()),
                **terms,
                "learning_rate": rate,
                "gradient_norm": float(norm) if norm is not None else math.nan,
                "seconds": time.perf_counter() - began,
            }
            self.run.log(done, values)
            if done % self.preset.checkpoint_every == 0 or done == self.steps:
                self._save(optimiser, average, done)
            if done % self.preset.preview_every == 0 and done < self.steps:
                last = {name: tensor.detach().clone() for name, tensor in trained.items()}
                self._place(average)
                on_preview(done)
                self._place(last)
            on_step(done, self.steps, values)
        self._place(average)

    def _scale_rates(self) -> list[float]:
        """What the preset's rate is multiplied with for each trainable tensor.

        Adam moves every weight by about its rate. A layer that sums over many inputs changes by as
        many rates at once, which wrecks a wide layer where a narrow one learns. So a relative rate
        is measured against the weights' size over the root of their number per output. A bias
        takes the scale of its layer's weight, which comes before it.
        """
        if self.preset.rate == "absolute":
            return [1.0] * len(self.swapper.trained)
        scales: list[float] = []
        for name, tensor in self.swapper.trained.items():
            if tensor.ndim > 1:
                size = float(tensor.detach().square().mean().sqrt())
                scales.append(size / math.sqrt(self.swapper.count_inputs(name)))
            else:
                scales.append(scales[-1])
        return scales

    def _rate(self, step: int) -> float:
        preset = self.preset
        warm = round(preset.warm_up * self.steps)
        if step < warm:
            return preset.learning_rate * (step + 1) / warm
        if preset.schedule == "constant":
            return preset.learning_rate
        share = (step - warm) / max(1, self.steps - warm)
        return preset.learning_rate * 0.5 * (1 + math.cos(math.pi * share))

    @torch.no_grad()
    def _update(self, average: dict[str, Tensor], step: int) -> None:
        # A young average follows closely, so that it does not drag the base's weights along.
        decay = min(self.preset.ema, (1 + step) / (10 + step)) if self.preset.ema else 0.0
        for name, tensor in self.swapper.trained.items():
            average[name].lerp_(tensor.detach(), 1 - decay)

    @torch.no_grad()
    def _place(self, weights: dict[str, Tensor]) -> None:
        for name, tensor in self.swapper.trained.items():
            tensor.copy_(weights[name])

    def _save(
        self, optimiser: torch.optim.Optimizer, average: dict[str, Tensor], step: int
    ) -> None:
        trained: dict[str, Tensor] = dict(self.swapper.trained)
        moments = read_moments(optimiser, trained)
        save_checkpoint(self.run.checkpoint_path, Checkpoint(step, trained, dict(average), moments))

    def _restore(self, optimiser: torch.optim.Optimizer, average: dict[str, Tensor]) -> int:
        checkpoint = load_checkpoint(self.run.checkpoint_path)
        trained: dict[str, Tensor] = dict(self.swapper.trained)
        shapes = {name: tensor.shape for name, tensor in trained.items()}
        if {name: tensor.shape for name, tensor in checkpoint.weights.items()} != shapes:
            raise TrainingError(
                str(self.run.checkpoint_path),
                "the checkpoint holds other weights than this run trains.",
                "Train again without --resume.",
            )
        self._place(checkpoint.weights)
        for name, tensor in average.items():
            tensor.copy_(checkpoint.average[name])
        restore_moments(optimiser, trained, checkpoint.moments, checkpoint.step)
        self.run.forget_metrics_after(checkpoint.step)
        return checkpoint.step
