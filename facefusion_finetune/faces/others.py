"""Vectors that stand for people nobody has met."""

import numpy
from numpy.typing import NDArray

SIZE = 512


def sample_directions(count: int, seed: int, for_judging: bool = False) -> NDArray[numpy.float64]:
    """Random directions on the recogniser's sphere.

    In 512 dimensions they are nearly orthogonal to each other and to any person, as the vectors of
    people who do not resemble each other are.

    Args:
        count: How many.
        seed: Decides which.
        for_judging: Draw others than those for training.

    Returns:
        (count, 512), each of length 1.
    """
    generator = numpy.random.default_rng([seed, 1] if for_judging else seed)
    directions = generator.standard_normal((count, SIZE))
    others: NDArray[numpy.float64] = directions / numpy.linalg.norm(
        directions, axis=1, keepdims=True
    )
    return others
