"""Writes tuned weights back into the base file's own initializers; nothing else changes.

The file is assembled from the base's own bytes, field by field, so that what is not tuned stays
bit-identical, and no more than one tensor is in memory at a time.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, numpy_helper

from facefusion_finetune import home
from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.files import wire
from facefusion_finetune.swappers.files.modelfile import Additions, ModelFile, Payload, StoredTensor
from facefusion_finetune.swappers.files.stored import open_file

CHUNK = 1 << 22
MIN_LINKED_BYTES = 4096
"""Smaller tensors are stored in the file: a link to them would cost as much."""

Weights = Mapping[str, NDArray[numpy.float32]]


Piece = bytes | Payload
"""Bytes of the new file, or where to copy them from."""


def write_model(
    base: ModelFile,
    file: BinaryIO,
    weights: Weights | None = None,
    metadata: Mapping[str, str] | None = None,
    link: str | None = None,
) -> None:
    """Write `base` with some initializers replaced.

    Order, names, types, nodes, opset and every other initializer stay bit-identical. The base's
    in-memory additions are written among them.

    Args:
        base: The file the weights belong to.
        file: Open for writing, at its start.
        weights: Arrays by initializer name, of the initializer's shape; rounded to its type.
        metadata: `metadata_props` entries to set; others are kept.
        link: Name of the file next to the new one that will hold the base's bytes. Every tensor
            that is not tuned then points into it; if None, all weights are in the new file. The
            last initializer stays in the file, since the host may read it as the emap.

    Raises:
        SwapperError: A name is not in the graph, a shape differs, a value is not finite, or `link`
            is given and the base is itself linked.
    """
    check_weights(base, weights or {})
    if link is not None and base.is_linked:
        raise SwapperError(
            str(base.path),
            "its weights are already in another file, so nothing can be linked to it.",
            "Export it first: facefusion-finetune models export NAME --standalone.",
        )
    for piece in _compose(base, weights or {}, metadata or {}, link):
        if isinstance(piece, bytes):
            file.write(piece)
        else:
            _copy(piece, file)


def save_model(
    base: ModelFile,
    path: Path,
    weights: Weights | None = None,
    metadata: Mapping[str, str] | None = None,
    link: str | None = None,
) -> None:
    """`write_model` to a file, atomically.

    Raises:
        SwapperError: As in `write_model`.
        OSError: The file cannot be written, for example because the disk is full.
    """
    home.write_whole(path, lambda file: write_model(base, file, weights, metadata, link))


def check_weights(base: ModelFile, weights: Weights) -> None:
    """Check that weights fit the file they are written back to; errors as in `write_model`."""
    unknown = sorted(set(weights) - set(base.tensors))
    if unknown:
        raise SwapperError(
            f"initializers {unknown}",
            "they are not in the base file.",
            "Resume with the base file that the run was started with.",
        )
    for name, array in weights.items():
        stored = base.tensors[name]
        with numpy.errstate(over="ignore"):
            fits = stored.dims == array.shape and numpy.isfinite(array.astype(stored.dtype)).all()
        if not fits:
            raise SwapperError(
                f"initializer {name!r}",
                f"the tuned array of shape {array.shape} does not fit {stored.dims} of"
                f" {stored.dtype}, or has values that are not finite in that type.",
                "Train again with a lower learning rate.",
            )


def _compose(
    base: ModelFile, weights: Weights, metadata: Mapping[str, str], link: str | None
) -> Iterator[Piece]:
    with open_file(base.path) as (origin, stamp):
        if stamp != base.stamp:
            raise _refuse_changed(base.path)
        data = wire.FileBytes(origin)
        for field in wire.read_fields(data, 0, len(data)):
            if field.number == wire.MODEL_GRAPH and field.wire == wire.LENGTH:
                graph = list(_compose_graph(base, data, field, weights, link))
                yield wire.encode_header(wire.MODEL_GRAPH, sum(map(_measure, graph)))
                yield from graph
            elif field.number != wire.MODEL_METADATA or _read_key(data, field) not in metadata:
                yield Payload(base.path, field.start, field.end - field.start)
    for key, value in sorted(metadata.items()):
        entry = wire.encode_field(wire.ENTRY_KEY, key.encode("utf-8"))
        entry += wire.encode_field(wire.ENTRY_VALUE, value.encode("utf-8"))
        yield wire.encode_field(wire.MODEL_METADATA, entry)


def _compose_graph(
    base: ModelFile, data: wire.Data, graph: wire.Field, weights: Weights, link: str | None
) -> Iterator[Piece]:
    by_start = {stored.start: stored for stored in base.tensors.values()}
    last = next(reversed(base.tensors), None)
    added = base.additions or Additions((), {}, ())
    number = 0
    for field in wire.read_fields(data, graph.body, graph.end):
        if field.number == wire.GRAPH_NODE:
            if number == 0:
                yield from map(_encode_node, added.first)
            number += 1
            if number - 1 in added.replaced:
                yield from map(_encode_node, added.replaced[number - 1])
                continue
        stored = by_start.get(field.start)
        payload = stored.payload if stored else None
        if stored is not None and stored.name == last:
            for tensor in added.tensors:
                values = weights.get(tensor.name, numpy_helper.to_array(tensor))
                yield from _compose_array(base.tensors[tensor.name], values)
        if stored is None:
            yield Payload(base.path, field.start, field.end - field.start)
        elif stored.name in weights:
            yield from _compose_array(stored, weights[stored.name])
        elif payload is None:
            yield Payload(base.path, field.start, field.end - field.start)
        elif link is not None and payload.length >= MIN_LINKED_BYTES and stored.name != last:
            yield from _compose_link(stored, payload, link)
        elif payload.path != base.path:
            yield from _compose_tensor(stored, payload)
        else:
            yield Payload(base.path, field.start, field.end - field.start)


def _compose_array(stored: StoredTensor, array: NDArray[Any]) -> Iterator[Piece]:
    """An initializer with new values, rounded to its type."""
    rounded = array.astype(stored.dtype.newbyteorder("<"))
    yield from _compose_tensor(stored, rounded.tobytes())


def _compose_tensor(stored: StoredTensor, content: Piece) -> Iterator[Piece]:
    """An initializer with its values as raw data."""
    length = _measure(content)
    header = _encode_header(stored) + wire.encode_header(wire.TENSOR_RAW, length)
    yield wire.encode_header(wire.GRAPH_INITIALIZER, len(header) + length) + header
    yield content


def _compose_link(stored: StoredTensor, payload: Payload, link: str) -> Iterator[Piece]:
    """An initializer whose values are a byte range of the file `link`."""
    body = _encode_header(stored)
    place = {"location": link, "offset": str(payload.offset), "length": str(payload.length)}
    for key, value in place.items():
        entry = wire.encode_field(wire.ENTRY_KEY, key.encode("utf-8"))
        entry += wire.encode_field(wire.ENTRY_VALUE, value.encode("utf-8"))
        body += wire.encode_field(wire.TENSOR_EXTERNAL, entry)
    body += wire.encode_number(wire.TENSOR_LOCATION, TensorProto.EXTERNAL)
    yield wire.encode_field(wire.GRAPH_INITIALIZER, body)


def _encode_node(node: NodeProto) -> bytes:
    return wire.encode_field(wire.GRAPH_NODE, node.SerializeToString())


def _encode_header(stored: StoredTensor) -> bytes:
    header = b"".join(wire.encode_number(wire.TENSOR_DIMS, dim) for dim in stored.dims)
    header += wire.encode_number(wire.TENSOR_TYPE, stored.data_type)
    return header + wire.encode_field(wire.TENSOR_NAME, stored.name.encode("utf-8"))


def _read_key(data: wire.Data, entry: wire.Field) -> str:
    if entry.wire != wire.LENGTH:
        return ""
    for part in wire.read_fields(data, entry.body, entry.end):
        if part.number == wire.ENTRY_KEY and part.wire == wire.LENGTH:
            return data[part.body : part.end].decode("utf-8")
    return ""


def _measure(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else piece.length


def _copy(payload: Payload, file: BinaryIO) -> None:
    with open_file(payload.path) as (origin, stamp):
        if payload.stamp not in (None, stamp):
            raise _refuse_changed(payload.path)
        origin.seek(payload.offset)
        left = payload.length
        while left:
            chunk = origin.read(min(CHUNK, left))
            if not chunk:
                raise _refuse_changed(payload.path)
            file.write(chunk)
            left -= len(chunk)


def _refuse_changed(path: Path) -> SwapperError:
    return SwapperError(
        str(path),
        "it was changed or truncated since it was opened.",
        "Restore the original file.",
    )
