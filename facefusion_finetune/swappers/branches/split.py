"""A branched file taken apart again: the base's graph, and the branches, made exactly as ours."""

import re
from dataclasses import dataclass, replace
from itertools import zip_longest

import numpy
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.branches.gate import Gate
from facefusion_finetune.swappers.branches.nodes import (
    CONVOLUTIONS,
    DIRECTION,
    LOW,
    PREFIX,
    SPAN,
    Branch,
    build_additions,
    name_part,
)
from facefusion_finetune.swappers.files.checks import check_graph, get_opset
from facefusion_finetune.swappers.files.modelfile import Additions, ModelFile, list_nodes

_LAYER = re.compile(re.escape(PREFIX) + r"(0|[1-9][0-9]{0,4})/layer")


@dataclass(frozen=True)
class Split:
    """A branched model in two."""

    base: ModelFile
    """The base's graph; its weights are read from where the model has them."""
    gate: Gate
    branches: dict[int, Branch]
    """By the number of the layer's node in the base."""
    additions: Additions
    """What the branches add to the base."""


def has_branches(file: ModelFile) -> bool:
    """Whether a model has branches, or claims so."""
    return DIRECTION in file.tensors


def measure_branches(file: ModelFile) -> int:
    """Bytes that the branches' initializers take in a file; 0 where it has none."""
    names = [name for name in file.tensors if name.startswith(PREFIX) and has_branches(file)]
    return sum(file.tensors[name].end - file.tensors[name].start for name in names)


def read_gate(file: ModelFile) -> Gate | None:
    """The gate of a branched model; None for any other. Errors as in `split_branches`."""
    split = split_branches(file)
    return split.gate if split else None


def split_branches(file: ModelFile) -> Split | None:
    """Take the branches of a model off; None where it has none.

    Raises:
        SwapperError: What is named as a branch is not exactly what `add_branches` makes.
    """
    if not has_branches(file):
        return None
    try:
        split = _split(file)
        check_graph(split.base.skeleton)
        _check_same(file, split)
    except (SwapperError, KeyError, ValueError) as error:
        raise SwapperError(
            str(file.path),
            f"its branches are damaged, or not made by facefusion-finetune ({error}).",
            "Use the file as it was written.",
        ) from error
    return split


def remove_branches(file: ModelFile) -> ModelFile:
    """A model without its branches; itself where it has none. Errors as in `split_branches`."""
    split = split_branches(file)
    return file if split is None else split.base


def halve_branches(split: Split, converted: ModelProto) -> Additions:
    """What the branches add to the base once that was converted to 16 bits.

    Args:
        split: Of the model with 32 bits.
        converted: The base with 16. Its layers make tensors of their former names; that of a
            graph's output is then cast.
    """
    places = {node.output[0]: place for place, node in enumerate(converted.graph.node)}
    branches: dict[int, Branch] = {}
    for branch in split.branches.values():
        place = places[branch.layer.output[0]]
        while converted.graph.node[place].op_type == "Cast":
            place = places[converted.graph.node[place].input[0]]
        layer = converted.graph.node[place]
        branches[place] = replace(branch, layer=layer, data_type=TensorProto.FLOAT16)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in split.additions.tensors}
    return build_additions(get_opset(converted), split.gate, branches, weights)


def _split(file: ModelFile) -> Split:
    graph = file.skeleton.graph
    own = {node.name: node for node in graph.node if node.name.startswith(PREFIX)}
    nodes: list[NodeProto] = []
    branches: dict[int, Branch] = {}
    for found in graph.node:
        if found.name.startswith(PREFIX):
            continue
        node = NodeProto()
        node.CopyFrom(found)
        layer = _LAYER.fullmatch(found.output[0])
        if layer:
            number = int(layer[1])
            node.output[0] = own[name_part(number, "sum")].output[0]
            down = file.tensors[name_part(number, "down")]
            axes = len(down.dims) if node.op_type in CONVOLUTIONS else 2
            branches[len(nodes)] = Branch(number, node, down.data_type, axes)
        nodes.append(node)
    weights: dict[str, NDArray[numpy.generic]] = {
        name: file.read_tensor(name)
        for branch in branches.values()
        for name in (branch.down, branch.up, branch.bias)
    }
    gate = _read_gate(file)
    additions = build_additions(get_opset(file.skeleton), gate, branches, weights)
    return Split(_restore_base(file, nodes), gate, branches, additions)


def _restore_base(file: ModelFile, nodes: list[NodeProto]) -> ModelFile:
    skeleton = ModelProto()
    skeleton.CopyFrom(file.skeleton)
    del skeleton.graph.node[:], skeleton.graph.initializer[:]
    skeleton.graph.node.extend(nodes)
    skeleton.graph.initializer.extend(
        tensor for tensor in file.skeleton.graph.initializer if not tensor.name.startswith(PREFIX)
    )
    tensors = {name: stored for name, stored in file.tensors.items() if not name.startswith(PREFIX)}
    return replace(file, skeleton=skeleton, tensors=tensors, additions=None)


def _read_gate(file: ModelFile) -> Gate:
    direction, low, span = (file.read_tensor(name) for name in (DIRECTION, LOW, SPAN))
    bottom = float(low.item())
    # Rounding must not carry a bound of 1 above it.
    return Gate(
        direction.astype(numpy.float32).ravel(), bottom, min(1.0, bottom + float(span.item()))
    )


def _check_same(file: ModelFile, split: Split) -> None:
    """Check that the base with these additions is the model again.

    Raises:
        ValueError: It is another one.
    """
    nodes = list_nodes(split.base.skeleton.graph.node, split.additions)
    added = {tensor.name: numpy_helper.to_array(tensor) for tensor in split.additions.tensors}
    *others, last = split.base.tensors
    numbers = sorted(branch.number for branch in split.branches.values())
    if not numbers or numbers != list(range(len(numbers))):
        raise ValueError("they are not numbered from 0")
    for found, expected in zip_longest(file.skeleton.graph.node, nodes):
        if found != expected:
            raise ValueError(f"node {(found or expected).name!r} is another one")
    if list(file.tensors) != [*others, *added, last]:
        raise ValueError("their weights are not the expected ones")
    for name, array in added.items():
        stored = file.tensors[name]
        same = (stored.dims, stored.dtype) == (array.shape, array.dtype)
        if not same or not numpy.array_equal(file.read_tensor(name), array):
            raise ValueError(f"the tensor {name!r} is another one")
