"""Deterministic damage to ONNX files: what an attacker, a broken disk or a careless tool does."""

import struct
from collections.abc import Callable, Sequence
from random import Random

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError
from onnx import ModelProto

from facefusion_finetune.swappers.files import wire
from facefusion_finetune.swappers.files.wire import Field
from tests.support.odd_nodes import insert_odd_node
from tests.support.odd_values import ODD_NUMBERS, ODD_PLACES, ODD_TEXTS

Way = list[tuple[Descriptor | None, Field]]
"""From a field of the model down to one in it, each with the kind of message it holds."""

GRAPH_NODE = 1
WAYS_DOWN = 0.8
"""How likely a field that holds others is entered instead of changed."""


def mutate(data: bytes, other: bytes, random: Random) -> bytes:
    """Damage a model in one to three places.

    Args:
        data: The model.
        other: Another one, to take parts from.
        random: Decides everything.
    """
    for _ in range(random.choice((1, 1, 1, 1, 1, 2, 3))):
        change = random.choices(_CHANGES, _WEIGHTS)[0]
        try:
            data = change(data, other, random)
        except wire.WireError:
            # An earlier change has left no message; bytes can still be changed.
            data = flip_bits(data, other, random)
    return data


def flip_bits(data: bytes, other: bytes, random: Random) -> bytes:
    """Turn one to eight bits over."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 8)):
        if changed:
            changed[_pick_place(changed, random)] ^= 1 << random.randrange(8)
    return bytes(changed)


def insert_bytes(data: bytes, other: bytes, random: Random) -> bytes:
    """Put random bytes in between."""
    place = _pick_place(data, random)
    return data[:place] + random.randbytes(random.randint(1, 12)) + data[place:]


def delete_bytes(data: bytes, other: bytes, random: Random) -> bytes:
    """Leave some bytes out."""
    place = _pick_place(data, random)
    return data[:place] + data[place + random.choice((1, 2, 7, 100, 5000)) :]


def truncate(data: bytes, other: bytes, random: Random) -> bytes:
    """End too early."""
    return data[: _pick_place(data, random)]


def duplicate_field(data: bytes, other: bytes, random: Random) -> bytes:
    """Have a field twice, or a few hundred times where it is small."""
    way = pick_field(data, random)
    content = _cut(data, way)
    times = random.choice((2, 2, 3, 300)) if len(content) < 1000 else 2
    return replace_field(data, way, content * times)


def remove_field(data: bytes, other: bytes, random: Random) -> bytes:
    """Leave a field out."""
    return replace_field(data, pick_field(data, random), b"")


def move_field(data: bytes, other: bytes, random: Random) -> bytes:
    """Exchange a field with another one of the same message."""
    way = pick_field(data, random)
    start, end = (way[-2][1].body, way[-2][1].end) if len(way) > 1 else (0, len(data))
    fields = list(wire.read_fields(data, start, end))
    first, second = sorted((way[-1][1], random.choice(fields)), key=lambda one: one.start)
    if first.start == second.start:
        return data
    middle = data[first.end : second.start]
    content = (
        data[start : first.start]
        + data[second.start : second.end]
        + middle
        + data[first.start : first.end]
        + data[second.end : end]
    )
    if len(way) == 1:
        return content
    return replace_field(data, way[:-1], wire.encode_field(way[-2][1].number, content))


def change_number(data: bytes, other: bytes, random: Random) -> bytes:
    """Give a number another value: a dim, a type, an attribute, a version."""
    way = pick_field(data, random, lambda way: way[-1][1].wire == wire.VARINT)
    field = way[-1][1]
    value = random.choice((*ODD_NUMBERS, field.value + 1, max(0, field.value - 1)))
    return replace_field(data, way, wire.encode_number(field.number, value & (1 << 64) - 1))


def change_text(data: bytes, other: bytes, random: Random) -> bytes:
    """Give a short text another value: a name, a kind, a path, a mode."""
    way = pick_field(
        data, random, lambda way: way[-1][1].wire == wire.LENGTH and way[-1][0] is None
    )
    field = way[-1][1]
    if random.random() < 0.3:
        texts: Sequence[bytes] = ODD_PLACES
    elif random.random() < 0.5:
        texts = ODD_TEXTS
    else:
        donor = pick_field(data, random, lambda one: _name_kind(one) == _name_kind(way))
        texts = [data[donor[-1][1].body : donor[-1][1].end]]
    return replace_field(data, way, wire.encode_field(field.number, random.choice(texts)[:8000]))


def change_place(data: bytes, other: bytes, random: Random) -> bytes:
    """Say that an initializer lies in another file, or elsewhere in it."""
    fields = wire.read_fields(data, 0, len(data))
    graph = next((one for one in fields if one.number == wire.MODEL_GRAPH), None)
    if graph is None:
        return flip_bits(data, other, random)
    tensors = [
        one
        for one in wire.read_fields(data, graph.body, graph.end)
        if one.number == wire.GRAPH_INITIALIZER and one.wire == wire.LENGTH
    ]
    if not tensors:
        return data
    tensor = random.choice(tensors)
    kept = [
        data[part.start : part.end]
        for part in wire.read_fields(data, tensor.body, tensor.end)
        if part.number not in (wire.TENSOR_RAW, wire.TENSOR_FLOATS)
        and (part.number != wire.TENSOR_EXTERNAL or random.random() < 0.7)
    ]
    for key in random.sample(
        (b"location", b"offset", b"length", b"checksum"), random.randint(1, 3)
    ):
        entry = wire.encode_field(wire.ENTRY_KEY, key)
        entry += wire.encode_field(wire.ENTRY_VALUE, random.choice(ODD_PLACES))
        kept.append(wire.encode_field(wire.TENSOR_EXTERNAL, entry))
    kept.append(wire.encode_number(wire.TENSOR_LOCATION, random.choice((0, 1, 1, 1))))
    way: Way = [(None, graph), (None, tensor)]
    return replace_field(data, way, wire.encode_field(wire.GRAPH_INITIALIZER, b"".join(kept)))


def change_values(data: bytes, other: bytes, random: Random) -> bytes:
    """Put odd numbers into a tensor's raw data, above all into shapes, axes and scales."""
    way = pick_field(
        data,
        random,
        lambda way: (
            _name_kind(way) == (3, wire.TENSOR_RAW, None)
            and 0 < way[-1][1].end - way[-1][1].body <= 64
        ),
    )
    field = way[-1][1]
    content = bytearray(data[field.body : field.end])
    step = random.choice((4, 8))
    if field.number != wire.TENSOR_RAW or len(content) < step:
        return flip_bits(data, other, random)
    place = random.randrange(len(content) // step) * step
    numbers = [struct.pack("<Q", number)[:step] for number in ODD_NUMBERS]
    odd = [struct.pack("<f", value) for value in (0.0, -1.0, 1e-30, 1e30, 1e5)]
    odd += [struct.pack("<f", float("nan")), struct.pack("<f", float("inf"))]
    content[place : place + step] = random.choice(numbers if step == 8 else odd)
    return replace_field(data, way, wire.encode_field(field.number, bytes(content)))


def splice(data: bytes, other: bytes, random: Random) -> bytes:
    """Put a part of the other model in the place of a part of the same kind."""
    way = pick_field(data, random)
    donor = pick_field(other, random, lambda one: _name_kind(one) == _name_kind(way), len(way))
    content = other[donor[-1][1].start : donor[-1][1].end]
    return replace_field(data, way, content)


def insert_node(data: bytes, other: bytes, random: Random) -> bytes:
    """Put a node of any kind in between."""
    try:
        return insert_odd_node(data, random)
    except (DecodeError, ValueError):
        return flip_bits(data, other, random)


def pick_field(
    data: bytes,
    random: Random,
    wanted: Callable[[Way], bool] = lambda way: True,
    depth: int | None = None,
) -> Way:
    """A random field, at best one that is `wanted`, and the way down to it.

    Args:
        data: A model.
        random: Decides.
        wanted: What to look for.
        depth: How many messages deep it lies; any if not given.
    """
    best: Way = []
    for _ in range(20):
        way = _descend(data, random, depth)
        if way:
            best = way
            if wanted(way):
                break
    if not best:
        raise wire.WireError("there is nothing to pick")
    return best


def replace_field(data: bytes, way: Way, content: bytes) -> bytes:
    """Put bytes in a field's place, and keep the lengths of what it lies in right."""
    field = way[-1][1]
    start, end = field.start, field.end
    for _, around in reversed(way[:-1]):
        whole = data[around.body : start] + content + data[end : around.end]
        content = wire.encode_field(around.number, whole)
        start, end = around.start, around.end
    return data[:start] + content + data[end:]


def _descend(data: bytes, random: Random, depth: int | None) -> Way:
    kind: Descriptor | None = ModelProto.DESCRIPTOR
    start, end = 0, len(data)
    way: Way = []
    while kind is not None:
        fields = list(wire.read_fields(data, start, end))
        if not fields:
            break
        # Into the graph, and there rather a node than a weight.
        deep = (wire.MODEL_GRAPH, GRAPH_NODE)[len(way)] if len(way) < 2 else 0
        rather = [one for one in fields if one.number == deep]
        often = random.random() < (0.95, 0.6)[min(len(way), 1)]
        field = random.choice(rather if rather and often else fields)
        entry = kind.fields_by_number.get(field.number)
        kind = entry.message_type if entry is not None and field.wire == wire.LENGTH else None
        way.append((kind, field))
        start, end = field.body, field.end
        if (depth is None and random.random() > WAYS_DOWN and len(way) > 1) or depth == len(way):
            break
    return way


def _name_kind(way: Way) -> tuple[int, int, str | None]:
    kind = way[-1][0]
    return len(way), way[-1][1].number, kind.full_name if kind is not None else None


def _cut(data: bytes, way: Way) -> bytes:
    return data[way[-1][1].start : way[-1][1].end]


def _pick_place(data: bytes | bytearray, random: Random) -> int:
    """Half of the time near the start, where most of the structure is."""
    return random.randrange(max(1, random.choice((len(data), min(len(data), 4000)))))


_TABLE: dict[Callable[[bytes, bytes, Random], bytes], int] = {
    flip_bits: 3,
    insert_bytes: 1,
    delete_bytes: 1,
    truncate: 1,
    duplicate_field: 3,
    remove_field: 5,
    move_field: 4,
    change_number: 14,
    change_text: 7,
    change_place: 4,
    change_values: 14,
    splice: 5,
    insert_node: 12,
}
_CHANGES, _WEIGHTS = list(_TABLE), list(_TABLE.values())
