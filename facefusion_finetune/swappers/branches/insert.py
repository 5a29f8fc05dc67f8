"""Adds branches in parallel to a base's layers; its swaps stay the same until they are trained."""

import math
from collections.abc import Iterable, Sequence

import numpy
from numpy.typing import NDArray

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.branches.gate import VECTOR_SIZE, IdentityGate
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

MIN_IR_VERSION = 4
"""Before it, initializers also had to be graph inputs."""


def add_branches(
    graph: SwapperGraph, layers: Sequence[Layer], rank: int, gate: IdentityGate, seed: int
) -> SwapperGraph:
    """A swapper with a branch in parallel to each of the given layers, in memory.

    Its output is the base's, since `up` starts at zero. `save_model(graph.file, PATH)` writes it;
    a linked file points into the base, which is still `graph.path`.

    A grouped convolution, a layer that shares its weight with another, a Gemm that transposes its
    input, and a MatMul of more than two axes get no branch.

    Args:
        graph: The base.
        layers: Layers of the base, from `select_layers`.
        rank: Of the branches; for small layers it is their smallest dimension.
        gate: Decides when the branches act.
        seed: For the random initial values of `down`.

    Raises:
        SwapperError: The source is a picture, the base already has branches, the rank is below 1,
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
    trace = trace_graph(file, graph.trace.input_shapes)
    return SwapperGraph(file, trace, partition_graph(trace))


def _check_base(graph: SwapperGraph, rank: int) -> None:
    if rank < 1:
        raise SwapperError(f"rank {rank}", "it is below 1.", "Give a rank such as 8.")
    if graph.source_shape != (VECTOR_SIZE,):
        raise SwapperError(
            graph.path.name,
            f"it cannot be gated: its source is a picture of {list(graph.source_shape)}, not a"
            " vector that identifies the person.",
            "Use a preset without `gated`, or another base.",
        )
    skeleton = graph.file.skeleton
    if any(name.startswith(PREFIX) for name in _list_names(graph.file)):
        raise SwapperError(
            graph.path.name,
            "it cannot be gated: it already has branches.",
            "Give the base as FaceFusion publishes it.",
        )
    if skeleton.ir_version < MIN_IR_VERSION:
        raise SwapperError(
            graph.path.name,
            f"it cannot be gated: its ONNX IR version {skeleton.ir_version} is too old.",
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
    """Standard deviation of `down` that makes its output about as large as the layer's own."""
    weight = graph.trace.read_constant(graph.trace.nodes[layer.index].input[1])
    size = float(numpy.sqrt(numpy.square(weight.astype(numpy.float64)).mean()))
    if layer.kind != "ConvTranspose":
        return size
    # Each output of the layer sums over inputs and kernel, each output of `down` over inputs only.
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
