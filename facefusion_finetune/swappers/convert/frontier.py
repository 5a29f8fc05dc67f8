"""A swapper in two parts: a frozen one that never changes in training, and a live one.

Both use the swapper's own modules. The frozen part's output for a sample can be cached; the live
part runs at every step and turns it into the whole swapper's output for the sample, bit by bit.
"""

import operator
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, fx

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.convert.convert import BatchedNetwork, node_number
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.graphs.inputs import TARGET
from facefusion_finetune.swappers.graphs.shapes import Trace


class Frontier:
    """The two parts of a swapper, on either side of a cut."""

    def __init__(
        self, frozen: BatchedNetwork, live: BatchedNetwork, cut: tuple[str, ...], target_first: bool
    ) -> None:
        self._frozen = frozen
        self._live = live
        self._target_first = target_first
        self.cut = cut
        """Names of the tensors that pass from one part to the other, in their order."""

    @torch.no_grad()
    def run_frozen(self, target: Tensor, source: Tensor) -> tuple[Tensor, ...]:
        """The tensors of the cut; arguments as `TorchSwapper` takes them.

        Returns:
            (n, ...) each, without a gradient. If the graph works on one sample at a time, the rest
            is the tensor's full shape, including its own first axis.
        """
        made: tuple[Tensor, ...] = self._frozen(
            *((target, source) if self._target_first else (source, target))
        )
        return made

    def run_live(self, tensors: Sequence[Tensor]) -> Tensor:
        """Swapped crops, (n, 3, H, W), in the file's own output range, with gradients.

        Args:
            tensors: As `run_frozen` returns them.
        """
        output: Tensor = self._live(*tensors)
        return output


def split_at_cut(swapper: TorchSwapper, cut: Sequence[str]) -> Frontier:
    """Split a swapper in two without copying anything.

    Args:
        swapper: With or without low-rank changes; both parts see later changes to its weights.
        cut: Tensor names in the file, from `measure_cost` for the layers it trains.

    Raises:
        SwapperError: A trained weight is not behind the cut, or the cut does not separate the
            output from the inputs.
    """
    trace = swapper.graph.trace
    network = swapper.network.network
    assert isinstance(network, fx.GraphModule)
    batchable = swapper.network.batchable
    nodes = _find_nodes(network.graph, trace)
    if not set(cut) <= set(nodes):
        raise _refuse(swapper, cut, "the graph has no such tensor")
    frozen = fx.GraphModule(network, _write_frozen(network.graph, nodes, cut, batchable))
    live = fx.GraphModule(network, _write_live(network.graph, nodes, cut, batchable))
    if any(parameter.requires_grad for parameter in frozen.parameters()):
        raise _refuse(swapper, cut, "a trained weight is before it")
    if sum(node.op == "placeholder" for node in live.graph.nodes) > len(cut):
        raise _refuse(swapper, cut, "a path leads around it")
    return Frontier(
        BatchedNetwork(frozen, batchable),
        BatchedNetwork(live, batchable),
        tuple(cut),
        trace.inputs[0] == TARGET,
    )


def _find_nodes(graph: fx.Graph, trace: Trace) -> dict[str, list[fx.Node]]:
    """The fx nodes that produce each of the file's tensors; a split's part has one per user."""
    found: dict[str, list[fx.Node]] = {}
    inputs = iter(trace.inputs)
    for node in graph.nodes:
        if node.op == "placeholder":
            found.setdefault(next(inputs), []).append(node)
        elif node.op == "call_module":
            outputs = trace.nodes[node_number(node.target)].output
            if len(outputs) == 1:
                found.setdefault(outputs[0], []).append(node)
        elif node.op == "call_function" and node.target is operator.getitem:
            split, part = node.args
            outputs = trace.nodes[node_number(split.target)].output
            found.setdefault(outputs[part], []).append(node)
    return found


def _write_frozen(
    graph: fx.Graph, nodes: Mapping[str, list[fx.Node]], cut: Sequence[str], batchable: bool
) -> fx.Graph:
    """From the graph's inputs to the cut."""
    written = fx.Graph()
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    known = {node: written.placeholder(node.target) for node in inputs}
    made = _copy_between(graph, written, known, [nodes[name][0] for name in cut])
    if not batchable:
        # A tensor in the middle may have a first axis other than the sample's, so add the one that
        # `BatchedNetwork` takes off each result.
        made = [written.call_method("unsqueeze", (node, 0)) for node in made]
    written.output(tuple(made))
    return written


def _write_live(
    graph: fx.Graph, nodes: Mapping[str, list[fx.Node]], cut: Sequence[str], batchable: bool
) -> fx.Graph:
    """From the cut to the graph's output."""
    written = fx.Graph()
    known = {}
    for place, name in enumerate(cut):
        given = written.placeholder(f"cut_{place}")
        if not batchable:
            given = written.call_method("squeeze", (given, 0))
        known.update(dict.fromkeys(nodes[name], given))
    output = next(node for node in graph.nodes if node.op == "output")
    made = _copy_between(graph, written, known, list(output.all_input_nodes))
    written.output(made[0])
    return written


def _copy_between(
    graph: fx.Graph,
    written: fx.Graph,
    known: Mapping[fx.Node, fx.Node],
    wanted: Sequence[fx.Node],
) -> list[fx.Node]:
    """Copy the nodes between those already `known` in `written` and the `wanted` ones."""
    needed: set[fx.Node] = set()
    pending = list(wanted)
    while pending:
        node = pending.pop()
        if node not in needed and node not in known:
            needed.add(node)
            pending.extend(node.all_input_nodes)
    copied = dict(known)
    for node in graph.nodes:
        if node in needed:
            copied[node] = written.node_copy(node, copied.__getitem__)
    return [copied[node] for node in wanted]


def _refuse(swapper: TorchSwapper, cut: Sequence[str], why: str) -> SwapperError:
    return SwapperError(
        f"the cut at {', '.join(cut) or 'no tensor'} of {swapper.graph.path.name}",
        f"{why}.",
        "Use the cut that measure_cost finds for the layers that are trained.",
    )
