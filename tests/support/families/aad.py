"""Blocks of the FaceShifter descendants Ghost, HyperSwap and BlendSwap, in their three dialects.

A U-net reads attributes of the target at eight resolutions. The generator normalises its features
at each of them and mixes two modulations, one by the attributes and one by the source vector,
through a mask it predicts itself (AAD, adaptive attentional denormalisation; arXiv 1912.13457).
"""

from dataclasses import dataclass

import numpy

from tests.support.families.layers import Net, relu_gain

DOWN = (32, 64, 128, 256, 512, 1024, 1024)
UP = (1024, 512, 256, 128, 64, 32)
MADE = (1024, 1024, 1024, 512, 256, 128, 64)
"""Channels the generator's blocks make at 2, 4, ..., 128 pixels; the last one makes a picture."""

LEAK = 0.1


@dataclass(frozen=True)
class Dialect:
    """How one repository, and the export of it, writes these blocks."""

    sampling: str
    """Coordinates of the linear Resize nodes."""
    norm: str
    """`batch`, `instance`, or `flat` for an instance norm over (1, c, h * w)."""
    kernel: int = 1
    """Of the convolutions from attributes to scale and shift."""
    folded: bool = True
    """Whether batch norms were folded into the convolutions they follow."""
    baked: bool = True
    """Whether styles are expanded to constant sizes."""
    matmul: bool = False
    """Whether fully connected layers are MatMul and Add."""
    one: str = "scalar"
    """What `1 - mask` starts from: a `scalar`, or ones in the mask's shape, `folded` into a
    constant or `filled` when the graph runs."""
    unsqueezed: bool = False
    """Whether styles get height and width by Unsqueeze, not by Reshape to (1, c, 1, 1)."""
    ending: float = 0.35
    """Gain of the convolutions that make the picture."""
    bias: bool = False
    """Whether the generator's convolutions have biases."""


def encode(net: Net, target: str, dialect: Dialect) -> list[str]:
    """The U-net: attributes (1, c, n, n) for n = 2, 4, ..., size of the target."""
    with net.role("frozen"):
        x, skips = target, []
        for index, count in enumerate(DOWN):
            name, made = f"encoder.down{index}", net.channels(count)
            gain = relu_gain(LEAK) if dialect.folded else 1.0
            bias = dialect.folded
            x = net.conv(x, f"{name}.conv", made, 4, stride=2, pad=1, gain=gain, bias=bias)
            if not dialect.folded:
                x = net.batch_norm(x, f"{name}.norm", scale=relu_gain(LEAK))
            x = net.add("LeakyRelu", x, alpha=LEAK)
            skips.append(x)
        features = [skips.pop()]
        for index, count in enumerate(UP):
            name = f"encoder.up{index}"
            x = net.deconv(x, f"{name}.conv", net.channels(count), 4, pad=1, bias=dialect.bias)
            x = net.batch_norm(x, f"{name}.norm", scale=relu_gain(LEAK))
            x = net.concat(net.add("LeakyRelu", x, alpha=LEAK), skips.pop(), axis=1)
            features.append(x)
    return [*features, net.resize(x, 2, dialect.sampling)]


def decode(
    net: Net, x: str, source: str, features: list[str], blocks: int, dialect: Dialect
) -> str:
    """The generator: from (1, c, 2, 2) to a picture, before the last activation."""
    for level, (count, feature) in enumerate(zip(MADE, features, strict=False)):
        x = _residual(net, x, source, feature, f"{level}", net.channels(count), blocks, dialect)
        x = net.resize(x, 2, dialect.sampling)
    return _residual(net, x, source, features[-1], f"{len(MADE)}", 3, blocks, dialect)


def _residual(
    net: Net,
    x: str,
    source: str,
    feature: str,
    level: str,
    made: int,
    blocks: int,
    dialect: Dialect,
) -> str:
    """`blocks` times AAD, ReLU and convolution, beside one more where the channels change."""
    taken, last = net.shapes[x][1], made == 3
    y = x
    for block in range(blocks):
        name = f"generator.{level}.block{block}"
        ends = block == blocks - 1
        y = net.add("Relu", _modulate(net, y, source, feature, name, dialect))
        y = _combine(net, y, name, made if ends else taken, last and ends, dialect)
    if made != taken:
        name = f"generator.{level}.shortcut"
        x = net.add("Relu", _modulate(net, x, source, feature, name, dialect))
        x = _combine(net, x, name, made, last, dialect)
    return net.add("Add", y, x)


def _combine(net: Net, x: str, name: str, made: int, last: bool, dialect: Dialect) -> str:
    with net.role("tail" if last else ""):
        return net.conv(
            x, f"{name}.conv", made, gain=dialect.ending if last else 1.0, bias=dialect.bias
        )


def _modulate(net: Net, x: str, source: str, feature: str, name: str, dialect: Dialect) -> str:
    """Normalise, then mix the target's and the source's modulation through a predicted mask."""
    made = net.shapes[x][1]
    if dialect.norm == "batch":
        h = net.batch_norm(x, f"{name}.norm", variance=2.0)
    else:
        h = net.instance_norm(x, f"{name}.norm", flat=dialect.norm == "flat")
    with net.role("frozen"):
        attributes = [
            net.conv(feature, f"{name}.target_{part}", made, dialect.kernel)
            for part in ("scale", "shift")
        ]
        mask = net.add("Sigmoid", net.conv(h, f"{name}.mask", 1, 1))
    with net.role("style"):
        rows = [
            net.linear(source, f"{name}.source_{part}", made, start=start, matmul=dialect.matmul)
            for part, start in (("scale", 1.0), ("shift", 0.0))
        ]
    styles = [net.expand(_raise(net, row, dialect), h, baked=dialect.baked) for row in rows]
    by_target = net.add("Add", net.add("Mul", attributes[0], h), attributes[1])
    by_source = net.inject("Mul", h, styles[0], f"{name}.scale")
    by_source = net.inject("Add", by_source, styles[1], f"{name}.shift")
    rest = net.add("Sub", _one(net, mask, dialect), mask)
    by_target = net.add("Mul", rest, by_target)
    return net.add("Add", by_target, net.add("Mul", mask, by_source))


def _raise(net: Net, row: str, dialect: Dialect) -> str:
    """(1, c) -> (1, c, 1, 1)."""
    if dialect.unsqueezed:
        return net.along("Unsqueeze", net.along("Unsqueeze", row, 2), 3)
    return net.reshape(row, 1, net.shapes[row][1], 1, 1)


def _one(net: Net, mask: str, dialect: Dialect) -> str:
    if dialect.one == "filled":
        return net.filled(mask, 1.0)
    if dialect.one == "folded":
        return net.literal(numpy.ones(net.shapes[mask], numpy.float32))
    return net.literal(1.0)
