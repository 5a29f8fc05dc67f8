"""What counts as a swapper, and which of its layers may be trained."""

from pathlib import Path

import numpy
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.inspection.inspect import inspect_swapper
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.graphs.graph import read_swapper, select_layers
from tests.support.disorder import move_weights_into_nodes
from tests.support.inswapper import build_inswapper, write_inswapper


def test_decoder_is_what_follows_the_last_injection(tmp_path: Path) -> None:
    options = write_inswapper(tmp_path / "swapper.onnx")
    graph = read_swapper(options.path)
    assert [layer.node for layer in graph.decoder] == [
        "Conv_590",
        "Conv_594",
        "Conv_596",
        "Conv_612",
    ]
    assert graph.size == (64, 64)
    last = numpy_helper.to_array(onnx.load(str(options.path)).graph.initializer[-1])
    assert graph.emap is not None
    numpy.testing.assert_array_equal(graph.emap, last)
    assert graph.source_shape == (512,)
    assert graph.precision == "fp32"


def test_layers_are_found_without_names(tmp_path: Path) -> None:
    model = build_inswapper()
    for index, node in enumerate(model.graph.node):
        node.name = f"n{index}"
    onnx.save(model, str(tmp_path / "renamed.onnx"))
    graph = read_swapper(tmp_path / "renamed.onnx")
    assert [layer.initializers[0] for layer in graph.decoder] == [
        "Conv_590.weight",
        "Conv_594.weight",
        "Conv_596.weight",
        "Conv_612.weight",
    ]


def test_last_layers(tmp_path: Path) -> None:
    graph = read_swapper(write_inswapper(tmp_path / "swapper.onnx").path)
    assert [layer.node for layer in select_layers(graph, "last_2")] == ["Conv_596", "Conv_612"]
    assert select_layers(graph, "decoder") == graph.decoder
    assert select_layers(graph, "tail") == graph.decoder
    longest = len(graph.partition.candidates)
    assert select_layers(graph, "all") == select_layers(graph, f"last_{longest}")
    for choice, message in (
        (f"last_{longest + 1}", f"only {longest} trainable layers"),
        ("first_2", "no such choice"),
        ("last_0", "no such choice"),
        ("stage_4096", "no such layer"),
    ):
        with pytest.raises(SwapperError, match=message):
            select_layers(graph, choice)


def test_stages_go_by_the_size_of_what_a_layer_makes(tmp_path: Path) -> None:
    graph = read_swapper(write_inswapper(tmp_path / "swapper.onnx").path)
    assert graph.partition.stages == (64, 32, 16)
    assert [layer.node for layer in select_layers(graph, "stage_64")] == [
        "Conv_594",
        "Conv_596",
        "Conv_612",
    ]
    assert set(select_layers(graph, "stage_32")) > set(select_layers(graph, "stage_64"))
    assert select_layers(graph, "stage_1") == graph.partition.candidates


def test_weight_with_a_second_user_is_not_trained(tmp_path: Path) -> None:
    model = build_inswapper()
    model.graph.node[-1].output[0] = "plain"
    model.graph.node.append(helper.make_node("ReduceMean", ["Conv_596.weight"], ["mean"], "R"))
    model.graph.node.append(helper.make_node("Add", ["plain", "mean"], ["output"], "A"))
    onnx.save(model, str(tmp_path / "shared.onnx"))
    graph = read_swapper(tmp_path / "shared.onnx")
    assert [layer.node for layer in graph.decoder] == ["Conv_590", "Conv_594", "Conv_612"]
    frozen = {layer.node: layer.frozen for layer in graph.partition.layers}
    assert frozen["Conv_596"] == "shares its weight with A, which cannot be trained"


def _share(model: onnx.ModelProto, first: str, second: str) -> None:
    """Let node `second` use the weight of node `first`."""
    nodes = {node.name: node for node in model.graph.node}
    nodes[second].input[1] = nodes[first].input[1]


def test_layers_that_share_a_weight_are_trained_as_one(tmp_path: Path) -> None:
    model = build_inswapper()
    _share(model, "Conv_287", "Conv_242")
    onnx.save(model, str(tmp_path / "shared.onnx"))
    graph = read_swapper(tmp_path / "shared.onnx")
    last = next(layer for layer in graph.partition.candidates if layer.node == "Conv_287")
    chosen = select_layers(graph, f"last_{graph.partition.depths[last.index] + 1}")
    assert {"Conv_242", "Conv_287"} <= {layer.node for layer in chosen}
    swapper = TorchSwapper(graph, chosen)
    modules = [place[0] for place in swapper.places["Conv_287.weight"]]
    assert len(modules) == 2
    assert modules[0].weight is modules[1].weight


