"""The trainable layers of a branched swapper, and how strongly the tuning is applied."""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy
from numpy.typing import NDArray

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.branches.nodes import PREFIX, Branch
from facefusion_finetune.swappers.branches.split import Split, split_branches
from facefusion_finetune.swappers.graphs.graph import SwapperGraph
from facefusion_finetune.swappers.graphs.layers import Layer, Owned
from facefusion_finetune.swappers.graphs.partition import partition_graph
from facefusion_finetune.swappers.graphs.shapes import Trace, trace_graph

USED = ("/up", "/bias")
"""Name endings of the tensors that scale a branch's output linearly."""


def select_branches(graph: SwapperGraph) -> tuple[Layer, ...]:
    """The layers of a branched swapper's branches, `down` and `up` alternating, in file order.

    Rows that are a mask in the base are frozen in `up`.

    Raises:
        SwapperError: The swapper has no branches, or damaged ones.
    """
    split = split_branches(graph.file)
    if split is None:
        raise SwapperError(
            graph.path.name, "it has no branches.", "Add branches, or select layers of the base."
        )
    rows = _find_mask_rows(split, graph.trace)
    layers = {layer.node: layer for layer in graph.partition.layers}
    selected = []
    for index, branch in split.branches.items():
        # To the partition rule, a branch of rank 1 looks like a mask or a fixed filter.
        selected += [
            _own(graph, layers[branch.down], {"weight": branch.down}, ()),
            _own(graph, layers[branch.up], _list_up(branch), rows[index]),
        ]
    return tuple(selected)


def scale_branches(
    weights: Mapping[str, NDArray[numpy.float32]], strength: float
) -> dict[str, NDArray[numpy.float32]]:
    """Scale the tuning of a branched swapper.

    Args:
        weights: A branched swapper's weights by initializer name, from `export_weights`.
        strength: 1 for the tuned model, 0 for the base.

    Returns:
        All weights, with `up` and its bias scaled.
    """
    return {
        name: array * numpy.float32(strength)
        if name.startswith(PREFIX) and name.endswith(USED)
        else array
        for name, array in weights.items()
    }


def _find_mask_rows(split: Split, trace: Trace) -> dict[int, tuple[int, ...]]:
    """Rows of the base's layers that are a mask, by the index of the layer's node."""
    layers = partition_graph(trace_graph(split.base, trace.input_shapes)).layers
    return {layer.index: layer.mask_rows for layer in layers}


def _list_up(branch: Branch) -> dict[str, str]:
    return {"weight": branch.up, "bias": branch.bias}


def _own(
    graph: SwapperGraph, layer: Layer, names: Mapping[str, str], rows: tuple[int, ...]
) -> Layer:
    sizes = [math.prod(graph.file.tensors[name].dims) for name in names.values()]
    channels = graph.trace.values[graph.trace.nodes[layer.index].output[0]].shape[1]
    return replace(
        layer,
        owned=tuple(Owned(role, name, name) for role, name in names.items()),
        parameters=sum(sizes) * (channels - len(rows)) // channels,
        frozen=None,
        mask_rows=rows,
    )
