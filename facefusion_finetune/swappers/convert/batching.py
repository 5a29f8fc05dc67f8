"""Whether a graph exported for one sample also works on a batch."""

from typing import Any

from onnx import NodeProto

from facefusion_finetune.swappers.graphs.layers import read_attributes
from facefusion_finetune.swappers.graphs.shapes import Trace

# fmt: off
ANY_RANK = frozenset({
    "Abs", "Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Div", "Elu", "Erf", "Exp",
    "Expand", "Flatten", "GlobalAveragePool", "HardSigmoid", "HardSwish", "Identity",
    "InstanceNormalization", "LeakyRelu", "Log", "Max", "MaxPool", "Min", "Mul", "Neg", "PRelu",
    "Pow", "Reciprocal", "Relu", "Reshape", "Resize", "Selu", "Sigmoid", "Softplus", "Sqrt",
    "Squeeze", "Sub", "Tanh", "Unsqueeze", "Where",
})
"""Operators that treat each sample separately, as long as the batch stays the first axis."""
# fmt: on

ALONG_AXIS = frozenset({"Concat", "Gather", "Softmax", "LogSoftmax", "Split"})
ALONG_AXES = frozenset({"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "Slice"})


def is_batchable(trace: Trace) -> bool:
    """Whether every node keeps the batch as its first axis; False if in doubt."""
    return all(_keeps_batch(trace, node) for node in trace.nodes.values())


def _keeps_batch(trace: Trace, node: NodeProto) -> bool:
    names = [name for name in node.input if name and not trace.is_constant(name)]
    constants = [name for name in node.input if name and trace.is_constant(name)]
    shapes = [trace.values[name].shape for name in [*names, *filter(None, node.output)]]
    if not names or any(shape[:1] != (1,) for shape in shapes):
        return False
    attributes = read_attributes(node)
    rank = len(shapes[0])
    if node.op_type in ("Conv", "ConvTranspose"):
        return len(names) == 1
    if node.op_type == "Gemm":
        return bool(names == list(node.input[:1])) and not attributes.get("transA")
    if node.op_type == "MatMul":
        return rank >= 3 or bool(names == list(node.input[:1]))
    if node.op_type == "Transpose":
        return bool(attributes.get("perm", [rank])[0] == 0)
    if node.op_type == "Pad":
        pads = _read(trace, node, attributes, "pads", 1)
        return len(pads) == 2 * rank and pads[0] == pads[rank] == 0
    if node.op_type in ALONG_AXIS:
        usual = {"Softmax": -1, "LogSoftmax": -1}.get(node.op_type, 0)
        return bool(attributes.get("axis", usual) % rank) and names[0] == node.input[0]
    if node.op_type in ALONG_AXES:
        place = 3 if node.op_type == "Slice" else 1
        axes = _read(trace, node, attributes, "axes", place)
        return bool(axes) and all(axis % rank for axis in axes)
    if node.op_type not in ANY_RANK:
        return False
    # A tensor with fewer axes would be broadcast along axes other than the batch.
    same = all(len(shape) == rank for shape in shapes[: len(names)])
    return same and all(
        len(trace.values[name].shape) < rank or trace.values[name].shape[:1] == (1,)
        for name in constants
        if node.op_type in ("Add", "Div", "Max", "Min", "Mul", "PRelu", "Pow", "Sub", "Where")
    )


def _read(
    trace: Trace, node: NodeProto, attributes: dict[str, Any], key: str, place: int
) -> list[int]:
    if key in attributes:
        return list(attributes[key])
    if len(node.input) <= place or not trace.is_constant(node.input[place]):
        return []
    return [int(number) for number in trace.read_constant(node.input[place]).ravel()]
