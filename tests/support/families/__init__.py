"""Small graphs with the true topology of FaceFusion's 13 swappers and random weights."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from zlib import crc32

import numpy
import onnx
from numpy.typing import NDArray

from facefusion_finetune.swappers.graphs.graph import SwapperGraph, read_swapper
from tests.support.families import (
    blendswap,
    ghost,
    hififace,
    hyperswap,
    inswapper,
    simswap,
    uniface,
)
from tests.support.families.converter import build_converter
from tests.support.families.layers import VECTOR, Net
from tests.support.families.recogniser import CROP, build_recogniser

__all__ = [
    "ENTRIES",
    "ONE_OF_EACH",
    "Entry",
    "Facts",
    "build",
    "build_converter",
    "build_recogniser",
    "create_inputs",
    "facts",
]

WIDTH = 0.125


@dataclass(frozen=True)
class Entry:
    """One of FaceFusion's swapper files."""

    name: str
    family: str
    size: int
    """Width and height of the target crop in pixels."""
    source_shape: tuple[int, ...]
    """(1, 512) for a vector, (1, 3, H, W) for a picture."""
    signed: bool
    """Whether the output is a picture in -1..1; 0..1 otherwise."""
    opset: int
    """The default."""
    precision: str
    """`fp32` or `fp16`."""
    emap: bool
    """Whether the last initializer maps recogniser vectors to source vectors."""


@dataclass(frozen=True)
class Facts:
    """Which part the nodes of a graph play, by node name, in the order of the graph."""

    tail: tuple[str, ...]
    """Weighted layers after the last injection, without masks."""
    injections: tuple[str, ...]
    """Where something made from the source vector scales or shifts a feature map; where there is no
    vector, the two products of the attention between source and target."""
    frozen: tuple[str, ...]
    """Weighted layers never to be trained: they see the target alone or the source alone, or make
    a mask, or are fixed kernels."""
    style: tuple[str, ...]
    """Fully connected layers from the source vector to scales and shifts."""
    computed: tuple[str, ...]
    """Layers whose weight is worked out from an initializer by a chain of nodes; these may be among
    the others."""
    mask_rows: dict[str, tuple[int, ...]]
    """Output channels of a layer that are a mask, where the others are not."""


_WRITERS: dict[str, tuple[Callable[[Net, int], None], float, bool]] = {
    "inswapper": (inswapper.write, 4 / 3, False),
    "simswap": (simswap.write, 1.0, True),
    "ghost_1": (partial(ghost.write, blocks=1), 4 / 3, False),
    "ghost_2": (partial(ghost.write, blocks=2), 4 / 3, True),
    "ghost_3": (partial(ghost.write, blocks=3), 4 / 3, False),
    "blendswap": (blendswap.write, 3 / 2, True),
    "uniface": (uniface.write, 4 / 3, False),
    "hififace": (hififace.write, 4 / 3, True),
    "hyperswap": (hyperswap.write, 4 / 3, True),
}
"""By topology: the builder, the power that widths shrink by, whether constants are nodes."""


def _list_entries() -> tuple[Entry, ...]:
    vector = (1, VECTOR)
    return (
        Entry("inswapper_128", "inswapper", 128, vector, False, 11, "fp32", True),
        Entry("inswapper_128_fp16", "inswapper", 128, vector, False, 11, "fp16", True),
        Entry("simswap_256", "simswap", 256, vector, False, 11, "fp32", False),
        Entry("simswap_unofficial_512", "simswap", 512, vector, False, 11, "fp32", False),
        Entry("ghost_1_256", "ghost", 256, vector, True, 11, "fp32", False),
        Entry("ghost_2_256", "ghost", 256, vector, True, 14, "fp32", False),
        Entry("ghost_3_256", "ghost", 256, vector, True, 16, "fp32", False),
        Entry("blendswap_256", "blendswap", 256, (1, 3, CROP, CROP), False, 16, "fp32", False),
        Entry("uniface_256", "uniface", 256, (1, 3, 256, 256), True, 17, "fp32", False),
        Entry("hififace_unofficial_256", "hififace", 256, vector, True, 12, "fp32", False),
        Entry("hyperswap_1a_256", "hyperswap", 256, vector, True, 17, "fp16", False),
        Entry("hyperswap_1b_256", "hyperswap", 256, vector, True, 17, "fp16", False),
        Entry("hyperswap_1c_256", "hyperswap", 256, vector, True, 17, "fp16", False),
    )


ENTRIES: dict[str, Entry] = {entry.name: entry for entry in _list_entries()}
ONE_OF_EACH = tuple({entry.family: entry.name for entry in reversed(_list_entries())}.values())
"""The first file of each family."""


