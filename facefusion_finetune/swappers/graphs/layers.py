"""A graph's layers (nodes with weights): the tensors they own, and why some stay frozen."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper

from facefusion_finetune.swappers.graphs.shapes import Trace


class Users:
    """Finds the input-dependent nodes that use an initializer, directly or via constants."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._found: dict[str, list[int]] = {}

    def find(self, root: str) -> list[int]:
        """Indices of the nodes, each once, in order."""
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
"""Operators with a weight worth training."""

SELECTING = frozenset({"Slice", "Split", "Gather"})
PASSING = frozenset({"Identity", "Sigmoid", "Tanh", "Clip", "Relu", "LeakyRelu", "Cast"})
"""Operators that keep the channels of their input."""
# fmt: off
CHANNELWISE = frozenset({
    "Abs", "Add", "AveragePool", "BatchNormalization", "Div", "Elu", "Erf", "Exp", "Gelu",
    "HardSigmoid", "HardSwish", "InstanceNormalization", "Log", "Max", "MaxPool", "Min", "Mish",
    "Mul", "Neg", "PRelu", "Pad", "Pow", "Resize", "Selu", "Softplus", "Softsign", "Sqrt", "Sub",
    "Sum", "Upsample", "Where",
})
"""Operators that keep them if the output has as many channels."""
# fmt: on

REARRANGING = frozenset(
    {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Cast"}
)
"""Operators that move values without changing them, as long as a cast is to float32."""

MAX_MASKED = 4096
"""A layer with more channels is not searched for a mask."""

SHARED = "takes target and source as one batch, each by itself"
"""Why a layer of an encoder that both inputs share is frozen."""
IN_NODE = "has its weight in a Constant node, not in an initializer"
"""Why a layer is frozen whose weight cannot be written back, since only initializers can."""

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)


@dataclass(frozen=True)
class Owned:
    """A weight or bias of a layer, and the initializer it comes from."""

    role: str
    """`weight` or `bias`."""
    initializer: str
    tensor: str
    """The node's input: the initializer itself, or a rearrangement of it."""


@dataclass(frozen=True)
class Layer:
    """A node with weights."""

    index: int
    """Index of the node in the file."""
    node: str
    """Name of the node, or `number N`."""
    kind: str
    owned: tuple[Owned, ...]
    """The tensors that would be trained."""
    parameters: int
    """Number of trainable values in these, without frozen rows."""
    height: int
    """Of its output, in pixels; 1 for vectors."""
    macs: int
    """Multiplications of one run at batch 1."""
    depends_on: frozenset[str]
    """The graph inputs that its inputs depend on."""
    frozen: str | None
    """Why it is never trained; None if it is trainable."""
    mask_rows: tuple[int, ...] = ()
    """Output channels that are a mask and stay frozen."""

    @property
    def initializers(self) -> tuple[str, ...]:
        """Names of its weight and, if it does not share it, its bias."""
        return tuple(owned.initializer for owned in self.owned)


def list_layers(
    trace: Trace,
    dependencies: Mapping[str, frozenset[str]],
    mixing: set[int],
    reaching: set[int],
    unmasked: set[int],
) -> tuple[Layer, ...]:
    """All layers of a graph.

    Args:
        trace: The graph.
        dependencies: The graph inputs that each tensor depends on.
        mixing: Nodes with an output of which a row depends on both inputs.
        reaching: Nodes that reach the picture.
        unmasked: Nodes that reach it other than through a mask.
    """
    layers = []
    users = Users(trace)
    for index, node in trace.nodes.items():
        if node.op_type not in WEIGHTED:
            continue
        place = 1 if trace.is_constant(node.input[1]) or node.op_type != "MatMul" else 0
        depends_on = frozenset[str]().union(
            *(dependencies.get(name, frozenset()) for name in node.input)
        )
        owned, frozen = _find_owned(trace, node, place, users)
        rows: tuple[int, ...] = ()
        if index not in reaching:
            frozen = "does not reach the picture"
        elif depends_on != {"source", "target"}:
            frozen = f"depends on the {' and '.join(sorted(depends_on)) or 'nothing'} only"
        elif index not in mixing:
            frozen = SHARED
        elif index not in unmasked:
            frozen = "produces a mask"
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
                depends_on=depends_on,
                frozen=frozen,
                mask_rows=rows,
            )
        )
    return _freeze_shared(trace, layers, users)


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
    """A node's attributes as Python values."""
    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}


def find_root(trace: Trace, name: str) -> str | None:
    """The initializer that a constant is a rearrangement of; None if it is not one."""
    name = _undo_rearranging(trace, name)
    return name if name in trace.file.tensors else None


def find_constant_node(trace: Trace, name: str) -> str | None:
    """The output of the Constant node that a constant is a rearrangement of; None if of none."""
    name = _undo_rearranging(trace, name)
    node = trace.producers.get(name)
    return name if node is not None and node.op_type == "Constant" else None


def _undo_rearranging(trace: Trace, name: str) -> str:
    while name not in trace.file.tensors:
        node = trace.producers.get(name)
        if node is None or node.op_type not in REARRANGING:
            break
        before, after = (trace.values[one[0]].data_type for one in (node.input, node.output))
        # A cast to 16 bits rounds.
        if before != after and after != TensorProto.FLOAT:
            break
        name = node.input[0]
    return name


