"""Whether a file is what its name promises: the published swapper that its name starts with."""

import math
from dataclasses import dataclass

from facefusion_finetune.swappers.catalogue import FAMILIES
from facefusion_finetune.swappers.graphs.graph import SwapperGraph
from facefusion_finetune.swappers.graphs.inputs import SOURCE, TARGET, find_known
from facefusion_finetune.swappers.known import KnownSwapper

WITH_MASK = frozenset({"hififace", "hyperswap"})
"""Families whose files also output the picture's mask. Source: the public descriptions of the model
that hififace_unofficial_256 was published from, and of hyperswap's export."""


@dataclass(frozen=True)
class Promise:
    """What a file's name promises, and how the file differs from it."""

    swapper: str
    """Name of the published swapper."""
    differences: tuple[str, ...]
    """Sentence parts, such as `crops of 64 x 64, not 128 x 128`; empty if there are none."""


def check_promise(graph: SwapperGraph, names: tuple[str, ...]) -> Promise | None:
    """Compare a file with the published swapper that its name starts with.

    Args:
        graph: The file.
        names: Its inputs' names in the file.

    Returns:
        None if the name is not one of a published swapper.
    """
    known = find_known(graph.path)
    if known is None:
        return None
    differences = (
        *_compare_inputs(graph, known, names),
        *_compare_outputs(graph, known),
        *_compare_weights(graph, known),
    )
    return Promise(known.name, differences)


def _compare_inputs(graph: SwapperGraph, known: KnownSwapper, names: tuple[str, ...]) -> list[str]:
    differences = []
    if set(names) != {TARGET, SOURCE}:
        called = " and ".join(map(repr, names))
        differences.append(
            f"inputs called {called}, not {TARGET!r} and {SOURCE!r}: FaceFusion cannot feed it"
        )
    width, height = graph.size
    if (width, height) != (known.side, known.side):
        differences.append(f"crops of {width} x {height}, not {known.side} x {known.side}")
    found, usual = graph.source_shape, FAMILIES[known.type].source_shape
    fits = math.prod(found) == usual[0] if len(usual) == 1 else found == usual
    if not fits:
        differences.append(f"a source of {_describe(found)}, not {_describe(usual)}")
    return differences


def _compare_outputs(graph: SwapperGraph, known: KnownSwapper) -> list[str]:
    width, height = graph.size
    others = [value.name for value in graph.file.skeleton.graph.output][1:]
    has_mask = any(graph.trace.values[name].shape == (1, 1, height, width) for name in others)
    if known.type in WITH_MASK and not has_mask:
        return ["no second output with the mask"]
    return []


def _compare_weights(graph: SwapperGraph, known: KnownSwapper) -> list[str]:
    differences = []
    has_emap, needs_emap = graph.emap is not None, FAMILIES[known.type].needs_emap
    if needs_emap and not has_emap:
        differences.append("no emap, a matrix of 512 x 512, at its end")
    if has_emap and not needs_emap:
        differences.append("an emap at its end, as inswapper has")
    if graph.precision != known.precision:
        differences.append(f"{graph.precision} weights, not {known.precision}")
    return differences


def _describe(shape: tuple[int, ...]) -> str:
    if len(shape) == 3:
        return f"a {shape[2]} x {shape[1]} picture"
    return f"a vector of {math.prod(shape)}"
