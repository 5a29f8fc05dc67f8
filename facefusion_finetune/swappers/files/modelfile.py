"""An ONNX file opened without its weights: they stay on disk until they are requested.

An ONNX file is untrusted input. Everything is checked before use: sizes against the file's own
size, external data against the folder, the graph against `checks`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.files import wire
from facefusion_finetune.swappers.files.checks import check_graph, check_tensor
from facefusion_finetune.swappers.files.messages import check_messages
from facefusion_finetune.swappers.files.stored import (
    MAX_FILE_BYTES,
    Payload,
    Stamp,
    StoredTensor,
    check_ranges,
    open_file,
    read_payload,
    read_stored,
)


@dataclass(frozen=True)
class Additions:
    """Nodes and initializers to add to a file's graph."""

    first: tuple[NodeProto, ...]
    """Nodes that come before all of the file's."""
    replaced: Mapping[int, tuple[NodeProto, ...]]
    """What replaces a node, by its index in the file: the node with its output renamed, and nodes
    after it that produce the original output."""
    tensors: tuple[TensorProto, ...]
    """Initializers to insert before the file's last one, which the host may read as the emap."""


def extend_graph(model: ModelProto, additions: Additions) -> ModelProto:
    """A copy of a model with the additions."""
    made = ModelProto()
    made.CopyFrom(model)
    del made.graph.node[:], made.graph.initializer[:]
    made.graph.node.extend(list_nodes(model.graph.node, additions))
    made.graph.initializer.extend(model.graph.initializer[:-1])
    made.graph.initializer.extend(additions.tensors)
    made.graph.initializer.extend(model.graph.initializer[-1:])
    return made


def list_nodes(nodes: Sequence[NodeProto], additions: Additions) -> list[NodeProto]:
    """The nodes of a file, in its order, with the added ones among them."""
    listed = list(additions.first)
    for number, node in enumerate(nodes):
        listed.extend(additions.replaced.get(number, (node,)))
    return listed


__all__ = [
    "MAX_FILE_BYTES",
    "ModelFile",
    "Payload",
    "StoredTensor",
    "extend_model",
    "open_model",
    "read_payload",
]

MAX_SKELETON = 128 << 20
"""Bytes of a graph without its weights."""

_TOO_LARGE = (
    "its graph, without the initializers, is larger than any swapper's"
    f" ({MAX_SKELETON >> 20} MiB at most); weights in Constant nodes must become initializers first"
)

MAX_TENSORS = 20_000
INLINE_BYTES = 1024
"""Tensors up to this size are kept in the skeleton: shapes, axes, bounds and small biases."""

NOT_IN_FILE = -1
"""Byte position of an initializer that is not in the file."""

ADVICE = "Give one of FaceFusion's swappers as published, for example --base inswapper_128."


@dataclass(frozen=True)
class ModelFile:
    """An ONNX file: its graph, and where its weights are."""

    path: Path
    skeleton: ModelProto
    """The graph, with its nodes in the file's order, which need not be the one they run in (see
    `order_nodes`). An initializer of more than `INLINE_BYTES` has only its name, type and dims
    here, no values."""
    tensors: dict[str, StoredTensor]
    """All initializers by name, in the file's order."""
    size: int
    """Of the file, in bytes, without external data."""
    stamp: Stamp
    """Of the file when it was opened."""
    additions: Additions | None = None
    """What the graph has beyond the file on disk; `skeleton` and `tensors` include it."""

    def read_tensor(self, name: str) -> NDArray[numpy.generic]:
        """An initializer's values, as a new array.

        Raises:
            SwapperError: The file has changed, or cannot be read.
        """
        stored = self.tensors[name]
        if stored.payload is None:
            index = list(self.tensors).index(name)
            return numpy_helper.to_array(self.skeleton.graph.initializer[index]).copy()
        return read_payload(stored)

    def is_inline(self, stored: StoredTensor) -> bool:
        """Whether the skeleton holds the tensor's values."""
        return _is_inline(stored, self.path)

    @property
    def is_linked(self) -> bool:
        """Whether some of its weights are in another file."""
        return any(
            stored.payload is not None and stored.payload.path != self.path
            for stored in self.tensors.values()
        )


