"""What of a branched swapper is trained, and how much of it is used."""

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
from facefusion_finetune.swappers.graphs.shapes import trace_graph

USED = ("/up", "/bias")
"""Ends of the names of what is added to a layer's output as it is."""


def select_branches(graph: SwapperGraph) -> tuple[Layer, ...]:
    """The layers of a branched swapper's branches, `down` and `up` in turn, in the file's order.

    Rows that make a mask in the base are frozen in `up`.

    Raises:
        SwapperError: The swapper has no branches, or damaged ones.
    """
    split = split_branches(graph.file)
    if split is None:
        raise SwapperError(
            graph.path.name, "it has no branches.", "Add them to the base, or choose its layers."
        )
    rows = _find_mask_rows(split)
    layers = {layer.node: layer for layer in graph.partition.layers}
    selected = []
    for index, branch in split.branches.items():
        # A branch of rank 1 looks like a mask to the rule, or like a fixed filter.
        selected += [
            _own(graph, layers[branch.down], {"weight": branch.down}, ()),
            _own(graph, layers[branch.up], _list_up(branch), rows[index]),
        ]
    return tuple(selected)


def set_strength(
    weights: Mapping[str, NDArray[numpy.float32]], strength: float
) -> dict[str, NDArray[numpy.float32]]:
    """Weights that make less of what was trained.

    Args:
        weights: Of a branched swapper, by initializer name, from `export_weights`.
        strength: 1 for what was trained, 0 for the base.

    Returns:
        All of them, those of `up` scaled.
    """
    return {
        name: array * numpy.float32(strength)
        if name.startswith(PREFIX) and name.endswith(USED)
        else array
        for name, array in weights.items()
    }


def _find_mask_rows(split: Split) -> dict[int, tuple[int, ...]]:
    """Rows of the base's layers that make a mask, by the number of the layer's node."""
    layers = partition_graph(trace_graph(split.base)).layers
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
