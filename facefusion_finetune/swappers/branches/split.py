"""Splits a branched file back into the base's graph and its branches, and verifies both."""

import re
from dataclasses import dataclass, replace
from itertools import zip_longest

import numpy
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.branches.gate import IdentityGate
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
    """A branched model, split in two."""

    base: ModelFile
    """The base's graph; its weights are read from the branched model."""
    gate: IdentityGate
    branches: dict[int, Branch]
    """By the index of the layer's node in the base."""
    additions: Additions
    """What the branches add to the base."""


def has_branches(file: ModelFile) -> bool:
    """Whether a model has branches, or claims to."""
    return DIRECTION in file.tensors


def measure_branches(file: ModelFile) -> int:
    """Bytes that the branches' initializers take in a file; 0 without branches."""
    names = [name for name in file.tensors if name.startswith(PREFIX) and has_branches(file)]
    return sum(file.tensors[name].end - file.tensors[name].start for name in names)


def read_identity_gate(file: ModelFile) -> IdentityGate | None:
    """A branched model's identity gate; None for other models. Errors as in `split_branches`."""
    split = split_branches(file)
    return split.gate if split else None


def split_branches(file: ModelFile) -> Split | None:
    """Separate a model from its branches; None if it has none.

    Raises:
        SwapperError: What is named like a branch is not exactly what `add_branches` creates.
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
            "Use the original file.",
        ) from error
    return split


def remove_branches(file: ModelFile) -> ModelFile:
    """A model without its branches; itself if it has none. Errors as in `split_branches`."""
    split = split_branches(file)
    return file if split is None else split.base


def convert_branches(split: Split, converted: ModelProto) -> Additions:
    """What the branches add to the base once it has been converted to 16 bits.

    Args:
        split: The 32-bit model, split.
        converted: The 16-bit base. Its layers' outputs keep their names; one that is a graph output
            is followed by a cast.
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
    gate = _read_identity_gate(file)
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


def _read_identity_gate(file: ModelFile) -> IdentityGate:
    direction, low, span = (file.read_tensor(name) for name in (DIRECTION, LOW, SPAN))
    bottom = float(low.item())
    # Rounding must not push an upper bound of 1 above 1.
    return IdentityGate(
        direction.astype(numpy.float32).ravel(), bottom, min(1.0, bottom + float(span.item()))
    )


def _check_same(file: ModelFile, split: Split) -> None:
    """Check that the base with these additions is exactly the model.

    Raises:
        ValueError: It is not.
    """
    nodes = list_nodes(split.base.skeleton.graph.node, split.additions)
    added = {tensor.name: numpy_helper.to_array(tensor) for tensor in split.additions.tensors}
    *others, last = split.base.tensors
    numbers = sorted(branch.number for branch in split.branches.values())
    if not numbers or numbers != list(range(len(numbers))):
        raise ValueError("they are not numbered from 0")
    for found, expected in zip_longest(file.skeleton.graph.node, nodes):
        if found != expected:
            raise ValueError(f"node {(found or expected).name!r} differs")
    if list(file.tensors) != [*others, *added, last]:
        raise ValueError("their weights are not the expected ones")
    for name, array in added.items():
        stored = file.tensors[name]
        same = (stored.dims, stored.dtype) == (array.shape, array.dtype)
        if not same or not numpy.array_equal(file.read_tensor(name), array):
            raise ValueError(f"the tensor {name!r} differs")