def open_model(path: Path) -> ModelFile:
    """Open an ONNX file and check everything that can be checked without its weights.

    Raises:
        SwapperError: The file cannot be read, is damaged, or contains what no swapper needs but an
            attacker might use: data outside its folder, subgraphs, custom operators, false sizes.
    """
    try:
        with open_file(path) as (file, stamp):
            size = stamp[1]
            if not 0 < size <= MAX_FILE_BYTES:
                raise wire.WireError(f"its size is {size} bytes")
            skeleton, tensors = _read(wire.FileBytes(file), path, stamp)
    except FileNotFoundError as error:
        raise SwapperError(str(path), "no such file.", ADVICE) from error
    except (wire.WireError, DecodeError, UnicodeDecodeError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SwapperError(str(path), f"it is not a valid ONNX file ({reason}).", ADVICE) from error
    return ModelFile(path, skeleton, tensors, size, stamp)


def extend_model(file: ModelFile, additions: Additions) -> ModelFile:
    """The model with more nodes and initializers, which exist only in memory.

    Written to disk, it is the file with these inserted between the file's own bytes.
    """
    assert file.additions is None
    *others, last = file.tensors.items()
    added = {
        tensor.name: StoredTensor(
            tensor.name, tuple(tensor.dims), tensor.data_type, NOT_IN_FILE, NOT_IN_FILE, None
        )
        for tensor in additions.tensors
    }
    return replace(
        file,
        skeleton=extend_graph(file.skeleton, additions),
        tensors={**dict(others), **added, last[0]: last[1]},
        additions=additions,
    )


def _read(data: wire.Data, path: Path, stamp: Stamp) -> tuple[ModelProto, dict[str, StoredTensor]]:
    check_messages(data)
    tensors: dict[str, StoredTensor] = {}
    skeleton = ModelProto()
    skeleton.ParseFromString(b"".join(_limit_size(_list_pieces(data, path, stamp, tensors))))
    for tensor in skeleton.graph.initializer:
        check_tensor(tensor, tensors[tensor.name].payload is None)
    check_graph(skeleton)
    check_ranges(tensors.values(), path)
    return skeleton, tensors


def _list_pieces(
    data: wire.Data, path: Path, stamp: Stamp, tensors: dict[str, StoredTensor]
) -> Iterator[bytes]:
    """The model's fields, without the values of large tensors."""
    graphs = 0
    for field in wire.read_fields(data, 0, len(data)):
        if field.number == wire.MODEL_GRAPH and field.wire == wire.LENGTH:
            graphs += 1
            content = b"".join(_limit_size(_read_graph(data, field, path, stamp, tensors)))
            yield wire.encode_field(wire.MODEL_GRAPH, content)
        else:
            yield _read_field(data, field)
    if graphs != 1:
        raise wire.WireError(f"it contains {graphs} graphs")


def _read_graph(
    data: wire.Data,
    graph: wire.Field,
    path: Path,
    stamp: Stamp,
    tensors: dict[str, StoredTensor],
) -> Iterator[bytes]:
    for field in wire.read_fields(data, graph.body, graph.end):
        if field.number != wire.GRAPH_INITIALIZER or field.wire != wire.LENGTH:
            yield _read_field(data, field)
            continue
        stored, header = read_stored(data, field, path, stamp)
        if stored.name in tensors or not stored.name:
            raise wire.WireError(f"two initializers are named {stored.name!r}")
        tensors[stored.name] = stored
        if len(tensors) > MAX_TENSORS:
            raise wire.WireError(f"it has more than {MAX_TENSORS} initializers")
        yield _read_field(data, field) if _is_inline(stored, path) else header


def _limit_size(pieces: Iterator[bytes]) -> Iterator[bytes]:
    kept = 0
    for piece in pieces:
        kept += len(piece)
        if kept > MAX_SKELETON:
            raise wire.WireError(_TOO_LARGE)
        yield piece


def _is_inline(stored: StoredTensor, path: Path) -> bool:
    payload = stored.payload
    return payload is None or (payload.path == path and payload.length <= INLINE_BYTES)


def _read_field(data: wire.Data, field: wire.Field) -> bytes:
    if field.end - field.start > MAX_SKELETON:
        raise wire.WireError(_TOO_LARGE)
    return data[field.start : field.end]
