"""Alignment by five points, where no host does it."""

import numpy
from numpy.typing import NDArray

from facefusion_finetune.faces.protocol import Matrix, Points


def fit_similarity(points: Points, targets: Points) -> Matrix:
    """Least-squares rotation, uniform scale and shift that takes `points` to `targets`.

    Args:
        points: (n, 2).
        targets: (n, 2).

    Returns:
        (2, 3) matrix. Source: Umeyama, 1991, in its two-dimensional complex form.
    """
    source: NDArray[numpy.complex128] = points[:, 0] + 1j * points[:, 1]
    target: NDArray[numpy.complex128] = targets[:, 0] + 1j * targets[:, 1]
    centred = source - source.mean()
    factor = numpy.vdot(centred, target - target.mean()) / numpy.vdot(centred, centred)
    shift = target.mean() - factor * source.mean()
    return numpy.array(
        [[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]]
    )
