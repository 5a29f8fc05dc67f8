"""The training state, and its conversion to and from a checkpoint."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from facefusion_finetune.errors import TrainingError
from facefusion_finetune.presets.preset import Preset
from facefusion_finetune.training.engine.checkpoint import (
    Checkpoint,
    Identity,
    Progress,
    TensorSet,
    copy_tensors,
    read_moments,
    restore_moments,
)
from facefusion_finetune.training.engine.schedule import (
    Tunable,
    group_by_scale,
    scale_learning_rates,
)


class EarlyStopping:
    """The validation scores of a run, and the weights with the best one."""

    def __init__(self, patience: int) -> None:
        """Stop after `patience` validations without improvement."""
        self._patience = patience
        self.scores: list[tuple[int, float]] = []
        """Step and score, lower is better; step 0 is the base."""
        self.best: TensorSet = {}
        """The weights with the best score; empty before the first finite score."""

    def restore(self, scores: tuple[tuple[int, float], ...], best: TensorSet) -> None:
        """Restore an earlier state."""
        self.scores = list(scores)
        self.best = best

    def add(self, step: int, score: float, average: Mapping[str, Tensor]) -> None:
        """Add a score, and keep the weights if it is the best one.

        Args:
            step: Completed steps.
            score: Lower is better; NaN and infinity are never best.
            average: The weights that were scored.
        """
        best = self._find_best()
        self.scores.append((step, score))
        if self._find_best() != best:
            self.best = copy_tensors(average)

    @property
    def should_stop(self) -> bool:
        """Whether the last `patience` validations brought no improvement."""
        best = self._find_best()
        later = [step for step, _ in self.scores if step > (best[0] if best else 0)]
        return len(later) >= self._patience

    def explain(self) -> str | None:
        """A sentence that says which weights are exported; None without validation."""
        best = self._find_best()
        if best is None:
            return (
                "No validation gave a finite score; the last averaged weights are used."
                if self.scores
                else None
            )
        step, score = best
        text = f"Using the averaged weights of step {step}: best validation score, {score:.4f}"
        base = dict(self.scores).get(0, math.inf)
        if base <= score:
            return f"{text}. None was better than the base ({base:.4f})."
        return f"{text} (base: {base:.4f})." if math.isfinite(base) else f"{text}."

    def _find_best(self) -> tuple[int, float] | None:
        tuned = [entry for entry in self.scores if entry[0] > 0 and math.isfinite(entry[1])]
        return min(tuned, key=lambda entry: entry[1], default=None)


class TrainingState:
    """Weights, their moving average, the optimizer and the best weights."""

    def __init__(self, accelerator: Accelerator, swapper: Tunable, preset: Preset) -> None:
        """Start with the base's weights, which determine the learning rates of the tensors."""
        self.trained: Mapping[str, nn.Parameter] = dict(swapper.trained)
        self.average = {name: tensor.detach().clone() for name, tensor in self.trained.items()}
        self.early_stopping = EarlyStopping(preset.patience)
        self._preset = preset
        groups = group_by_scale(scale_learning_rates(swapper, preset))
        self._scales = [scale for scale, _ in groups]
        self._adam = torch.optim.Adam(
            [{"params": [self.trained[name] for name in names]} for _, names in groups],
            lr=preset.learning_rate,
            betas=(0.9, 0.99),
        )
        self._optimizer = accelerator.prepare(self._adam)
        self._accelerator = accelerator

    @property
    def loss_scale(self) -> float:
        """Factor on fp16 gradients; 1 in any other precision."""
        scaler = self._accelerator.scaler
        return 1.0 if scaler is None else float(scaler.get_scale())

    def update(self, rate: float) -> None:
        """One optimizer step with the current gradients, clipped by the caller."""
        for group, scale in zip(self._adam.param_groups, self._scales, strict=True):
            group["lr"] = rate * scale
        self._optimizer.step()

    def skip_update(self) -> None:
        """Skip a step after its gradients were clipped."""
        if self._accelerator.scaler is not None:
            self._accelerator.scaler.update()

    def clip(self) -> float:
        """Clip the gradients to the preset's norm; returns their norm before clipping."""
        norm = self._accelerator.clip_grad_norm_(self.trained.values(), self._preset.clip_norm)
        return float(norm)

    @torch.no_grad()
    def update_average(self, step: int) -> None:
        """Update the moving average after step `step`, counted from 0."""
        # Lower decay at the start, so that the base's weights do not dominate the average.
        preset = self._preset
        decay = min(preset.ema, (1 + step) / (10 + step)) if preset.ema else 0.0
        update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        update(list(self.average.values()), [t.detach() for t in self.trained.values()], None)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Load the averaged weights while the block runs."""
        last = {name: tensor.detach().clone() for name, tensor in self.trained.items()}
        self.load(self.average)
        try:
            yield
        finally:
            self.load(last)

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Load weights into the swapper."""
        for name, tensor in self.trained.items():
            tensor.copy_(weights[name])

    def load_final(self) -> None:
        """Load the weights to export."""
        self.load(self.early_stopping.best or self.average)

    def capture(self, identity: Identity, progress: Progress) -> Checkpoint:
        """A copy of everything, on the CPU."""
        return Checkpoint(
            identity,
            progress,
            weights=copy_tensors(self.trained),
            average=copy_tensors(self.average),
            # Never changed in place, so no copy is needed.
            best=self.early_stopping.best,
            moments=copy_tensors(read_moments(self._adam, self.trained)),
        )

    def restore(self, checkpoint: Checkpoint, given: str) -> None:
        """Restore a captured state.

        Args:
            checkpoint: A checkpoint of the same tensors.
            given: Its source, for the error message.

        Raises:
            TrainingError: It has other tensors.
        """
        shapes = {name: tensor.shape for name, tensor in self.trained.items()}
        for weights in (checkpoint.weights, checkpoint.average, checkpoint.best or self.average):
            if {name: tensor.shape for name, tensor in weights.items()} != shapes:
                raise TrainingError(
                    given,
                    "the checkpoint has other weights than this run trains.",
                    "Train again without --resume.",
                )
        self.load(checkpoint.weights)
        for name, tensor in self.average.items():
            tensor.copy_(checkpoint.average[name])
        self.early_stopping.restore(checkpoint.progress.scores, checkpoint.best)
        restore_moments(self._adam, self.trained, checkpoint.moments)

    def read_scaler(self) -> dict[str, Any]:
        """State of the fp16 gradient scaler; empty in any other precision."""
        scaler = self._accelerator.scaler
        return {} if scaler is None else dict(scaler.state_dict())

    def restore_scaler(self, values: Mapping[str, Any]) -> None:
        """Restore the state of the gradient scaler, if there is one."""
        if self._accelerator.scaler is not None and values:
            self._accelerator.scaler.load_state_dict(dict(values))
