"""A swapper's layers gathered into blocks that a person can read.

Layers of a block see the same inputs and are treated the same when something is trained. Layers
that may be trained also share the size of what they make; a block of frozen ones covers a whole
encoder, as long as the sizes keep going one way.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from facefusion_finetune.inspection.flow import PICTURE, Origin, follow_blocks, place_injections
from facefusion_finetune.swappers.graphs.layers import FLOATS, Layer
from facefusion_finetune.swappers.graphs.partition import SOURCE, TARGET, Partition, is_mask
from facefusion_finetune.swappers.graphs.shapes import Trace

State = Literal["frozen", "candidate", "decoder", "tail"]
"""`tail`: may be trained and lies after the last injection; `decoder`: may be trained and belongs
to the decoder of a swapper without a tail worth the name; `candidate`: any other that may be."""

SAME_SIZE = 1.04
"""Ratio of two heights that count as one: a blur makes 257 pixels of 256."""

TURN = 2.5
"""Ratio of two heights from which on sizes go another way; a side branch goes a factor of 2."""

FEWEST_FEATURES = 4
"""Layers of the target alone, side by side, that count as more than the end of an encoder."""

Lane = tuple[str, str]
"""What keeps layers apart that lie next to each other in the file: what part of a swapper they
belong to, and in which shape, state or for which reason."""


@dataclass(frozen=True)
class Block:
    """Layers that play one part."""

    number: int
    """From 1, in the order of the blocks' first layers in the file."""
    role: str
    """What it is, in words."""
    state: State
    reason: str | None
    """Why its layers are never trained; None where they may be."""
    depends_on: tuple[str, ...]
    """`source`, `target`, both or none."""
    layers: tuple[Layer, ...]
    """In the file's order."""
    first_output: tuple[int, ...]
    """Shape of what its first layer makes, without the batch: (c, h, w) of a map."""
    last_output: tuple[int, ...]
    """The same of its last layer."""
    parameters: int
    """Numbers in its weights and biases; one that several of its layers use counts once."""
    macs: int
    """Multiplications of one run at batch 1."""
    injections: int
    """How many times the identity enters here."""
    takes: tuple[Origin, ...]
    """Where what it works on comes from."""


@dataclass(frozen=True)
class Blocks:
    """All blocks of a swapper."""

    blocks: tuple[Block, ...]
    picture_takes: tuple[Origin, ...]
    """Where the picture comes from."""


def gather_blocks(trace: Trace, partition: Partition) -> Blocks:
    """Gather a swapper's layers into blocks."""
    lanes: dict[Lane, list[Layer]] = {}
    for layer, lane in zip(partition.layers, _list_lanes(trace, partition), strict=True):
        lanes.setdefault(lane, []).append(layer)
    groups = [
        (lane, group) for lane, layers in lanes.items() for group in _split_lane(lane, layers)
    ]
    groups.sort(key=lambda pair: pair[1][0].index)
    numbered = list(enumerate(groups, 1))
    number_of = {layer.index: number for number, (_, group) in numbered for layer in group}
    injections = place_injections(
        trace,
        partition.injections,
        number_of,
        {number: group[0].height for number, (lane, group) in numbered if lane[0] == "map"},
        {number for number, (lane, _) in numbered if lane == ("map", "tail")},
    )
    takes = follow_blocks(trace, number_of)
    blocks = tuple(
        _create_block(trace, number, lane, group, injections.get(number, 0), takes.get(number, ()))
        for number, (lane, group) in numbered
    )
    return Blocks(blocks, takes[PICTURE])


def simplify_reason(reason: str) -> str:
    """Why a layer is frozen, without the names of others."""
    if reason.startswith("shares its weight"):
        return "shares its weight with a layer that is not trained along"
    return reason


def list_numbers(trace: Trace, layer: Layer) -> set[str]:
    """Initializers of floating point that a layer's weight and bias are made of."""
    pending = [name for name in trace.nodes[layer.index].input if name and trace.is_constant(name)]
    seen = set(pending)
    found: set[str] = set()
    while pending:
        name = pending.pop()
        if name not in trace.file.tensors:
            maker = trace.producers.get(name)
            new = {one for one in maker.input if one} - seen if maker is not None else set()
            seen |= new
            pending += new
        elif trace.file.tensors[name].data_type in FLOATS:
            found.add(name)
    return found


def count_numbers(trace: Trace, names: Iterable[str]) -> int:
    """How many numbers some initializers hold."""
    return sum(math.prod(trace.file.tensors[name].dims) for name in names)


