"""Operators with weights, as PyTorch modules that keep the weights in the file's layout.

onnx2torch transposes and scales some, ties none, and first initialises each at random.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from onnx import NodeProto
from torch import Tensor, nn
from torch.nn import functional

from facefusion_finetune.swappers.convert.bound import (
    Function,
    Operator,
    bind_inputs,
    read_tensor,
)
from facefusion_finetune.swappers.graphs.shapes import Trace


class Convolution(nn.Module):
    """Conv and ConvTranspose with constant weights."""

    def __init__(self, weight: Tensor, bias: Tensor | None, **fixed: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias) if bias is not None else None
        self._pads = fixed.pop("pads")
        self._fixed = fixed
        ranks = {3: functional.conv1d, 4: functional.conv2d}
        transposed = {3: functional.conv_transpose1d, 4: functional.conv_transpose2d}
        self._function = (transposed if "output_padding" in fixed else ranks)[weight.ndim]

    def forward(self, pictures: Tensor) -> Tensor:
        """(n, C, H, W) to (n, D, h, w)."""
        if self._pads:
            pictures = functional.pad(pictures, self._pads)
        output: Tensor = self._function(pictures, self.weight, self.bias, **self._fixed)
        return output


class Product(nn.Module):
    """Gemm and MatMul with a constant factor, in the file's layout."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None, first: bool, attributes: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias) if bias is not None else None
        self._first = first
        self._transposed = bool(attributes.get("transB"))
        self._rows_transposed = bool(attributes.get("transA"))
        self._alpha, self._beta = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
        flat = bias is None or bias.ndim == 1
        self._plain = flat and not first and weight.ndim == 2 and self._alpha == self._beta == 1.0

    def forward(self, rows: Tensor) -> Tensor:
        """(..., K) to (..., N)."""
        rows = rows.T if self._rows_transposed else rows
        weight = self.weight.T if self._transposed else self.weight
        if self._plain:
            return functional.linear(rows, weight.T, self.bias)
        if self._first:
            return weight @ rows
        output = rows @ weight
        if self._alpha != 1.0:
            output = output * self._alpha
        if self.bias is not None:
            output = output + (self.bias if self._beta == 1.0 else self.bias * self._beta)
        return output


class Normalisation(nn.Module):
    """BatchNormalization with the file's statistics, or InstanceNormalization."""

    def __init__(self, constants: Sequence[Tensor], epsilon: float) -> None:
        super().__init__()
        for name, constant in zip(("weight", "bias", "mean", "variance"), constants, strict=False):
            self.register_buffer(name, constant)
        self._epsilon = epsilon
        self._fixed = len(constants) == 4

    def forward(self, pictures: Tensor) -> Tensor:
        """(n, C, ...) to the same shape."""
        weight, bias = self.get_buffer("weight"), self.get_buffer("bias")
        if not self._fixed:
            return functional.instance_norm(pictures, None, None, weight, bias, eps=self._epsilon)
        mean, variance = self.get_buffer("mean"), self.get_buffer("variance")
        return functional.batch_norm(
            pictures, mean, variance, weight, bias, training=False, eps=self._epsilon
        )


def build_convolution(trace: Trace, node: NodeProto, attributes: dict[str, Any]) -> Operator | None:
    names = [name for name in node.input[1:] if name]
    if not all(map(trace.is_constant, names)):
        return build_computed_convolution(trace, node, attributes)
    fixed = _read_convolution(trace, node, attributes)
    weight, *bias = (read_tensor(trace, name) for name in names)
    return Operator(Convolution(weight, bias[0] if bias else None, **fixed), (node.input[0],))


def build_computed_convolution(
    trace: Trace, node: NodeProto, attributes: dict[str, Any]
) -> Operator:
    fixed = _read_convolution(trace, node, attributes)
    pads = fixed.pop("pads")
    transposed = "output_padding" in fixed
    function = functional.conv_transpose2d if transposed else functional.conv2d

    def convolve(pictures: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if pads:
            pictures = functional.pad(pictures, pads)
        return function(pictures, weight, bias, **fixed)

    return bind_inputs(trace, node, Function(convolve))


def _read_convolution(trace: Trace, node: NodeProto, attributes: dict[str, Any]) -> dict[str, Any]:
    """Arguments of PyTorch's convolution; uneven pads become a separate pad before it."""
    shape = trace.values[node.input[0]].shape
    kernel = trace.values[node.input[1]].shape[2:]
    rank = len(kernel)
    strides = list(attributes.get("strides", [1] * rank))
    dilations = list(attributes.get("dilations", [1] * rank))
    pads = list(attributes.get("pads", [0] * 2 * rank))
    mode = attributes.get("auto_pad", b"NOTSET").decode()
    made = trace.values[node.output[0]].shape
    transposed = node.op_type == "ConvTranspose"
    if rank not in (1, 2) or (transposed and (mode != "NOTSET" or "output_shape" in attributes)):
        raise NotImplementedError(f"{node.op_type} of rank {rank} with auto_pad {mode}")
    if mode.startswith("SAME"):
        for axis in range(rank):
            needed = (made[2 + axis] - 1) * strides[axis] + dilations[axis] * (kernel[axis] - 1) + 1
            total = max(0, needed - shape[2 + axis])
            half = (total + (mode == "SAME_LOWER")) // 2
            pads[axis], pads[axis + rank] = half, total - half
    fixed: dict[str, Any] = {
        "stride": strides,
        "dilation": dilations,
        "groups": attributes.get("group", 1),
        "padding": pads[:rank],
        "pads": None,
    }
    if transposed:
        fixed["output_padding"] = list(attributes.get("output_padding", [0] * rank))
        if pads[:rank] != pads[rank:]:
            raise NotImplementedError("ConvTranspose with uneven pads")
    elif pads[:rank] != pads[rank:]:
        fixed["padding"] = 0
        fixed["pads"] = reorder_pads(pads)
    return fixed


def reorder_pads(pads: Sequence[int]) -> list[int]:
    """Convert pads from ONNX's order (all begins, all ends) to PyTorch's (last axis first)."""
    half = len(pads) // 2
    return [pads[place] for axis in reversed(range(half)) for place in (axis, axis + half)]


def build_product(trace: Trace, node: NodeProto, attributes: dict[str, Any]) -> Operator | None:
    first, second = (trace.is_constant(name) for name in node.input[:2])
    bias = node.input[2] if len(node.input) > 2 else ""
    if first == second or (bias and not trace.is_constant(bias)):
        return None
    if node.op_type == "Gemm" and first:
        return None
    weight = read_tensor(trace, node.input[0 if first else 1])
    constant = read_tensor(trace, bias) if bias else None
    module = Product(weight, constant, first, attributes)
    return Operator(module, (node.input[1 if first else 0],))


def build_normalisation(
    trace: Trace, node: NodeProto, attributes: dict[str, Any]
) -> Operator | None:
    if not all(map(trace.is_constant, node.input[1:])):
        return None
    constants = [read_tensor(trace, name) for name in node.input[1:]]
    return Operator(Normalisation(constants, attributes.get("epsilon", 1e-5)), (node.input[0],))
