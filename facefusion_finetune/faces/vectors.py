"""Face embeddings (vectors): a person's mean, similarity, and random directions."""

from collections.abc import Sequence
from typing import Any

import numpy
from numpy.typing import NDArray

VECTOR_SIZE = 512


def sample_directions(count: int, seed: int, for_judging: bool = False) -> NDArray[numpy.float64]:
    """Random directions on the recogniser's sphere.

    In 512 dimensions they are nearly orthogonal to each other and to any person, like the
    embeddings of people who do not resemble each other.

    Args:
        count: How many.
        seed: Seed of the directions.
        for_judging: Draw directions other than those for training.

    Returns:
        (count, 512), each of unit norm.
    """
    generator = numpy.random.default_rng([seed, 1] if for_judging else seed)
    directions = generator.standard_normal((count, VECTOR_SIZE))
    others: NDArray[numpy.float64] = directions / numpy.linalg.norm(
        directions, axis=1, keepdims=True
    )
    return others


def measure_similarity(
    embeddings: NDArray[Any], centroid: NDArray[numpy.float64]
) -> NDArray[numpy.float64]:
    """(n,): cosine of each row of (n, d) with one unit vector, or with its own row of (n, d)."""
    lengths = numpy.linalg.norm(embeddings, axis=1)
    products = (embeddings * centroid).sum(axis=1)
    return numpy.asarray(products / numpy.maximum(lengths, 1e-12), dtype=numpy.float64)


def leave_one_out(
    embeddings: NDArray[Any], clips: Sequence[str] | None = None
) -> NDArray[numpy.float64]:
    """(n,): cosine of each row of (n, d) with the mean direction of the others.

    Args:
        embeddings: (n, d).
        clips: (n,), the clip of each row. Rows are then compared with those of other clips, since
            rows of the same clip are too similar; unless there is only one clip.
    """
    directions = embeddings / numpy.maximum(
        numpy.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12
    )
    rest = directions.sum(axis=0) - directions
    if clips is not None and len(set(clips)) > 1:
        names = numpy.array(clips)
        rest = (names[:, None] != names[None]).astype(directions.dtype) @ directions
    return measure_similarity(
        directions, rest / numpy.maximum(numpy.linalg.norm(rest, axis=1, keepdims=True), 1e-12)
    )


def create_centroid(embeddings: NDArray[Any]) -> NDArray[numpy.float64]:
    """Mean direction of a person's embeddings.

    Args:
        embeddings: (n, 512), of any norm.

    Returns:
        (512,), of unit norm.
    """
    directions = embeddings / numpy.linalg.norm(embeddings, axis=1, keepdims=True)
    mean = directions.astype(numpy.float64).mean(axis=0)
    centroid: NDArray[numpy.float64] = mean / numpy.linalg.norm(mean)
    return centroid
