"""A swapper's layers grouped into blocks that a person can follow.

The layers of a block depend on the same inputs and are treated alike in training. Trainable layers
of a block also share their output size; a block of frozen layers covers a whole encoder, as long as
the sizes keep growing or keep shrinking.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from facefusion_finetune.inspection.flow import PICTURE, Origin, follow_blocks, place_injections
from facefusion_finetune.swappers.graphs.inputs import SOURCE, TARGET
from facefusion_finetune.swappers.graphs.layers import FLOATS, SHARED, Layer, find_constant_node
from facefusion_finetune.swappers.graphs.partition import Partition, is_mask
from facefusion_finetune.swappers.graphs.shapes import Trace

State = Literal["frozen", "candidate", "decoder", "tail"]
"""`tail`: trainable and after the last injection; `decoder`: trainable and in the decoder of a
swapper whose tail is too small; `candidate`: any other trainable layers."""

SAME_SIZE_RATIO = 1.04
"""Heights within this ratio count as equal: a blur turns 256 pixels into 257."""

TURN_RATIO = 2.5
"""Ratio of two heights that counts as a change of direction; a side branch changes by 2."""

MIN_FEATURE_LAYERS = 4
"""Fewer parallel layers that depend on the target only are the end of an encoder."""

GroupKey = tuple[str, str]
"""What separates layers into groups: the part of the swapper, and a shape, state or reason."""


@dataclass(frozen=True)
class Block:
    """Layers that have one role."""

    number: int
    """From 1, in the order in which the blocks' first layers run."""
    role: str
    """What the block is, in words."""
    state: State
    reason: str | None
    """Why its layers are never trained; None if they are trainable."""
    depends_on: tuple[str, ...]
    """`source`, `target`, both or neither."""
    layers: tuple[Layer, ...]
    """In the order they run in."""
    first_output: tuple[int, ...]
    """Output shape of its first layer, without the batch: (c, h, w) for a map."""
    last_output: tuple[int, ...]
    """Output shape of its last layer."""
    parameters: int
    """Number of its weights and biases; a tensor shared by several layers counts once."""
    macs: int
    """Multiplications of one run at batch 1."""
    injections: int
    """How many times the identity is injected here."""
    takes: tuple[Origin, ...]
    """Where its inputs come from."""


@dataclass(frozen=True)
class Blocks:
    """All blocks of a swapper."""

    blocks: tuple[Block, ...]
    picture_takes: tuple[Origin, ...]
    """Where the picture comes from."""


def gather_blocks(trace: Trace, partition: Partition) -> Blocks:
    """Group a swapper's layers into blocks."""
    by_key: dict[GroupKey, list[Layer]] = {}
    for layer, key in zip(partition.layers, _list_keys(trace, partition), strict=True):
        by_key.setdefault(key, []).append(layer)
    groups = [(key, group) for key, layers in by_key.items() for group in _split_group(key, layers)]
    places = {index: place for place, index in enumerate(trace.nodes)}
    groups.sort(key=lambda pair: places[pair[1][0].index])
    numbered = list(enumerate(groups, 1))
    number_of = {layer.index: number for number, (_, group) in numbered for layer in group}
    injections = place_injections(
        trace,
        partition.injections,
        number_of,
        {number: group[0].height for number, (key, group) in numbered if key[0] == "map"},
        {number for number, (key, _) in numbered if key == ("map", "tail")},
    )
    takes = follow_blocks(trace, number_of)
    blocks = tuple(
        _create_block(trace, number, key, group, injections.get(number, 0), takes.get(number, ()))
        for number, (key, group) in numbered
    )
    return Blocks(blocks, takes[PICTURE])


def simplify_reason(reason: str) -> str:
    """Why a layer is frozen, without the names of other layers."""
    if reason.startswith("shares its weight"):
        return "shares its weight with a layer that is not trained"
    return reason


def list_float_constants(trace: Trace, layer: Layer) -> set[str]:
    """Floating-point initializers that a layer's weight and bias are computed from, and the outputs
    of Constant nodes that they are rearranged from."""
    pending = [name for name in trace.nodes[layer.index].input if name and trace.is_constant(name)]
    seen = set(pending)
    kept = {find_constant_node(trace, name) for name in pending}
    found = {name for name in kept if name and trace.values[name].data_type in FLOATS}
    while pending:
        name = pending.pop()
        if name not in trace.file.tensors:
            node = trace.producers.get(name)
            new = {one for one in node.input if one} - seen if node is not None else set()
            seen |= new
            pending += new
        elif trace.file.tensors[name].data_type in FLOATS:
            found.add(name)
    return found


