"""Similarity transforms between a frame and the aligned crop."""

from typing import Any

import numpy
from numpy.typing import NDArray

from facefusion_finetune.demo.geometry import CROP_SIZE, TEMPLATE_POINTS
from facefusion_finetune.faces.align import fit_similarity

Matrices = NDArray[numpy.float64]
"""(batch, 2, 3) affine matrices."""


def align_to_template(landmark_5: NDArray[Any], size: int = CROP_SIZE) -> Matrices:
    """(batch, 2, 3): frame pixels to pixels of the `size` x `size` crop.

    Args:
        landmark_5: (batch, 5, 2) in frame pixels.
    """
    return fit_similarity(landmark_5, numpy.array(TEMPLATE_POINTS) * size)


def invert_affine(matrices: Matrices) -> Matrices:
    """(batch, 2, 3): the way back."""
    linear = numpy.linalg.inv(matrices[:, :, :2])
    return numpy.concatenate([linear, -linear @ matrices[:, :, 2:]], axis=2)
