"""hyperswap_1a_256, 1b and 1c: FaceFusion's own swapper.

Topology: github.com/facefusion/facefusion-labs, hyperswap/src/networks (unet, aad, masknet) with
its README's options: vector of 512, two AAD layers per block, 16 filters in the mask network.
Ghost's blocks, begun by a convolution of the vector and a pixel shuffle. A mask network reads
the target and the last attributes, and blends the result into the target. 201 M parameters at
width 1. The three files have one topology.

Carries: opset 17 (the README exports at 15); float16 with Cast at the ends; batch norms folded
into convolutions but left after transposed ones, as torch's exporter does; DepthToSpace in CRD
order; styles reshaped to (1, c, 1, 1) and expanded to baked sizes; `1 - mask` with a 0-D constant
in a `Constant` node; ConvTranspose and MaxPool; a second output `mask`, eroded by a replicating
Pad and MaxPool, on which the picture does not depend.
"""

from tests.support.families import aad
from tests.support.families.aad import Dialect
from tests.support.families.layers import VECTOR, Net, relu_gain

DIALECT = Dialect("half_pixel", "instance")
FILTERS = 16
EROSION = 3
"""Pixels the second output is eroded by: 1 % of the crop's size."""


def write(net: Net, size: int) -> None:
    """Write the network for crops of `size` pixels."""
    source = net.input("source", 1, VECTOR)
    target = net.input("target", 1, 3, size, size)
    features = aad.encode(net, target, DIALECT)
    with net.role("frozen"):
        x = net.reshape(source, 1, -1, 1, 1)
        start = net.channels(1024)
        x = net.conv(x, "generator.up", 4 * start, gain=3 * VECTOR**0.5)
        shape = (1, start, 2, 2)
        x = net.add("DepthToSpace", x, blocksize=2, mode="CRD", shape=shape)
    x = net.add("Tanh", aad.decode(net, x, source, features, 2, DIALECT))
    with net.role("frozen"):
        mask = _predict_mask(net, net.concat(target, features[-1], axis=1))
    rest = net.add("Mul", target, net.add("Sub", net.literal(1.0), mask))
    net.output(net.add("Add", net.add("Mul", x, mask), rest), "output")
    net.output(_erode(net, mask), "mask")


def _predict_mask(net: Net, x: str) -> str:
    """(1, 3 + c, n, n) -> (1, 1, n, n) in 0..1."""
    counts = [net.channels(FILTERS * factor) for factor in (1, 2, 4)]
    for index, made in enumerate(counts):
        x = net.add("Relu", net.conv(x, f"masker.down{index}", made, gain=relu_gain()))
        n, c, h, w = net.shapes[x]
        shape = (n, c, h // 2, w // 2)
        x = net.add("MaxPool", x, shape=shape, kernel_shape=[2, 2], strides=[2, 2])
    y = net.add("Relu", net.conv(x, "masker.bottleneck0", counts[2], gain=relu_gain()))
    y = net.add("Relu", net.conv(y, "masker.bottleneck1", counts[2], gain=relu_gain()))
    x = net.add("Relu", net.add("Add", y, x))
    for index, made in enumerate((counts[1], counts[0], counts[0])):
        x = net.add("Relu", net.deconv(x, f"masker.up{index}", made, 2))
    return net.add("Sigmoid", net.conv(x, "masker.head", 1, 1))


def _erode(net: Net, mask: str) -> str:
    """The mask, smaller by `EROSION` pixels."""
    x = net.pad(mask, EROSION, EROSION, "edge")
    x = net.add("Sub", net.literal(1.0), x)
    window = [2 * EROSION + 1] * 2
    x = net.add("MaxPool", x, shape=net.shapes[mask], kernel_shape=window, strides=[1, 1])
    return net.add("Sub", net.literal(1.0), x)
