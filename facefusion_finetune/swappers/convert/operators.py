"""PyTorch modules for operators that onnx2torch lacks, or gets wrong on swapper graphs.

All sizes are known from the trace, so no module reads a shape from a tensor while it runs. A
leading 1 is the batch and may have any size.
Source: the operator definitions of the onnx package; opset 7 to 25.
"""

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto
from torch import Tensor, nn
from torch.nn import functional

from facefusion_finetune.swappers.convert.bound import Function, Operator, bind_inputs
from facefusion_finetune.swappers.convert.resize import build_resize
from facefusion_finetune.swappers.convert.weighted import (
    build_convolution,
    build_normalisation,
    build_product,
    reorder_pads,
)
from facefusion_finetune.swappers.graphs.layers import read_attributes
from facefusion_finetune.swappers.graphs.shapes import Trace


def build_operator(trace: Trace, node: NodeProto) -> Operator | None:
    """The module of a node; None if onnx2torch's own is suitable.

    Raises:
        NotImplementedError: The operator is used in a way that no known swapper uses.
    """
    build = _BUILDERS.get(node.op_type)
    return build(trace, node, read_attributes(node)) if build else None


Build = Callable[[Trace, NodeProto, dict[str, Any]], Operator | None]


def _build_reshape(trace: Trace, node: NodeProto, attributes: dict[str, Any]) -> Operator:
    shape = trace.values[node.output[0]].shape
    if trace.values[node.input[0]].shape[:1] == shape[:1] == (1,):
        return Operator(Function(lambda x: x.reshape(len(x), *shape[1:])), (node.input[0],))
    return Operator(Function(lambda x: x.reshape(shape)), (node.input[0],))


def _build_expand(trace: Trace, node: NodeProto, attributes: dict[str, Any]) -> Operator:
    shape = trace.values[node.output[0]].shape
    taken = trace.values[node.input[0]].shape
    if taken[:1] == shape[:1] == (1,) and len(taken) == len(shape):
        return Operator(Function(lambda x: x.expand(len(x), *shape[1:])), (node.input[0],))
    return Operator(Function(lambda x: x.expand(shape)), (node.input[0],))


def _build_tile(trace: Trace, node: NodeProto, attributes: dict[str, Any]) -> Operator:
    repeats = [int(count) for count in trace.read_constant(node.input[1])]
    return Operator(Function(lambda x: x.repeat(repeats)), (node.input[0],))


def _build_pad(trace: Trace, node: NodeProto, attributes: dict[str, Any]) -> Operator:
    rank = len(trace.values[node.input[0]].shape)
    pads = list(attributes["pads"] if "pads" in attributes else _read(trace, node, 1))
    axes = [int(axis) % rank for axis in _read(trace, node, 3) or range(rank)]
    value = attributes.get("value", 0.0)
    if len(node.input) > 2 and node.input[2]:
        value = trace.read_constant(node.input[2]).item()
    whole = [0] * 2 * rank
    for place, axis in enumerate(axes):
        whole[axis], whole[axis + rank] = int(pads[place]), int(pads[place + len(axes)])
    mode = attributes.get("mode", b"constant").decode()
    modes = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    turned = reorder_pads(whole)
    if mode == "constant":
        return Operator(Function(functional.pad, pad=turned, value=value), (node.input[0],))
    if any(turned[2 * (rank - 2) :]):
        raise NotImplementedError(f"Pad of mode {mode} on batch or channels")
    turned = turned[: 2 * (rank - 2)]
    return Operator(Function(functional.pad, pad=turned, mode=modes[mode]), (node.input[0],))


def _build_slice(trace: Trace, node: NodeProto, attributes: dict[str, Any]) -> Operator:
    shape = trace.values[node.input[0]].shape
    starts = attributes.get("starts") or _read(trace, node, 1)
    ends = attributes.get("ends") or _read(trace, node, 2)
    axes = attributes.get("axes") or _read(trace, node, 3) or range(len(starts))
    steps = _read(trace, node, 4) or [1] * len(starts)
    slices = [slice(None)] * len(shape)
    flipped = []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = int(axis) % len(shape)
        taken = range(shape[place])[int(start) : int(end) : int(step)]
        if step < 0:
            flipped.append(place)
            taken = taken[::-1]
        # A batch axis taken whole may have any size.
        if len(taken) < shape[place] or place:
            slices[place] = slice(taken.start, taken.stop, taken.step)
    index = tuple(slices)

    def cut(x: Tensor) -> Tensor:
        part = x[index]
        return part.flip(flipped) if flipped else part

    return Operator(Function(cut), (node.input[0],))


