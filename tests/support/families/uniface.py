"""uniface_256: the face swapping network of UniFace.

Topology: github.com/xc-csc101/UniFace, generate_swap.py and training/model.py
(Encoder_return_32, Generator_globalatt_return_32, Decoder_cons_8_return_32) with style maps of
512 at 8 x 8 and LayerNorm; the published file's 407 MB fit 8 x 8, not train_swap.py's default of
32. One encoder reads target and source picture, 256 to 8 pixels, blurring before it strides.
Attention takes from the source's map what fits each place of the target's. That mixed map,
doubled five times, modulates a StyleGAN-like generator that starts from a constant; the target's
own features join it at 32 pixels. The result is not bounded. 101.6 M parameters at width 1.

There is no 1 x 1 injection: source and target meet in two MatMul, and all that follows is tail.

The repository puts target and source into one batch, encodes it at once, and takes it apart again
(`packed`); whether the published file does is not known.

Carries: opset 17; encoder weights shared by two nodes of the same kind; two blur kernels
[1, 1, 4, 4] shared by all; weights of modulated and transposed convolutions behind Tile, Reshape,
Transpose and partly Mul (`Facts.computed`) except at 256 pixels; batch 1 baked into Reshape and
Tile, no-op Reshapes left over from grouped convolution, one with allowzero; biases added by Add
with an initializer; LayerNorm over (c, h, w) with negative axes; ConvTranspose; zero Pad; Softmax.
"""

from math import sqrt

import numpy

from tests.support.families.layers import Net
from tests.support.families.stylemap import Maps
from tests.support.families.writer import LAST

CHANNELS = {8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128}
"""By width and height in pixels."""

EDGES = (16, 32, 64, 128, 256)
"""Widths of what grows from the start."""

STYLE = 512
START = 8
"""Width and height of the style map."""

JOINT = 32
"""Where the target's features join the style maps."""


def write(net: Net, size: int, packed: str = "") -> None:
    """Write the network for crops of `size` pixels.

    Args:
        net: Where it goes.
        size: Of the crops.
        packed: The operator that takes the encoder's batch of both apart again, `Split`, `Slice` or
            `Gather`; if empty, the encoder is there twice.
    """
    target = net.input("target", 1, 3, size, size)
    source = net.input("source", 1, 3, size, size)
    maps = Maps(net)
    with net.role("frozen"):
        x = net.calc("Mul", net.calc("Sub", source, 0.5), 2.0)
        if packed:
            styles, features = _encode(maps, net.concat(target, x, axis=0), "shared")
            style_target, style_source = _take_apart(net, styles, packed)
            feature, _ = _take_apart(net, features, packed)
        else:
            style_target, feature = _encode(maps, target, "target")
            style_source, _ = _encode(maps, x, "source")
    style = _mix(net, style_target, style_source)
    with net.role("tail"):
        styles = _grow_styles(maps, style, feature)
        x = net.store(net.draw(1, net.channels(CHANNELS[START]), START, START), "generator.input")
        repeats = net.integers(1, 1, 1, 1)
        x = net.add("Tile", x, repeats, shape=net.shapes[x])
        made = net.channels(CHANNELS[START])
        x = maps.modulate(x, styles[0], "generator.conv1", made, chained=True)
        for index, edge in enumerate(EDGES):
            name, made = f"generator.convs{index}", net.channels(CHANNELS[edge])
            chained = edge < size
            first, second = styles[2 * index + 1 : 2 * index + 3]
            y = maps.modulate(x, first, f"{name}.conv1", made, up=True, chained=chained)
            y = maps.modulate(y, second, f"{name}.conv2", made, chained=chained)
            x = maps.grow(x, f"{name}.skip", made, 1, chained=chained, active=False)
            x = net.calc("Div", net.add("Add", y, x), sqrt(2))
        x = maps.modulate(x, styles[-1], "generator.to_rgb", 3, 1, gain=0.2, chained=False)
    net.output(x, "output")


def _encode(maps: Maps, x: str, side: str) -> tuple[str, str]:
    """A style map, and features at 32 pixels; both sides share their weights."""
    net = maps.net
    made = net.channels(CHANNELS[EDGES[-1]])
    x = maps.conv(x, "encoder.from_rgb", made, 1, node=f"{side}_encoder.from_rgb")
    features = {}
    for index, edge in enumerate((*EDGES[-2::-1], START)):
        name = f"encoder.convs{index}"
        x = maps.residual(x, name, net.channels(CHANNELS[edge]), f"{side}_{name}")
        features[edge] = x
    made = net.channels(STYLE)
    x = maps.conv(x, "encoder.final", made, node=f"{side}_encoder.final")
    return x, features[JOINT]


def _take_apart(net: Net, x: str, kind: str) -> list[str]:
    """The two halves of a batch of two."""
    if kind == "Split":
        return net.split(x, 0, 2)
    if kind == "Slice":
        return [net.slice(x, 0, place, end) for place, end in ((0, 1), (-1, LAST))]
    shape = (1, *net.shapes[x][1:])
    return [net.add("Gather", x, net.integers(place), axis=0, shape=shape) for place in (0, -1)]


def _mix(net: Net, target: str, source: str) -> str:
    """Attention of the target's style map (1, c, h, w) to the source's."""
    n, c, h, w = net.shapes[target]
    with net.role("frozen"):
        query = net.conv(target, "mix.query", c // 4, 1, bias=False, gain=2.0)
        key = net.conv(source, "mix.key", c // 4, 1, bias=False, gain=2.0)
        value = net.conv(source, "mix.value", c, 1, bias=False)
    places = h * w
    query = net.reshape(query, n, c // 4, places)
    query = net.add("Transpose", query, perm=[0, 2, 1], shape=(n, places, c // 4))
    key = net.reshape(key, n, c // 4, places)
    net.note("mix.energy", "injections")
    energy = net.add("MatMul", query, key, name="mix.energy", shape=(n, places, places))
    energy = net.calc("Div", energy, numpy.sqrt(c))
    share = net.add("Softmax", energy, axis=-1)
    share = net.add("Transpose", share, perm=[0, 2, 1])
    net.note("mix.take", "injections")
    value = net.reshape(value, n, c, places)
    taken = net.add("MatMul", value, share, name="mix.take", shape=(n, c, places))
    taken = net.reshape(taken, n, c, h, w)
    taken = net.add("Mul", taken, net.store([3.0], "mix.gamma"))
    return net.add("Add", taken, target)


def _grow_styles(maps: Maps, style: str, feature: str) -> list[str]:
    """Style maps, two of each width; the target's features join both of one width."""
    net, styles = maps.net, []
    for index, edge in enumerate((START, *EDGES)):
        made, chained = net.channels(CHANNELS[edge]), edge < EDGES[-1]
        for step in (0, 1):
            name = f"styles.{2 * index + step}"
            if index and not step:
                style = maps.grow(style, name, made, chained=chained)
            else:
                style = maps.conv(style, name, made)
            if edge == JOINT:
                style = net.add("Add", style, feature)
            styles.append(style)
    return styles
