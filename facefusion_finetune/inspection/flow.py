"""How a swapper's blocks feed each other, and where the identity is injected."""

from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar

from facefusion_finetune.swappers.graphs.inputs import SOURCE, TARGET
from facefusion_finetune.swappers.graphs.shapes import Trace

T = TypeVar("T")
Origin = str | int
"""Where a tensor comes from: `target`, `source`, or the number of the last block before it."""

PICTURE = 0
"""Stands for the picture among the block numbers."""


def follow_blocks(trace: Trace, number_of: Mapping[int, int]) -> dict[int, tuple[Origin, ...]]:
    """The inputs and blocks that feed each block and the picture.

    Args:
        trace: The graph.
        number_of: Block number, from 1, by node index.
    """
    origins: dict[str, frozenset[Origin]] = {name: frozenset({name}) for name in (TARGET, SOURCE)}
    takes: dict[int, set[Origin]] = {}
    for index, node in trace.nodes.items():
        merged = _merge(origins, node.input)
        number = number_of.get(index)
        if number is not None:
            takes.setdefault(number, set()).update(merged - {number})
            merged = frozenset({number})
        origins.update(dict.fromkeys(filter(None, node.output), merged))
    takes[PICTURE] = set(origins.get(trace.output, ()))
    return {number: _sort(found) for number, found in takes.items()}


def place_injections(
    trace: Trace,
    injections: Iterable[int],
    number_of: Mapping[int, int],
    heights: Mapping[int, int],
    tails: Collection[int],
) -> dict[int, int]:
    """How many times the identity is injected in each block.

    An injection belongs to the neighbouring layers of its size: those after it, unless they are the
    tail and the ones before it are not.

    Args:
        trace: The graph.
        injections: Indices of the nodes where the identity is injected.
        number_of: Block number by node index.
        heights: The blocks that it can be injected in, with their height in pixels.
        tails: The blocks that count as the tail.
    """
    before, after = _list_neighbours(trace, number_of)
    counts: dict[int, int] = {}
    for index in injections:
        number = number_of.get(index)
        if number is None:
            name = trace.nodes[index].output[0]
            height = (*trace.values[name].shape, 1)[2]
            near = sorted(after.get(name, ())) + sorted(before.get(name, ()), reverse=True)
            found = [one for one in near if one in heights]
            same = [one for one in found if heights[one] == height]
            free = [one for one in same if one not in tails]
            number = next(iter(free or same or found), None)
        if number is not None:
            counts[number] = counts.get(number, 0) + 1
    return counts


def _list_neighbours(
    trace: Trace, number_of: Mapping[int, int]
) -> tuple[dict[str, frozenset[int]], dict[str, frozenset[int]]]:
    """The last blocks before each tensor, and the first blocks after it."""
    before: dict[str, frozenset[int]] = {}
    after: dict[str, frozenset[int]] = {}
    for index, node in trace.nodes.items():
        number = number_of.get(index)
        own = _merge(before, node.input) if number is None else frozenset({number})
        before.update(dict.fromkeys(filter(None, node.output), own))
    for index in reversed(trace.nodes):
        node, number = trace.nodes[index], number_of.get(index)
        own = _merge(after, node.output) if number is None else frozenset({number})
        for name in filter(None, node.input):
            after[name] = after.get(name, frozenset()) | own
    return before, after


def _merge(sets: Mapping[str, frozenset[T]], names: Iterable[str]) -> frozenset[T]:
    found = frozenset[T]()
    return found.union(*(sets.get(name, found) for name in names))


def _sort(origins: Iterable[Origin]) -> tuple[Origin, ...]:
    found = set(origins)
    inputs = sorted(one for one in found if isinstance(one, str))
    return (*inputs, *sorted(one for one in found if isinstance(one, int)))
