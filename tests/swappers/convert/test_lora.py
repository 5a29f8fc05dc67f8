"""Low-rank changes: nothing at first, merged exactly, stronger or weaker at will."""

from pathlib import Path

import numpy
import pytest
import torch

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.convert.lora import add_low_rank, set_strength
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.convert.parity import check_parity, get_parity_limit
from facefusion_finetune.swappers.files.writeback import save_model
from facefusion_finetune.swappers.graphs.graph import select_layers
from facefusion_finetune.swappers.sessions import create_session
from tests.support.families import ENTRIES, create_inputs, facts, open_graph

NAMES = ["inswapper_128", "simswap_256", "hyperswap_1a_256"]


def _train(swapper: TorchSwapper, name: str) -> None:
    inputs = create_inputs(name, 1)
    target, source = torch.from_numpy(inputs["target"]), torch.from_numpy(inputs["source"])
    optimiser = torch.optim.Adam(swapper.trained.values(), lr=0.02)
    for _ in range(3):
        optimiser.zero_grad()
        swapper(target, source).square().mean().backward()
        optimiser.step()


@pytest.mark.parametrize("name", NAMES)
def test_merged_exactly(name: str, tmp_path: Path) -> None:
    graph = open_graph(name, tmp_path)
    swapper = TorchSwapper(graph, select_layers(graph, "decoder"))
    before = swapper.export_weights()
    inputs = create_inputs(name, 2)
    base = swapper.run(inputs["target"], inputs["source"])
    add_low_rank(swapper, 4, seed=0)
    numpy.testing.assert_array_equal(swapper.run(inputs["target"], inputs["source"]), base)

    _train(swapper, name)
    adapted = swapper.run(inputs["target"], inputs["source"])
    assert numpy.abs(adapted - base).max() > 1e-4
    weights = swapper.export_weights()
    merged = TorchSwapper(graph, select_layers(graph, "decoder"))
    with torch.no_grad():
        for key, parameter in merged.trained.items():
            module, owned, _ = swapper.places[key][0]
            parameter.copy_(getattr(module, owned.role))
    numpy.testing.assert_array_equal(merged.run(inputs["target"], inputs["source"]), adapted)
    for key, array in weights.items():
        change = (array - before[key]).reshape(len(array), -1)
        if array.ndim > 1:
            assert numpy.linalg.matrix_rank(change, tol=1e-5) <= 4
        else:
            assert not change.any()

    save_model(graph.file, tmp_path / "tuned.onnx", weights)
    session = create_session(tmp_path / "tuned.onnx", "tuned")
    limit = get_parity_limit(graph)
    check_parity(swapper, session, inputs["target"], inputs["source"], limit)


def test_strength(tmp_path: Path) -> None:
    graph = open_graph("inswapper_128", tmp_path)
    swapper = TorchSwapper(graph, select_layers(graph, "last_2"))
    before = swapper.export_weights()
    add_low_rank(swapper, 2, seed=0)
    _train(swapper, "inswapper_128")
    whole = swapper.export_weights()
    set_strength(swapper, 0.5)
    half = swapper.export_weights()
    set_strength(swapper, 0.0)
    for key, array in swapper.export_weights().items():
        numpy.testing.assert_array_equal(array, before[key])
        numpy.testing.assert_allclose(half[key], (before[key] + whole[key]) / 2, atol=1e-6)


def test_gradients_reach_the_changes_alone(tmp_path: Path) -> None:
    graph = open_graph("inswapper_128", tmp_path)
    swapper = TorchSwapper(graph, select_layers(graph, "last_2"))
    add_low_rank(swapper, 2, seed=0)
    _train(swapper, "inswapper_128")
    moved = {id(parameter) for parameter in swapper.parameters() if parameter.grad is not None}
    assert moved == {id(parameter) for parameter in swapper.trained.values()}
    assert set(swapper.trained) == {
        f"Conv_{number}.weight/{part}" for number in (596, 612) for part in ("up", "down")
    }


def test_mask_rows_stay(tmp_path: Path) -> None:
    name = next(name for name in ENTRIES if facts(name).mask_rows)
    graph = open_graph(name, tmp_path)
    layer = next(layer for layer in graph.partition.candidates if layer.mask_rows)
    swapper = TorchSwapper(graph, [layer])
    before = swapper.export_weights()[layer.initializers[0]]
    add_low_rank(swapper, 2, seed=0)
    _train(swapper, name)
    after = swapper.export_weights()[layer.initializers[0]]
    axis = 1 if layer.kind == "ConvTranspose" else 0
    moved = numpy.moveaxis(after != before, axis, 0).reshape(after.shape[axis], -1).any(axis=1)
    assert set(numpy.flatnonzero(~moved)) == set(layer.mask_rows)


def test_wrong_use(tmp_path: Path) -> None:
    graph = open_graph("inswapper_128", tmp_path)
    swapper = TorchSwapper(graph, select_layers(graph, "last_2"))
    with pytest.raises(SwapperError, match="below 1"):
        add_low_rank(swapper, 0, seed=0)
    add_low_rank(swapper, 2, seed=0)
    with pytest.raises(SwapperError, match="already has low-rank changes"):
        add_low_rank(swapper, 2, seed=0)
