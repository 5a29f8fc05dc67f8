"""The learning rate: of each step, and of each trained tensor."""

import math
from collections.abc import Mapping
from typing import Protocol

from torch import nn

from facefusion_finetune.presets.preset import Preset


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
