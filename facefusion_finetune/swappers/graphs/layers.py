"""The weighted nodes of a graph: which tensors they own, and why some are never trained."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper

from facefusion_finetune.swappers.graphs.shapes import Trace


class Users:
    """Which nodes at work on the pictures an initializer gets to."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._found: dict[str, list[int]] = {}

    def find(self, root: str) -> list[int]:
        """Their numbers, once for each, in order."""
        if root not in self._found:
            self._found[root] = self._walk(root)
        return self._found[root]

    def _walk(self, root: str) -> list[int]:
        nodes = self._trace.file.skeleton.graph.node
        found: set[int] = set()
        seen = {root}
        pending = [root]
        while pending:
            for index in self._trace.users.get(pending.pop(), []):
                if index in self._trace.nodes:
                    found.add(index)
                    continue
                made = [name for name in nodes[index].output if name not in seen]
                seen.update(made)
                pending.extend(made)
        return sorted(found)


WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators that carry a weight worth training."""

SELECTING = frozenset({"Slice", "Split", "Gather"})
PASSING = frozenset({"Identity", "Sigmoid", "Tanh", "Clip", "Relu", "LeakyRelu", "Cast"})
"""Operators that keep the channels of what they work on."""

REARRANGING = frozenset(
    {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Cast"}
)
"""Operators that move numbers without changing one, as long as a cast goes to float."""

MOST_MASKED = 4096
"""Channels of a layer among which a mask is looked for."""

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)


@dataclass(frozen=True)
class Owned:
    """A weight or bias of a layer, and the initializer it comes from."""

    role: str
    """`weight` or `bias`."""
    initializer: str
    tensor: str
    """What the node takes: the initializer itself, or a rearrangement of it."""


@dataclass(frozen=True)
class Layer:
    """A node with weights."""

    index: int
    """Number of the node in the file."""
    node: str
    """Its name, or `number N`."""
    kind: str
    owned: tuple[Owned, ...]
    """What would be trained."""
    parameters: int
    """How many numbers these hold, without frozen rows."""
    height: int
    """Of what it makes, in pixels; 1 for vectors."""
    macs: int
    """Multiplications of one run at batch 1."""
    colour: frozenset[str]
    """Inputs that what it works on depends on."""
    frozen: str | None
    """Why it is never trained; None where it may be."""
    mask_rows: tuple[int, ...] = ()
    """Output channels that are a mask and stay as they are."""

    @property
    def initializers(self) -> tuple[str, ...]:
        """Names of its weight and, where it has one of its own, its bias."""
        return tuple(owned.initializer for owned in self.owned)


def list_layers(
    trace: Trace,
    colours: Mapping[str, frozenset[str]],
    reaching: set[int],
    ungated: set[int],
) -> tuple[Layer, ...]:
    """All weighted nodes of a graph.

    Args:
        trace: The graph.
        colours: Inputs each tensor depends on.
        reaching: Nodes that reach the picture.
        ungated: Those that reach it in another way than through a mask.
    """
    layers = []
    users = Users(trace)
    for index, node in trace.nodes.items():
        if node.op_type not in WEIGHTED:
            continue
        place = 1 if trace.is_constant(node.input[1]) or node.op_type != "MatMul" else 0
        colour = frozenset[str]().union(*(colours.get(name, frozenset()) for name in node.input))
        owned, frozen = _find_owned(trace, node, place, users)
        rows: tuple[int, ...] = ()
        if index not in reaching:
            frozen = "does not reach the picture"
        elif colour != {"source", "target"}:
            frozen = f"depends on the {' and '.join(sorted(colour)) or 'nothing'} only"
        elif index not in ungated:
            frozen = "makes a mask"
        elif frozen is None:
            rows = _find_mask_rows(trace, node)
        shape = trace.values[node.output[0]].shape
        layers.append(
            Layer(
                index=index,
                node=node.name or f"number {index}",
                kind=node.op_type,
                owned=owned,
                parameters=_count_parameters(trace, node, owned, rows),
                height=shape[2] if len(shape) == 4 else 1,
                macs=count_macs(trace, node),
                colour=colour,
                frozen=frozen,
                mask_rows=rows,
            )
        )
    return _join_shared(trace, layers, users)


def count_macs(trace: Trace, node: NodeProto) -> int:
    """Multiplications of a node at batch 1; 0 for one without weights."""
    if node.op_type not in WEIGHTED:
        return 0
    taken, weight = (trace.values[name] for name in node.input[:2])
    made = trace.values[node.output[0]]
    if node.op_type == "Conv":
        return made.count * math.prod(weight.shape[1:])
    if node.op_type == "ConvTranspose":
        return taken.count * math.prod(weight.shape[1:])
    attributes = read_attributes(node)
    return made.count * (taken.shape[0] if attributes.get("transA") else taken.shape[-1])


def read_attributes(node: NodeProto) -> dict[str, Any]:
    """Attributes of a node as Python values."""
    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}


def find_root(trace: Trace, name: str) -> str | None:
    """The initializer that a constant is a rearrangement of; None where it is something else."""
    while name not in trace.file.tensors:
        node = trace.makers.get(name)
        if node is None or node.op_type not in REARRANGING:
            return None
        before, after = (trace.values[one[0]].data_type for one in (node.input, node.output))
        # A cast to 16 bits rounds.
        if before != after and after != TensorProto.FLOAT:
            return None
        name = node.input[0]
    return name


def rearrange(trace: Trace, root: str, name: str, values: NDArray[Any]) -> NDArray[Any]:
    """What becomes of an initializer's values on the way to the constant `name`.

    Args:
        trace: The graph.
        root: An initializer, from `find_root`.
        name: A constant.
        values: Of the initializer's shape.
    """
    if name == root:
        return values
    node = trace.makers[name]
    taken = rearrange(trace, root, node.input[0], values)
    if node.op_type == "Transpose":
        return taken.transpose(read_attributes(node).get("perm"))
    return taken.reshape(trace.values[name].shape)


def arrange_back(trace: Trace, root: str, name: str, values: NDArray[Any]) -> NDArray[Any]:
    """The initializer's values that `rearrange` makes `values` of."""
    dims = trace.file.tensors[root].dims
    places = rearrange(trace, root, name, numpy.arange(math.prod(dims)).reshape(dims))
    made = numpy.empty(math.prod(dims), values.dtype)
    made[places.ravel()] = values.ravel()
    return made.reshape(dims)


