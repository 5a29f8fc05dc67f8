"""Face recognisers of the ArcFace kind: residual networks with a BatchNormalization in front.

Topology: github.com/deepinsight/insightface, recognition/arcface_torch/backbones/iresnet.py.
Four stages at 56, 28, 14 and 7 pixels; a block is BN, Conv, BN, PRelu, Conv, BN beside a shortcut.

Carries: PRelu slopes (c, 1, 1); BatchNormalization of feature maps and of a (1, 512) vector; Gemm.
"""

import numpy
import onnx

from tests.support.families.layers import VECTOR, Net, relu_gain

R50, R100 = (3, 4, 14, 3), (3, 13, 30, 3)
"""Blocks per stage of iresnet50 and iresnet100."""

CHANNELS = (64, 128, 256, 512)
CROP = 112
"""Width and height of the input."""

SLOPE = 0.8
"""Of the negative side: large, so that unlike faces stay unlike through many random layers."""

BRANCH = 0.5
"""Size of what a block adds, over that of a normalised feature map."""


def build_recogniser(*, width: float = 0.125, opset: int = 11, seed: int = 1) -> onnx.ModelProto:
    """An iresnet50: input `input.1`, (1, 3, 112, 112); output `683`, (1, 512).

    43.6 M parameters at width 1.

    Args:
        width: Share of the true channel counts.
        opset: 11 to 21.
        seed: Of the weights.
    """
    net = Net("iresnet50", opset, width=width, seed=seed)
    x = net.input("input.1", 1, 3, CROP, CROP)
    net.output(embed(net, x, R50, folded=False), "683")
    return net.finish()


def embed(net: Net, x: str, blocks: tuple[int, ...], *, folded: bool) -> str:
    """Write the network: a crop (1, 3, 112, 112) in -1..1 -> a vector (1, 512).

    Args:
        net: To write to.
        x: The crop.
        blocks: Per stage.
        folded: Leave out batch norms that follow a convolution, and ask for the batch size when
            flattening, as exporters do.
    """
    x = net.conv(x, "conv1", net.channels(CHANNELS[0]), bias=folded)
    x = _activate(net, x if folded else net.batch_norm(x, "bn1"), "prelu")
    variance = 1.0
    for stage, (count, made) in enumerate(zip(blocks, CHANNELS, strict=True), start=1):
        for block in range(count):
            name = f"layer{stage}.{block}"
            x = _add_block(net, x, name, net.channels(made), block == 0, variance, folded)
            variance += BRANCH**2
    x = net.batch_norm(x, "bn2", variance=variance)
    x = (
        _flatten(net, x)
        if folded
        else net.add("Flatten", x, axis=1, shape=(1, int(numpy.prod(net.shapes[x]))))
    )
    x = net.linear(x, "fc", VECTOR, gain=1 / numpy.sqrt(net.shapes[x][1]))
    return net.batch_norm(x, "features")


def _add_block(
    net: Net, x: str, name: str, made: int, first: bool, variance: float, folded: bool
) -> str:
    stride = 2 if first else 1
    y = net.batch_norm(x, f"{name}.bn1", variance=variance)
    y = net.conv(y, f"{name}.conv1", made, gain=relu_gain(SLOPE), bias=folded)
    y = y if folded else net.batch_norm(y, f"{name}.bn2", variance=relu_gain(SLOPE) ** 2)
    y = _activate(net, y, f"{name}.prelu")
    y = net.conv(y, f"{name}.conv2", made, stride=stride, gain=BRANCH, bias=folded)
    y = y if folded else net.batch_norm(y, f"{name}.bn3")
    if first:
        x = net.conv(x, f"{name}.downsample.0", made, 1, stride=2, bias=folded)
        x = x if folded else net.batch_norm(x, f"{name}.downsample.1")
    return net.add("Add", y, x)


def _activate(net: Net, x: str, name: str) -> str:
    slopes = SLOPE + net.draw(net.shapes[x][1], 1, 1, size=0.1)
    return net.add("PRelu", x, net.store(slopes, f"{name}.weight"), name=name)


def _flatten(net: Net, x: str) -> str:
    rest = int(numpy.prod(net.shapes[x][1:]))
    batch = net.along("Unsqueeze", net.pick(net.measure(x), 0), 0)
    sizes = net.concat(batch, net.integers(-1), axis=0)
    return net.add("Reshape", x, sizes, shape=(1, rest))
