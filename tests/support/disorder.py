"""Graphs as other people's tools leave them: out of order, of free size, simplified."""

from collections.abc import Mapping
from random import Random
from typing import Any

import numpy
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator


def set_nodes(model: ModelProto, nodes: list[NodeProto]) -> ModelProto:
    """Give a model these nodes."""
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def reverse_nodes(model: ModelProto) -> ModelProto:
    """The last node first."""
    return set_nodes(model, list(model.graph.node)[::-1])


def shuffle_nodes(model: ModelProto) -> ModelProto:
    """Any order."""
    nodes = list(model.graph.node)
    Random(5).shuffle(nodes)
    return set_nodes(model, nodes)


def move_casts_last(model: ModelProto) -> ModelProto:
    """All casts at the end, as onnxconverter-common up to 1.13.0 leaves them."""
    nodes = sorted(model.graph.node, key=lambda node: node.op_type == "Cast")
    return set_nodes(model, nodes)


def mix_precisions(model: ModelProto) -> ModelProto:
    """Every other convolution of a 32-bit model in 16 bits, its casts at the end.

    That is what onnxconverter-common's `auto_convert_mixed_precision` does with the nodes that
    bear it. A weight that a 32-bit node shares stays where it is, and is cast.
    """
    nodes, casts = list(model.graph.node), list[NodeProto]()
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    users = [name for node in nodes for name in node.input]
    convolutions = [node for node in nodes if node.op_type == "Conv" and node.input[1] in tensors]
    for number, node in enumerate(convolutions[::2]):
        for place, name in enumerate(node.input):
            if place and name in tensors and users.count(name) == 1:
                values = numpy_helper.to_array(tensors[name]).astype(numpy.float16)
                tensors[name].CopyFrom(numpy_helper.from_array(values, name))
                continue
            node.input[place] = half = f"half_{number}_{place}"
            casts.append(helper.make_node("Cast", [name], [half], half, to=TensorProto.FLOAT16))
        made, node.output[0] = node.output[0], f"half_{number}"
        name = f"single_{number}"
        casts.append(helper.make_node("Cast", [node.output[0]], [made], name, to=TensorProto.FLOAT))
    return set_nodes(model, [*nodes, *casts])


def free_sizes(model: ModelProto, *axes: int) -> ModelProto:
    """Name these axes of the pictures that go in and come out, as dynamic axes are written."""
    for value in (*model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        if len(dims) == 4:
            for axis in axes:
                dims[axis].dim_param = ("batch_size", "channels", "height", "width")[axis]
    return model


def move_weights_into_nodes(model: ModelProto) -> ModelProto:
    """Constant nodes in the place of all initializers, but for the last one."""
    *tensors, last = model.graph.initializer
    nodes = [
        helper.make_node("Constant", [], [tensor.name], f"constant {tensor.name}", value=tensor)
        for tensor in tensors
    ]
    del model.graph.initializer[:]
    model.graph.initializer.append(last)
    return set_nodes(model, [*nodes, *model.graph.node])


def simplify(model: ModelProto) -> ModelProto:
    """Fold constants into initializers and drop Identity nodes, as onnx-simplifier does."""
    graph = model.graph
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    kept, alias, folded = list[NodeProto](), dict[str, str](), dict[str, NDArray[Any]]()
    ends = {value.name for value in graph.output}
    for node in graph.node:
        node.input[:] = [alias.get(name, name) for name in node.input]
        if node.op_type == "Identity" and node.output[0] not in ends:
            alias[node.output[0]] = node.input[0]
        elif all(name in known for name in node.input if name):
            values = _evaluate(model, node, known)
            known.update(values)
            folded.update(values)
        else:
            kept.append(node)
    used = {name for node in kept for name in node.input}
    last = list(graph.initializer)[-1].name
    tensors = [one for one in graph.initializer if one.name in used or one.name == last]
    made = [numpy_helper.from_array(folded[name], name) for name in folded if name in used]
    tensors[-1:-1] = made
    copies = [TensorProto.FromString(tensor.SerializeToString()) for tensor in tensors]
    del graph.initializer[:]
    graph.initializer.extend(copies)
    return set_nodes(model, kept)


def _evaluate(
    model: ModelProto, node: NodeProto, known: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    names = [name for name in dict.fromkeys(node.input) if name]
    inputs, outputs = (
        [helper.make_empty_tensor_value_info(name) for name in part]
        for part in (names, node.output)
    )
    graph = helper.make_graph([node], "one", inputs, outputs)
    evaluator = ReferenceEvaluator(graph, opsets={"": model.opset_import[0].version})
    made = evaluator.run(None, {name: known[name] for name in names})
    return dict(zip(node.output, map(numpy.asarray, made), strict=True))
