"""simswap_256 and simswap_unofficial_512: SimSwap's generator.

Topology: github.com/neuralchen/SimSwap, models/fs_networks.py, nine blocks; its deep variant for
512 pixels (the published file's 239 MB and github.com/mike9251/simswap-inference-pytorch say so).
The target goes down to 32 x 32; eighteen convolutions are normalised over space and scaled and
shifted by the source vector; 4 (512: 5) plain convolutions lead back up, through tanh to 0..1.
55.1 M and 59.8 M parameters at width 1. Batch norms are folded into the convolutions, as torch's
exporter does in evaluation mode.

Both carry: opset 11; every small constant in a `Constant` node; reflecting Pad; instance norm as
ReduceMean, Sub, Mul, Sqrt, Div; Gemm; styles reshaped to (-1, 2, c, 1, 1); `* 1` and `+ 1` left
over from the code.
simswap_256: styles cut by Gather; Resize by scales, `pytorch_half_pixel`.
simswap_unofficial_512: styles cut by Split and Squeeze; Resize to sizes computed by Shape, Gather,
Mul, Unsqueeze and Concat, as exports with dynamic axes have.
"""

import numpy

from tests.support.families.layers import VECTOR, Net, relu_gain

BLOCKS = 9
CHANNELS = {256: (64, 128, 256, 512), 512: (64, 128, 256, 512, 512)}
"""Of the encoder, by crop size; the last ones at 32 pixels."""


def write(net: Net, size: int) -> None:
    """Write the network for crops of `size` pixels, 256 or 512."""
    channels = [net.channels(count) for count in CHANNELS[size]]
    large = size == 512
    target = net.input("target", 1, 3, size, size)
    source = net.input("source", 1, VECTOR)
    with net.role("frozen"):
        x = net.pad(target, 3, 3, "reflect")
        x = net.conv(x, "first_layer.1", channels[0], 7, pad=0, gain=relu_gain())
        x = net.add("Relu", x)
        for level, made in enumerate(channels[1:], start=1):
            x = net.conv(x, f"down{level}.0", made, stride=2, gain=relu_gain())
            x = net.add("Relu", x)
    for block in range(BLOCKS):
        y = _style(net, x, source, f"BottleNeck.{block}", 1, large)
        y = _style(net, net.add("Relu", y), source, f"BottleNeck.{block}", 2, large)
        x = net.add("Add", x, y)
    with net.role("tail"):
        for level, made in reversed(list(enumerate(channels[:-1], start=1))):
            x = net.resize(x, 2, "pytorch_half_pixel", sizes=_double(net, x) if large else "")
            x = net.add("Relu", net.conv(x, f"up{level}.1", made, gain=relu_gain()))
        x = net.pad(x, 3, 3, "reflect")
        x = net.conv(x, "last_layer.1", 3, 7, pad=0, gain=0.15)
    x = net.calc("Add", net.add("Tanh", x), 1.0)
    net.output(net.calc("Div", x, 2.0), "output")


def _style(net: Net, x: str, source: str, block: str, half: int, large: bool) -> str:
    """Convolution, instance norm, then scale and shift from the source."""
    made = net.shapes[x][1]
    x = net.pad(x, 1, 1, "reflect")
    x = net.conv(x, f"{block}.conv{half}.1", made, pad=0)
    x = net.add("Sub", x, net.along("ReduceMean", x, 2, 3, keepdims=1))
    spread = net.along("ReduceMean", net.add("Mul", x, x), 2, 3, keepdims=1)
    root = net.add("Sqrt", net.calc("Add", spread, 1e-8))
    x = net.add("Mul", x, net.add("Div", net.literal([1.0]), root))
    name = f"{block}.style{half}"
    with net.role("style"):
        row = net.linear(source, f"{name}.linear", 2 * made, gain=0.5)
    row = net.reshape(row, -1, 2, made, 1, 1)
    if large:
        scale, shift = (net.along("Squeeze", part, 1) for part in net.split(row, 1, 2))
    else:
        scale, shift = (
            net.add("Gather", row, net.literal(numpy.array(i)), axis=1, shape=(1, made, 1, 1))
            for i in (0, 1)
        )
    scale = net.calc("Add", net.calc("Mul", scale, 1.0), 1.0)
    x = net.inject("Mul", x, scale, f"{name}.scale")
    return net.inject("Add", x, net.calc("Mul", shift, 1.0), f"{name}.shift")


def _double(net: Net, x: str) -> str:
    """Sizes of `x` with height and width doubled, worked out when the graph runs."""
    sizes = net.measure(x)
    kept = [net.along("Unsqueeze", net.pick(sizes, i), 0) for i in (0, 1)]
    two = net.literal(numpy.array(2))
    grown = [net.add("Mul", net.pick(sizes, i), two) for i in (2, 3)]
    return net.concat(*kept, *(net.along("Unsqueeze", n, 0) for n in grown), axis=0)