def test_weight_shared_with_the_encoder_is_not_trained(tmp_path: Path) -> None:
    model = build_inswapper()
    # Conv_62 is the first one of the blocks: it still sees the target alone.
    _share(model, "Conv_62", "Conv_107")
    onnx.save(model, str(tmp_path / "shared.onnx"))
    graph = read_swapper(tmp_path / "shared.onnx")
    layers = {layer.node: layer for layer in graph.partition.layers}
    assert layers["Conv_107"].frozen == "shares its weight with Conv_62, which cannot be trained"
    assert "Conv_107" not in {layer.node for layer in graph.partition.candidates}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a valid ONNX"),
        (b"\x00\x01 not onnx" * 40, "not a valid ONNX"),
        (None, "no such file"),
    ],
)
def test_file_that_is_no_onnx(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "broken.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SwapperError, match=message) as caught:
        read_swapper(path)
    assert "--base inswapper_128" in caught.value.todo


def test_truncated_file(tmp_path: Path) -> None:
    path = write_inswapper(tmp_path / "swapper.onnx").path
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(SwapperError, match="not a valid ONNX"):
        read_swapper(path)


def test_onnx_that_is_no_swapper(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["input"], ["output"])],
        "recogniser",
        [value("input", TensorProto.FLOAT, [1, 3, 112, 112])],
        [value("output", TensorProto.FLOAT, [1, 3, 112, 112])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    onnx.save(model, str(tmp_path / "recogniser.onnx"))
    with pytest.raises(SwapperError, match="not a face swapper") as caught:
        read_swapper(tmp_path / "recogniser.onnx")
    assert "input [1, 3, 112, 112]" in caught.value.why


def test_swapper_without_emap(tmp_path: Path) -> None:
    model = build_inswapper()
    del model.graph.initializer[-1]
    onnx.save(model, str(tmp_path / "other.onnx"))
    assert read_swapper(tmp_path / "other.onnx").emap is None


def test_swapper_without_anything_to_tune(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["source", "weight"], ["shift"]),
            helper.make_node("Reshape", ["shift", "shape"], ["colour"]),
            helper.make_node("Add", ["target", "colour"], ["output"]),
        ],
        "tint",
        [
            value("target", TensorProto.FLOAT, [1, 3, 16, 16]),
            value("source", TensorProto.FLOAT, [1, 512]),
        ],
        [value("output", TensorProto.FLOAT, [1, 3, 16, 16])],
        [
            numpy_helper.from_array(numpy.ones((512, 3), numpy.float32), "weight"),
            numpy_helper.from_array(numpy.array([1, 3, 1, 1]), "shape"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    onnx.save(model, str(tmp_path / "tint.onnx"))
    with pytest.raises(SwapperError, match="nothing to tune"):
        read_swapper(tmp_path / "tint.onnx")


def test_weights_in_constant_nodes(tmp_path: Path) -> None:
    onnx.save(move_weights_into_nodes(build_inswapper()), str(tmp_path / "nodes.onnx"))
    with pytest.raises(
        SwapperError, match="to tune are in Constant nodes, and only init"
    ) as caught:
        read_swapper(tmp_path / "nodes.onnx")
    assert "turn them into initializers" in caught.value.todo
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "saved.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    onnxruntime.InferenceSession(str(tmp_path / "nodes.onnx"), options)
    plain = read_swapper(write_inswapper(tmp_path / "plain.onnx").path)
    decoder = read_swapper(tmp_path / "saved.onnx").decoder
    assert [layer.node for layer in decoder] == [layer.node for layer in plain.decoder]


@pytest.mark.parametrize("turned", [False, True])
def test_one_weight_in_a_constant_node(turned: bool, tmp_path: Path) -> None:
    """As it is, or behind a Transpose, as exporters write fully connected layers."""
    model = build_inswapper()
    tensor = next(one for one in model.graph.initializer if one.name == "Conv_596.weight")
    values = numpy_helper.to_array(tensor)
    nodes = [
        helper.make_node("Transpose", ["kept"], ["Conv_596.weight"], "T", perm=[1, 0, 2, 3]),
        helper.make_node(
            "Constant", [], ["kept"], "C", value=numpy_helper.from_array(values.swapaxes(0, 1))
        ),
    ]
    if not turned:
        del nodes[0]
        nodes[0].CopyFrom(helper.make_node("Constant", [], [tensor.name], "C", value=tensor))
    for node in nodes:
        model.graph.node.insert(0, node)
    model.graph.initializer.remove(tensor)
    onnx.save(model, str(tmp_path / "node.onnx"))
    graph = read_swapper(tmp_path / "node.onnx")
    assert [layer.node for layer in graph.decoder] == ["Conv_590", "Conv_594", "Conv_612"]
    layer = next(layer for layer in graph.partition.layers if layer.node == "Conv_596")
    assert layer.frozen == "has its weight in a Constant node, not in an initializer"
    reasons = {reason.text: reason for reason in inspect_swapper(graph, {}).reasons}
    bias = graph.file.tensors["Conv_596.bias"].dims[0]
    assert reasons[layer.frozen].parameters == values.size + bias


def test_computed_weight_keeps_its_own_reason(tmp_path: Path) -> None:
    model = build_inswapper()
    tensor = next(one for one in model.graph.initializer if one.name == "Conv_596.weight")
    tensor.name = "raw"
    half = numpy_helper.from_array(numpy.float32(0.5))
    model.graph.node.insert(0, helper.make_node("Mul", ["raw", "half"], ["Conv_596.weight"], "M"))
    model.graph.node.insert(0, helper.make_node("Constant", [], ["half"], "C", value=half))
    onnx.save(model, str(tmp_path / "computed.onnx"))
    layers = read_swapper(tmp_path / "computed.onnx").partition.layers
    layer = next(layer for layer in layers if layer.node == "Conv_596")
    assert layer.frozen == "has a weight computed from constants"
