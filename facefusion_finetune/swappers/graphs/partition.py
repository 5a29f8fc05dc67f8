"""The trainable layers of a swapper: a rule on the graph that ignores names.

Every tensor is labelled with the inputs it depends on. A layer is trainable if its inputs depend on
both source and target, within one row of a batch, and if it reaches the picture. That freezes
encoders, attribute networks, recognisers inside the graph and mask heads, whatever their names.
Source: METHOD of this project, 'Which layers'.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property

from onnx import NodeProto

from facefusion_finetune.swappers.graphs.inputs import SOURCE, TARGET
from facefusion_finetune.swappers.graphs.layers import Layer, list_layers
from facefusion_finetune.swappers.graphs.rows import find_rows
from facefusion_finetune.swappers.graphs.shapes import Trace

MIN_TAIL_SHARE = 0.01
"""Share of the trainable parameters. A smaller tail is not used as the decoder."""


@dataclass(frozen=True)
class Partition:
    """A swapper's layers, by what they depend on and what follows them."""

    trace: Trace
    dependencies: dict[str, frozenset[str]]
    """The graph inputs that each tensor depends on."""
    styles: frozenset[str]
    """Tensors that carry the source without a position: vectors, and what depends on them alone."""
    injections: tuple[int, ...]
    """Indices of the nodes where a style meets a feature map of the target."""
    layers: tuple[Layer, ...]
    """Every node with weights, in the order they run in."""
    depths: dict[int, int] = field(repr=False)
    """Trainable layers after this one on the longest path to the picture, by node index."""
    tail: tuple[Layer, ...]
    """Trainable layers after the last injection, in the order they run in."""

    @cached_property
    def candidates(self) -> tuple[Layer, ...]:
        """The trainable layers."""
        return tuple(layer for layer in self.layers if layer.frozen is None)

    @cached_property
    def decoder(self) -> tuple[Layer, ...]:
        """The tail; if that is tiny, the stages from half the crop's size upwards."""
        whole = sum(layer.parameters for layer in self.candidates)
        if sum(layer.parameters for layer in self.tail) >= MIN_TAIL_SHARE * whole:
            return self.tail
        return self.select_stage(max(self.stages, default=0) // 2)

    @cached_property
    def stages(self) -> tuple[int, ...]:
        """Output heights of the trainable layers in pixels, largest first."""
        return tuple(sorted(set(map(self.find_stage, self.candidates)), reverse=True))

    def find_stage(self, layer: Layer) -> int:
        """Output height of a layer in pixels, rounded so that padding does not matter."""
        whole = self.trace.values[self.trace.output].shape[2]
        return whole >> max(0, round(math.log2(whole / layer.height)))

    def select_stage(self, height: int) -> tuple[Layer, ...]:
        """Trainable layers whose output has at least this height."""
        return tuple(layer for layer in self.candidates if self.find_stage(layer) >= height)

    def select_last(self, count: int) -> tuple[Layer, ...]:
        """Trainable layers with fewer than `count` others after them."""
        return tuple(layer for layer in self.candidates if self.depths[layer.index] < count)


def partition_graph(trace: Trace) -> Partition:
    """Apply the rule to a graph whose inputs are named `target` and `source`."""
    rows = find_rows(trace, (TARGET, SOURCE))
    dependencies = {name: frozenset[str]().union(*{*found}) for name, found in rows.items()}
    mixing = {
        index
        for index, node in trace.nodes.items()
        if any(row >= {TARGET, SOURCE} for name in node.output if name for row in rows[name])
    }
    styles = _find_styles(trace, dependencies)
    injections = tuple(
        index
        for index, node in trace.nodes.items()
        if index in mixing
        and any(name in styles for name in node.input)
        and any(_is_map(trace, dependencies, styles, name) for name in node.input)
    )
    reaching = trace.find_ancestors({trace.output})
    unmasked = trace.find_ancestors({trace.output}, lambda name: is_mask(trace, name))
    layers = list_layers(trace, dependencies, mixing, reaching, unmasked)
    trainable = {layer.index for layer in layers if layer.frozen is None}
    depths = _measure_depths(trace, trainable, unmasked)
    before = trace.find_ancestors(name for index in injections for name in trace.nodes[index].input)
    tail = tuple(layer for layer in layers if layer.frozen is None and layer.index not in before)
    return Partition(trace, dependencies, styles, injections, layers, depths, tail)


def _is_non_spatial(trace: Trace, name: str) -> bool:
    """Whether a tensor has no height and width, or both are 1."""
    return all(size == 1 for size in trace.values[name].shape[2:])


def _find_styles(trace: Trace, dependencies: dict[str, frozenset[str]]) -> frozenset[str]:
    """What the source becomes before it meets a feature map of the target.

    A mean over a feature map is also non-spatial and depends on the source, but comes from the map:
    the path from the source to a style leads through other styles only. A style repeated to the
    size of a map is still a style.
    """
    styles = {SOURCE}
    for node in trace.nodes.values():
        inputs = [name for name in node.input if name in dependencies]
        for output in filter(None, node.output):
            alone = dependencies[output] == {SOURCE}
            if not alone and not any(name in styles for name in inputs):
                continue
            non_spatial = _is_non_spatial(trace, output) and all(
                _is_non_spatial(trace, name) for name in inputs
            )
            repeated = node.op_type in ("Expand", "Tile", "Resize") and inputs[0] in styles
            if alone or non_spatial or repeated:
                styles.add(output)
    return frozenset(styles)


def _is_map(
    trace: Trace, dependencies: dict[str, frozenset[str]], styles: frozenset[str], name: str
) -> bool:
    return (
        TARGET in dependencies.get(name, ())
        and name not in styles
        and not _is_non_spatial(trace, name)
    )


def is_mask(trace: Trace, name: str) -> bool:
    """Whether a tensor is a mask: one channel with a height and a width."""
    shape = trace.values[name].shape
    return len(shape) == 4 and shape[:2] == (1, 1) and not _is_non_spatial(trace, name)


def _measure_depths(trace: Trace, trainable: set[int], unmasked: set[int]) -> dict[int, int]:
    after: dict[str, int] = {}
    depths: dict[int, int] = {}
    for index in reversed(trace.nodes):
        if index not in unmasked:
            continue
        node: NodeProto = trace.nodes[index]
        depth = max((after.get(name, 0) for name in node.output), default=0)
        if index in trainable:
            depths[index] = depth
            depth += 1
        for name in node.input:
            after[name] = max(after.get(name, 0), depth)
    return depths
