"""A swapper file: its inputs, its layers, and the layers that a preset selects."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.files.modelfile import ModelFile, open_model
from facefusion_finetune.swappers.graphs.inputs import (
    SOURCE,
    TARGET,
    find_free_shapes,
    name_inputs,
)
from facefusion_finetune.swappers.graphs.layers import (
    IN_NODE,
    Layer,
    count_macs,
    read_attributes,
)
from facefusion_finetune.swappers.graphs.partition import Partition, partition_graph
from facefusion_finetune.swappers.graphs.shapes import Trace, trace_graph

BASE_ADVICE = "Give one of FaceFusion's swappers, for example --base inswapper_128."
EMAP_SHAPE = (512, 512)
MAX_MACS = 10**13
"""Multiplications of one run. FaceFusion's largest swapper needs 1.7e11."""


@dataclass(frozen=True)
class SwapperGraph:
    """A swapper: two inputs, `target` and `source`, and a picture as its first output."""

    file: ModelFile
    trace: Trace
    partition: Partition

    @property
    def path(self) -> Path:
        """Of the file."""
        return self.file.path

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the target crop in pixels."""
        shape = self.trace.values[TARGET].shape
        return shape[3], shape[2]

    @property
    def source_shape(self) -> tuple[int, ...]:
        """Of one source input: (512,) for a vector, (3, H, W) for a picture."""
        return self.trace.values[SOURCE].shape[1:]

    @property
    def decoder(self) -> tuple[Layer, ...]:
        """Layers that produce the picture after the source has been injected."""
        return self.partition.decoder

    @property
    def precision(self) -> Literal["fp32", "fp16"]:
        """fp16 if any of its weights is 16-bit."""
        half = any(one.data_type == TensorProto.FLOAT16 for one in self.file.tensors.values())
        return "fp16" if half else "fp32"

    @cached_property
    def emap(self) -> NDArray[numpy.float32] | None:
        """(512, 512): the last initializer, if no node uses it; None if there is no emap."""
        name = next(reversed(self.file.tensors), None)
        if name is None or self.file.tensors[name].dims != EMAP_SHAPE or name in self.trace.users:
            return None
        return self.file.read_tensor(name).astype(numpy.float32)


def read_swapper(path: Path, size: tuple[int, int] | None = None) -> SwapperGraph:
    """Open a file, check that it is a swapper, and find its trainable layers.

    Args:
        path: The file.
        size: Width and height of its crops where it leaves them free; if None, its model card or
            its name tells them.

    Raises:
        SwapperError: The file cannot be read, is refused, or is not a face swapper.
    """
    return build_graph(open_model(path), size)


def build_graph(file: ModelFile, size: tuple[int, int] | None = None) -> SwapperGraph:
    """`read_swapper` for a file that is open already."""
    path = file.path
    trace = trace_graph(file, find_free_shapes(file, size))
    shapes = trace.input_shapes
    target, source = shapes.get(TARGET, ()), shapes.get(SOURCE, ())
    ends = [trace.values[name].data_type for name in (*trace.inputs, trace.output)]
    if set(shapes) != {TARGET, SOURCE} and name_inputs(file) is not file:
        names = " and ".join(map(repr, trace.inputs))
        raise SwapperError(
            str(path),
            f"its inputs are called {names}. FaceFusion feeds a swapper's inputs by the names"
            f" {TARGET!r} and {SOURCE!r}, so it cannot run this file.",
            "Rename the inputs, or use the file as FaceFusion publishes it.",
        )
    if (
        set(shapes) != {TARGET, SOURCE}
        or len(target) != 4
        or target[:2] != (1, 3)
        or trace.values[trace.output].shape != target
        or set(ends) != {TensorProto.FLOAT}
    ):
        found = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items()) or "none"
        raise SwapperError(
            str(path),
            "it is not a face swapper: a swapper has the 32-bit inputs 'target' [1, 3, H, W] and"
            f" 'source', and outputs a picture of the target's size; this file has {found}.",
            BASE_ADVICE,
        )
    if math.prod(source) != 512 and (len(source) != 4 or source[:2] != (1, 3)):
        raise SwapperError(
            str(path),
            f"its source input {list(source)} is neither a vector of 512 values nor a picture.",
            BASE_ADVICE,
        )
    macs = sum(count_work(trace, node) for node in trace.nodes.values())
    if macs > MAX_MACS:
        raise SwapperError(
            str(path),
            f"one run takes {macs:.1e} multiplications, more than any swapper needs.",
            BASE_ADVICE,
        )
    partition = partition_graph(trace)
    if not partition.candidates and any(layer.frozen == IN_NODE for layer in partition.layers):
        raise SwapperError(
            str(path),
            "the weights of the layers to tune are in Constant nodes, and only initializers can be"
            " written back.",
            "Export the file again, or turn them into initializers, as onnxruntime does if it saves"
            " a graph (SessionOptions.optimized_model_filepath).",
        )
    if not partition.candidates:
        raise SwapperError(
            str(path),
            "no layer depends on both source and target, so there is nothing to tune.",
            BASE_ADVICE,
        )
    return SwapperGraph(file, trace, partition)


def count_work(trace: Trace, node: NodeProto) -> int:
    """Multiplications of a node, or, for a pooling node, the elements its windows read."""
    windows = read_attributes(node).get("kernel_shape", [1]) if "Pool" in node.op_type else [0]
    made = trace.values[node.output[0]].count
    return count_macs(trace, node) + made * math.prod(windows)


def select_layers(graph: SwapperGraph, choice: str) -> tuple[Layer, ...]:
    """The layers that a preset selects, in the order they run in.

    Args:
        graph: The swapper.
        choice: `decoder`; `tail`, all layers after the last injection; `last_N`, layers with fewer
            than N others after them; `stage_N`, layers whose output is N pixels high or more;
            `all`.

    Raises:
        SwapperError: The choice is unknown, or the swapper has no such layers.
    """
    partition = graph.partition
    named = {"decoder": partition.decoder, "tail": partition.tail, "all": partition.candidates}
    kind, _, number = choice.partition("_")
    if choice in named:
        chosen = named[choice]
    elif kind in ("last", "stage") and number.isdecimal() and int(number) > 0:
        count = int(number)
        most = max(partition.depths.values()) + 1
        if kind == "last" and count > most:
            raise SwapperError(
                f"layers = {choice!r}",
                f"{graph.path.name} has only {most} trainable layers in a row.",
                f"Use 'decoder' or at most 'last_{most}'.",
            )
        chosen = partition.select_last(count) if kind == "last" else partition.select_stage(count)
    else:
        raise SwapperError(
            f"layers = {choice!r}",
            "no such choice of layers.",
            "Use 'decoder', 'tail', 'last_N', 'stage_N' or 'all'.",
        )
    if not chosen:
        stages = ", ".join(f"stage_{height}" for height in partition.stages)
        raise SwapperError(
            f"layers = {choice!r}",
            f"{graph.path.name} has no such layer.",
            f"Use 'decoder', or one of {stages}.",
        )
    # Layers that share a weight are trained together.
    weights = {layer.owned[0].initializer for layer in chosen}
    return tuple(layer for layer in partition.candidates if layer.owned[0].initializer in weights)
