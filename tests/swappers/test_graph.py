"""What counts as a swapper, and which of its layers may be trained."""

from pathlib import Path

import numpy
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.graph import read_swapper, select_layers
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
    last = numpy_helper.to_array(graph.model.graph.initializer[-1])
    numpy.testing.assert_array_equal(graph.emap, last)


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
    for choice, message in (("last_5", "only 4 layers"), ("first_2", "no such choice")):
        with pytest.raises(SwapperError, match=message):
            select_layers(graph, choice)


def test_weight_with_a_second_user_is_not_trained(tmp_path: Path) -> None:
    model = build_inswapper()
    model.graph.node.append(helper.make_node("Relu", ["Conv_596.weight"], ["elsewhere"], "R"))
    onnx.save(model, str(tmp_path / "shared.onnx"))
    graph = read_swapper(tmp_path / "shared.onnx")
    assert [layer.node for layer in graph.decoder] == ["Conv_590", "Conv_594", "Conv_612"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "no valid ONNX"), (b"\x00\x01 not onnx" * 40, "no valid ONNX"), (None, "no such file")],
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
    with pytest.raises(SwapperError, match="no valid ONNX"):
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


def test_swapper_of_another_layout(tmp_path: Path) -> None:
    model = build_inswapper()
    del model.graph.initializer[-1]
    onnx.save(model, str(tmp_path / "other.onnx"))
    with pytest.raises(SwapperError, match="another layout"):
        read_swapper(tmp_path / "other.onnx")
