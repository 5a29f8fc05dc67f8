"""The smallest swapper there is, to be spoilt in one way after the other."""

from collections.abc import Sequence
from typing import Any

import numpy
from numpy.typing import ArrayLike, NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

SIZE = 16


def build_tiny(opset: int = 17) -> ModelProto:
    """A picture is convolved, shifted by a vector, and convolved again; 7 nodes."""
    random = numpy.random.default_rng(0)

    def draw(*shape: int) -> NDArray[numpy.float32]:
        return random.standard_normal(shape).astype(numpy.float32) / 10

    tensors = {
        "first.weight": draw(4, 3, 3, 3),
        "first.bias": draw(4),
        "style.weight": draw(4, 512),
        "shape": numpy.array([1, 4, 1, 1]),
        "last.weight": draw(3, 4, 3, 3),
        "last.bias": draw(3),
    }
    nodes = [
        make_node("Conv", ["target", "first.weight", "first.bias"], ["seen"], pads=[1] * 4),
        make_node("Relu", ["seen"], ["kept"]),
        make_node("Gemm", ["source", "style.weight"], ["row"], transB=1),
        make_node("Reshape", ["row", "shape"], ["style"]),
        make_node("Add", ["kept", "style"], ["mixed"]),
        make_node("Conv", ["mixed", "last.weight", "last.bias"], ["made"], pads=[1] * 4),
        make_node("Sigmoid", ["made"], ["output"]),
    ]
    picture = [1, 3, SIZE, SIZE]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("target", TensorProto.FLOAT, picture),
            helper.make_tensor_value_info("source", TensorProto.FLOAT, [1, 512]),
        ],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, picture)],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    return model


def make_node(kind: str, inputs: Sequence[str], outputs: Sequence[str], **rest: Any) -> NodeProto:
    """A node called after what it makes."""
    return helper.make_node(kind, list(inputs), list(outputs), name=f"{kind}_{outputs[0]}", **rest)


def find_node(model: ModelProto, kind: str, place: int = 0) -> NodeProto:
    """The first node of a kind, or a later one."""
    return [node for node in model.graph.node if node.op_type == kind][place]


def find_tensor(model: ModelProto, name: str) -> TensorProto:
    """An initializer."""
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def add_tensor(model: ModelProto, name: str, value: ArrayLike) -> str:
    """A further initializer."""
    model.graph.initializer.append(numpy_helper.from_array(numpy.array(value), name))
    return name


def add_nodes(model: ModelProto, *nodes: NodeProto, place: int = 0) -> None:
    """Put nodes in, usually at the start."""
    kept = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*kept[:place], *nodes, *kept[place:]])


def set_attribute(node: NodeProto, name: str, value: Any) -> None:
    """Give an attribute a value, or another one."""
    remove_attribute(node, name)
    node.attribute.append(helper.make_attribute(name, value))


def remove_attribute(node: NodeProto, name: str) -> None:
    """Take an attribute away."""
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)
