"""Which layers of a swapper may be trained: a rule on the graph, without names.

Every tensor is coloured by the inputs it depends on. A layer may be trained when what it works on
depends on source and target and when it reaches the picture. That leaves encoders, attribute
networks, recognisers inside the graph and mask heads alone, whatever they are called.
Source: METHOD of this project, 'Which layers'.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property

from onnx import NodeProto

from facefusion_finetune.swappers.graphs.layers import Layer, list_layers
from facefusion_finetune.swappers.graphs.shapes import Trace

SOURCE, TARGET = "source", "target"
SMALLEST_TAIL = 0.01
"""Share of the trainable numbers. A tail below it is no decoder: the last stages are then."""


@dataclass(frozen=True)
class Partition:
    """A swapper's layers by what they depend on and what follows them."""

    trace: Trace
    colours: dict[str, frozenset[str]]
    """Inputs that each tensor depends on."""
    styles: frozenset[str]
    """Tensors that carry the source without a place: vectors, and what is made of them alone."""
    injections: tuple[int, ...]
    """Numbers of the nodes where the source meets what was seen of the target."""
    layers: tuple[Layer, ...]
    """Every node with weights, in the file's order."""
    depths: dict[int, int] = field(repr=False)
    """Layers that may be trained after this one on the longest way to the picture, by node."""
    tail: tuple[Layer, ...]
    """Layers that may be trained after the last injection, in the file's order."""

    @cached_property
    def candidates(self) -> tuple[Layer, ...]:
        """Layers that may be trained."""
        return tuple(layer for layer in self.layers if layer.frozen is None)

    @cached_property
    def decoder(self) -> tuple[Layer, ...]:
        """The pure tail; where that is next to nothing, the stages from half the crop's size on."""
        whole = sum(layer.parameters for layer in self.candidates)
        if sum(layer.parameters for layer in self.tail) >= SMALLEST_TAIL * whole:
            return self.tail
        return self.select_stage(max(self.stages, default=0) // 2)

    @cached_property
    def stages(self) -> tuple[int, ...]:
        """Heights in pixels of what the layers that may be trained make, largest first."""
        return tuple(sorted(set(map(self.find_stage, self.candidates)), reverse=True))

    def find_stage(self, layer: Layer) -> int:
        """Height in pixels of what a layer makes; a pixel more or less, from pads, is the same."""
        whole = self.trace.values[self.trace.output].shape[2]
        return whole >> max(0, round(math.log2(whole / layer.height)))

    def select_stage(self, height: int) -> tuple[Layer, ...]:
        """Layers that may be trained and make pictures of at least this height."""
        return tuple(layer for layer in self.candidates if self.find_stage(layer) >= height)

    def select_last(self, count: int) -> tuple[Layer, ...]:
        """Layers that may be trained with fewer than `count` others after them."""
        return tuple(layer for layer in self.candidates if self.depths[layer.index] < count)


def partition_graph(trace: Trace) -> Partition:
    """Apply the rule to a graph whose inputs are called `target` and `source`."""
    colours = _colour(trace)
    styles = _find_styles(trace, colours)
    injections = tuple(
        index
        for index, node in trace.nodes.items()
        if any(name in styles for name in node.input)
        and any(_is_map(trace, colours, styles, name) for name in node.input)
    )
    reaching = trace.find_ways({trace.output})
    ungated = trace.find_ways({trace.output}, lambda name: is_gate(trace, name))
    layers = list_layers(trace, colours, reaching, ungated)
    trainable = {layer.index for layer in layers if layer.frozen is None}
    depths = _measure_depths(trace, trainable, ungated)
    before = trace.find_ways(name for index in injections for name in trace.nodes[index].input)
    tail = tuple(layer for layer in layers if layer.frozen is None and layer.index not in before)
    return Partition(trace, colours, styles, injections, layers, depths, tail)


def _colour(trace: Trace) -> dict[str, frozenset[str]]:
    colours = {name: frozenset({name}) for name in (TARGET, SOURCE)}
    for node in trace.nodes.values():
        merged = frozenset[str]().union(*(colours.get(n, frozenset()) for n in node.input))
        colours.update(dict.fromkeys(filter(None, node.output), merged))
    return colours


def _is_placeless(trace: Trace, name: str) -> bool:
    """Whether a tensor has no height and width, or only one of each."""
    return all(size == 1 for size in trace.values[name].shape[2:])


def _find_styles(trace: Trace, colours: dict[str, frozenset[str]]) -> frozenset[str]:
    """What the source is turned into before it meets a feature map of the target.

    A mean over a feature map is placeless and depends on the source, too, but comes from the map:
    the way from the source to a style leads through other styles only. A style repeated to the
    size of a map is still one.
    """
    styles = {SOURCE}
    for node in trace.nodes.values():
        inputs = [name for name in node.input if name in colours]
        if not any(name in styles for name in inputs):
            continue
        for output in filter(None, node.output):
            alone = colours[output] == {SOURCE}
            placeless = _is_placeless(trace, output) and all(
                _is_placeless(trace, name) for name in inputs
            )
            repeated = node.op_type in ("Expand", "Tile", "Resize") and inputs[0] in styles
            if alone or placeless or repeated:
                styles.add(output)
    return frozenset(styles)


def _is_map(
    trace: Trace, colours: dict[str, frozenset[str]], styles: frozenset[str], name: str
) -> bool:
    return TARGET in colours.get(name, ()) and name not in styles and not _is_placeless(trace, name)


def is_gate(trace: Trace, name: str) -> bool:
    """Whether a tensor is a mask: one channel with a height and a width."""
    shape = trace.values[name].shape
    return len(shape) == 4 and shape[:2] == (1, 1) and not _is_placeless(trace, name)


def _measure_depths(trace: Trace, trainable: set[int], ungated: set[int]) -> dict[int, int]:
    after: dict[str, int] = {}
    depths: dict[int, int] = {}
    for index in reversed(trace.nodes):
        if index not in ungated:
            continue
        node: NodeProto = trace.nodes[index]
        depth = max((after.get(name, 0) for name in node.output), default=0)
        if index in trainable:
            depths[index] = depth
            depth += 1
        for name in node.input:
            after[name] = max(after.get(name, 0), depth)
    return depths
