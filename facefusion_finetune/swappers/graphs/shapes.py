"""What is known about each tensor before a graph runs: type, shape, and value if constant.

One pass in the order the nodes run in, at batch 1. A graph whose sizes cannot be determined this
way, or are far too large, is refused here, before anything is allocated.
Source: the shape inference of the onnx package, node by node.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TypeProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.files.checks import (
    MAX_RANK,
    NUMERIC_TYPES,
    fits_convolution,
    get_opset,
)
from facefusion_finetune.swappers.files.modelfile import ADVICE, ModelFile
from facefusion_finetune.swappers.files.order import order_nodes
from facefusion_finetune.swappers.graphs.budget import MAX_ACTIVATION, Budget, BudgetError

# fmt: off
FOLDABLE = frozenset({
    "Abs", "Add", "And", "Cast", "Ceil", "Clip", "Concat", "Constant", "ConstantOfShape", "Div",
    "Equal", "Exp", "Expand", "Flatten", "Floor", "Gather", "Greater", "GreaterOrEqual",
    "Identity", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Min", "Mod", "Mul", "Neg",
    "Not", "Or", "Pow", "Range", "Reciprocal", "ReduceL2", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceProd", "ReduceSum", "Relu", "Reshape", "Sigmoid", "Slice", "Split",
    "Sqrt", "Squeeze", "Sub", "Tanh", "Tile", "Transpose", "Unsqueeze", "Where",
})
# fmt: on
"""Operators that are evaluated in advance when all their inputs are constant."""

MAX_REASON = 300
"""Characters of onnx's error message that are shown."""

MAX_KEPT = 4096
"""Elements: larger folded constants are recomputed on demand."""


@dataclass(frozen=True)
class Value:
    """Type and shape of a tensor at batch 1."""

    shape: tuple[int, ...]
    data_type: int

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Trace:
    """A graph with all sizes known and its constant part folded."""

    file: ModelFile
    opset: int
    nodes: dict[int, NodeProto]
    """Nodes that depend on the inputs, by their index in the file, in the order they run in."""
    values: dict[str, Value]
    """Every tensor, initializers included."""
    constants: dict[str, NDArray[Any]] = field(repr=False)
    """Small constants: initializers and folded ones."""
    deferred: dict[str, NodeProto] = field(repr=False)
    """Nodes that compute the large constants, by output."""
    producers: dict[str, NodeProto] = field(repr=False)
    """Every node of the file, by output."""
    users: dict[str, list[int]] = field(repr=False)
    """Indices of the nodes that take a tensor."""

    @property
    def output(self) -> str:
        """The graph's first output; for a swapper, the picture."""
        return str(self.file.skeleton.graph.output[0].name)

    @property
    def inputs(self) -> list[str]:
        """The graph's inputs in the file's order."""
        graph = self.file.skeleton.graph
        return [value.name for value in graph.input if value.name not in self.file.tensors]

    @property
    def input_shapes(self) -> dict[str, tuple[int, ...]]:
        """The inputs' shapes, with the sizes that the file leaves free."""
        return {name: self.values[name].shape for name in self.inputs}

    def find_ancestors(
        self, wanted: Iterable[str], blocked: Callable[[str], bool] = lambda name: False
    ) -> set[int]:
        """Indices of the nodes from which a path leads to one of the tensors `wanted`.

        Args:
            wanted: Where the paths end.
            blocked: Tells which tensors a path may not pass through.
        """
        reached = set(wanted)
        found: set[int] = set()
        for index in reversed(self.nodes):
            node = self.nodes[index]
            if any(name in reached for name in node.output if name):
                found.add(index)
                reached.update(name for name in node.input if name and not blocked(name))
        return found

    def is_constant(self, name: str) -> bool:
        """Whether the tensor does not depend on the inputs."""
        return name in self.constants or name in self.deferred or name in self.file.tensors

    def read_constant(self, name: str) -> NDArray[Any]:
        """The value of a constant tensor."""
        if name in self.constants:
            return self.constants[name]
        if name in self.deferred:
            node = self.deferred[name]
            wanted = dict.fromkeys(filter(None, node.input))
            array = self.evaluate(node, {name: self.read_constant(name) for name in wanted})[name]
            if array.shape != self.values[name].shape:
                raise _refuse(
                    self.file,
                    node.name or node.op_type,
                    f"its constants give a tensor of {array.shape}",
                )
            return array
        return self.file.read_tensor(name)

    def evaluate(
        self, node: NodeProto, inputs: Mapping[str, NDArray[Any]]
    ) -> dict[str, NDArray[Any]]:
        """A node's outputs for given inputs, computed by onnx's reference evaluator.

        Raises:
            SwapperError: The evaluator fails.
        """
        graph = helper.make_graph(
            [node],
            "node",
            [helper.make_value_info(name, onnx.TypeProto()) for name in inputs],
            [helper.make_value_info(name, onnx.TypeProto()) for name in node.output if name],
        )
        try:
            evaluator = ReferenceEvaluator(graph, opsets={"": self.opset})
            with numpy.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made = evaluator.run(None, dict(inputs))
        except Exception as error:  # it raises whatever numpy raises
            raise _refuse(
                self.file, node.name or node.op_type, str(error) or type(error).__name__
            ) from error
        return {
            name: numpy.asarray(array)
            for name, array in zip(filter(None, node.output), made, strict=True)
        }


