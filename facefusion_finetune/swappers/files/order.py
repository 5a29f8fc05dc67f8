"""The order in which a graph's nodes run, which need not be the one they are stored in.

ONNX asks for nodes in topological order. onnxruntime also runs files that are not, as FP16
converters write them, whose casts are at the end.
"""

import heapq
from collections.abc import Mapping, Sequence

from onnx import GraphProto, NodeProto

from facefusion_finetune.swappers.files.wire import WireError

MAX_SHOWN = 4
"""Nodes of a cycle that are named."""
MAX_NAME = 60
"""Characters of a node's name that are shown."""


def order_nodes(graph: GraphProto) -> list[int]:
    """Indices of a graph's nodes, each after the nodes whose outputs it takes.

    Of the nodes that can run next, the first in the file does: a file in order keeps its order.

    Args:
        graph: A graph in which no two nodes have an output of the same name.

    Raises:
        WireError: Nodes form a cycle, or one takes a tensor that nothing produces.
    """
    given = {entry.name for entries in (graph.initializer, graph.input) for entry in entries}
    producers = {name: index for index, node in enumerate(graph.node) for name in node.output}
    missing: dict[int, set[int]] = {}  # the nodes that a node waits for
    takers: dict[int, list[int]] = {}  # the nodes that wait for it
    for index, node in enumerate(graph.node):
        # An empty name is an optional input that is left out.
        taken = {name for name in node.input if name} - given
        unknown = taken - producers.keys()
        if unknown:
            raise WireError(
                f"node {name_node(node, index)!r} uses {min(unknown)[:MAX_NAME]!r}, which no node"
                " produces: the graph is incomplete"
            )
        missing[index] = {producers[name] for name in taken}
        for producer in missing[index]:
            takers.setdefault(producer, []).append(index)
    ready = [index for index, waits in missing.items() if not waits]
    order = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        del missing[index]
        for taker in takers.get(index, ()):
            missing[taker].discard(index)
            if not missing[taker]:
                heapq.heappush(ready, taker)
    if missing:
        raise WireError(_describe_cycle(graph.node, missing))
    return order


def name_node(node: NodeProto, index: int) -> str:
    """How an error names a node: by its name, or by its place in the file."""
    return node.name[:MAX_NAME] or f"number {index}"


def _describe_cycle(nodes: Sequence[NodeProto], missing: Mapping[int, set[int]]) -> str:
    """Name the nodes of one of the cycles among those that can never run."""
    places: dict[int, int] = {}
    index = min(missing)
    while index not in places:
        places[index] = len(places)
        index = min(missing[index])
    first, *before = [*places][places[index] :]
    cycle = [first, *reversed(before)]
    names = [repr(name_node(nodes[place], place)) for place in cycle[:MAX_SHOWN]]
    if len(cycle) > MAX_SHOWN:
        names.append(f"{len(cycle) - MAX_SHOWN} more")
    return f"the graph is cyclic: {' -> '.join([*names, names[0]])}"
