"""Which inputs each row of a tensor, its slice along the first axis, depends on.

A network may put target and source into one batch, run an encoder over both and take them apart
again, as UniFace does. The encoder's tensors depend on both inputs, but each row on one only.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from onnx import NodeProto

from facefusion_finetune.swappers.graphs.layers import read_attributes
from facefusion_finetune.swappers.graphs.shapes import Trace

Rows = tuple[frozenset[str], ...]
"""The graph inputs that each row depends on; a single entry stands for all rows."""

MAX_ROWS = 2048
"""A tensor with more rows counts as one. UniFace's blur makes a row of each of 2 x 512 channels."""

# fmt: off
ANY_RANK = frozenset({
    "Abs", "Add", "AveragePool", "BatchNormalization", "Cast", "Celu", "Clip", "DepthToSpace",
    "Div", "Dropout", "Elu", "Erf", "Exp", "Expand", "Flatten", "Gelu", "GlobalAveragePool",
    "GlobalMaxPool", "GroupNormalization", "HardSigmoid", "HardSwish", "Identity",
    "InstanceNormalization", "LeakyRelu", "Log", "Max", "MaxPool", "Min", "Mish", "Mul", "Neg",
    "PRelu", "Pow", "Reciprocal", "Relu", "Reshape", "Resize", "Selu", "Sigmoid", "Softplus",
    "Softsign", "SpaceToDepth", "Sqrt", "Squeeze", "Sub", "Swish", "Tanh", "ThresholdedRelu",
    "Unsqueeze", "Upsample", "Where",
})
"""Operators that treat each row separately, as long as their number stays the same."""
# fmt: on

ALONG_AXIS = frozenset({"Concat", "Gather", "LayerNormalization", "LogSoftmax", "Softmax", "Split"})
FROM_THE_LAST = frozenset({"LayerNormalization", "LogSoftmax", "Softmax"})
"""Operators whose axis is the last one if none is given; the first one for the others."""
ALONG_AXES = frozenset({"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "Slice"})
RESHAPING = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})


def find_rows(trace: Trace, inputs: Iterable[str]) -> dict[str, Rows]:
    """What the rows of every tensor depend on that depends on the inputs."""
    found: dict[str, Rows] = {name: (frozenset({name}),) for name in inputs}
    for node in trace.nodes.values():
        taken = [found[name] for name in node.input if name in found]
        whole = frozenset[str]().union(*(row for rows in taken for row in {*rows}))
        outputs = [name for name in node.output if name]
        made = None
        if any(rows != (whole,) for rows in taken):
            made = _follow(trace, node, found)
        for name, rows in zip(outputs, made or [(whole,)] * len(outputs), strict=True):
            found[name] = rows if len({*rows}) > 1 else rows[:1]
    return found


def keeps_rows(trace: Trace, node: NodeProto) -> bool:
    """Whether each row of a node's outputs depends on the same row of its inputs; False if in
    doubt. Inputs of one row, or of fewer axes, are used for all rows."""
    names = [name for name in node.input if name and not trace.is_constant(name)]
    shapes = [trace.values[name].shape for name in names]
    made = trace.values[node.output[0]].shape
    if not names or any(
        len(shape) >= len(made) and shape[:1] not in ((1,), made[:1]) for shape in shapes
    ):
        return False
    attributes = read_attributes(node)
    rank = len(shapes[0])
    if node.op_type in ("Conv", "ConvTranspose", "Gemm"):
        return bool(names == list(node.input[:1])) and not attributes.get("transA")
    if node.op_type == "MatMul":
        return rank >= 3 or bool(names == list(node.input[:1]))
    if node.op_type == "Transpose":
        return bool(attributes.get("perm", [rank])[0] == 0)
    if node.op_type == "Pad":
        pads = _read(trace, node, attributes, "pads", 1)
        return len(pads) == 2 * rank and pads[0] == pads[rank] == 0
    if node.op_type in ALONG_AXIS:
        usual = -1 if node.op_type in FROM_THE_LAST else 0
        return bool(attributes.get("axis", usual) % rank) and names[0] == node.input[0]
    if node.op_type in ALONG_AXES:
        place = 3 if node.op_type == "Slice" else 1
        axes = _read(trace, node, attributes, "axes", place)
        return bool(axes) and all(axis % rank for axis in axes)
    return node.op_type in ANY_RANK


