"""Rates that suit narrow and wide layers alike."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch

from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.graphs.graph import read_swapper
from facefusion_finetune.training.loop import Trainer
from facefusion_finetune.training.presets import parse_preset
from tests.support.demo_world import QUICK_PRESET
from tests.support.inswapper import write_inswapper


def _trainer(swapper: TorchSwapper, rate: str) -> Trainer:
    preset = parse_preset(QUICK_PRESET.replace("absolute", rate), "quick")
    unused = cast(Any, None)
    return Trainer(unused, swapper, unused, unused, unused, preset, 8, 0, unused)


def _worst_change(swapper: TorchSwapper, rate: float, scales: list[float]) -> dict[str, float]:
    """How far one Adam step can move a layer's output, in its output's typical size."""
    changes = {}
    for (name, tensor), scale in zip(swapper.trained.items(), scales, strict=True):
        if tensor.ndim > 1:
            inputs = torch.randn(
                4096, tensor[0].numel(), generator=torch.Generator().manual_seed(0)
            )
            typical = (inputs @ tensor.detach().flatten(1).T).std()
            step = rate * scale * inputs.abs().sum(dim=1).mean()
            changes[name] = float(step / typical)
    return changes


@pytest.mark.parametrize("factor", [1.0, 0.1])
def test_relative_rate_bounds_the_change_of_every_layer(tmp_path: Path, factor: float) -> None:
    graph = read_swapper(write_inswapper(tmp_path / "swapper.onnx").path)
    swapper = TorchSwapper(graph, graph.decoder)
    with torch.no_grad():
        for tensor in swapper.trained.values():
            tensor.mul_(factor)
    relative = _worst_change(swapper, 0.05, _trainer(swapper, "relative")._scale_rates())
    assert len(relative) == 4
    for change in relative.values():
        assert 0.03 < change < 0.05
    absolute = _worst_change(swapper, 1e-3, _trainer(swapper, "absolute")._scale_rates())
    assert max(absolute.values()) > 0.2


def test_bias_takes_its_layers_scale(tmp_path: Path) -> None:
    graph = read_swapper(write_inswapper(tmp_path / "swapper.onnx").path)
    swapper = TorchSwapper(graph, graph.decoder)
    scales = dict(zip(swapper.trained, _trainer(swapper, "relative")._scale_rates(), strict=True))
    for layer in graph.decoder:
        weight, bias = layer.initializers
        assert scales[weight] == scales[bias] > 0