def trace_graph(file: ModelFile, shapes: Mapping[str, Sequence[int]] | None = None) -> Trace:
    """Determine all shapes and constants of a file.

    Args:
        file: The file.
        shapes: Shapes of inputs that it leaves free, by name, at batch 1.

    Raises:
        SwapperError: A size depends on the content of the pictures or is far too large, or an
            operator is used in a way that onnx does not allow.
    """
    opset = get_opset(file.skeleton)
    trace = Trace(file, opset, {}, {}, {}, {}, {}, {})
    budget = Budget()
    graph = file.skeleton.graph
    for index, (name, stored) in enumerate(file.tensors.items()):
        value = trace.values[name] = Value(stored.dims, stored.data_type)
        kept = file.is_inline(stored) and value.count <= MAX_KEPT
        budget.add_initializer(name, value.count, kept)
        if kept:
            trace.constants[name] = numpy_helper.to_array(graph.initializer[index])
    for entry in graph.input:
        if entry.name not in trace.values:
            trace.values[entry.name] = _read_input(entry, file, (shapes or {}).get(entry.name))
    for index in order_nodes(graph):
        node = graph.node[index]
        trace.producers.update(dict.fromkeys(filter(None, node.output), node))
        for name in dict.fromkeys(filter(None, node.input)):
            trace.users.setdefault(name, []).append(index)
        try:
            _trace_node(trace, budget, index, node)
        except BudgetError as error:
            raise _refuse(file, node.name or f"number {index}", str(error)) from error
    return trace


def _read_input(value: onnx.ValueInfoProto, file: ModelFile, given: Sequence[int] | None) -> Value:
    kind = value.type.tensor_type
    shape = list(given or [dim.dim_value for dim in kind.shape.dim])
    if shape and shape[0] < 1:
        shape[0] = 1
    if (
        not shape
        or min(shape) < 1
        or kind.elem_type not in NUMERIC_TYPES
        or math.prod(shape) > MAX_ACTIVATION
    ):
        raise SwapperError(
            str(file.path),
            f"its input {value.name!r} has no fixed size, is too large, or is not numeric:"
            f" {shape[:MAX_RANK]}.",
            ADVICE,
        )
    return Value(tuple(shape), kind.elem_type)


