"""Face vectors of nobody."""

import numpy
from numpy.typing import NDArray


def draw_direction(seed: int) -> NDArray[numpy.float64]:
    """(512,) of length 1; two seeds give two that are nearly at a right angle."""
    vector = numpy.random.default_rng(seed).standard_normal(512)
    return vector / numpy.linalg.norm(vector)
