"""The learning rate schedule, the schedule of other work, and the estimated time left."""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from facefusion_finetune.presets.preset import Preset

WINDOW = 256
"""Steps the estimate is based on: enough to include several rounds of occasional work, such as
refilling the cache."""


@dataclass(frozen=True)
class Schedule:
    """Says when work besides the steps is due."""

    every: int
    """Interval in steps; 0 for never."""
    total: int
    """Total steps of the run."""
    at_end: bool
    """Whether it is always due after the last step."""

    def is_due(self, done: int) -> bool:
        """Whether it is due after `done` steps."""
        if not self.every:
            return False
        return self.at_end if done == self.total else done % self.every == 0

    def count_left(self, done: int) -> int:
        """How many more times it is due after `done` steps."""
        if not self.every or done >= self.total:
            return 0
        return (self.total - 1) // self.every - done // self.every + self.at_end


class Clock:
    """Collects durations and estimates the time left."""

    def __init__(self, total: int, schedules: Mapping[str, Schedule]) -> None:
        """Start a run.

        Args:
            total: Total steps of the run.
            schedules: Schedules of other work, by name.
        """
        self._total = total
        self._schedules = schedules
        self._first: float | None = None
        self._steps: deque[float] = deque(maxlen=WINDOW)
        self._costs: dict[str, deque[float]] = {name: deque(maxlen=WINDOW) for name in schedules}

    def add_step(self, seconds: float) -> None:
        """Record the duration of a step, without other work."""
        if self._first is None:
            # A warm-up: memory and kernels are set up.
            self._first = seconds
        else:
            self._steps.append(seconds)

    def add_cost(self, name: str, seconds: float) -> None:
        """Record the duration of other work."""
        self._costs[name].append(seconds)

    def estimate_left(self, done: int) -> float:
        """Estimated seconds left after `done` steps; 0 before the first step."""
        step = _average(self._steps) if self._steps else self._first or 0.0
        left = (self._total - done) * step
        for name, schedule in self._schedules.items():
            if costs := self._costs[name]:
                left += schedule.count_left(done) * _average(costs)
        return left


def _average(durations: Iterable[float]) -> float:
    """Mean, with the longest value replaced by the second longest.

    This ignores a single stall of the machine, but not recurring work.
    """
    ordered = sorted(durations)
    if len(ordered) > 2:
        ordered[-1] = ordered[-2]
    return sum(ordered) / len(ordered)


class Tunable(Protocol):
    """A network with trainable tensors, such as `TorchSwapper`."""

    trained: dict[str, nn.Parameter]

    def count_inputs(self, name: str) -> int:
        """Number of inputs that each output of a trained weight sums over (its fan-in)."""


def compute_learning_rate(preset: Preset, steps: int, step: int) -> float:
    """The preset's learning rate at step `step` of `steps`, counted from 0."""
    warm = round(preset.warm_up * steps)
    if step < warm:
        return preset.learning_rate * (step + 1) / warm
    if preset.schedule == "constant":
        return preset.learning_rate
    share = (step - warm) / max(1, steps - warm)
    return preset.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def scale_learning_rates(swapper: Tunable, preset: Preset) -> dict[str, float]:
    """Factor on the preset's learning rate for each trained tensor, by name.

    Adam changes every weight by about the learning rate. The output of a layer that sums over many
    inputs changes by a multiple of that, so a rate that suits a narrow layer destroys a wide one.
    A relative rate is therefore scaled by the weights' RMS over the square root of the fan-in. A
    bias gets the factor of its layer's weight, which precedes it. The `up` of a branch starts at
    zero after a `down` whose output is as large as the layer's own: its factor is one over its
    fan-in, and its bias gets the factor of `down`.
    """
    if preset.rate == "absolute":
        return dict.fromkeys(swapper.trained, 1.0)
    scales: dict[str, float] = {}
    last = 1.0
    for name, tensor in swapper.trained.items():
        if tensor.ndim > 1:
            inputs = swapper.count_inputs(name)
            size = float(tensor.detach().square().mean().sqrt())
            if size == 0:
                scales[name] = 1 / inputs
                continue
            last = size / math.sqrt(inputs)
        scales[name] = last
    return scales


def group_by_scale(scales: Mapping[str, float]) -> list[tuple[float, list[str]]]:
    """Tensor names grouped by scale: an optimizer updates a group at once."""
    groups: dict[float, list[str]] = {}
    for name, scale in scales.items():
        groups.setdefault(scale, []).append(name)
    return list(groups.items())