def _follow(trace: Trace, node: NodeProto, found: Mapping[str, Rows]) -> list[Rows] | None:
    """Rows of a node's outputs; None if they cannot be told apart."""
    first, made = node.input[0], [trace.values[name].shape for name in node.output if name]
    names = [name for name in node.input if name]
    counts = [(*trace.values[name].shape, 1)[0] for name in names]
    total = (*made[0], 1)[0]
    if max(*counts, total) > MAX_ROWS:
        return None
    rows = dict(zip(names, map(_spread, map(found.get, names), counts), strict=True))
    attributes = read_attributes(node)
    if node.op_type in RESHAPING:
        return [_regroup(rows[first], total)]
    if node.op_type == "Concat" and attributes["axis"] % len(made[0]) == 0:
        return [sum((rows[name] for name in names), ())]
    if node.op_type == "Split" and attributes.get("axis", 0) % len(made[0]) == 0:
        if not all(node.output):
            return None
        left = iter(rows[first])
        return [tuple(next(left) for _ in range(shape[0])) for shape in made]
    if node.op_type in ("Slice", "Gather"):
        chosen = _choose(trace, node, attributes, range(len(rows[first])))
        if chosen is not None:
            return [tuple(rows[first][place] for place in chosen)]
    if not keeps_rows(trace, node):
        return None
    depending = [
        rows[name] if len(trace.values[name].shape) >= len(made[0]) else (_unite(rows[name]),)
        for name in names
        if name in found
    ]
    united = zip(*(one * total if len(one) == 1 else one for one in depending), strict=True)
    return [tuple(map(_unite, united))] * len(made)


def _spread(rows: Rows | None, count: int) -> Rows:
    """One entry for each of `count` rows; a constant's depend on nothing."""
    rows = rows or (frozenset(),)
    return rows * count if len(rows) == 1 else rows


def _unite(rows: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset[str]().union(*rows)


def _regroup(rows: Rows, count: int) -> Rows:
    """The rows after a reshape, which keeps the values' order."""
    if count % len(rows) == 0:
        return tuple(row for row in rows for _ in range(count // len(rows)))
    if len(rows) % count == 0:
        size = len(rows) // count
        return tuple(_unite(rows[place : place + size]) for place in range(0, len(rows), size))
    return (_unite(rows),)


def _choose(
    trace: Trace, node: NodeProto, attributes: Mapping[str, Any], rows: Sequence[int]
) -> Sequence[int] | None:
    """The rows that a Slice or Gather selects; None if it does not select rows, or others."""
    if not all(map(trace.is_constant, filter(None, node.input[1:]))):
        return None
    rank = len(trace.values[node.input[0]].shape)
    if node.op_type == "Gather":
        indices = trace.read_constant(node.input[1])
        chosen = [int(index) for index in indices.ravel()]
        if attributes.get("axis", 0) % rank or indices.ndim > 1:
            return None
        inside = all(-len(rows) <= place < len(rows) for place in chosen)
        return [rows[place] for place in chosen] if inside else None
    starts = _read(trace, node, attributes, "starts", 1)
    ends = _read(trace, node, attributes, "ends", 2)
    axes = _read(trace, node, attributes, "axes", 3) or list(range(len(starts)))
    steps = _read(trace, node, attributes, "steps", 4) or [1] * len(starts)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if axis % rank == 0:
            rows = rows[start:end:step]
    return rows


def _read(
    trace: Trace, node: NodeProto, attributes: Mapping[str, Any], key: str, place: int
) -> list[int]:
    if key in attributes:
        return list(attributes[key])
    if len(node.input) <= place or not trace.is_constant(node.input[place]):
        return []
    return [int(number) for number in trace.read_constant(node.input[place]).ravel()]