def _list_lanes(trace: Trace, partition: Partition) -> Iterator[Lane]:
    unmasked = trace.find_ancestors({trace.output}, lambda name: is_mask(trace, name))
    features = _find_features(trace, partition, unmasked)
    tail = {layer.index for layer in partition.tail}
    decoder = {layer.index for layer in partition.decoder}
    for layer in partition.layers:
        shape = "map" if _makes_map(trace, layer) else "vector"
        if layer.frozen == "does not reach the picture":
            yield "nowhere", ""
        elif not list_numbers(trace, layer):
            yield "attention", ""
        elif layer.index not in unmasked:
            yield ("masker" if layer.depends_on == {TARGET} else "mask"), ""
        elif layer.depends_on == {TARGET}:
            yield ("features" if layer.index in features else "target"), shape
        elif layer.depends_on != {SOURCE, TARGET}:
            yield ("source" if layer.depends_on else "nothing"), shape
        elif layer.frozen is not None:
            yield "fixed", simplify_reason(layer.frozen)
        elif layer.index in tail:
            yield shape, "tail"
        else:
            yield shape, "decoder" if layer.index in decoder else "candidate"


def _find_features(trace: Trace, partition: Partition, unmasked: set[int]) -> set[int]:
    """Layers that make what the generator is handed of the target.

    An encoder has to end somewhere, too: few such layers are its own last ones.
    """
    alone = {
        layer.index: layer
        for layer in partition.layers
        if layer.depends_on == {TARGET} and layer.index in unmasked
    }
    before = trace.find_ancestors(
        name for index in alone for name in trace.nodes[index].input if name != TARGET
    )
    last = {index for index in alone if index not in before and _makes_map(trace, alone[index])}
    return last if len(last) >= FEWEST_FEATURES else set()


def _makes_map(trace: Trace, layer: Layer) -> bool:
    shape = trace.values[trace.nodes[layer.index].output[0]].shape
    return len(shape) == 4 and shape[2:] != (1, 1)


def _split_lane(lane: Lane, layers: list[Layer]) -> Iterator[list[Layer]]:
    if lane[0] == "map":
        for way in _split_where_sizes_turn(layers):
            yield from _split_sizes(way)
    elif lane[0] in ("target", "features", "source", "fixed"):
        yield from _split_where_sizes_turn(layers)
    else:
        yield layers


def _split_where_sizes_turn(layers: list[Layer]) -> Iterator[list[Layer]]:
    """Cut a row of layers where heights go up after they went down, or the other way round."""
    start = low = high = 0
    way = 0
    for place, layer in enumerate(layers):
        # Of several that count as one size the last one ends the way there.
        if layer.height <= layers[low].height * SAME_SIZE:
            low = place
        if layer.height * SAME_SIZE >= layers[high].height:
            high = place
        up = layer.height > layers[low].height * TURN
        down = layer.height * TURN < layers[high].height
        if (way < 0 and up) or (way > 0 and down):
            end = (low if way < 0 else high) + 1
            yield layers[start:end]
            start = low = high = end
            way = 0
            for one in range(end, place + 1):
                low = one if layers[one].height <= layers[low].height else low
                high = one if layers[one].height >= layers[high].height else high
        elif way == 0:
            way = 1 if up else -1 if down else 0
    yield layers[start:]


def _split_sizes(layers: list[Layer]) -> Iterator[list[Layer]]:
    groups: list[list[Layer]] = []
    for layer in layers:
        for group in groups:
            heights = (group[0].height, layer.height)
            if max(heights) <= min(heights) * SAME_SIZE:
                group.append(layer)
                break
        else:
            groups.append([layer])
    yield from groups


def _create_block(
    trace: Trace,
    number: int,
    lane: Lane,
    group: list[Layer],
    injections: int,
    takes: tuple[Origin, ...],
) -> Block:
    first, last = (
        trace.values[trace.nodes[layer.index].output[0]].shape[1:]
        for layer in (group[0], group[-1])
    )
    # Among masks one that depends on a single input is named after that; most are not.
    frozen = group[-1].frozen
    state: State = "frozen"
    if frozen is None:
        state = "tail" if lane[1] == "tail" else "decoder" if lane[1] == "decoder" else "candidate"
    return Block(
        number=number,
        role=_name_role(trace, lane, state, injections),
        state=state,
        reason=None if frozen is None else simplify_reason(frozen),
        depends_on=tuple(sorted(set[str]().union(*(layer.depends_on for layer in group)))),
        layers=tuple(group),
        first_output=first,
        last_output=last,
        parameters=count_numbers(
            trace, set[str]().union(*(list_numbers(trace, layer) for layer in group))
        ),
        macs=sum(layer.macs for layer in group),
        injections=injections,
        takes=takes,
    )


def _name_role(trace: Trace, lane: Lane, state: State, injections: int) -> str:
    kind, detail = lane
    if kind == "map" and state == "tail":
        return "decoder"
    if kind == "map":
        return "injected layers" if injections else "mixed layers"
    if kind == "source" and detail == "map":
        return "source encoder" if len(trace.values[SOURCE].shape) == 4 else "identity map"
    if kind == "target" and detail == "vector":
        return "target vector"
    return {
        "nowhere": "does not reach the picture",
        "attention": "attention",
        "masker": "mask network",
        "mask": "mask",
        "fixed": "fixed layers",
        "features": "target features",
        "target": "target encoder",
        "source": "identity vector",
        "vector": "style vectors",
        "nothing": "constant start",
    }[kind]
