"""Everything that changes while a run trains, and how it becomes a checkpoint and back."""

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
from facefusion_finetune.training.engine.schedule import Tunable, group_by_scale, scale_rates


class Selection:
    """The scores of a run's looks at what is kept back, and the best weights seen."""

    def __init__(self, patience: int) -> None:
        """Stop after `patience` looks without better weights."""
        self._patience = patience
        self.scores: list[tuple[int, float]] = []
        """Step and score, lower is better; step 0 is the base."""
        self.best: TensorSet = {}
        """Of the tuned ones; empty before the first finite score."""

    def restore(self, scores: tuple[tuple[int, float], ...], best: TensorSet) -> None:
        """Go back to an earlier state."""
        self.scores = list(scores)
        self.best = best

    def add(self, step: int, score: float, average: Mapping[str, Tensor]) -> None:
        """Take note of a score; the weights are kept if none had a better one.

        Args:
            step: Steps done.
            score: Lower is better; what is no finite number is never best.
            average: The weights looked at.
        """
        best = self._find_best()
        self.scores.append((step, score))
        if self._find_best() != best:
            self.best = copy_tensors(average)

    @property
    def is_exhausted(self) -> bool:
        """Whether the last looks were all without better weights."""
        best = self._find_best()
        later = [step for step, _ in self.scores if step > (best[0] if best else 0)]
        return len(later) >= self._patience

    def explain(self) -> str | None:
        """In a sentence which weights are written out; None where nobody looked."""
        best = self._find_best()
        if best is None:
            return (
                "No look at the training shot that was kept back gave a number; the last averaged"
                " weights are used."
                if self.scores
                else None
            )
        step, score = best
        text = f"The averaged weights of step {step} are used: the best score seen, {score:.4f}"
        base = dict(self.scores).get(0, math.inf)
        if base <= score:
            return f"{text}. Nothing was better than the base itself ({base:.4f})."
        return f"{text}, against the base's {base:.4f}." if math.isfinite(base) else f"{text}."

    def _find_best(self) -> tuple[int, float] | None:
        tuned = [entry for entry in self.scores if entry[0] > 0 and math.isfinite(entry[1])]
        return min(tuned, key=lambda entry: entry[1], default=None)


class TrainingState:
    """Weights, their average, the optimiser and the best weights seen."""

    def __init__(self, accelerator: Accelerator, swapper: Tunable, preset: Preset) -> None:
        """Begin with the weights as they are, before any checkpoint: rates go by them."""
        self.trained: Mapping[str, nn.Parameter] = dict(swapper.trained)
        self.average = {name: tensor.detach().clone() for name, tensor in self.trained.items()}
        self.selection = Selection(preset.patience)
        self._preset = preset
        groups = group_by_scale(scale_rates(swapper, preset))
        self._scales = [scale for scale, _ in groups]
        self._adam = torch.optim.Adam(
            [{"params": [self.trained[name] for name in names]} for _, names in groups],
            lr=preset.learning_rate,
            betas=(0.9, 0.99),
        )
        self._optimiser = accelerator.prepare(self._adam)
        self._accelerator = accelerator

    @property
    def loss_scale(self) -> float:
        """What fp16 gradients are multiplied with; 1 in any other precision."""
        scaler = self._accelerator.scaler
        return 1.0 if scaler is None else float(scaler.get_scale())

    def update(self, rate: float) -> None:
        """One optimiser step on the gradients there are, clipped by the caller."""
        for group, scale in zip(self._adam.param_groups, self._scales, strict=True):
            group["lr"] = rate * scale
        self._optimiser.step()

    def skip(self) -> None:
        """Leave a step out whose gradients were clipped already."""
        if self._accelerator.scaler is not None:
            self._accelerator.scaler.update()

    def clip(self) -> float:
        """Clip the gradients as the preset says; their norm before."""
        norm = self._accelerator.clip_grad_norm_(self.trained.values(), self._preset.clip_norm)
        return float(norm)

    @torch.no_grad()
    def average_in(self, step: int) -> None:
        """Let the average follow, after step number `step`, from 0."""
        # A young average follows closely, so that it does not drag the base's weights along.
        preset = self._preset
        decay = min(preset.ema, (1 + step) / (10 + step)) if preset.ema else 0.0
        follow = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        follow(list(self.average.values()), [t.detach() for t in self.trained.values()], None)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The averaged weights in place for a while."""
        last = {name: tensor.detach().clone() for name, tensor in self.trained.items()}
        self.place(self.average)
        try:
            yield
        finally:
            self.place(last)

    @torch.no_grad()
    def place(self, weights: Mapping[str, Tensor]) -> None:
        """Put weights in place."""
        for name, tensor in self.trained.items():
            tensor.copy_(weights[name])

    def place_final(self) -> None:
        """Put the weights in place that are written out."""
        self.place(self.selection.best or self.average)

    def capture(self, identity: Identity, progress: Progress) -> Checkpoint:
        """A copy of everything, on the CPU."""
        return Checkpoint(
            identity,
            progress,
            weights=copy_tensors(self.trained),
            average=copy_tensors(self.average),
            # Replaced and never changed, so that no copy is needed.
            best=self.selection.best,
            moments=copy_tensors(read_moments(self._adam, self.trained)),
        )

    def restore(self, checkpoint: Checkpoint, given: str) -> None:
        """Become what was captured.

        Args:
            checkpoint: Of the same tensors.
            given: Where it comes from, for the error.

        Raises:
            TrainingError: It holds other tensors.
        """
        shapes = {name: tensor.shape for name, tensor in self.trained.items()}
        for weights in (checkpoint.weights, checkpoint.average, checkpoint.best or self.average):
            if {name: tensor.shape for name, tensor in weights.items()} != shapes:
                raise TrainingError(
                    given,
                    "the checkpoint holds other weights than this run trains.",
                    "Train again without --resume.",
                )
        self.place(checkpoint.weights)
        for name, tensor in self.average.items():
            tensor.copy_(checkpoint.average[name])
        self.selection.restore(checkpoint.progress.scores, checkpoint.best)
        restore_moments(self._adam, self.trained, checkpoint.moments)

    def read_scaler(self) -> dict[str, Any]:
        """State of the fp16 gradient scaler; empty in any other precision."""
        scaler = self._accelerator.scaler
        return {} if scaler is None else dict(scaler.state_dict())

    def restore_scaler(self, values: Mapping[str, Any]) -> None:
        """Let the gradient scaler go on as it was, where there is one."""
        if self._accelerator.scaler is not None and values:
            self._accelerator.scaler.load_state_dict(dict(values))
