"""From a face to a swapper's source input, as the host computes it.

The processor inside FaceFusion, training and evaluation all call this one module, so that training
sees exactly what inference feeds. It needs only numpy.
"""

from collections.abc import Callable
from typing import Any

import numpy
from numpy.typing import NDArray

from facefusion_finetune.swappers.catalogue import Family

Convert = Callable[[NDArray[numpy.float32]], NDArray[numpy.float32]]
"""An embedding converter: a (1, 512) vector to 512 values of any shape."""

Warp = Callable[[Any, Any, str, tuple[int, int]], tuple[Any, Any]]
"""Frame, (5, 2) landmarks, template name, (width, height) to the crop and its affine matrix."""


def create_source_vector(
    family: Family,
    embedding: NDArray[Any],
    emap: NDArray[Any] | None = None,
    convert: Convert | None = None,
) -> NDArray[numpy.float32]:
    """Source input of a swapper driven by a vector.

    Args:
        family: The swapper's family.
        embedding: (512,) or (1, 512), the recogniser's vector. Its norm matters only to a
            converter, which expects the recogniser's own.
        emap: (512, 512), the last initializer of the graph, if the family needs it.
        convert: The converter, if the family needs it.

    Returns:
        (1, 512).
    """
    if family.source == "emap":
        assert emap is not None
        return prepare_source_vector(embedding, emap)
    row = embedding.reshape(1, -1)
    if family.needs_converter:
        assert convert is not None
        row = convert(row.astype(numpy.float32)).reshape(1, -1)
    if family.source != "converted":
        row = row / numpy.linalg.norm(row)
    return row.astype(numpy.float32)


def prepare_source_vector(embedding: NDArray[Any], emap: NDArray[Any]) -> NDArray[numpy.float32]:
    """Source input of an inswapper: the vector times `emap`, divided by the vector's norm.

    Args:
        embedding: (512,) or (1, 512), of any norm.
        emap: (512, 512), the last initializer of the swapper's graph.

    Returns:
        (1, 512). It is not normalised again, because the host does not.
    """
    row = embedding.reshape(1, -1)
    latent: NDArray[Any] = numpy.dot(row, emap) / numpy.linalg.norm(row)
    return latent.astype(numpy.float32)


def balance_source_vector(
    source_vector: NDArray[numpy.float32],
    target_embedding: NDArray[Any],
    weight: float,
    mixes_unit_target: bool = True,
) -> NDArray[numpy.float32]:
    """Mix in the target's own vector, or push away from it.

    Args:
        source_vector: (1, 512), from `create_source_vector`.
        target_embedding: (512,), the target's face embedding, of any norm.
        weight: 0 to 1; 0.5 leaves the source vector as it is, 0 mixes in 35 % of the target, 1
            subtracts as much.
        mixes_unit_target: The swapper's `Family.mixes_unit_target`.

    Returns:
        (1, 512).
    """
    share = numpy.float32(numpy.interp(weight, [0, 1], [0.35, -0.35]))
    if mixes_unit_target:
        target_embedding = target_embedding / numpy.linalg.norm(target_embedding)
    target = target_embedding.reshape(1, -1)
    mixed: NDArray[Any] = source_vector * (1 - share) + target * share
    return mixed.astype(numpy.float32)


def cut_source_picture(
    family: Family, vision_frame: NDArray[numpy.uint8], landmark_5: NDArray[Any], warp: Warp
) -> NDArray[numpy.uint8]:
    """The picture of a face that drives a swapper of this family.

    Args:
        family: A family driven by a picture.
        vision_frame: H x W x 3, BGR.
        landmark_5: (5, 2), in pixels of the frame.
        warp: The host's function.

    Returns:
        (h, w, 3), BGR, at the family's size.
    """
    assert family.picture is not None
    picture: NDArray[numpy.uint8]
    picture, _ = warp(vision_frame, landmark_5, family.picture.template, family.picture.size)
    return picture


def prepare_source_inputs(sources: NDArray[Any]) -> NDArray[numpy.float32]:
    """Convert sources from the form they are stored in to the form a swapper takes.

    Args:
        sources: (n, 512) source vectors, or (n, h, w, 3) BGR pictures as uint8.

    Returns:
        (n, 512) unchanged, or (n, 3, h, w), RGB, 0 to 1.
    """
    if sources.ndim == 2:
        return sources.astype(numpy.float32, copy=False)
    scaled = sources[..., ::-1] / 255.0
    return numpy.ascontiguousarray(scaled.transpose(0, 3, 1, 2), dtype=numpy.float32)