def count_values(trace: Trace, names: Iterable[str]) -> int:
    """Total number of values in some tensors."""
    return sum(trace.values[name].count for name in names)


def _list_keys(trace: Trace, partition: Partition) -> Iterator[GroupKey]:
    unmasked = trace.find_ancestors({trace.output}, lambda name: is_mask(trace, name))
    features = _find_features(trace, partition, unmasked)
    tail = {layer.index for layer in partition.tail}
    decoder = {layer.index for layer in partition.decoder}
    for layer in partition.layers:
        shape = "map" if _makes_map(trace, layer) else "vector"
        if layer.frozen == "does not reach the picture":
            yield "nowhere", ""
        elif not _has_weights(trace, layer):
            yield "attention", ""
        elif layer.frozen == SHARED:
            yield "shared", shape
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


def _has_weights(trace: Trace, layer: Layer) -> bool:
    return any(
        trace.is_constant(name) and trace.values[name].data_type in FLOATS
        for name in trace.nodes[layer.index].input
        if name
    )


def _find_features(trace: Trace, partition: Partition, unmasked: set[int]) -> set[int]:
    """Layers that produce the target features the generator receives.

    If there are only a few such layers, they are just the end of an encoder.
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
    return last if len(last) >= MIN_FEATURE_LAYERS else set()


def _makes_map(trace: Trace, layer: Layer) -> bool:
    shape = trace.values[trace.nodes[layer.index].output[0]].shape
    return len(shape) == 4 and shape[2:] != (1, 1)


def _split_group(key: GroupKey, layers: list[Layer]) -> Iterator[list[Layer]]:
    if key[0] == "map":
        for part in _split_where_heights_turn(layers):
            yield from _split_sizes(part)
    elif key[0] in ("target", "features", "source", "shared", "fixed"):
        yield from _split_where_heights_turn(layers)
    else:
        yield layers


def _split_where_heights_turn(layers: list[Layer]) -> Iterator[list[Layer]]:
    """Cut a sequence of layers where heights grow after they shrank, or the other way round."""
    start = low = high = 0
    direction = 0
    for place, layer in enumerate(layers):
        # Of several layers of equal height, the last one ends the run.
        if layer.height <= layers[low].height * SAME_SIZE_RATIO:
            low = place
        if layer.height * SAME_SIZE_RATIO >= layers[high].height:
            high = place
        up = layer.height > layers[low].height * TURN_RATIO
        down = layer.height * TURN_RATIO < layers[high].height
        if (direction < 0 and up) or (direction > 0 and down):
            end = (low if direction < 0 else high) + 1
            yield layers[start:end]
            start = low = high = end
            direction = 0
            for one in range(end, place + 1):
                low = one if layers[one].height <= layers[low].height else low
                high = one if layers[one].height >= layers[high].height else high
        elif direction == 0:
            direction = 1 if up else -1 if down else 0
    yield layers[start:]


def _split_sizes(layers: list[Layer]) -> Iterator[list[Layer]]:
    groups: list[list[Layer]] = []
    for layer in layers:
        for group in groups:
            heights = (group[0].height, layer.height)
            if max(heights) <= min(heights) * SAME_SIZE_RATIO:
                group.append(layer)
                break
        else:
            groups.append([layer])
    yield from groups


def _create_block(
    trace: Trace,
    number: int,
    key: GroupKey,
    group: list[Layer],
    injections: int,
    takes: tuple[Origin, ...],
) -> Block:
    first, last = (
        trace.values[trace.nodes[layer.index].output[0]].shape[1:]
        for layer in (group[0], group[-1])
    )
    # Mask layers that depend on one input give that as their reason; the last one is typical.
    frozen = group[-1].frozen
    state: State = "frozen"
    if frozen is None:
        state = "tail" if key[1] == "tail" else "decoder" if key[1] == "decoder" else "candidate"
    return Block(
        number=number,
        role=_name_role(trace, key, state, injections),
        state=state,
        reason=None if frozen is None else simplify_reason(frozen),
        depends_on=tuple(sorted(set[str]().union(*(layer.depends_on for layer in group)))),
        layers=tuple(group),
        first_output=first,
        last_output=last,
        parameters=count_values(
            trace, set[str]().union(*(list_float_constants(trace, layer) for layer in group))
        ),
        macs=sum(layer.macs for layer in group),
        injections=injections,
        takes=takes,
    )


def _name_role(trace: Trace, key: GroupKey, state: State, injections: int) -> str:
    kind, detail = key
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
        "shared": "shared encoder",
        "target": "target encoder",
        "source": "identity vector",
        "vector": "style vectors",
        "nothing": "constant start",
    }[kind]