def _build_split(trace: Trace, node: NodeProto, attributes: dict[str, Any]) -> Operator:
    if len(node.output) == 1:  # torch.split would return a list of one
        return Operator(nn.Identity(), (node.input[0],))
    axis = attributes.get("axis", 0) % len(trace.values[node.input[0]].shape)
    sizes = [trace.values[name].shape[axis] for name in node.output]
    return Operator(Function(torch.split, split_size_or_sections=sizes, dim=axis), (node.input[0],))


def _build_clip(trace: Trace, node: NodeProto, attributes: dict[str, Any]) -> Operator | None:
    bounds = [attributes.get("min"), attributes.get("max")]
    for place, name in enumerate(node.input[1:]):
        if name and not trace.is_constant(name):
            raise NotImplementedError("Clip with bounds that depend on the inputs")
        bounds[place] = trace.read_constant(name).item() if name else None
    if bounds == [None, None]:
        return Operator(nn.Identity(), (node.input[0],))
    return Operator(Function(torch.clamp, min=bounds[0], max=bounds[1]), (node.input[0],))


_REDUCTIONS: dict[str, Callable[[Tensor, list[int], bool], Tensor]] = {
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keep),
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keep),
    "ReduceMax": lambda x, axes, keep: x.amax(axes, keep),
    "ReduceMin": lambda x, axes, keep: x.amin(axes, keep),
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keep),
    "ReduceL2": lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep),
    "ReduceSumSquare": lambda x, axes, keep: x.square().sum(axes, keep),
    "ReduceLogSumExp": lambda x, axes, keep: x.logsumexp(axes, keep),
}


def _build_reduction(trace: Trace, node: NodeProto, attributes: dict[str, Any]) -> Operator:
    rank = len(trace.values[node.input[0]].shape)
    axes = attributes.get("axes") or _read(trace, node, 1)
    if not axes and attributes.get("noop_with_empty_axes"):
        return Operator(nn.Identity(), (node.input[0],))
    places = sorted(int(axis) % rank for axis in axes or range(rank))
    reduce = _REDUCTIONS[node.op_type]
    keep = bool(attributes.get("keepdims", 1))
    return Operator(Function(lambda x: reduce(x, places, keep)), (node.input[0],))


def _build_prelu(trace: Trace, node: NodeProto, attributes: dict[str, Any]) -> Operator:
    return bind_inputs(trace, node, Function(lambda x, slope: torch.where(x >= 0, x, slope * x)))


def _build_cast(trace: Trace, node: NodeProto, attributes: dict[str, Any]) -> Operator:
    kinds = {
        TensorProto.INT64: torch.int64,
        TensorProto.INT32: torch.int32,
        TensorProto.BOOL: torch.bool,
    }
    # Half precision is computed in float32: half convolutions are 190 times slower on a CPU.
    kind = kinds.get(attributes["to"], torch.float32)
    return Operator(Function(lambda x: x.to(kind)), (node.input[0],))


def _build_resize(trace: Trace, node: NodeProto, attributes: dict[str, Any]) -> Operator:
    return Operator(build_resize(trace, node, attributes), (node.input[0],))


def _read(trace: Trace, node: NodeProto, place: int) -> list[int]:
    """The integers of a constant input; empty if it is omitted.

    Raises:
        NotImplementedError: It depends on the graph's inputs.
    """
    name = node.input[place] if len(node.input) > place else ""
    if not name:
        return []
    if not trace.is_constant(name):
        raise NotImplementedError(f"{node.op_type} whose sizes depend on the inputs")
    array: NDArray[Any] = trace.read_constant(name)
    return [int(number) for number in array.ravel()]


_BUILDERS: dict[str, Build] = {
    "BatchNormalization": build_normalisation,
    "Cast": _build_cast,
    "Clip": _build_clip,
    "Conv": build_convolution,
    "ConvTranspose": build_convolution,
    "Expand": _build_expand,
    "Flatten": _build_reshape,
    "Gemm": build_product,
    "InstanceNormalization": build_normalisation,
    "MatMul": build_product,
    "PRelu": _build_prelu,
    "Pad": _build_pad,
    "Reshape": _build_reshape,
    "Resize": _build_resize,
    "Slice": _build_slice,
    "Split": _build_split,
    "Squeeze": _build_reshape,
    "Tile": _build_tile,
    "Unsqueeze": _build_reshape,
    **dict.fromkeys(_REDUCTIONS, _build_reduction),
}
