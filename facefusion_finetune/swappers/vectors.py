"""From a recogniser's vector to a swapper's source input, as the host computes it.

The processor inside FaceFusion, training and evaluation all call this one module, so that what is
trained on is what will be fed. It needs numpy alone.
"""

from typing import Any

import numpy
from numpy.typing import NDArray


def create_centroid(embeddings: NDArray[Any]) -> NDArray[numpy.float64]:
    """Mean direction of a person's vectors.

    Args:
        embeddings: (n, 512), of any length.

    Returns:
        (512,), of unit length.
    """
    directions = embeddings / numpy.linalg.norm(embeddings, axis=1, keepdims=True)
    mean = directions.astype(numpy.float64).mean(axis=0)
    centroid: NDArray[numpy.float64] = mean / numpy.linalg.norm(mean)
    return centroid


def prepare_source_vector(
    embedding: NDArray[Any], emap: NDArray[numpy.float32]
) -> NDArray[numpy.float32]:
    """Source input of an inswapper: the vector times `emap`, over the vector's own length.

    Args:
        embedding: (512,) or (1, 512), of any length.
        emap: (512, 512), the last initializer of the swapper's graph.

    Returns:
        (1, 512). It is not normalised again, because the host does not.
    """
    row = embedding.reshape(1, -1)
    latent: NDArray[Any] = numpy.dot(row, emap) / numpy.linalg.norm(row)
    return latent.astype(numpy.float32)


def balance_source_vector(
    source_vector: NDArray[numpy.float32], target_embedding: NDArray[Any], weight: float
) -> NDArray[numpy.float32]:
    """Mix the target's own vector in, or push away from it.

    Args:
        source_vector: (1, 512), from `prepare_source_vector`.
        target_embedding: (512,), the target face's vector, of any length.
        weight: 0 to 1; 0.5 leaves the source vector as it is, 0 keeps 35 % of the target, 1
            subtracts as much.

    Returns:
        (1, 512).
    """
    share = numpy.float32(numpy.interp(weight, [0, 1], [0.35, -0.35]))
    target = (target_embedding / numpy.linalg.norm(target_embedding)).reshape(1, -1)
    mixed: NDArray[Any] = source_vector * (1 - share) + target * share
    return mixed.astype(numpy.float32)
