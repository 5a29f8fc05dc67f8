"""Weights of 16 bits: half the size, and for a GPU less work.

onnxruntime's converter does it. What it needs of us: shapes, the operators that lose too much, an
order its output does not keep, and the proof that the result computes the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto

from facefusion_finetune import home
from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.branches.split import halve_branches, read_gate, split_branches
from facefusion_finetune.swappers.files.modelfile import ModelFile, extend_graph
from facefusion_finetune.swappers.sessions import create_session

LIMIT = 2e-2
"""Largest difference between the two files, in output ranges."""

BLOCKED = (
    *("ReduceMean", "ReduceSum", "ReduceL2", "Sqrt", "Div", "Pow", "Reciprocal"),
    *("InstanceNormalization", "BatchNormalization", "LpNormalization", "Softmax"),
)
"""Operators that stay at 32 bits: statistics over a picture overflow 16, or lose the spread."""

Inputs = Mapping[str, NDArray[numpy.float32]]


def create_inputs(model: ModelFile, count: int = 2, seed: int = 0) -> list[dict[str, Any]]:
    """Inputs to compare two files by: smooth pictures from 0 to 1 and vectors of length 1.

    The first source opens a branched model's gate, since drawn ones leave it shut.

    Args:
        model: A swapper; an input without a fixed size gets the smallest one.
        count: How many.
        seed: Of what is drawn.
    """
    generator = numpy.random.default_rng(seed)
    made = []
    for _ in range(count):
        inputs = {}
        for value in model.skeleton.graph.input:
            if value.name in model.tensors:
                continue
            shape = [max(1, dim.dim_value) for dim in value.type.tensor_type.shape.dim]
            inputs[value.name] = _draw(generator, shape).astype(numpy.float32)
        made.append(inputs)
    gate = read_gate(model)
    if gate is not None:
        made[0]["source"] = gate.direction[None]
    return made


def write_half(model: ModelFile, path: Path, inputs: Sequence[Inputs]) -> float:
    """Write a model with weights of 16 bits; inputs and outputs stay at 32.

    The file is plain: it holds all weights. Order and names of the initializers stay, and an emap
    at their end stays at 32 bits, since no operator uses it.

    Args:
        model: The model; may be linked.
        path: The new file.
        inputs: What both files have to answer alike.

    Returns:
        The largest difference, in output ranges.

    Raises:
        SwapperError: Its weights are not of 32 bits, or it computes something else with 16.
        OSError: The file cannot be written, for example because the disk is full.
    """
    content = convert_half(model).SerializeToString()
    session, half = create_session(model.path, model.path.name), create_session(content, "fp16")
    worst = 0.0
    for feed in inputs:
        (expected, *_), (given, *_) = session.run(None, feed), half.run(None, feed)
        span = float(expected.max() - expected.min()) or 1.0
        difference = float(numpy.abs(expected - given).max()) / span
        worst = max(worst, difference if numpy.isfinite(difference) else numpy.inf)
    if worst > LIMIT:
        raise SwapperError(
            str(model.path),
            f"with weights of 16 bits its output differs by {worst:.3g} of its range (at most"
            f" {LIMIT:g} is allowed).",
            "Export it without --precision fp16.",
        )
    home.write_bytes(path, content)
    return worst


def convert_half(model: ModelFile) -> ModelProto:
    """The model with weights of 16 bits, unproven; see `write_half`.

    Branches are taken off and put back with 16 bits, so that they stay what they are; the gate is
    worked out with 32.

    Raises:
        SwapperError: Its weights are not of 32 bits, or its branches are damaged.
    """
    kinds = {stored.data_type for stored in model.tensors.values()}
    if TensorProto.FLOAT not in kinds or TensorProto.FLOAT16 in kinds:
        raise SwapperError(
            str(model.path),
            "its weights have 16 bits already, or none has 32.",
            "Export it without --precision fp16.",
        )
    split = split_branches(model)
    converted = _convert(split.base if split else model)
    if split is None:
        return converted
    return extend_graph(converted, halve_branches(split, converted))


def _convert(model: ModelFile) -> ModelProto:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    full = _assemble(model)
    # On the skeleton, since what is inferred does not depend on the weights.
    shapes = onnx.shape_inference.infer_shapes(model.skeleton)
    del full.graph.value_info[:]
    full.graph.value_info.extend(shapes.graph.value_info)
    converted: ModelProto = convert_float_to_float16(
        full, keep_io_types=True, disable_shape_infer=True, op_block_list=list(BLOCKED)
    )
    nodes = _order(converted.graph.node, _list_given(converted))
    del converted.graph.node[:]
    converted.graph.node.extend(nodes)
    del converted.graph.value_info[:]
    return converted


def _draw(generator: numpy.random.Generator, shape: list[int]) -> NDArray[numpy.float64]:
    if len(shape) != 4:
        vector = generator.normal(size=shape)
        return vector / numpy.linalg.norm(vector)
    coarse = generator.uniform(0, 1, (*shape[:2], 8, 8))
    picture = coarse.repeat(-(-shape[2] // 8), axis=2).repeat(-(-shape[3] // 8), axis=3)
    return picture[:, :, : shape[2], : shape[3]]


def _assemble(model: ModelFile) -> ModelProto:
    """All of the model in memory."""
    full = ModelProto()
    full.CopyFrom(model.skeleton)
    for tensor in full.graph.initializer:
        stored = model.tensors[tensor.name]
        if stored.payload is not None and not tensor.raw_data and not tensor.float_data:
            tensor.raw_data = model.read_tensor(tensor.name).tobytes()
    return full


def _list_given(model: ModelProto) -> set[str]:
    entries = [*model.graph.initializer, *model.graph.input]
    return {"", *(entry.name for entry in entries)}


def _order(nodes: Iterable[NodeProto], known: set[str]) -> list[NodeProto]:
    """The nodes so that each comes after those it needs, and what is made twice once.

    The converter appends its casts at the end, one for each node that reads a tensor.
    """
    waiting: list[NodeProto] = []
    made: set[str] = set()
    for node in nodes:
        if not made.intersection(node.output):
            waiting.append(node)
            made.update(node.output)
    ordered: list[NodeProto] = []
    while waiting:
        left = []
        for node in waiting:
            if known.issuperset(node.input):
                known.update(node.output)
                ordered.append(node)
            else:
                left.append(node)
        assert len(left) < len(waiting), "the converter made a cycle"
        waiting = left
    return ordered
