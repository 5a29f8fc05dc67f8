"""16-bit weights: half the size, and less work for a GPU.

onnxruntime's converter does the work. It needs from us: shapes, the operators that would lose too
much precision, a topological sort of its output, and a check that the result computes the same.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto

from facefusion_finetune import home
from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.branches.split import (
    convert_branches,
    read_identity_gate,
    split_branches,
)
from facefusion_finetune.swappers.files.modelfile import ModelFile, extend_graph
from facefusion_finetune.swappers.files.order import order_nodes
from facefusion_finetune.swappers.graphs.inputs import find_free_shapes, list_inputs
from facefusion_finetune.swappers.sessions import create_session

MAX_DIFFERENCE = 2e-2
"""Largest difference between the two files, in output ranges."""

KEPT_AT_FP32 = (
    *("ReduceMean", "ReduceSum", "ReduceL2", "Sqrt", "Div", "Pow", "Reciprocal"),
    *("InstanceNormalization", "BatchNormalization", "LpNormalization", "Softmax"),
)
"""Operators that stay at 32 bits: at 16, statistics over a picture overflow or lose precision."""

Inputs = Mapping[str, NDArray[numpy.float32]]


def create_inputs(model: ModelFile, count: int = 2, seed: int = 0) -> list[dict[str, Any]]:
    """Inputs for comparing two files: smooth pictures from 0 to 1 and vectors of unit norm.

    The first source opens a branched model's identity gate; random ones leave it closed.

    Args:
        model: A swapper; of other inputs than its own, a free size becomes 1.
        count: How many sets of inputs.
        seed: Of the random numbers.
    """
    generator = numpy.random.default_rng(seed)
    free = find_free_shapes(model)
    made = []
    for _ in range(count):
        inputs = {}
        for value in list_inputs(model):
            usual = [max(1, dim.dim_value) for dim in value.type.tensor_type.shape.dim]
            shape = free.get(value.name, usual)
            inputs[value.name] = _draw(generator, shape).astype(numpy.float32)
        made.append(inputs)
    gate = read_identity_gate(model)
    if gate is not None:
        made[0]["source"] = gate.direction[None]
    return made


def write_fp16(model: ModelFile, path: Path, inputs: Sequence[Inputs]) -> float:
    """Write a model with 16-bit weights; inputs and outputs stay at 32 bits.

    The file is standalone: it holds all weights. The initializers keep their order and names, and
    an emap at the end stays at 32 bits, since no operator uses it.

    Args:
        model: The model; may be linked.
        path: The new file.
        inputs: Inputs for which both files must produce the same output.

    Returns:
        The largest difference, in output ranges.

    Raises:
        SwapperError: Its weights are not 32-bit, or its output differs too much at 16 bits.
        OSError: The file cannot be written, for example because the disk is full.
    """
    content = convert_to_fp16(model).SerializeToString()
    session, half = create_session(model.path, model.path.name), create_session(content, "fp16")
    worst = 0.0
    for feed in inputs:
        (expected, *_), (given, *_) = session.run(None, feed), half.run(None, feed)
        span = float(expected.max() - expected.min()) or 1.0
        difference = float(numpy.abs(expected - given).max()) / span
        worst = max(worst, difference if numpy.isfinite(difference) else numpy.inf)
    if worst > MAX_DIFFERENCE:
        raise SwapperError(
            str(model.path),
            f"with 16-bit weights its output differs by {worst:.3g} of its range (at most"
            f" {MAX_DIFFERENCE:g} is allowed).",
            "Export it without --precision fp16.",
        )
    home.write_bytes(path, content)
    return worst


def convert_to_fp16(model: ModelFile) -> ModelProto:
    """The model with 16-bit weights, not yet compared; see `write_fp16`.

    Branches are removed and added back at 16 bits, so that they keep their exact form; the identity
    gate is computed at 32 bits.

    Raises:
        SwapperError: Its weights are not 32-bit, or its branches are damaged.
    """
    kinds = {stored.data_type for stored in model.tensors.values()}
    if TensorProto.FLOAT not in kinds or TensorProto.FLOAT16 in kinds:
        raise SwapperError(
            str(model.path),
            "its weights are already 16-bit, or none of them is 32-bit.",
            "Export it without --precision fp16.",
        )
    split = split_branches(model)
    converted = _convert(split.base if split else model)
    if split is None:
        return converted
    return extend_graph(converted, convert_branches(split, converted))


def _convert(model: ModelFile) -> ModelProto:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    full = _load_whole(model)
    _sort_nodes(full)
    # On the skeleton: the inferred shapes do not depend on the weights.
    skeleton = ModelProto()
    skeleton.CopyFrom(model.skeleton)
    _sort_nodes(skeleton)
    shapes = onnx.shape_inference.infer_shapes(skeleton)
    del full.graph.value_info[:]
    full.graph.value_info.extend(shapes.graph.value_info)
    converted: ModelProto = convert_float_to_float16(
        full, keep_io_types=True, disable_shape_infer=True, op_block_list=list(KEPT_AT_FP32)
    )
    _sort_nodes(converted)
    del converted.graph.value_info[:]
    return converted


def _draw(generator: numpy.random.Generator, shape: Sequence[int]) -> NDArray[numpy.float64]:
    if len(shape) != 4:
        vector = generator.normal(size=shape)
        return vector / numpy.linalg.norm(vector)
    coarse = generator.uniform(0, 1, (*shape[:2], 8, 8))
    picture = coarse.repeat(-(-shape[2] // 8), axis=2).repeat(-(-shape[3] // 8), axis=3)
    return picture[:, :, : shape[2], : shape[3]]


def _load_whole(model: ModelFile) -> ModelProto:
    """The whole model in memory."""
    full = ModelProto()
    full.CopyFrom(model.skeleton)
    for tensor in full.graph.initializer:
        stored = model.tensors[tensor.name]
        if stored.payload is not None and not tensor.raw_data and not tensor.float_data:
            tensor.raw_data = model.read_tensor(tensor.name).tobytes()
    return full


def _sort_nodes(model: ModelProto) -> None:
    """Put a model's nodes in topological order, and drop duplicates.

    The converter appends its casts at the end, one for each node that takes a tensor.
    """
    kept: list[NodeProto] = []
    made: set[str] = set()
    for node in model.graph.node:
        if made.isdisjoint(node.output):
            kept.append(node)
            made.update(node.output)
    _set_nodes(model, kept)
    _set_nodes(model, [model.graph.node[index] for index in order_nodes(model.graph)])


def _set_nodes(model: ModelProto, nodes: Sequence[NodeProto]) -> None:
    del model.graph.node[:]
    model.graph.node.extend(nodes)
