"""An encoder that takes target and source as one batch is frozen: it mixes nothing."""

from pathlib import Path

import numpy
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from facefusion_finetune.inspection.inspect import inspect_swapper
from facefusion_finetune.swappers.convert.batching import is_batchable
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.convert.parity import measure_difference
from facefusion_finetune.swappers.graphs import rows
from facefusion_finetune.swappers.graphs.graph import SwapperGraph, read_swapper
from facefusion_finetune.swappers.graphs.layers import SHARED
from facefusion_finetune.swappers.graphs.rows import find_rows
from facefusion_finetune.swappers.sessions import create_session, run_session
from tests.support.families import build_packed, create_inputs
from tests.support.tiny import make_node

T, S = frozenset({"target"}), frozenset({"source"})
BOTH = T | S


def read(model: ModelProto, path: Path) -> SwapperGraph:
    onnx.save(model, str(path))
    return read_swapper(path)


@pytest.mark.parametrize("kind", ["Slice", "Gather"])
def test_shared_encoder_of_a_uniface(kind: str, tmp_path: Path) -> None:
    model, known = build_packed(kind)
    graph = read(model, tmp_path / "uniface_256.onnx")
    partition = graph.partition
    assert {layer.node for layer in partition.candidates}.isdisjoint(known.frozen)
    assert [layer.node for layer in partition.decoder] == [
        layer.node
        for layer in partition.layers
        if layer.node in known.tail and layer.node not in known.computed
    ]
    found = [graph.trace.nodes[index].name for index in partition.injections]
    assert found == list(known.injections)
    shared = {layer.node for layer in partition.layers if layer.frozen == SHARED}
    filters = {layer.node for layer in partition.layers if "blur" in layer.node}
    assert shared | filters >= {node for node in known.frozen if node.startswith("shared_")}
    query, key = (
        next(layer for layer in partition.layers if layer.node == f"mix.{part}")
        for part in ("query", "key")
    )
    assert query.frozen == "depends on the target only"
    assert key.frozen == "depends on the source only"
    blocks = {block.role: block for block in inspect_swapper(graph, {}).blocks}
    assert blocks["shared encoder"].depends_on == ("source", "target")
    assert blocks["shared encoder"].reason == SHARED


def test_shared_encoder_is_converted_as_onnxruntime_runs_it(tmp_path: Path) -> None:
    model, _ = build_packed("Split")
    graph = read(model, tmp_path / "uniface_256.onnx")
    assert not is_batchable(graph.trace)
    swapper = TorchSwapper(graph, graph.decoder)
    inputs = create_inputs("uniface_256", 2)
    targets, sources = inputs["target"], inputs["source"]
    expected = run_session(create_session(graph.path, "uniface"), targets, sources)
    assert measure_difference(swapper.run(targets, sources), expected) < 1e-3


