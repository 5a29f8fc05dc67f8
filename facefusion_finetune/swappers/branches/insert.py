"""Branches put beside a base's layers: the same swaps as before, until they are trained."""

import math
from collections.abc import Iterable, Sequence

import numpy
from numpy.typing import NDArray

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.branches.gate import LENGTH, Gate
from facefusion_finetune.swappers.branches.nodes import (
    CONVOLUTIONS,
    PREFIX,
    Branch,
    build_additions,
)
from facefusion_finetune.swappers.files.modelfile import ModelFile, extend_model
from facefusion_finetune.swappers.graphs.graph import SwapperGraph
from facefusion_finetune.swappers.graphs.layers import Layer, read_attributes
from facefusion_finetune.swappers.graphs.partition import partition_graph
from facefusion_finetune.swappers.graphs.shapes import Trace, trace_graph

OLDEST_IR = 4
"""Before it, initializers had to be inputs, too."""


def add_branches(
    graph: SwapperGraph, layers: Sequence[Layer], rank: int, gate: Gate, seed: int
) -> SwapperGraph:
    """A swapper with a branch beside each of its layers, in memory.

    Its output is the base's, since `up` begins at zero. `save_model(graph.file, PATH)` writes it;
    a linked file points into the base, which is `graph.path` still.

    A grouped convolution, a layer that shares its weight with another, a Gemm that transposes what
    it works on, and a MatMul of more than two axes get no branch.

    Args:
        graph: The base.
        layers: Of it, from `select_layers`.
        rank: Of the branches; of small layers it is their smallest dimension.
        gate: When the branches are at work.
        seed: Of the random start of `down`.

    Raises:
        SwapperError: The source is a picture, the base has branches already, the rank is below 1,
            or none of the layers can have a branch.
    """
    _check_base(graph, rank)
    trace = graph.trace
    chosen = [layer for layer in layers if _can_branch(graph, layer)]
    if not chosen:
        raise SwapperError(
            f"{len(layers)} layers of {graph.path.name}",
            "none of them can have a branch: they are grouped or share their weights.",
            "Choose other layers, or a preset without `gated`.",
        )
    branches: dict[int, Branch] = {}
    weights: dict[str, NDArray[numpy.float32]] = {}
    generator = numpy.random.default_rng(seed)
    for number, layer in enumerate(sorted(chosen, key=lambda layer: layer.index)):
        node = trace.nodes[layer.index]
        made = trace.values[node.output[0]]
        branch = Branch(number, node, made.data_type, len(made.shape))
        branches[layer.index] = branch
        down, up = _plan_shapes(trace, layer, rank)
        size = _measure_start(graph, layer, down)
        weights[branch.down] = (size * generator.standard_normal(down)).astype(numpy.float32)
        weights[branch.up] = numpy.zeros(up, numpy.float32)
        weights[branch.bias] = numpy.zeros(made.shape[1], numpy.float32)
    file = extend_model(graph.file, build_additions(trace.opset, gate, branches, weights))
    trace = trace_graph(file)
    return SwapperGraph(file, trace, partition_graph(trace))


def _check_base(graph: SwapperGraph, rank: int) -> None:
    if rank < 1:
        raise SwapperError(f"rank {rank}", "it is below 1.", "Give a rank such as 8.")
    if graph.source_shape != (LENGTH,):
        raise SwapperError(
            graph.path.name,
            f"it cannot be gated: its source is a picture of {list(graph.source_shape)}, not a"
            " vector that says whose face it is.",
            "Use a preset without `gated`, or another base.",
        )
    skeleton = graph.file.skeleton
    if any(name.startswith(PREFIX) for name in _list_names(graph.file)):
        raise SwapperError(
            graph.path.name,
            "it cannot be gated: it has branches already.",
            "Give the base as FaceFusion publishes it.",
        )
    if skeleton.ir_version < OLDEST_IR:
        raise SwapperError(
            graph.path.name,
            f"it cannot be gated: IR version {skeleton.ir_version} of ONNX is too old.",
            "Use a preset without `gated`.",
        )


def _list_names(file: ModelFile) -> Iterable[str]:
    yield from file.tensors
    for node in file.skeleton.graph.node:
        yield node.name
        yield from node.output


def _can_branch(graph: SwapperGraph, layer: Layer) -> bool:
    trace = graph.trace
    node = trace.nodes[layer.index]
    weight = layer.owned[0].initializer
    attributes = read_attributes(node)
    if sum(weight in other.initializers for other in graph.partition.layers) > 1:
        return False
    if layer.kind in CONVOLUTIONS:
        return bool(attributes.get("group", 1) == 1)
    shapes = [trace.values[name].shape for name in node.input[:2]]
    plain = trace.is_constant(node.input[1]) and not attributes.get("transA")
    return plain and all(len(shape) == 2 for shape in shapes)


def _measure_start(graph: SwapperGraph, layer: Layer, down: tuple[int, ...]) -> float:
    """Size of the numbers of `down` that makes its output about as large as the layer's own."""
    weight = graph.trace.read_constant(graph.trace.nodes[layer.index].input[1])
    size = float(numpy.sqrt(numpy.square(weight.astype(numpy.float64)).mean()))
    if layer.kind != "ConvTranspose":
        return size
    # Each output sums over all inputs and the kernel, but of `down` over the inputs alone.
    return size * math.sqrt(math.prod(weight.shape[2:]))


def _plan_shapes(trace: Trace, layer: Layer, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of `down` and `up`."""
    node = trace.nodes[layer.index]
    taken, weight, made = (trace.values[name].shape for name in (*node.input[:2], node.output[0]))
    if layer.kind not in CONVOLUTIONS:
        rank = min(rank, taken[1], made[1])
        return (taken[1], rank), (rank, made[1])
    kernel = weight[2:]
    points = (1,) * len(kernel)
    if layer.kind == "Conv":
        rank = min(rank, weight[0], math.prod(weight[1:]))
        return (rank, weight[1], *kernel), (weight[0], rank, *points)
    rank = min(rank, weight[0], math.prod(weight[1:]))
    return (rank, weight[0], *points), (rank, *weight[1:])
