"""A model file's metadata and its links to other files, read without opening those.

The file is untrusted input, and the files it links to may be missing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from facefusion_finetune.errors import RegistryError
from facefusion_finetune.swappers.files import wire
from facefusion_finetune.swappers.files.stored import open_file

MAX_ENTRIES = 1000
MAX_ENTRY = 1 << 22
"""Bytes of one metadata entry. A card's picture takes less than a tenth of that."""


@dataclass(frozen=True)
class Links:
    """A model file's metadata, and the files it links to."""

    metadata: dict[str, str]
    locations: frozenset[str]
    """The external files that hold its weights, as it names them; empty for a standalone file."""
    sizes: range
    """Possible sizes in bytes of a base file that holds what the links point at."""


def read_links(path: Path) -> Links:
    """A model file's metadata and the files it links to; none of those is opened.

    Raises:
        RegistryError: The file cannot be read, or is not an ONNX file.
    """
    try:
        return scan_links(path)
    except (wire.WireError, OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RegistryError(
            str(path), f"the model cannot be read ({reason}).", "Train or import it again."
        ) from error


def scan_links(path: Path) -> Links:
    """`read_links`, raising the underlying errors.

    Raises:
        WireError: The file is not an ONNX file.
        UnicodeDecodeError: Its metadata is not UTF-8.
        OSError: The file cannot be read.
    """
    metadata: dict[str, str] = {}
    locations: set[str] = set()
    extent = 0
    with open_file(path) as (file, (_, size, _)):
        if not size:
            raise wire.WireError("it is empty")
        data = wire.FileBytes(file)
        for field in wire.read_fields(data, 0, len(data)):
            if field.number == wire.MODEL_METADATA and field.wire == wire.LENGTH:
                key, value = _read_entry(data, field)
                metadata[key] = value
                if len(metadata) > MAX_ENTRIES:
                    raise wire.WireError("it has too much metadata")
            elif field.number == wire.MODEL_GRAPH and field.wire == wire.LENGTH:
                for place in _scan_graph(data, field):
                    locations.add(place.get("location", ""))
                    extent = max(extent, _read_end(place))
    # What follows the last linked range in the base is no larger than its counterpart in the model.
    return Links(metadata, frozenset(locations), range(extent, extent + size + (1 << 20)))


def _scan_graph(data: wire.Data, graph: wire.Field) -> Iterator[dict[str, str]]:
    """The external-data entries of the initializers that are not in the file."""
    for field in wire.read_fields(data, graph.body, graph.end):
        if field.number != wire.GRAPH_INITIALIZER or field.wire != wire.LENGTH:
            continue
        entries = [
            _read_entry(data, part)
            for part in wire.read_fields(data, field.body, field.end)
            if part.number == wire.TENSOR_EXTERNAL and part.wire == wire.LENGTH
        ]
        if entries:
            yield dict(entries)


def _read_end(place: dict[str, str]) -> int:
    try:
        return max(0, int(place.get("offset", "0")) + int(place.get("length", "0")))
    except ValueError as error:
        raise wire.WireError("one of its links has no valid offset or length") from error


def _read_entry(data: wire.Data, field: wire.Field) -> tuple[str, str]:
    if field.end - field.start > MAX_ENTRY:
        raise wire.WireError("a metadata entry is too long")
    values = {wire.ENTRY_KEY: "", wire.ENTRY_VALUE: ""}
    for part in wire.read_fields(data, field.body, field.end):
        if part.number in values and part.wire == wire.LENGTH:
            values[part.number] = data[part.body : part.end].decode("utf-8")
    return values[wire.ENTRY_KEY], values[wire.ENTRY_VALUE]