def build(
    name: str,
    *,
    width: float = WIDTH,
    seed: int = 1,
    opset: int | None = None,
    precision: str | None = None,
) -> onnx.ModelProto:
    """Build an entry's graph; the same arguments give the same bytes.

    Args:
        name: One of `ENTRIES`.
        width: Share of the true channel counts; 1.0 gives the true network.
        seed: Of the weights.
        opset: 11 to 21; the entry's own if not given.
        precision: `fp32` or `fp16`; the entry's own if not given.
    """
    if width != WIDTH:
        return _write(name, width, seed, opset, precision).finish()
    return onnx.ModelProto.FromString(_build_small(name, seed, opset, precision))


@lru_cache
def _build_small(name: str, seed: int, opset: int | None, precision: str | None) -> bytes:
    """The file of a graph of the usual width, which many tests want; wider ones are too large."""
    return _write(name, WIDTH, seed, opset, precision).finish().SerializeToString()


def build_packed(kind: str, size: int = 256) -> tuple[onnx.ModelProto, Facts]:
    """UniFace with one encoder for a batch of target and source, and what is known of it.

    Args:
        kind: The operator that takes the batch apart: `Split`, `Slice` or `Gather`.
        size: Of the crops.
    """
    net = Net("uniface", 17, width=WIDTH, seed=(1, 2), power=4 / 3)
    uniface.write(net, size, packed=kind)
    return net.finish(), _describe(net)


def open_graph(name: str, folder: Path) -> SwapperGraph:
    """An entry's graph, read from a file that is written into the folder."""
    path = folder / f"{name}.onnx"
    path.write_bytes(build(name).SerializeToString())
    return read_swapper(path)


@lru_cache
def facts(name: str) -> Facts:
    """What the builder knows of an entry's graph; the same for every width, seed and opset."""
    return _describe(_write(name, WIDTH, 1, None, None))


def _describe(net: Net) -> Facts:
    parts = ("tail", "injections", "frozen", "style", "computed")
    named = {part: tuple(net.roles.get(part, ())) for part in parts}
    return Facts(mask_rows=dict(net.mask_rows), **named)


def create_inputs(name: str, count: int = 1, seed: int = 0) -> dict[str, NDArray[numpy.float32]]:
    """Inputs for an entry, one graph run each row.

    Returns:
        `target`, (count, 3, size, size), a smooth picture in the entry's normalised range;
        `source`, (count, 512) of length 1, or (count, 3, h, w), a smooth picture in 0..1.
    """
    entry = ENTRIES[name]
    random = numpy.random.default_rng(seed)
    pictures = _paint(random, count, entry.size)
    mean, deviation = _NORMALISATION.get(name, (0.5, 0.5) if entry.signed else (0.0, 1.0))
    column = (1, 3, 1, 1) if isinstance(mean, tuple) else ()
    target = (pictures - numpy.reshape(mean, column)) / numpy.reshape(deviation, column)
    if len(entry.source_shape) == 4:
        source = _paint(random, count, entry.source_shape[-1])
    else:
        source = random.standard_normal((count, VECTOR))
        source /= numpy.linalg.norm(source, axis=1, keepdims=True)
    return {"target": target.astype(numpy.float32), "source": source.astype(numpy.float32)}


_NORMALISATION = {"simswap_256": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))}
"""Mean and standard deviation of targets where they do not follow from the output's range."""


def _paint(random: numpy.random.Generator, count: int, size: int) -> NDArray[numpy.float64]:
    """Smooth pictures (count, 3, size, size) in 0..1: coarse noise, a bright blob, fine detail."""
    picture = numpy.full((count, 3, size, size), 0.5)
    for cells, strength in ((4, 0.22), (16, 0.1), (size // 4, 0.03)):
        noise = random.standard_normal((count, 3, cells, cells)) * strength
        ramp = _interpolate(cells, size)
        picture += ramp @ noise @ ramp.T
    axis = numpy.linspace(-1, 1, size)
    blob = numpy.exp(-3 * (axis[:, None] ** 2 + axis**2))
    picture += blob * random.uniform(-0.2, 0.3, (count, 3, 1, 1))
    return picture.clip(0, 1)


def _interpolate(cells: int, size: int) -> NDArray[numpy.float64]:
    """Matrix (size, cells) that interpolates linearly."""
    place = numpy.linspace(0, cells - 1, size)[:, None] - numpy.arange(cells)
    return (1 - numpy.abs(place)).clip(0, None)


def _write(name: str, width: float, seed: int, opset: int | None, precision: str | None) -> Net:
    entry = ENTRIES[name]
    topology = name[:7] if entry.family == "ghost" else entry.family
    write, power, nodes = _WRITERS[topology]
    net = Net(
        name.rsplit("_", 1)[0],
        opset or entry.opset,
        width=width,
        seed=(seed, crc32(name.removesuffix("_fp16").encode())),
        power=power,
        half=(precision or entry.precision) == "fp16",
        constant_nodes=nodes,
    )
    write(net, entry.size)
    return net
