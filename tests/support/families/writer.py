"""Write an ONNX graph node by node, in the form each opset from 11 to 21 asks for.

Tensors are referred to by name; their shapes are known while building, as an exporter that traces
one sample knows them. Every float is float32, or float16 in a half-precision graph, whose inputs
and outputs stay float32 behind Cast nodes as `keep_io_types` converters leave them.
"""

from collections.abc import Sequence
from typing import Any

import numpy
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

LAST = 2**63 - 1
"""What exporters write for an open end of a slice."""

SMALLEST_HALF, LARGEST_HALF = 1e-7, 1e4
"""Float16 converters lift and cap constants to this range (onnxconverter-common's defaults)."""

AXES_AS_INPUT = {"Squeeze": 13, "Unsqueeze": 13, "ReduceSum": 13, "ReduceMean": 18, "ReduceL2": 18}
"""Opset from which an operator takes its axes as an input instead of an attribute."""

BROADCAST = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "PRelu", "Expand"})


class Graph:
    """A graph under construction."""

    def __init__(
        self, name: str, opset: int, *, half: bool = False, constant_nodes: bool = False
    ) -> None:
        """Start an empty graph.

        Args:
            name: Of the graph.
            opset: 11 to 21.
            half: Weights and arithmetic in float16.
            constant_nodes: Write small constants as `Constant` nodes, not as initializers.
        """
        self.name, self.opset, self.half = name, opset, half
        self.constant_nodes = constant_nodes
        self.batch: int | str = 1
        """What inputs and outputs say of their first axis."""
        self.anonymous = False
        """Whether nodes whose name does not matter have none."""
        self.float_type = TensorProto.FLOAT16 if half else TensorProto.FLOAT
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.shapes: dict[str, tuple[int, ...]] = {"": ()}

    # Constants

    def store(self, value: ArrayLike, name: str | None = None) -> str:
        """An initializer; floats in the precision of the graph."""
        array = self._cast(value)
        name = name or f"const_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(array, name))
        self.shapes[name] = array.shape
        return name

    def literal(self, value: ArrayLike) -> str:
        """A small constant, as a node or as an initializer, whichever this graph uses."""
        if not self.constant_nodes:
            return self.store(value)
        return self.constant_node(value)

    def constant_node(self, value: ArrayLike) -> str:
        """A `Constant` node."""
        array = self._cast(value)
        tensor = numpy_helper.from_array(array, "value")
        return self.add("Constant", shape=array.shape, value=tensor)

    def integers(self, *values: int) -> str:
        """A 1-D int64 constant."""
        return self.literal(numpy.array(values, dtype=numpy.int64))

    def _cast(self, value: ArrayLike) -> NDArray[Any]:
        array = numpy.array(value)
        if array.dtype.kind != "f":
            return array
        if not self.half:
            return numpy.ascontiguousarray(array, dtype=numpy.float32)
        size = numpy.clip(numpy.abs(array), SMALLEST_HALF, LARGEST_HALF)
        array = numpy.where(array == 0, 0, numpy.copysign(size, array))
        return numpy.ascontiguousarray(array, dtype=numpy.float16)

    # Nodes

    def add(
        self,
        kind: str,
        *inputs: str,
        name: str | None = None,
        shape: Sequence[int] | None = None,
        **attributes: Any,
    ) -> str:
        """Write a node with one output.

        Args:
            kind: Operator.
            inputs: Names of tensors; an empty one is an omitted input.
            name: Of the node; made up, or left out, where it does not matter.
            shape: Of the output; the broadcast of the inputs, or the first one's, if not given.
            attributes: Of the node.
        """
        index = len(self.nodes)
        if shape is None and kind in BROADCAST:
            shape = numpy.broadcast_shapes(*(self.shapes[i] for i in inputs))
        elif shape is None:
            shape = self.shapes[inputs[0]]
        out = f"tensor_{index}"
        name = name or ("" if self.anonymous else f"{kind}_n{index}")
        self.nodes.append(helper.make_node(kind, list(inputs), [out], name=name, **attributes))
        self.shapes[out] = tuple(shape)
        return out

    def calc(self, kind: str, x: str, value: ArrayLike) -> str:
        """`x <kind> constant`."""
        return self.add(kind, x, self.literal(value))

    def along(self, kind: str, x: str, *axes: int, **attributes: Any) -> str:
        """Reduce, squeeze or unsqueeze along axes."""
        shape = self._shape_along(kind, self.shapes[x], axes, attributes.get("keepdims", 1))
        if self.opset < AXES_AS_INPUT[kind]:
            return self.add(kind, x, shape=shape, axes=list(axes), **attributes)
        return self.add(kind, x, self.integers(*axes), shape=shape, **attributes)

    @staticmethod
    def _shape_along(
        kind: str, shape: tuple[int, ...], axes: tuple[int, ...], keepdims: int
    ) -> tuple[int, ...]:
        if kind == "Unsqueeze":
            made = list(shape)
            for axis in sorted(axes):
                made.insert(axis, 1)
            return tuple(made)
        hit = {axis % len(shape) for axis in axes}
        if kind == "Squeeze" or not keepdims:
            return tuple(n for i, n in enumerate(shape) if i not in hit)
        return tuple(1 if i in hit else n for i, n in enumerate(shape))

    def reshape(self, x: str, *shape: int, allow_zero: bool = False) -> str:
        """Reshape to constant sizes, one of which may be -1."""
        total = int(numpy.prod(self.shapes[x]))
        known = -int(numpy.prod(shape)) if -1 in shape else 1
        made = [total // known if n == -1 else n for n in shape]
        extra: dict[str, Any] = {"allowzero": 1} if allow_zero and self.opset >= 14 else {}
        return self.add("Reshape", x, self.integers(*shape), shape=made, **extra)

    def expand(self, x: str, like: str, *, baked: bool) -> str:
        """Expand to the sizes of `like`: as constants, or asked for when the graph runs."""
        shape = self.shapes[like]
        sizes = self.integers(*shape) if baked else self.measure(like)
        return self.add("Expand", x, sizes, shape=shape)

    def measure(self, x: str) -> str:
        """The sizes of a tensor, int64."""
        return self.add("Shape", x, shape=(len(self.shapes[x]),))

    def filled(self, like: str, value: float) -> str:
        """A tensor of one value in the shape of `like`."""
        number = self._cast(numpy.array([value]))
        tensor = numpy_helper.from_array(number, "value")
        shape = self.shapes[like]
        return self.add("ConstantOfShape", self.measure(like), shape=shape, value=tensor)

    def pick(self, sizes: str, index: int) -> str:
        """One number of a tensor's sizes."""
        return self.add("Gather", sizes, self.literal(numpy.array(index)), axis=0, shape=())

    def slice(self, x: str, axis: int, start: int, end: int) -> str:
        """Cut along one axis; ends may be negative or `LAST`."""
        length = len(range(*slice(start, end).indices(self.shapes[x][axis])))
        shape = list(self.shapes[x])
        shape[axis] = length
        bounds = (self.integers(start), self.integers(end), self.integers(axis))
        return self.add("Slice", x, *bounds, shape=shape)

    def split(self, x: str, axis: int, count: int) -> list[str]:
        """Split into equal parts."""
        shape = list(self.shapes[x])
        shape[axis] //= count
        index = len(self.nodes)
        outs = [f"tensor_{index}_{part}" for part in range(count)]
        inputs, sizes = [x], [shape[axis]] * count
        extra: dict[str, Any] = {"num_outputs": count} if self.opset >= 18 else {}
        if self.opset < 13:
            extra = {"split": sizes}
        elif self.opset < 18:
            inputs.append(self.integers(*sizes))
        name = f"Split_n{index}"
        self.nodes.append(helper.make_node("Split", inputs, outs, name=name, axis=axis, **extra))
        self.shapes.update(dict.fromkeys(outs, tuple(shape)))
        return outs

    def concat(self, *parts: str, axis: int) -> str:
        """Join along an axis."""
        shape = list(self.shapes[parts[0]])
        shape[axis] = sum(self.shapes[part][axis] for part in parts)
        return self.add("Concat", *parts, shape=shape, axis=axis)

    def pad(self, x: str, before: int, after: int, mode: str, name: str | None = None) -> str:
        """Pad height and width."""
        n, c, h, w = self.shapes[x]
        grown = before + after
        pads = self.integers(0, 0, before, before, 0, 0, after, after)
        inputs = [x, pads, self.literal(0.0)] if mode == "constant" else [x, pads]
        shape = (n, c, h + grown, w + grown)
        return self.add("Pad", *inputs, name=name, shape=shape, mode=mode)

    def resize(
        self, x: str, factor: float, sampling: str, *, sizes: str = "", name: str | None = None
    ) -> str:
        """Scale height and width.

        Args:
            x: (n, c, h, w).
            factor: Of height and width.
            sampling: `nearest`, or for linear interpolation the name of a coordinate
                transformation.
            sizes: Tensor with all four sizes; scales are written if it is not given.
            name: Of the node.
        """
        n, c, h, w = self.shapes[x]
        nothing = "" if self.opset >= 13 else self._single(numpy.zeros(0, numpy.float32))
        inputs = [x, nothing, nothing, sizes]
        if not sizes:
            scales = numpy.array([1, 1, factor, factor], numpy.float32)
            inputs = [x, nothing, self._single(scales)]
        extra: dict[str, Any] = {"mode": "linear", "coordinate_transformation_mode": sampling}
        if sampling == "nearest":
            extra = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
            extra["nearest_mode"] = "floor"
        if self.opset >= 18:
            extra["antialias"] = 0
        if self.opset >= 19 and sizes:
            extra["keep_aspect_ratio_policy"] = "stretch"
        shape = (n, c, int(h * factor), int(w * factor))
        return self.add("Resize", *inputs, name=name, shape=shape, **extra)

    def _single(self, value: NDArray[numpy.float32]) -> str:
        """A constant that stays float32 in a float16 graph, such as the scales of a Resize."""
        half, self.half = self.half, False
        name = self.literal(value)
        self.half = half
        return name

    # Ends

    def input(self, name: str, *shape: int) -> str:
        """A float32 input; returns the tensor to use for it."""
        self.inputs.append(self._describe(name, shape))
        self.shapes[name] = shape
        if not self.half:
            return name
        cast = f"graph_input_cast{len(self.inputs) - 1}"
        return self.add("Cast", name, name=cast, to=self.float_type)

    def output(self, x: str, name: str) -> None:
        """Make a tensor a float32 output of the graph."""
        if self.half:
            cast = f"graph_output_cast{len(self.outputs)}"
            x = self.add("Cast", x, name=cast, to=TensorProto.FLOAT)
        for node in self.nodes:
            node.input[:] = [name if i == x else i for i in node.input]
            node.output[:] = [name if o == x else o for o in node.output]
        self.shapes[name] = self.shapes.pop(x)
        self.outputs.append(self._describe(name, self.shapes[name]))

    def _describe(self, name: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, (self.batch, *shape[1:]))

    def finish(self) -> onnx.ModelProto:
        """The checked model."""
        graph = helper.make_graph(
            self.nodes, self.name, self.inputs, self.outputs, self.initializers
        )
        opset = helper.make_opsetid("", self.opset)
        model = helper.make_model(
            graph, opset_imports=[opset], producer_name="facefusion-finetune-tests"
        )
        model.ir_version = helper.find_min_ir_version_for([opset])
        onnx.checker.check_model(model, full_check=True)
        return model