def _trace_node(trace: Trace, budget: Budget, index: int, node: NodeProto) -> None:
    inputs = list(dict.fromkeys(filter(None, node.input)))
    outputs = [name for name in node.output if name]
    if node.op_type == "Shape":
        made = {node.output[0]: _cut_shape(trace.values[node.input[0]].shape, node)}
        budget.add_constants([], outputs, [len(made[node.output[0]])], True)
    else:
        trace.values.update(_infer(trace, node, node.name or f"number {index}"))
        counts = [trace.values[name].count for name in outputs]
        if node.op_type not in FOLDABLE or not all(map(trace.is_constant, inputs)):
            constants = [name for name in inputs if trace.is_constant(name)]
            budget.add_node(
                ((name, trace.values[name].count) for name in constants),
                (trace.values[name].shape for name in outputs),
            )
            trace.nodes[index] = node
            return
        kept = max(counts) <= MAX_KEPT
        budget.add_constants(inputs, outputs, counts, kept)
        if not kept:
            trace.deferred.update(dict.fromkeys(outputs, node))
            return
        made = trace.evaluate(node, {name: trace.read_constant(name) for name in inputs})
    for output, array in made.items():
        if array.size > MAX_KEPT:
            raise BudgetError(f"its constants give a tensor of {array.shape}")
        trace.constants[output] = array
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        trace.values[output] = Value(tuple(array.shape), kind)


def _infer(trace: Trace, node: NodeProto, name: str) -> dict[str, Value]:
    types: dict[str, TypeProto] = {}
    data = {}
    for wanted in filter(None, node.input):
        value = trace.values.get(wanted)
        if value is None:
            raise _refuse(trace.file, name, f"nothing is known about its input {wanted!r}")
        types[wanted] = helper.make_tensor_type_proto(value.data_type, value.shape)
        if wanted in trace.constants:
            data[wanted] = numpy_helper.from_array(trace.constants[wanted], wanted)
    try:
        found: Mapping[str, TypeProto] = onnx.shape_inference.infer_node_outputs(
            onnx.defs.get_schema(node.op_type, trace.opset),
            node,
            types,
            data,
            opset_imports=[helper.make_opsetid("", trace.opset)],
            ir_version=trace.file.skeleton.ir_version,
        )
    except Exception as error:  # onnx's checks raise many types
        raise _refuse(trace.file, name, str(error)) from error
    if node.op_type in ("Conv", "ConvTranspose"):
        shapes = [trace.values[wanted].shape for wanted in node.input if wanted]
        if not fits_convolution(node, shapes):
            raise _refuse(trace.file, name, "its weight does not fit its input")
    values = {}
    for output in filter(None, node.output):
        kind = found[output].tensor_type if output in found else None
        if kind is None or not kind.HasField("shape"):
            raise _refuse(trace.file, name, "its size depends on the content of the pictures")
        dims = kind.shape.dim
        if any(not dim.HasField("dim_value") or dim.dim_value < 0 for dim in dims):
            raise _refuse(trace.file, name, "its size depends on the content of the pictures")
        value = Value(tuple(dim.dim_value for dim in dims), kind.elem_type)
        if value.data_type not in NUMERIC_TYPES:
            raise _refuse(trace.file, name, "its output is not numeric")
        if value.count > MAX_ACTIVATION:
            raise _refuse(trace.file, name, f"it would create a tensor of {list(value.shape)}")
        values[output] = value
    return values


def _cut_shape(shape: tuple[int, ...], node: NodeProto) -> NDArray[numpy.int64]:
    ends = {attribute.name: attribute.i for attribute in node.attribute}
    return numpy.array(shape[ends.get("start", 0) : ends.get("end", len(shape))], numpy.int64)


def _refuse(file: ModelFile, node: str, reason: str) -> SwapperError:
    first = (reason.strip() or "it fails").splitlines()[0].rstrip(".")[:MAX_REASON]
    return SwapperError(str(file.path), f"node {node!r} cannot be used: {first}.", ADVICE)
