"""Cycle inputs: swaps of someone else onto the person's frames, redone if the person remains."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from facefusion_finetune.dataset.crops import AlignedCrop
from facefusion_finetune.faces.protocol import FaceGeometry
from facefusion_finetune.runs.base_swapper import BaseSwapper, create_cycle_inputs

MAX_DRAWS = 4
"""Maximum number of people tried for one cycle input until the swap removes the person."""


FindLeaks = Callable[[NDArray[numpy.int64], NDArray[numpy.uint8]], NDArray[numpy.bool_]]
"""From (n,) rows of crops and (n, H, W, 3) BGR inputs made of them to (n,): whether the person is
still recognisable in each."""


@dataclass(frozen=True)
class CycleInputs:
    """The person's frames with someone else swapped on."""

    crop: NDArray[numpy.int64]
    """(n,): the crop each input was made of."""
    pictures: NDArray[numpy.uint8]
    """(n, H, W, 3), BGR."""
    leaks: NDArray[numpy.bool_]
    """(n,): which inputs still show the person after all draws."""
    drawn_again: int
    """How many times someone else had to be drawn."""

    @property
    def left_out(self) -> int:
        """Number of inputs that cannot be used for cycle pairs."""
        return int(self.leaks.sum())


def find_no_leaks(
    rows: NDArray[numpy.int64], pictures: NDArray[numpy.uint8]
) -> NDArray[numpy.bool_]:
    """A `FindLeaks` that accepts all inputs, for when leaks do not matter."""
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
    """Several cycle inputs per crop, with those marked that still show the person.

    Args:
        crops: Crops of P.
        sources: (m, ...), sources of others. For each crop, no source is used twice before all have
            been used once.
        base: The frozen base.
        analyser: Masks and pastes back.
        variants: Number of inputs per crop.
        find_leaks: Marks inputs that still show P. They are redone with someone else, up to
            `MAX_DRAWS` draws in total.
        generator: Draws the others.
        progress: Called with the number of completed rounds over the crops and the total.
    """
    _, distinct = numpy.unique(sources.reshape(len(sources), -1), axis=0, return_index=True)
    # One queue per crop, so that redoing one crop's input does not affect the others.
    queues = numpy.stack([generator.permutation(numpy.sort(distinct)) for _ in crops])
    taken = numpy.zeros(len(crops), dtype=numpy.int64)
    rows, pictures, marks = [], [], []
    drawn_again = 0
    for variant in range(variants):
        progress(variant, variants)
        pending = numpy.arange(len(crops))
        for draw in range(MAX_DRAWS):
            drawn_again += len(pending) if draw else 0
            who = queues[pending, taken[pending] % len(distinct)]
            taken[pending] += 1
            chosen = [crops[row] for row in pending]
            made = create_cycle_inputs(chosen, sources[who], base, analyser)
            leaks = find_leaks(pending, made)
            settled = ~leaks | (draw == MAX_DRAWS - 1)
            rows.append(pending[settled])
            pictures.append(made[settled])
            marks.append(leaks[settled])
            pending = pending[~settled]
            if not len(pending):
                break
    return CycleInputs(
        numpy.concatenate(rows), numpy.concatenate(pictures), numpy.concatenate(marks), drawn_again
    )
