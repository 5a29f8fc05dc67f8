"""Files whose nodes are not in the order they run in, which onnxruntime runs all the same."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from facefusion_finetune.swappers.branches.gate import IdentityGate
from facefusion_finetune.swappers.branches.insert import add_branches
from facefusion_finetune.swappers.branches.split import split_branches
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.convert.parity import find_difference, measure_difference
from facefusion_finetune.swappers.files.modelfile import open_model
from facefusion_finetune.swappers.files.order import order_nodes
from facefusion_finetune.swappers.files.writeback import save_model
from facefusion_finetune.swappers.graphs.costs import measure_cost
from facefusion_finetune.swappers.graphs.graph import SwapperGraph, read_swapper, select_layers
from facefusion_finetune.swappers.precision import create_inputs as draw_inputs
from facefusion_finetune.swappers.precision import write_fp16
from tests.support.disorder import (
    mix_precisions,
    move_casts_last,
    reverse_nodes,
    set_nodes,
    shuffle_nodes,
)
from tests.support.families import build, create_inputs
from tests.support.tiny import build_tiny

Change = Callable[[ModelProto], ModelProto]

WIDTH = 1 / 16
CASES: dict[str, tuple[str, Change]] = {
    "casts last": ("inswapper_128_fp16", move_casts_last),
    "casts last, mapped": ("hyperswap_1a_256", move_casts_last),
    "reversed": ("simswap_256", reverse_nodes),
    "shuffled": ("ghost_1_256", shuffle_nodes),
    "shuffled, no names": ("hififace_unofficial_256", shuffle_nodes),
}


def save(model: ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


@lru_cache
def build_small(name: str) -> bytes:
    return build(name, width=WIDTH).SerializeToString()


def save_mixed(case: str, path: Path) -> Path:
    """Write the file of a case."""
    name, change = CASES[case]
    return save(change(ModelProto.FromString(build_small(name))), path)


def save_straight(name: str, path: Path) -> Path:
    """Write a file whose nodes are in order."""
    path.write_bytes(build_small(name))
    return path


def run(path: Path, name: str) -> NDArray[numpy.float32]:
    output: NDArray[numpy.float32] = onnxruntime.InferenceSession(str(path)).run(
        None, create_inputs(name)
    )[0]
    return output


def describe(graph: SwapperGraph) -> list[object]:
    """What was found in a graph, whatever the order of its nodes."""
    nodes = graph.trace.nodes
    cost = measure_cost(graph.trace, graph.decoder)
    return [
        {layer.initializers: (layer.frozen, layer.mask_rows) for layer in graph.partition.layers},
        {layer.initializers for layer in graph.decoder},
        {nodes[index].output[0] for index in graph.partition.injections},
        {layer.owned: graph.partition.depths[layer.index] for layer in graph.partition.candidates},
        cost,
    ]


def test_nodes_in_order_keep_it() -> None:
    for name in ("inswapper_128", "uniface_256", "hyperswap_1a_256"):
        graph = build(name).graph
        assert order_nodes(graph) == list(range(len(graph.node)))


def test_each_node_comes_after_those_it_needs() -> None:
    graph = reverse_nodes(build_tiny()).graph
    assert order_nodes(graph) == [4, 3, 6, 5, 2, 1, 0]
    nodes = list(build_tiny().graph.node)
    later = set_nodes(build_tiny(), [*nodes[1:], nodes[0]]).graph
    assert [later.node[index].op_type for index in order_nodes(later)] == [
        *("Gemm", "Reshape", "Conv", "Relu", "Add", "Conv", "Sigmoid")
    ]


@pytest.mark.parametrize("case", CASES)
def test_read_like_the_same_file_in_order(case: str, tmp_path: Path) -> None:
    name = CASES[case][0]
    straight = read_swapper(save_straight(name, tmp_path / "straight.onnx"))
    mixed = read_swapper(save_mixed(case, tmp_path / "mixed.onnx"))
    assert describe(mixed) == describe(straight)
    networks = [TorchSwapper(graph, graph.decoder) for graph in (straight, mixed)]
    inputs = create_inputs(name, 2)
    before, after = (one.run(inputs["target"], inputs["source"]) for one in networks)
    assert (before == after).all()
    assert "every node agrees" in find_difference(
        networks[1], inputs["target"][:1], inputs["source"][:1], 1.0
    )


@pytest.mark.parametrize(
    ("case", "link"), [*((case, False) for case in CASES), ("casts last", True), ("shuffled", True)]
)
def test_written_in_its_own_order(case: str, link: bool, tmp_path: Path) -> None:
    name = CASES[case][0]
    path = save_mixed(case, tmp_path / "mixed.onnx")
    graph = read_swapper(path)
    swapper = TorchSwapper(graph, graph.decoder)
    with torch.no_grad():
        for parameter in swapper.trained.values():
            parameter.mul_(1.25)
    weights = swapper.export_weights()
    save_model(graph.file, tmp_path / "tuned.onnx", weights, link=path.name if link else None)
    before, after = onnx.load(str(path)), onnx.load(str(tmp_path / "tuned.onnx"))
    assert list(after.graph.node) == list(before.graph.node)
    assert after.opset_import == before.opset_import
    for old, new in zip(before.graph.initializer, after.graph.initializer, strict=True):
        kept, found = numpy_helper.to_array(old), numpy_helper.to_array(new)
        expected = weights[old.name].astype(kept.dtype) if old.name in weights else kept
        assert (old.name, found.dtype) == (new.name, kept.dtype)
        assert found.tobytes() == expected.tobytes()
    assert not (run(path, name) == run(tmp_path / "tuned.onnx", name)).all()
    again = read_swapper(tmp_path / "tuned.onnx")
    assert describe(again) == describe(graph)


@pytest.mark.parametrize("case", ["casts last", "shuffled"])
def test_branches_in_a_file_out_of_order(case: str, tmp_path: Path) -> None:
    name = CASES[case][0]
    path = save_mixed(case, tmp_path / "mixed.onnx")
    base = read_swapper(path)
    gate = IdentityGate(create_inputs(name)["source"][0], 0.3, 0.8)
    branched = add_branches(base, select_layers(base, "decoder"), 2, gate, seed=3)
    save_model(branched.file, tmp_path / "branched.onnx", link=path.name)
    found = split_branches(open_model(tmp_path / "branched.onnx"))
    assert found is not None
    assert list(found.base.skeleton.graph.node) == list(base.file.skeleton.graph.node)
    expected = run(path, name)
    assert measure_difference(run(tmp_path / "branched.onnx", name), expected) < 1e-2


def test_16_bits_of_a_file_out_of_order(tmp_path: Path) -> None:
    model = open_model(save_mixed("reversed", tmp_path / "mixed.onnx"))
    assert write_fp16(model, tmp_path / "half.onnx", draw_inputs(model)) < 1e-2
    onnx.checker.check_model(str(tmp_path / "half.onnx"), full_check=True)


@pytest.mark.parametrize("name", ["inswapper_128", "simswap_256"])
def test_mixed_precision(name: str, tmp_path: Path) -> None:
    model = mix_precisions(ModelProto.FromString(build_small(name)))
    path = save(model, tmp_path / "mixed.onnx")
    plain = read_swapper(save_straight(name, tmp_path / "plain.onnx"))
    graph = read_swapper(path)
    kinds = {stored.dtype.name for stored in graph.file.tensors.values()}
    assert kinds >= {"float16", "float32"}
    assert graph.precision == "fp16"
    assert [layer.node for layer in graph.decoder] == [layer.node for layer in plain.decoder]
    swapper = TorchSwapper(graph, graph.decoder)
    inputs = create_inputs(name)
    output = swapper.run(inputs["target"], inputs["source"])
    assert measure_difference(output, run(path, name)) < 2e-2
    weights = {key: array * 1.25 for key, array in swapper.export_weights().items()}
    save_model(graph.file, tmp_path / "tuned.onnx", weights)
    tuned = open_model(tmp_path / "tuned.onnx")
    for key, stored in tuned.tensors.items():
        before = graph.file.read_tensor(key)
        expected = weights[key].astype(before.dtype) if key in weights else before
        assert stored.dtype == before.dtype
        assert (tuned.read_tensor(key) == expected).all()
