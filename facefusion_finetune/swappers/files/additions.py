"""What a graph has beyond the file it is written from: more nodes, more initializers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnx import ModelProto, NodeProto, TensorProto


@dataclass(frozen=True)
class Additions:
    """Nodes and initializers that a file has not."""

    first: tuple[NodeProto, ...]
    """Nodes before all of the file's."""
    instead: Mapping[int, tuple[NodeProto, ...]]
    """What stands for a node, by its number in the file: the node with its output renamed, and
    nodes after it that make what it made."""
    tensors: tuple[TensorProto, ...]
    """Initializers before the file's last one, which the host may read as the emap."""


def extend_graph(model: ModelProto, additions: Additions) -> ModelProto:
    """A copy of a model with more nodes and initializers."""
    made = ModelProto()
    made.CopyFrom(model)
    del made.graph.node[:], made.graph.initializer[:]
    made.graph.node.extend(list_nodes(model.graph.node, additions))
    made.graph.initializer.extend(model.graph.initializer[:-1])
    made.graph.initializer.extend(additions.tensors)
    made.graph.initializer.extend(model.graph.initializer[-1:])
    return made


def list_nodes(nodes: Sequence[NodeProto], additions: Additions) -> list[NodeProto]:
    """The nodes of a file with the added ones among them, each after those it needs."""
    listed = list(additions.first)
    for number, node in enumerate(nodes):
        listed.extend(additions.instead.get(number, (node,)))
    return listed
