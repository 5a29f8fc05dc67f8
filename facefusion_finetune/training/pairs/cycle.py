"""Cycle inputs that no longer show the person: swaps of somebody else, made again where they do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from facefusion_finetune.dataset.crops import AlignedCrop
from facefusion_finetune.faces.protocol import FaceGeometry
from facefusion_finetune.runs.base_swapper import BaseSwapper, create_cycle_inputs

DRAWS = 4
"""How often somebody is drawn for one cycle input, until the swap has removed the person."""


FindLeaks = Callable[[NDArray[numpy.int64], NDArray[numpy.uint8]], NDArray[numpy.bool_]]
"""(n,) rows of crops and (n, H, W, 3) BGR inputs made of them to (n,): whether the person is still
to be seen in each."""


@dataclass(frozen=True)
class CycleInputs:
    """The person's frames with somebody else swapped on."""

    crop: NDArray[numpy.int64]
    """(n,): the crop each was made of."""
    pictures: NDArray[numpy.uint8]
    """(n, H, W, 3), BGR."""
    leaks: NDArray[numpy.bool_]
    """(n,): which ones still show the person, whoever was drawn."""
    drawn_again: int
    """How often another person had to be drawn."""

    @property
    def left_out(self) -> int:
        """How many are of no use for cycle pairs."""
        return int(self.leaks.sum())


def find_none(rows: NDArray[numpy.int64], pictures: NDArray[numpy.uint8]) -> NDArray[numpy.bool_]:
    """In place of a check, where it does not matter whether P is still to be seen."""
    return numpy.zeros(len(rows), dtype=numpy.bool_)


def create_checked_inputs(
    crops: list[AlignedCrop],
    sources: NDArray[Any],
    base: BaseSwapper,
    analyser: FaceGeometry,
    variants: int,
    find_leaks: FindLeaks,
    generator: numpy.random.Generator,
    progress: Callable[[int, int], None],
) -> CycleInputs:
    """Several cycle inputs of each crop, with those marked that still show the person.

    Args:
        crops: Of P.
        sources: (m, ...), of others. No two inputs of one crop are made with the same one before
            all have been.
        base: The frozen base.
        analyser: Whose mask and paste are used.
        variants: How many of each crop.
        find_leaks: Says in which ones P is still to be seen. Those are made again with somebody
            else, `DRAWS` times in all.
        generator: Draws the others.
        progress: Told how many of how many rounds over the crops are done.
    """
    _, distinct = numpy.unique(sources.reshape(len(sources), -1), axis=0, return_index=True)
    # A queue for each crop: whether one is drawn again changes nothing for the others.
    queues = numpy.stack([generator.permutation(numpy.sort(distinct)) for _ in crops])
    taken = numpy.zeros(len(crops), dtype=numpy.int64)
    rows, pictures, marks = [], [], []
    drawn_again = 0
    for variant in range(variants):
        progress(variant, variants)
        pending = numpy.arange(len(crops))
        for draw in range(DRAWS):
            drawn_again += len(pending) if draw else 0
            who = queues[pending, taken[pending] % len(distinct)]
            taken[pending] += 1
            chosen = [crops[row] for row in pending]
            made = create_cycle_inputs(chosen, sources[who], base, analyser)
            leaks = find_leaks(pending, made)
            settled = ~leaks | (draw == DRAWS - 1)
            rows.append(pending[settled])
            pictures.append(made[settled])
            marks.append(leaks[settled])
            pending = pending[~settled]
            if not len(pending):
                break
    return CycleInputs(
        numpy.concatenate(rows), numpy.concatenate(pictures), numpy.concatenate(marks), drawn_again
    )
