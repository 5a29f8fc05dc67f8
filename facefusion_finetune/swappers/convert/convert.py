"""Converts ONNX graphs to PyTorch modules. The only user of onnx2torch.

The shipped graph stays untouched. What is converted is a copy of its structure at batch 1, with the
constant part folded, and only the nodes that lead to the first output.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any

import torch
from onnx import NodeProto, TensorProto, ValueInfoProto, helper
from onnx2torch import convert as convert_onnx
from onnx2torch.node_converters.registry import add_converter, get_converter
from onnx2torch.onnx_node import OnnxNode
from onnx2torch.onnx_tensor import OnnxTensor
from onnx2torch.utils.common import OnnxMapping, OperationConverterResult
from torch import Tensor, nn

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.convert.batching import is_batchable
from facefusion_finetune.swappers.convert.bound import Operator, bind_constants, read_tensor
from facefusion_finetune.swappers.convert.operators import build_operator
from facefusion_finetune.swappers.graphs.shapes import Trace

NODE_PREFIX = "node_"
DOMAIN, KIND = "facefusion_finetune", "Node"
MAX_OPSET = 17
"""The newest that onnx2torch supports. Operators that changed later are built here."""

_TRACE: ContextVar[Trace] = ContextVar("trace")


class BatchedNetwork(nn.Module):
    """A converted graph for any number of samples.

    Many files have batch 1 baked into their sizes. The graph is then mapped over the samples.
    """

    def __init__(self, network: nn.Module, batchable: bool) -> None:
        super().__init__()
        self.network = network
        self.batchable = batchable

    def forward(self, *inputs: Tensor) -> Any:
        """The network's output for n samples; inputs (n, ...) in the file's order."""
        if self.batchable or len(inputs[0]) == 1:
            return self.network(*inputs)
        return torch.func.vmap(self._run_one)(*inputs)

    def _run_one(self, *inputs: Tensor) -> Any:
        made = self.network(*(one[None] for one in inputs))
        return made[0] if isinstance(made, Tensor) else tuple(one[0] for one in made)


def convert_graph(trace: Trace) -> BatchedNetwork:
    """Convert a graph to a float32 module, with all weights frozen, in evaluation mode.

    Args:
        trace: The file's trace; left untouched.

    Returns:
        A module whose `network` has a child `node_<i>` for the file's i-th node.

    Raises:
        SwapperError: An operator cannot be converted.
    """
    live = trace.find_ancestors({trace.output})
    model = helper.make_model(
        helper.make_graph(
            [_wrap_node(index, node) for index, node in trace.nodes.items() if index in live],
            "working_copy",
            [_describe(trace, name) for name in trace.inputs],
            [_describe(trace, trace.output)],
        ),
        opset_imports=[helper.make_opsetid("", MAX_OPSET), helper.make_opsetid(DOMAIN, 1)],
    )
    token = _TRACE.set(trace)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network: nn.Module = convert_onnx(model)
        batchable = is_batchable(trace)
    except SwapperError:
        raise
    except Exception as error:  # the converters raise many types
        raise SwapperError(
            str(trace.file.path),
            f"its graph cannot be converted to PyTorch ({error}).",
            "Use the file as FaceFusion publishes it, not a simplified or re-exported one.",
        ) from error
    finally:
        _TRACE.reset(token)
    # The converter returns a module in training mode, which would update batch norm statistics.
    network.eval()
    return BatchedNetwork(network.requires_grad_(False), batchable)


def node_module(network: BatchedNetwork, index: int) -> nn.Module:
    """The module of the file's node with this index."""
    return network.network.get_submodule(f"{DOMAIN}/{NODE_PREFIX}{index}")


def node_number(target: str) -> int:
    """Index of the file's node that a child of the network, given by name, was converted from."""
    return int(target.removeprefix(f"{DOMAIN}/{NODE_PREFIX}"))


def _describe(trace: Trace, name: str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, trace.values[name].shape)


def _wrap_node(index: int, node: NodeProto) -> NodeProto:
    """A node with our own operator, which onnx2torch passes to `_convert_node`."""
    return helper.make_node(
        *(KIND, list(node.input), list(node.output)),
        name=f"{NODE_PREFIX}{index}",
        domain=DOMAIN,
        index=index,
    )


@add_converter(operation_type=KIND, version=1, domain=DOMAIN)  # type: ignore[untyped-decorator]
def _convert_node(wrapped: OnnxNode, _graph: object) -> OperationConverterResult:
    trace = _TRACE.get()
    node = trace.nodes[wrapped.attributes["index"]]
    operator = build_operator(trace, node)
    if operator is None:
        version = min(trace.opset, MAX_OPSET)
        build = get_converter(operation_type=node.op_type, version=version)
        made = build(OnnxNode(node, wrapped.unique_name), _Constants(trace, node))
        names = tuple(name for name in made.onnx_mapping.inputs if name)
        operator = Operator(made.torch_module, names)
    operator = bind_constants(trace, operator.module, operator.inputs)
    return OperationConverterResult(
        operator.module, OnnxMapping(operator.inputs, tuple(node.output))
    )


class _Constants(Mapping[str, OnnxTensor]):
    """The part of onnx2torch's graph that its converters use: constants and shapes."""

    def __init__(self, trace: Trace, node: NodeProto) -> None:
        self._trace = trace
        self._names = [name for name in node.input if name and trace.is_constant(name)]
        self.initializers = self
        self.value_info = {name: _describe(trace, name) for name in node.input if name}

    def __getitem__(self, name: str) -> OnnxTensor:
        if name not in self._names:
            raise KeyError(name)
        return OnnxTensor.from_torch(read_tensor(self._trace, name), name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def value_as_node_output(self, name: str) -> Any:
        """Not used: constants are not node outputs here.

        Raises:
            KeyError: Always.
        """
        raise KeyError(name)
