"""The learning rate at each step, and how long a training will take by what it took so far."""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from facefusion_finetune.presets.preset import Preset

WINDOW = 256
"""Steps that the estimate rests on: enough to hold several rounds of work that comes now and then,
such as a cache that is refilled."""


@dataclass(frozen=True)
class Schedule:
    """When something besides the steps is due."""

    every: int
    """Steps between two times; 0 for never."""
    total: int
    """Steps of the whole run."""
    at_end: bool
    """Whether it is due after the last step, whatever its number."""

    def is_due(self, done: int) -> bool:
        """Whether it is due after `done` steps."""
        if not self.every:
            return False
        return self.at_end if done == self.total else done % self.every == 0

    def count_left(self, done: int) -> int:
        """How many times it is still due after more than `done` steps."""
        if not self.every or done >= self.total:
            return 0
        return (self.total - 1) // self.every - done // self.every + self.at_end


class Clock:
    """Collects durations and estimates what is left."""

    def __init__(self, total: int, schedules: Mapping[str, Schedule]) -> None:
        """Begin a run.

        Args:
            total: Steps of the whole run.
            schedules: What else is due, by name.
        """
        self._total = total
        self._schedules = schedules
        self._first: float | None = None
        self._steps: deque[float] = deque(maxlen=WINDOW)
        self._costs: dict[str, deque[float]] = {name: deque(maxlen=WINDOW) for name in schedules}

    def add_step(self, seconds: float) -> None:
        """A step took that long, without what else was due."""
        if self._first is None:
            # Memory and kernels are set up in it.
            self._first = seconds
        else:
            self._steps.append(seconds)

    def add_cost(self, name: str, seconds: float) -> None:
        """Something that was due took that long."""
        self._costs[name].append(seconds)

    def estimate_left(self, done: int) -> float:
        """Seconds that a run needs from `done` steps on; before any step, 0."""
        step = _average(self._steps) if self._steps else self._first or 0.0
        left = (self._total - done) * step
        for name, schedule in self._schedules.items():
            if costs := self._costs[name]:
                left += schedule.count_left(done) * _average(costs)
        return left


def _average(durations: Iterable[float]) -> float:
    """Mean, with the longest one counted as the next to longest.

    One stall of the machine does not count so, while work that comes back does.
    """
    ordered = sorted(durations)
    if len(ordered) > 2:
        ordered[-1] = ordered[-2]
    return sum(ordered) / len(ordered)


class Tunable(Protocol):
    """What has trained tensors, as `TorchSwapper` has."""

    trained: dict[str, nn.Parameter]

    def count_inputs(self, name: str) -> int:
        """How many numbers each output of a trained weight sums over."""


def find_rate(preset: Preset, steps: int, step: int) -> float:
    """The preset's rate at step number `step` of `steps`, from 0."""
    warm = round(preset.warm_up * steps)
    if step < warm:
        return preset.learning_rate * (step + 1) / warm
    if preset.schedule == "constant":
        return preset.learning_rate
    share = (step - warm) / max(1, steps - warm)
    return preset.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def scale_rates(swapper: Tunable, preset: Preset) -> dict[str, float]:
    """What the preset's rate is multiplied with for each trained tensor, by its name.

    Adam moves every weight by about its rate. A layer that sums over many inputs changes by as
    many rates at once, which wrecks a wide layer where a narrow one learns. So a relative rate
    is measured against the weights' size over the root of their number per output. A bias
    takes the scale of its layer's weight, which comes before it. The `up` of a branch begins at
    zero behind a `down` whose output is as large as the layer's own: its rate is measured against
    the number of its inputs, and its bias goes with `down`.
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
    """Each scale with the tensors that have it: an optimiser updates a group at once."""
    groups: dict[float, list[str]] = {}
    for name, scale in scales.items():
        groups.setdefault(scale, []).append(name)
    return list(groups.items())
