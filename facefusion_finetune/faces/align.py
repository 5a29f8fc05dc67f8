"""Alignment by five points, where no host does it."""

from typing import Any

import numpy
from numpy.typing import NDArray

from facefusion_finetune.faces.protocol import Matrix


def fit_similarity(points: NDArray[Any], targets: NDArray[Any]) -> Matrix:
    """Least-squares rotation, uniform scale and shift that takes `points` to `targets`.

    Args:
        points: (..., n, 2).
        targets: (..., n, 2), or (n, 2) for all.

    Returns:
        (..., 2, 3) matrices. Source: Umeyama, 1991, in its two-dimensional complex form.
    """
    source = points[..., 0] + 1j * points[..., 1]
    target = targets[..., 0] + 1j * targets[..., 1]
    start = source - source.mean(axis=-1, keepdims=True)
    end = target - target.mean(axis=-1, keepdims=True)
    factor = (start.conj() * end).sum(axis=-1) / (start.conj() * start).sum(axis=-1)
    shift = target.mean(axis=-1) - factor * source.mean(axis=-1)
    rows = [[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]]
    return numpy.stack([numpy.stack(row, axis=-1) for row in rows], axis=-2)
