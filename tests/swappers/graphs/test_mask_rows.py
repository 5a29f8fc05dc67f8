"""Channels that are only used as a mask stay frozen, however they are taken."""

from collections.abc import Callable
from pathlib import Path

import numpy
import onnx
import pytest
import torch
from onnx import ModelProto, NodeProto, helper, numpy_helper

from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.graphs.graph import read_swapper
from tests.support.tiny import add_tensor, build_tiny, make_node

Make = Callable[[ModelProto], list[NodeProto]]


def build(between: Make, take: Make, kind: str = "Conv") -> ModelProto:
    """A swapper whose last convolution makes a mask and a picture, in this order.

    Args:
        between: Nodes from `four` to `all`.
        take: Nodes from `all` to `mask`.
        kind: Of the last layer.
    """
    model = build_tiny()
    generator = numpy.random.default_rng(2)
    shape = (4, 4, 3, 3)
    weights = {"four.weight": shape, "four.bias": (4,), "added": (1, 4, 1, 1)}
    for name, dims in weights.items():
        values = generator.standard_normal(dims).astype(numpy.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    for name, value in (("first", [0]), ("second", [1]), ("axis", [1]), ("end", [4])):
        add_tensor(model, name, value)
    add_tensor(model, "none", 0)
    nodes = list(model.graph.node)[:5]
    last = make_node(kind, ["mixed", "four.weight", "four.bias"], ["four"], pads=[1] * 4)
    del model.graph.node[:]
    model.graph.node.extend(
        [
            *nodes,
            last,
            *between(model),
            *take(model),
            make_node("Slice", ["all", "second", "end", "axis"], ["picture"]),
            make_node("Mul", ["picture", "mask"], ["output"]),
        ]
    )
    return model


def nothing(model: ModelProto) -> list[NodeProto]:
    return [make_node("Identity", ["four"], ["all"])]


def add_constant(model: ModelProto) -> list[NodeProto]:
    return [make_node("Add", ["four", "added"], ["all"])]


def add_in_front(model: ModelProto) -> list[NodeProto]:
    return [make_node("Add", ["added", "four"], ["all"])]


def add_features(model: ModelProto) -> list[NodeProto]:
    return [make_node("Add", ["four", "mixed"], ["all"])]


def multiply_and_clip(model: ModelProto) -> list[NodeProto]:
    return [
        make_node("Mul", ["four", "added"], ["scaled"]),
        make_node("Sub", ["scaled", "added"], ["moved"]),
        make_node("Tanh", ["moved"], ["all"]),
    ]


def normalise(model: ModelProto) -> list[NodeProto]:
    ones = add_tensor(model, "ones", numpy.ones(4, numpy.float32))
    return [make_node("BatchNormalization", ["four", *[ones] * 4], ["all"])]


def resize(model: ModelProto) -> list[NodeProto]:
    scales = add_tensor(model, "scales", numpy.ones(4, numpy.float32))
    return [make_node("Resize", ["four", "", scales], ["all"])]


def by_index(model: ModelProto) -> list[NodeProto]:
    return [
        make_node("Gather", ["all", "none"], ["taken"], axis=1),
        make_node("Unsqueeze", ["taken", "axis"], ["mask"]),
    ]


def by_list(model: ModelProto) -> list[NodeProto]:
    return [make_node("Gather", ["all", "first"], ["mask"], axis=1)]


def by_slice(model: ModelProto) -> list[NodeProto]:
    return [make_node("Slice", ["all", "first", "second", "axis"], ["mask"])]


def by_split(model: ModelProto) -> list[NodeProto]:
    sizes = add_tensor(model, "sizes", [1, 3])
    return [make_node("Split", ["all", sizes], ["mask", "rest"], axis=1)]


BETWEEN = (nothing, add_constant, add_in_front, add_features, multiply_and_clip, normalise, resize)
TAKE = (by_index, by_list, by_slice, by_split)


@pytest.mark.parametrize("take", TAKE)
@pytest.mark.parametrize("between", BETWEEN)
def test_mask_row_is_found(between: Make, take: Make, tmp_path: Path) -> None:
    onnx.save(build(between, take), str(tmp_path / "masked.onnx"))
    graph = read_swapper(tmp_path / "masked.onnx")
    layer = next(layer for layer in graph.partition.candidates if layer.node == "Conv_four")
    assert layer.mask_rows == (0,)
    assert layer.parameters == 3 * (4 * 9 + 1)


def test_mask_row_stays_as_it_is(tmp_path: Path) -> None:
    onnx.save(build(add_constant, by_index), str(tmp_path / "masked.onnx"))
    graph = read_swapper(tmp_path / "masked.onnx")
    swapper = TorchSwapper(graph, graph.partition.candidates)
    generator = torch.Generator().manual_seed(1)
    target = torch.rand(2, 3, 16, 16, generator=generator)
    swapper(target, torch.rand(2, 512, generator=generator)).square().sum().backward()
    for name in ("four.weight", "four.bias"):
        gradient = swapper.trained[name].grad
        assert gradient is not None
        assert (gradient[0] == 0).all()
        assert all(bool(row.abs().max() > 0) for row in gradient[1:])


@pytest.mark.parametrize("between", [nothing, add_constant])
def test_row_that_is_used_otherwise_is_trained(between: Make, tmp_path: Path) -> None:
    """The same channels go into the picture as well."""
    model = build(between, by_index)
    model.graph.node[-1].output[0] = "almost"
    extra = helper.make_node("ReduceMean", ["all"], ["mean"], "Mean", axes=[1], keepdims=1)
    model.graph.node.extend([extra, make_node("Add", ["almost", "mean"], ["output"])])
    onnx.save(model, str(tmp_path / "used.onnx"))
    layers = read_swapper(tmp_path / "used.onnx").partition.candidates
    assert next(layer for layer in layers if layer.node == "Conv_four").mask_rows == ()


def test_row_of_the_picture_itself_is_trained(tmp_path: Path) -> None:
    """Somebody also looks at one channel of the output."""
    model = build_tiny()
    for name, value in (("zero", 0), ("side", [1])):
        add_tensor(model, name, value)
    model.graph.node.extend([make_node("Gather", ["output", "zero"], ["red"], axis=1)])
    model.graph.output.append(helper.make_empty_tensor_value_info("red"))
    onnx.save(model, str(tmp_path / "red.onnx"))
    layers = read_swapper(tmp_path / "red.onnx").partition.candidates
    assert [layer.mask_rows for layer in layers] == [()]
