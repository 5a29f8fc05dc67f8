"""What training some layers costs: what runs at every step, and what can be cached.

The part of a graph that does not depend on a trained weight gives the same result for a sample at
every step. The cut is where the rest begins: the tensors to cache so that only the rest must run.
Source: METHOD of this project, 'Which layers' 6; the cut is networkx's minimum cut.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import networkx
from networkx.algorithms.flow import boykov_kolmogorov

from facefusion_finetune.swappers.graphs.layers import Layer, count_macs
from facefusion_finetune.swappers.graphs.shapes import Trace

FLOAT_BYTES = 4
MACS_PER_BYTE = 100
"""How many multiplications per step one more cached byte of a sample must save."""

GIVEN, LIVE = "given", "live"


@dataclass(frozen=True)
class Cost:
    """The cost of training some layers, at batch 1."""

    parameters: int
    macs: int
    """Multiplications of a full forward pass."""
    live_macs: int
    """Multiplications of the part that runs at every step once the cut is cached."""
    cut: tuple[str, ...]
    """Tensors to cache for every sample."""
    cut_bytes: int
    """Size of these in float32."""


def measure_cost(trace: Trace, layers: Iterable[Layer]) -> Cost:
    """The cost of training some layers of a graph."""
    trained = list(layers)
    chosen = {layer.index for layer in trained}
    needed = trace.find_ancestors({trace.output})
    live: set[int] = set()
    made: set[str] = set()
    for index, node in trace.nodes.items():
        if index not in needed:
            continue
        if index in chosen or made.intersection(node.input):
            live.add(index)
            made.update(filter(None, node.output))
    cut = _find_cut(trace, needed, live)
    reached = _find_after(trace, cut, needed)
    # Layers that share a weight count once.
    counted = {layer.owned[0].initializer: layer.parameters for layer in trained}
    return Cost(
        parameters=sum(counted.values()),
        macs=sum(count_macs(trace, trace.nodes[index]) for index in needed),
        live_macs=sum(count_macs(trace, trace.nodes[index]) for index in reached),
        cut=tuple(sorted(cut)),
        cut_bytes=_measure(trace, cut),
    )


def _measure(trace: Trace, names: Iterable[str]) -> int:
    return sum(trace.values[name].count for name in names) * FLOAT_BYTES


def _find_cut(trace: Trace, needed: set[int], live: set[int]) -> set[str]:
    """The tensors to cache: the fewest bytes, weighed against what must then run at every step.

    A minimum cut between the inputs and what runs at every step. Caching a tensor costs its bytes;
    a frozen node behind the cut, which then also runs at every step, costs its multiplications.
    """
    network = networkx.DiGraph()
    for name in trace.inputs:
        network.add_edge(GIVEN, f"made {name}")
    for index in needed:
        node = trace.nodes[index]
        if index in live:
            network.add_edge(index, LIVE)
        else:
            network.add_edge(GIVEN, index, capacity=count_macs(trace, node))
        for name in filter(None, node.output):
            network.add_edge(index, f"made {name}")
        for name in filter(None, node.input):
            if not trace.is_constant(name):
                network.add_edge(f"kept {name}", index)
                price = trace.values[name].count * FLOAT_BYTES * MACS_PER_BYTE
                network.add_edge(f"made {name}", f"kept {name}", capacity=price)
    # All of networkx's algorithms find the same cut; this one is usually fastest on swappers.
    _, (before, _) = networkx.minimum_cut(network, GIVEN, LIVE, flow_func=boykov_kolmogorov)
    return {
        name
        for index in needed
        for name in trace.nodes[index].input
        if f"made {name}" in before and f"kept {name}" in network and f"kept {name}" not in before
    }


def _find_after(trace: Trace, cut: set[str], needed: set[int]) -> set[int]:
    """Nodes that must run when the tensors of the cut are given."""
    known = set(cut)
    nodes = trace.find_ancestors({trace.output}, lambda name: name in known)
    return nodes & needed
