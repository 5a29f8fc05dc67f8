"""A node as a PyTorch module with its constants bound."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from onnx import NodeProto
from torch import Tensor, nn

from facefusion_finetune.swappers.graphs.shapes import Trace


@dataclass(frozen=True)
class Operator:
    """A node as a module, and the node inputs that it is called with."""

    module: nn.Module
    inputs: tuple[str, ...]


class Function(nn.Module):
    """A function of activations, with all other arguments fixed."""

    def __init__(self, function: Callable[..., Any], **fixed: Any) -> None:
        super().__init__()
        self._function = function
        self._fixed = fixed

    def forward(self, *tensors: Tensor) -> Any:
        """Call the function."""
        return self._function(*tensors, **self._fixed)


class Bound(nn.Module):
    """A module with some of its inputs bound to constants."""

    def __init__(self, inner: nn.Module, constants: Mapping[int, Tensor], count: int) -> None:
        super().__init__()
        self._inner = inner
        self._names = [
            f"constant_{place}" if place in constants else None for place in range(count)
        ]
        for place, constant in constants.items():
            self.register_buffer(f"constant_{place}", constant)

    def forward(self, *tensors: Tensor) -> Any:
        """Call the module with the constants in their positions."""
        given = iter(tensors)
        return self._inner(*(getattr(self, name) if name else next(given) for name in self._names))


def read_tensor(trace: Trace, name: str) -> Tensor:
    """A constant as a new tensor; every float type becomes float32."""
    array = trace.read_constant(name)
    if array.dtype.kind == "f":
        array = array.astype(numpy.float32, copy=False)
    if name in trace.constants or not array.flags.writeable:
        array = array.copy()
    return torch.from_numpy(numpy.ascontiguousarray(array).reshape(array.shape))


def bind_constants(trace: Trace, module: nn.Module, names: Sequence[str]) -> Operator:
    """Bind those of a module's inputs that are constant."""
    constants = {
        place: read_tensor(trace, name)
        for place, name in enumerate(names)
        if trace.is_constant(name)
    }
    inputs = tuple(name for name in names if not trace.is_constant(name))
    if not constants:
        return Operator(module, inputs)
    return Operator(Bound(module, constants, len(names)), inputs)


def bind_inputs(trace: Trace, node: NodeProto, module: nn.Module) -> Operator:
    return bind_constants(trace, module, [name for name in node.input if name])
