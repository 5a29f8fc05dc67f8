"""Scores of single pairs, and what may be said about their mean."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy
from numpy.typing import NDArray

BOOTSTRAP_ROUNDS = 2000
BOOTSTRAP_SEED = 20240611


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """Rounded, for a report."""
        return {"mean": round(self.mean, 5), "low": round(self.low, 5), "high": round(self.high, 5)}


def measure_face_l1(
    pictures: NDArray[numpy.float32], truths: NDArray[numpy.float32], faces: NDArray[numpy.float32]
) -> NDArray[numpy.float64]:
    """Mean absolute difference inside the face.

    Args:
        pictures: (n, H, W, 3), 0 to 255.
        truths: (n, H, W, 3), 0 to 255.
        faces: (n, H, W), weight of each pixel.

    Returns:
        (n,), in grey levels.
    """
    difference = numpy.abs(pictures.astype(numpy.float64) - truths).mean(axis=3)
    # A face that is covered altogether weighs nothing and differs by nothing.
    weights = numpy.maximum(faces.sum(axis=(1, 2)), 1e-6)
    return numpy.asarray((difference * faces).sum(axis=(1, 2)) / weights)


def measure_similarity(
    embeddings: NDArray[numpy.float32], centroid: NDArray[numpy.float64]
) -> NDArray[numpy.float64]:
    """(n,): cosine of each row of (n, 512) with a unit vector."""
    lengths = numpy.linalg.norm(embeddings, axis=1)
    return numpy.asarray(embeddings @ centroid / lengths, dtype=numpy.float64)


def warp_crops(
    crops: NDArray[numpy.float32], matrices: NDArray[numpy.float64], size: tuple[int, int]
) -> NDArray[numpy.uint8]:
    """Swapper's crops as a recogniser's crops.

    Args:
        crops: (n, H, W, 3), 0 to 255.
        matrices: (n, 2, 3), from crop pixels to recogniser pixels.
        size: Width and height of the recogniser's crop.
    """
    return numpy.stack(
        [
            cv2.warpAffine(
                crop.round().astype(numpy.uint8), matrix, size, borderMode=cv2.BORDER_REPLICATE
            )
            for crop, matrix in zip(crops, matrices, strict=True)
        ]
    ).astype(numpy.uint8)


def bootstrap_mean(values: NDArray[numpy.float64], blocks: Sequence[str]) -> Interval:
    """Mean of paired differences, with an interval from whole blocks drawn with replacement.

    Frames of one second are no independent witnesses, so they are drawn together.

    Args:
        values: (n,).
        blocks: Name of the block each value belongs to.
    """
    names = sorted(set(blocks))
    index = {name: number for number, name in enumerate(names)}
    rows = numpy.array([index[name] for name in blocks])
    sums = numpy.bincount(rows, weights=values, minlength=len(names))
    counts = numpy.bincount(rows, minlength=len(names))
    generator = numpy.random.default_rng(BOOTSTRAP_SEED)
    drawn = generator.integers(0, len(names), (BOOTSTRAP_ROUNDS, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = numpy.percentile(means, [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))
