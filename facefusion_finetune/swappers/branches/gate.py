"""The identity gate: how strongly a person's branches act, computed from the source.

Its opening, 0 to 1, grows with the cosine between the source and the person's own source vector: 0
for everyone else, so that their swaps stay the base's, and 1 for the person.
"""

from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from facefusion_finetune.errors import SwapperError

VECTOR_SIZE = 512
EPSILON = 1e-8
"""Added to a source's norm, so that a zero vector causes no division by 0."""

OWN_PERCENTILE = 10.0
"""Percentage of the person's own frames that may get less than the full change."""
MAX_HIGH = 0.95
"""Largest cosine required to open the gate fully: sources are mixed, rounded and compressed."""
STRANGER_COSINE = 0.3
"""Cosine up to which recognisers treat two faces as different people; a person not seen yet may be
closer than all stored strangers."""
MIN_WIDTH = 0.1
"""Smallest distance from closed to open. A steeper gate flickers between frames."""

UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class IdentityGate:
    """Closed at the cosine `low` and below, open at `high` and above, linear in between.

    Raises:
        SwapperError: The direction is not a unit vector, or `low` is not below `high`.
    """

    direction: NDArray[numpy.float32]
    """(512,), of unit norm, in the space of the swapper's source input."""
    low: float
    high: float

    def __post_init__(self) -> None:
        direction = numpy.asarray(self.direction)
        if direction.shape != (VECTOR_SIZE,) or not (
            abs(float(numpy.linalg.norm(direction)) - 1) < UNIT_TOLERANCE
        ):
            raise SwapperError(
                "the identity gate's direction",
                f"it is not a unit vector of {VECTOR_SIZE} values.",
                "Give the person's source vector divided by its norm.",
            )
        if not -1 <= self.low < self.high <= 1:
            raise SwapperError(
                f"an identity gate from {self.low:g} to {self.high:g}",
                "the bounds must be two cosines, the lower one first.",
                "Give bounds such as 0.4 and 0.8.",
            )

    def measure_opening(self, sources: NDArray[Any]) -> NDArray[numpy.float32]:
        """How far the gate is open.

        Args:
            sources: (n, 512), of any norm.

        Returns:
            (n,), 0 to 1.
        """
        cosines = _measure_cosines(sources, self.direction)
        share = (cosines - self.low) / (self.high - self.low)
        return share.clip(0, 1).astype(numpy.float32)


def create_identity_gate(
    own: NDArray[Any], person: NDArray[Any], others: NDArray[Any]
) -> IdentityGate:
    """A gate that is open for a person's frames and closed for all known other people.

    Args:
        own: (n, 512), source inputs of the person's training frames.
        person: (512,), the source input that will be deployed.
        others: (m, 512), those of other people. Without any, the gate is as narrow as allowed;
            otherwise it is closed at the nearest one's cosine, and always at `STRANGER_COSINE`.

    Raises:
        SwapperError: A vector is zero or not finite, or there is no frame.
    """
    every = (own, person[None], others)
    if not len(own) or any(
        rows.shape[1:] != (VECTOR_SIZE,) or not (numpy.linalg.norm(rows, axis=1) > EPSILON).all()
        for rows in every
        if len(rows)
    ):
        raise SwapperError(
            "the source inputs",
            f"the person has none, or some are not non-zero vectors of {VECTOR_SIZE} values.",
            "Extract the person's crops again.",
        )
    direction = person / numpy.linalg.norm(person)
    high = min(MAX_HIGH, float(numpy.percentile(_measure_cosines(own, direction), OWN_PERCENTILE)))
    nearest = max(_measure_cosines(others, direction), default=high)
    low = min(max(float(nearest), STRANGER_COSINE), high - MIN_WIDTH)
    return IdentityGate(direction.astype(numpy.float32), low, high)


def _measure_cosines(rows: NDArray[Any], direction: NDArray[Any]) -> NDArray[Any]:
    rows = rows.astype(numpy.float64)
    cosines: NDArray[Any] = rows @ direction / (numpy.linalg.norm(rows, axis=1) + EPSILON)
    return cosines