def rearrange(trace: Trace, root: str, name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Rearrange an initializer's values as the graph does to obtain the constant `name`.

    Args:
        trace: The graph.
        root: An initializer, from `find_root`.
        name: A constant.
        values: Of the initializer's shape.
    """
    if name == root:
        return values
    node = trace.producers[name]
    taken = rearrange(trace, root, node.input[0], values)
    if node.op_type == "Transpose":
        return taken.transpose(read_attributes(node).get("perm"))
    return taken.reshape(trace.values[name].shape)


def undo_rearrangement(trace: Trace, root: str, name: str, values: NDArray[Any]) -> NDArray[Any]:
    """The inverse of `rearrange`: the initializer's values that give `values`."""
    dims = trace.file.tensors[root].dims
    places = rearrange(trace, root, name, numpy.arange(math.prod(dims)).reshape(dims))
    made = numpy.empty(math.prod(dims), values.dtype)
    made[places.ravel()] = values.ravel()
    return made.reshape(dims)


def _find_owned(
    trace: Trace, node: NodeProto, place: int, users: Users
) -> tuple[tuple[Owned, ...], str | None]:
    """The tensors a layer would train, and the reason if it is not trainable."""
    name = node.input[place]
    root = find_root(trace, name)
    if not trace.is_constant(name):
        return (), "has a weight that depends on the inputs"
    if root is None and find_constant_node(trace, name):
        return (), IN_NODE
    if root is None:
        return (), "has a weight computed from constants"
    if trace.file.tensors[root].data_type not in FLOATS:
        return (), "has an integer weight"
    if node.op_type == "Conv" and _is_filter(trace, node, name):
        return (), "is a fixed filter"
    owned = [Owned("weight", root, name)]
    bias = node.input[2] if len(node.input) > 2 else ""
    if bias:
        source = find_root(trace, bias)
        # Exporters store equal biases once; training that one would tie them by accident.
        if source is not None and len(users.find(source)) == 1:
            owned.append(Owned("bias", source, bias))
    return tuple(owned), None


def _is_filter(trace: Trace, node: NodeProto, name: str) -> bool:
    """Whether a convolution applies the same kernel to each channel, as a blur does."""
    shape = trace.values[name].shape
    if shape[1] != 1 or shape[0] != read_attributes(node).get("group", 1):
        return False
    kernels = trace.read_constant(name)
    return bool((kernels == kernels[:1]).all())


def _find_mask_rows(trace: Trace, node: NodeProto) -> tuple[int, ...]:
    """Output channels that are only used as a single-channel slice."""
    shape = trace.values[node.output[0]].shape
    if len(shape) != 4 or shape[1] > MAX_MASKED:
        return ()
    # One pixel is enough, since only the selection of channels matters.
    channels = numpy.arange(shape[1])[None, :, None, None]
    used: set[int] = set()
    pending, seen = [node.output[0]], {node.output[0]}
    while pending:
        name = pending.pop()
        if name == trace.output:
            return ()
        for index in trace.users.get(name, []):
            user = trace.nodes.get(index)
            if user is not None and _passes_channels(trace, user, shape[1]):
                pending.extend(one for one in user.output if one not in seen)
                seen.update(user.output)
                continue
            if user is None or user.op_type not in SELECTING or user.input[0] != name:
                return ()
            if not all(map(trace.is_constant, filter(None, user.input[1:]))):
                return ()
            if user.op_type != "Slice" and read_attributes(user).get("axis", 0) not in (1, -3):
                return ()
            inputs = {wanted: trace.read_constant(wanted) for wanted in user.input[1:] if wanted}
            if any(array.size > MAX_MASKED for array in inputs.values()):
                return ()
            for part in trace.evaluate(user, {**inputs, name: channels}).values():
                if not part.size:
                    return ()
                # An index, unlike a slice, takes the axis away.
                if part.size > 1:
                    used.update(int(channel) for channel in numpy.unique(part))
    rows = tuple(sorted(set(range(shape[1])) - used))
    return rows if len(rows) < shape[1] else ()


def _passes_channels(trace: Trace, node: NodeProto, channels: int) -> bool:
    """Whether a node's output has the channels of its input, each made from the same one only."""
    if node.op_type in PASSING:
        return True
    made = trace.values[node.output[0]].shape
    return node.op_type in CHANNELWISE and len(made) == 4 and made[1] == channels


def _count_parameters(
    trace: Trace, node: NodeProto, owned: tuple[Owned, ...], rows: tuple[int, ...]
) -> int:
    total = sum(math.prod(trace.file.tensors[one.initializer].dims) for one in owned)
    if not rows:
        return total
    channels = trace.values[node.output[0]].shape[1]
    return total * (channels - len(rows)) // channels


def _freeze_shared(trace: Trace, layers: list[Layer], users: Users) -> tuple[Layer, ...]:
    """Freeze layers whose weight is also used by a node that cannot be trained with them.

    Layers that share a weight in the same way, and are all trainable, are trained together.
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
    """Why layers of this kind cannot train a weight; None if all its users can be trained."""
    for index in users.find(own.initializer):
        other = layers.get(index)
        if other is None or other.frozen is not None or other.owned[0] != own:
            name = trace.nodes[index].name or f"number {index}"
            return f"shares its weight with {name}, which cannot be trained"
        if other.kind != kind:
            return f"shares its weight with {other.node}, a {other.kind}"
    return None