def build(*nodes: onnx.NodeProto, opset: int = 13, **tensors: object) -> ModelProto:
    """A graph of two pictures of 8 x 8 that are put into one batch, `both`, at first."""
    picture = [1, 3, 8, 8]
    value = helper.make_tensor_value_info
    weight = numpy.ones((3, 3, 1, 1), numpy.float32)
    graph = helper.make_graph(
        [
            make_node("Concat", ["target", "source"], ["both"], axis=0),
            *nodes,
            make_node("Add", ["target", "source"], ["sum"]),
            make_node("Conv", ["sum", "weight"], ["output"]),
        ],
        "rows",
        [value("target", TensorProto.FLOAT, picture), value("source", TensorProto.FLOAT, picture)],
        [value("output", TensorProto.FLOAT, picture)],
        [
            numpy_helper.from_array(weight, "weight"),
            *(numpy_helper.from_array(numpy.array(one), name) for name, one in tensors.items()),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize(
    ("nodes", "tensors", "expected"),
    [
        ([make_node("Relu", ["both"], ["x"])], {}, (T, S)),
        ([make_node("Conv", ["both", "w"], ["x"])], {"w": numpy.float32([[[[1]]] * 3])}, (T, S)),
        ([make_node("Add", ["both", "target"], ["x"])], {}, (T, BOTH)),
        ([make_node("Mul", ["both", "row"], ["x"])], {"row": numpy.float32([1] * 8)}, (T, S)),
        ([make_node("Softmax", ["both"], ["x"], axis=0)], {}, (BOTH,)),
        ([make_node("ReduceMean", ["both"], ["x"], axes=[2, 3])], {}, (T, S)),
        ([make_node("ReduceMean", ["both"], ["x"], axes=[1, 2, 3], keepdims=0)], {}, (T, S)),
        ([make_node("ReduceMean", ["both"], ["x"], axes=[0])], {}, (BOTH,)),
        ([make_node("Reshape", ["both", "to"], ["x"])], {"to": [-1, 1, 8, 8]}, (T,) * 3 + (S,) * 3),
        ([make_node("Reshape", ["both", "to"], ["x"])], {"to": [1, 6, 8, 8]}, (BOTH,)),
        ([make_node("Reshape", ["both", "to"], ["x"])], {"to": [3, 2, 8, 8]}, (BOTH,)),
        (
            [
                make_node("Reshape", ["both", "to"], ["y"]),
                make_node("Reshape", ["y", "back"], ["x"]),
            ],
            {"to": [6, 1, 8, 8], "back": [-1, 3, 8, 8]},
            (T, S),
        ),
        ([make_node("Transpose", ["both"], ["x"], perm=[0, 2, 3, 1])], {}, (T, S)),
        ([make_node("Transpose", ["both"], ["x"], perm=[1, 0, 2, 3])], {}, (BOTH,)),
        (
            [make_node("Slice", ["both", "start", "end", "axis", "step"], ["x"])],
            {"start": [-1], "end": [-(2**63)], "axis": [0], "step": [-1]},
            (S, T),
        ),
        ([make_node("Gather", ["both", "one"], ["x"], axis=0)], {"one": 1}, (S,)),
        ([make_node("Gather", ["both", "all"], ["x"], axis=0)], {"all": [1, 0, 1]}, (S, T, S)),
        ([make_node("Gather", ["both", "far"], ["x"], axis=0)], {"far": [7]}, (BOTH,)),
        ([make_node("Gather", ["both", "one"], ["x"], axis=1)], {"one": [1]}, (T, S)),
        ([make_node("Concat", ["both", "both"], ["x"], axis=0)], {}, (T, S, T, S)),
        ([make_node("Concat", ["both", "both"], ["x"], axis=1)], {}, (T, S)),
        ([make_node("Split", ["both"], ["x", "y"], axis=0)], {}, (T,)),
        ([make_node("Conv", ["w", "both"], ["x"])], {"w": numpy.ones([2, 3, 8, 8], "f")}, (BOTH,)),
        (
            [
                make_node("Reshape", ["both", "to"], ["y"]),
                make_node("DepthToSpace", ["y"], ["x"], blocksize=2),
            ],
            {"to": [-1, 12, 4, 4]},
            (T, S),
        ),
        ([make_node("Expand", ["target", "to"], ["x"])], {"to": [2, 3, 8, 8]}, (T,)),
    ],
)
def test_what_each_row_depends_on(nodes, tensors, expected, tmp_path: Path) -> None:
    graph = read(build(*nodes, **tensors), tmp_path / "rows.onnx")
    assert find_rows(graph.trace, ("target", "source"))["x"] == expected


@pytest.mark.parametrize(
    ("axis", "size", "expected"), [(-1, 8, (T, S)), (2, (8, 8), (T, S)), (0, (2, 3, 8, 8), (BOTH,))]
)
def test_layer_normalization(axis: int, size, expected, tmp_path: Path) -> None:
    node = make_node("LayerNormalization", ["both", "scale"], ["x"], axis=axis)
    model = build(node, opset=17, scale=numpy.ones(size, numpy.float32))
    trace = read(model, tmp_path / "rows.onnx").trace
    assert find_rows(trace, ("target", "source"))["x"] == expected


def test_too_many_rows_count_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [make_node("Reshape", ["both", "to"], ["x"]), make_node("Relu", ["x"], ["y"])]
    trace = read(build(*nodes, to=[384, 1, 1, 1]), tmp_path / "rows.onnx").trace
    assert find_rows(trace, ("target", "source"))["y"] == (T,) * 192 + (S,) * 192
    monkeypatch.setattr(rows, "MAX_ROWS", 383)
    assert find_rows(trace, ("target", "source"))["y"] == (BOTH,)
