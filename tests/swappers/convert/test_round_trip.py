"""Every family there and back: converted, trained one step, written, and nothing else changed."""

from pathlib import Path

import numpy
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto

from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.convert.parity import (
    check_parity,
    get_parity_limit,
    measure_difference,
)
from facefusion_finetune.swappers.files.writeback import save_model
from facefusion_finetune.swappers.graphs.graph import select_layers
from facefusion_finetune.swappers.sessions import create_session, run_session
from tests.support.families import ENTRIES, create_inputs, facts, open_graph

Arrays = dict[str, NDArray[numpy.float32]]


def _describe(model: ModelProto) -> list[bytes]:
    """All of a file but its initializers."""
    rest = ModelProto()
    rest.CopyFrom(model)
    del rest.graph.initializer[:]
    return [rest.SerializeToString(deterministic=True)]


def _take_step(swapper: TorchSwapper, inputs: Arrays) -> None:
    """One step of gradient descent that moves the output by about a hundredth of its range."""
    output = swapper(torch.from_numpy(inputs["target"]), torch.from_numpy(inputs["source"]))
    wanted = output.detach() + torch.linspace(-1, 1, output.shape[-1])
    (output - wanted).abs().mean().backward()
    with torch.no_grad():
        for parameter in swapper.trained.values():
            assert parameter.grad is not None
            size = parameter.abs().mean().clamp_min(1e-3)
            slope = parameter.grad / parameter.grad.abs().mean().clamp_min(1e-12)
            parameter.sub_(0.01 * size * slope)


def _measure_scatter(
    swapper: TorchSwapper, targets: NDArray[numpy.float32], sources: NDArray[numpy.float32]
) -> float:
    """How far two of torch's own ways to compute the same are apart.

    At single points the drawn weights magnify rounding, by how much depends on the processor.
    """
    with torch.backends.mkldnn.flags(enabled=False):
        plain = swapper.run(targets, sources)
    return float(measure_difference(plain, swapper.run(targets, sources)))


@pytest.mark.parametrize("name", ENTRIES)
def test_there_and_back(name: str, tmp_path: Path) -> None:
    graph = open_graph(name, tmp_path)
    inputs, limit = create_inputs(name, 4), get_parity_limit(graph)
    targets, sources = inputs["target"], inputs["source"]
    layers = select_layers(graph, "decoder")
    swapper = TorchSwapper(graph, layers)
    before = run_session(create_session(graph.path, name), targets, sources)
    for count in (1, 2, 4):
        output = swapper.run(targets[:count], sources[:count])
        difference = measure_difference(output, before[:count])
        if difference >= limit:
            assert difference < 10 * _measure_scatter(swapper, targets[:count], sources[:count])

    _take_step(swapper, create_inputs(name, 2, seed=1))
    reached = {id(p) for p in swapper.parameters() if p.grad is not None}
    assert reached == {id(parameter) for parameter in swapper.trained.values()}
    assert set(swapper.trained) == {key for layer in layers for key in layer.initializers}
    assert all(bool(p.grad.abs().max() > 0) for p in swapper.trained.values())

    path = tmp_path / "tuned.onnx"
    save_model(graph.file, path, swapper.export_weights(), {"who": "jane"})
    tuned = create_session(path, "tuned")
    check_parity(swapper, tuned, targets[:2], sources[:2], limit)
    after = run_session(tuned, targets[:2], sources[:2])
    assert measure_difference(after, before[:2]) > 1e-3

    base, written = onnx.load(str(graph.path)), onnx.load(str(path))
    pairs = list(zip(base.graph.initializer, written.graph.initializer, strict=True))
    assert [a.name for a, _ in pairs] == [b.name for _, b in pairs]
    changed = {a.name for a, b in pairs if a.SerializeToString() != b.SerializeToString()}
    assert changed == set(swapper.trained)
    assert {prop.key: prop.value for prop in written.metadata_props}["who"] == "jane"
    del written.metadata_props[:]
    assert _describe(base) == _describe(written)


@pytest.mark.parametrize("name", ENTRIES)
def test_untrained_weights_give_the_same_bytes(name: str, tmp_path: Path) -> None:
    graph = open_graph(name, tmp_path)
    swapper = TorchSwapper(graph, select_layers(graph, "all"))
    weights = swapper.export_weights()
    save_model(graph.file, tmp_path / "same.onnx", weights)
    base = onnx.load(str(graph.path))
    same = onnx.load(str(tmp_path / "same.onnx"))
    for first, second in zip(base.graph.initializer, same.graph.initializer, strict=True):
        one, other = onnx.numpy_helper.to_array(first), onnx.numpy_helper.to_array(second)
        assert one.dtype == other.dtype
        numpy.testing.assert_array_equal(one, other, strict=True)


@pytest.mark.parametrize("name", [name for name in ENTRIES if facts(name).mask_rows])
def test_mask_rows_stay(name: str, tmp_path: Path) -> None:
    graph = open_graph(name, tmp_path)
    rows = facts(name).mask_rows
    layers = [layer for layer in graph.partition.candidates if layer.node in rows]
    assert {layer.node: layer.mask_rows for layer in layers} == rows
    swapper = TorchSwapper(graph, layers)
    before = swapper.export_weights()
    _take_step(swapper, create_inputs(name, 1))
    for layer in layers:
        for owned in layer.owned:
            after = swapper.export_weights()[owned.initializer]
            axis = 1 if layer.kind == "ConvTranspose" and owned.role == "weight" else 0
            moved = numpy.moveaxis(after != before[owned.initializer], axis, 0)
            channels = {row for row in range(len(moved)) if moved[row].any()}
            assert channels == set(range(len(moved))) - set(rows[layer.node])


def test_step_with_adam_leaves_mask_rows_alone(tmp_path: Path) -> None:
    name = next(name for name in ENTRIES if facts(name).mask_rows)
    graph = open_graph(name, tmp_path)
    layer = next(layer for layer in graph.partition.candidates if layer.mask_rows)
    swapper = TorchSwapper(graph, [layer])
    before = swapper.export_weights()
    optimiser = torch.optim.Adam(swapper.trained.values(), lr=1e-2)
    for seed in range(3):
        inputs = create_inputs(name, 1, seed)
        output = swapper(torch.from_numpy(inputs["target"]), torch.from_numpy(inputs["source"]))
        optimiser.zero_grad()
        output.square().mean().backward()
        optimiser.step()
    after = swapper.export_weights()
    bias = layer.initializers[-1]
    rows = list(layer.mask_rows)
    assert (after[bias][rows] == before[bias][rows]).all()
    assert (after[bias] != before[bias]).any()


def test_session_sees_what_the_host_sees(tmp_path: Path) -> None:
    graph = open_graph("inswapper_128", tmp_path)
    session = onnxruntime.InferenceSession(str(graph.path), providers=["CPUExecutionProvider"])
    inputs = create_inputs("inswapper_128", 1)
    expected = session.run(None, inputs)[0]
    made = run_session(create_session(graph.path, "it"), inputs["target"], inputs["source"])
    numpy.testing.assert_array_equal(made, expected)