def _find_owned(
    trace: Trace, node: NodeProto, place: int, users: Users
) -> tuple[tuple[Owned, ...], str | None]:
    """The tensors a layer would train, and why it cannot if it cannot."""
    name = node.input[place]
    root = find_root(trace, name)
    if not trace.is_constant(name):
        return (), "has a weight that depends on the inputs"
    if root is None:
        return (), "has a weight that is worked out from constants"
    if trace.file.tensors[root].data_type not in FLOATS:
        return (), "has a weight of whole numbers"
    if node.op_type == "Conv" and _is_filter(trace, node, name):
        return (), "is a fixed filter"
    owned = [Owned("weight", root, name)]
    bias = node.input[2] if len(node.input) > 2 else ""
    if bias:
        source = find_root(trace, bias)
        # The exporter keeps equal biases once; trained as one they would be tied by accident.
        if source is not None and len(users.find(source)) == 1:
            owned.append(Owned("bias", source, bias))
    return tuple(owned), None


def _is_filter(trace: Trace, node: NodeProto, name: str) -> bool:
    """Whether a convolution does the same to each channel, as a blur does."""
    shape = trace.values[name].shape
    if shape[1] != 1 or shape[0] != read_attributes(node).get("group", 1):
        return False
    kernels = trace.read_constant(name)
    return bool((kernels == kernels[:1]).all())


def _find_mask_rows(trace: Trace, node: NodeProto) -> tuple[int, ...]:
    """Output channels that only a one-channel part of the output is cut from."""
    shape = trace.values[node.output[0]].shape
    if len(shape) != 4 or shape[1] > MOST_MASKED:
        return ()
    # One pixel is enough, since only what is picked along the channels counts.
    channels = numpy.arange(shape[1])[None, :, None, None]
    used: set[int] = set()
    pending = [node.output[0]]
    while pending:
        name = pending.pop()
        for index in trace.users.get(name, []):
            user = trace.nodes.get(index)
            if user is not None and user.op_type in PASSING:
                pending.extend(user.output)
                continue
            if user is None or user.op_type not in SELECTING or user.input[0] != name:
                return ()
            if not all(map(trace.is_constant, filter(None, user.input[1:]))):
                return ()
            if user.op_type != "Slice" and read_attributes(user).get("axis", 0) not in (1, -3):
                return ()
            inputs = {wanted: trace.read_constant(wanted) for wanted in user.input[1:] if wanted}
            if any(array.size > MOST_MASKED for array in inputs.values()):
                return ()
            for part in trace.evaluate(user, {**inputs, name: channels}).values():
                if not part.size:
                    return ()
                if part.ndim != 4 or part.shape[1] > 1:
                    used.update(int(channel) for channel in numpy.unique(part))
    rows = tuple(sorted(set(range(shape[1])) - used))
    return rows if len(rows) < shape[1] else ()


def _count_parameters(
    trace: Trace, node: NodeProto, owned: tuple[Owned, ...], rows: tuple[int, ...]
) -> int:
    total = sum(math.prod(trace.file.tensors[one.initializer].dims) for one in owned)
    if not rows:
        return total
    channels = trace.values[node.output[0]].shape[1]
    return total * (channels - len(rows)) // channels


def _join_shared(trace: Trace, layers: list[Layer], users: Users) -> tuple[Layer, ...]:
    """Freeze layers whose weight also serves somebody who cannot be trained along.

    Layers that share one weight in one way, and may all be trained, are trained as one.
    """
    by_index = {layer.index: layer for layer in layers}
    reasons: dict[tuple[Owned, str], str | None] = {}
    joined = []
    for layer in layers:
        frozen = layer.frozen
        if frozen is None:
            key = layer.owned[0], layer.kind
            if key not in reasons:
                reasons[key] = _explain_shared(trace, by_index, *key, users)
            frozen = reasons[key]
        joined.append(replace(layer, frozen=frozen))
    return tuple(joined)


def _explain_shared(
    trace: Trace, layers: Mapping[int, Layer], own: Owned, kind: str, users: Users
) -> str | None:
    """Why no layer of that kind can train a weight; None where all its users are trained along."""
    for index in users.find(own.initializer):
        other = layers.get(index)
        if other is None or other.frozen is not None or other.owned[0] != own:
            name = trace.nodes[index].name or f"number {index}"
            return f"shares its weight with {name}, which cannot be trained along"
        if other.kind != kind:
            return f"shares its weight with {other.node}, a {other.kind}"
    return None
