"""The nodes and initializers of branches: only operators that every ONNX runtime has.

A branch is a narrow layer of the same kind, followed by one back to the layer's output channels.
Its output, times the identity gate's opening, is added to the layer's own output. Which form an
operator takes depends on the base's opset.
Source: Hu et al., LoRA (arXiv 2106.09685), here parallel to the layer and not merged into its
weight, since the opening differs between sources; the operator definitions of the onnx package.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from facefusion_finetune.swappers.branches.gate import EPSILON, IdentityGate
from facefusion_finetune.swappers.files.modelfile import Additions

PREFIX = "branch/"
GATE = PREFIX + "gate"
DIRECTION, LOW, SPAN = f"{GATE}/direction", f"{GATE}/low", f"{GATE}/span"
SOURCE = "source"

CONVOLUTIONS = ("Conv", "ConvTranspose")
CLIP_BY_INPUTS, REDUCE_BY_INPUTS = 11, 18
"""First opsets in which these operators take bounds or axes as inputs, not attributes."""


@dataclass(frozen=True)
class Branch:
    """A branch parallel to a layer."""

    number: int
    """From 0, in the order of the layers."""
    layer: NodeProto
    """The layer as it is in the base."""
    data_type: int
    """Of the layer's values, `TensorProto.DataType`."""
    axes: int
    """Number of axes of the layer's output."""

    @property
    def down(self) -> str:
        """Name of the narrow layer's node and of its weight."""
        return name_part(self.number, "down")

    @property
    def up(self) -> str:
        """Name of the second layer's node and of its weight."""
        return name_part(self.number, "up")

    @property
    def bias(self) -> str:
        """Name of the second layer's bias."""
        return name_part(self.number, "bias")

    @property
    def share(self) -> str:
        """Name of the gate's opening, in the type and with the axis count of the layer's output."""
        kind = "half" if self.data_type == TensorProto.FLOAT16 else "single"
        return f"{GATE}/{kind}/{self.axes}"


def name_part(number: int, part: str) -> str:
    """Name of a part of branch `number`."""
    return f"{PREFIX}{number}/{part}"


def build_additions(
    opset: int,
    gate: IdentityGate,
    branches: Mapping[int, Branch],
    weights: Mapping[str, NDArray[Any]],
) -> Additions:
    """Everything that branches add to a base.

    Args:
        opset: The base's opset.
        gate: The person's identity gate.
        branches: By the index of the layer's node in the base.
        weights: `down`, `up` and `bias` of each branch, by name.
    """
    first = _build_cosine(opset)
    tensors = _list_gate_tensors(opset, gate)
    shares = {branch.share: branch for branch in branches.values()}
    for name, branch in sorted(shares.items()):
        nodes, more = _build_share(name, branch)
        first += nodes
        tensors |= more
    for branch in sorted(branches.values(), key=lambda branch: branch.number):
        kind = helper.tensor_dtype_to_np_dtype(branch.data_type)
        for name in (branch.down, branch.up, branch.bias):
            tensors[name] = weights[name].astype(kind)
    return Additions(
        first=tuple(first),
        replaced={index: _build_branch(branch) for index, branch in branches.items()},
        tensors=tuple(numpy_helper.from_array(array, name) for name, array in tensors.items()),
    )


def _list_gate_tensors(opset: int, gate: IdentityGate) -> dict[str, NDArray[Any]]:
    low = numpy.float32(gate.low)
    tensors: dict[str, NDArray[Any]] = {
        DIRECTION: gate.direction.astype(numpy.float32)[:, None],
        f"{GATE}/floor": numpy.array([EPSILON], numpy.float32),
        LOW: numpy.array([low], numpy.float32),
        SPAN: numpy.array([gate.high - float(low)], numpy.float32),
    }
    if opset >= CLIP_BY_INPUTS:
        tensors[f"{GATE}/shut"] = numpy.array(0, numpy.float32)
        tensors[f"{GATE}/wide"] = numpy.array(1, numpy.float32)
    if opset >= REDUCE_BY_INPUTS:
        tensors[f"{GATE}/axes"] = numpy.array([1], numpy.int64)
    return tensors


def _build_cosine(opset: int) -> list[NodeProto]:
    """From the source, (n, 512), to the gate's opening, (n, 1), always in 32 bits."""
    bounds = [f"{GATE}/shut", f"{GATE}/wide"] if opset >= CLIP_BY_INPUTS else []
    limits: dict[str, Any] = {} if bounds else {"min": 0.0, "max": 1.0}
    axes = [f"{GATE}/axes"] if opset >= REDUCE_BY_INPUTS else []
    along: dict[str, Any] = {} if axes else {"axes": [1]}
    return [
        _create_node("MatMul", [SOURCE, DIRECTION], f"{GATE}/product"),
        _create_node("ReduceL2", [SOURCE, *axes], f"{GATE}/norm", keepdims=1, **along),
        _create_node("Add", [f"{GATE}/norm", f"{GATE}/floor"], f"{GATE}/length"),
        _create_node("Div", [f"{GATE}/product", f"{GATE}/length"], f"{GATE}/cosine"),
        _create_node("Sub", [f"{GATE}/cosine", LOW], f"{GATE}/above"),
        _create_node("Div", [f"{GATE}/above", SPAN], f"{GATE}/ramp"),
        _create_node("Clip", [f"{GATE}/ramp", *bounds], f"{GATE}/open", **limits),
    ]


def _build_share(name: str, branch: Branch) -> tuple[list[NodeProto], dict[str, NDArray[Any]]]:
    """The gate's opening in the type and with the number of axes of some layers' output."""
    sizes = f"{name}/sizes"
    half = branch.data_type == TensorProto.FLOAT16
    shaped = f"{name}/shaped" if half else name
    nodes = [_create_node("Reshape", [f"{GATE}/open", sizes], shaped)]
    if half:
        nodes.append(_create_node("Cast", [shaped], name, to=TensorProto.FLOAT16))
    return nodes, {sizes: numpy.array([-1] + [1] * (branch.axes - 1), numpy.int64)}


def _build_branch(branch: Branch) -> tuple[NodeProto, ...]:
    """A layer with its output renamed, its branch, and their sum under the original name."""
    layer = NodeProto()
    layer.CopyFrom(branch.layer)
    (made,) = layer.output
    layer.output[0] = own = name_part(branch.number, "layer")
    thin, wide, gated = (name_part(branch.number, part) for part in ("thin", "wide", "gated"))
    kind = layer.op_type
    pair = {"Conv": ("Conv", "Conv"), "ConvTranspose": ("Conv", "ConvTranspose")}
    first, second = pair.get(kind, ("MatMul", "Gemm"))
    down = _create_node(first, [layer.input[0], branch.down], thin, name=branch.down)
    up = _create_node(second, [thin, branch.up, branch.bias], wide, name=branch.up)
    if kind in CONVOLUTIONS:
        same = [entry for entry in layer.attribute if entry.name != "group"]
        (down if kind == "Conv" else up).attribute.extend(same)
    return (
        layer,
        down,
        up,
        _create_node("Mul", [wide, branch.share], gated),
        _create_node("Add", [own, gated], made, name=name_part(branch.number, "sum")),
    )


def _create_node(
    kind: str, inputs: Sequence[str], output: str, /, name: str = "", **attributes: Any
) -> NodeProto:
    return helper.make_node(kind, list(inputs), [output], name=name or output, **attributes)
