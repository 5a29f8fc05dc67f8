"""Tuned weights back into the base file's own initializers: nothing else changes."""

from collections.abc import Mapping
from pathlib import Path

import numpy
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from facefusion_finetune import home
from facefusion_finetune.errors import SwapperError


def write_back(base: ModelProto, weights: Mapping[str, NDArray[numpy.float32]]) -> ModelProto:
    """A copy of `base` with the named initializers replaced.

    Order, names, types, nodes, opset and every other initializer stay as they are, bit by bit.

    Raises:
        SwapperError: A name is not in the graph, a shape differs, or a value is not finite.
    """
    tuned = ModelProto()
    tuned.CopyFrom(base)
    left = set(weights)
    for tensor in tuned.graph.initializer:
        if tensor.name not in weights:
            continue
        left.discard(tensor.name)
        array = weights[tensor.name]
        if tuple(tensor.dims) != array.shape or not numpy.isfinite(array).all():
            raise SwapperError(
                f"initializer {tensor.name!r}",
                f"the tuned array of shape {array.shape} does not fit {tuple(tensor.dims)} or"
                " holds values that are not finite.",
                "Train again with a lower learning rate.",
            )
        dtype = numpy_helper.to_array(tensor).dtype
        tensor.CopyFrom(numpy_helper.from_array(array.astype(dtype), tensor.name))
    if left:
        raise SwapperError(
            f"initializers {sorted(left)}",
            "they are not in the base file.",
            "Resume with the base file the run was started with.",
        )
    return tuned


def set_metadata(model: ModelProto, entries: Mapping[str, str]) -> None:
    """Set `metadata_props` entries, keeping those of other keys."""
    for prop in list(model.metadata_props):
        if prop.key in entries:
            model.metadata_props.remove(prop)
    for key, value in sorted(entries.items()):
        model.metadata_props.add(key=key, value=value)


def save_model(model: ModelProto, path: Path) -> None:
    """Write the file whole or not at all.

    Raises:
        OSError: The file cannot be written, for example because the disk is full.
    """
    home.write_bytes(path, model.SerializeToString())
