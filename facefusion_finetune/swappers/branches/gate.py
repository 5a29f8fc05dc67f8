"""When a person's branches are at work: a share between 0 and 1, worked out from the source.

The share grows with the cosine between the source and the person's own: nothing for everybody
else, so that their swaps are the base's, and all of it for the person.
"""

from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from facefusion_finetune.errors import SwapperError

LENGTH = 512
FLOOR = 1e-8
"""Added to a source's length, so that an empty one is not divided by 0."""

OWN_SHUT = 10.0
"""Percent of the person's own frames that may get less than the whole change."""
HIGHEST = 0.95
"""Cosine that opens the gate at the latest: a source is mixed, rounded and compressed."""
STRANGER = 0.3
"""Cosine up to which recognisers take two faces for two people; stored strangers may all lie
lower than somebody yet unknown."""
NARROWEST = 0.1
"""Least distance from shut to open. A steeper gate flickers between frames."""

UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Gate:
    """Shut at the cosine `low` and below, open at `high` and above, and linear in between.

    Raises:
        SwapperError: The direction is no unit vector, or `low` is not below `high`.
    """

    direction: NDArray[numpy.float32]
    """(512,), of unit length, in the space of the swapper's source input."""
    low: float
    high: float

    def __post_init__(self) -> None:
        direction = numpy.asarray(self.direction)
        if direction.shape != (LENGTH,) or not (
            abs(float(numpy.linalg.norm(direction)) - 1) < UNIT_TOLERANCE
        ):
            raise SwapperError(
                "the gate's direction",
                f"it is no unit vector of {LENGTH} numbers.",
                "Give the person's source vector over its length.",
            )
        if not -1 <= self.low < self.high <= 1:
            raise SwapperError(
                f"a gate from {self.low:g} to {self.high:g}",
                "these are no two cosines, the lower one first.",
                "Give bounds such as 0.4 and 0.8.",
            )

    def open(self, sources: NDArray[Any]) -> NDArray[numpy.float32]:
        """How far the gate is open.

        Args:
            sources: (n, 512), of any length.

        Returns:
            (n,), 0 to 1.
        """
        cosines = _measure_cosines(sources, self.direction)
        share = (cosines - self.low) / (self.high - self.low)
        return share.clip(0, 1).astype(numpy.float32)


def create_gate(own: NDArray[Any], person: NDArray[Any], others: NDArray[Any]) -> Gate:
    """A gate that is open for a person's frames and shut for everybody else known.

    Args:
        own: (n, 512), source inputs of the person's training frames.
        person: (512,), the source input that will be deployed.
        others: (m, 512), those of other people. With none of them the gate is as narrow as may be;
            else it is shut at the nearest one's cosine, and at `STRANGER` in any case.

    Raises:
        SwapperError: A vector is empty or holds what is no number, or there is no frame.
    """
    every = (own, person[None], others)
    if not len(own) or any(
        rows.shape[1:] != (LENGTH,) or not (numpy.linalg.norm(rows, axis=1) > FLOOR).all()
        for rows in every
        if len(rows)
    ):
        raise SwapperError(
            "the source inputs",
            f"there are none of the person's, or some are not {LENGTH} numbers with a length.",
            "Extract the person's crops again.",
        )
    direction = person / numpy.linalg.norm(person)
    high = min(HIGHEST, float(numpy.percentile(_measure_cosines(own, direction), OWN_SHUT)))
    nearest = max(_measure_cosines(others, direction), default=high)
    low = min(max(float(nearest), STRANGER), high - NARROWEST)
    return Gate(direction.astype(numpy.float32), low, high)


def _measure_cosines(rows: NDArray[Any], direction: NDArray[Any]) -> NDArray[Any]:
    rows = rows.astype(numpy.float64)
    cosines: NDArray[Any] = rows @ direction / (numpy.linalg.norm(rows, axis=1) + FLOOR)
    return cosines
