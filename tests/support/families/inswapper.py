"""inswapper_128: InsightFace's swapper, in the layout of the published file.

Topology: the operator order and node names documented for the published file; the bench of this
project builds the same graph. Target 128 x 128 goes down to 32 x 32, twelve convolutions are
normalised over space and scaled and shifted by the source vector (six residual blocks), two
linear Resize nodes and four convolutions lead back. 138.3 M parameters at width 1.

Carries: opset 11; reflecting Pad with its pads as initializer; instance norm as a chain of
ReduceMean, Sub, Mul, Sqrt and Div; Gemm with transB; Unsqueeze twice; Slice of the style; Resize
with an empty roi; `buff2fs`, 512 x 512 and orthonormal, as the last initializer, used by no node.
In half precision: float16 weights and `buff2fs`, Cast nodes at the ends.
"""

import numpy

from tests.support.families.layers import VECTOR, Net, relu_gain

LEAK = 0.2


def write(net: Net, size: int) -> None:
    """Write the network for crops of `size` pixels."""
    stem, low, middle, deep = (net.channels(count) for count in (128, 256, 512, 1024))
    target = net.input("target", 1, 3, size, size)
    source = net.input("source", 1, VECTOR)
    x = target
    with net.role("frozen"):
        x = _leak(net, net.conv(_reflect(net, x, 3, 39), "Conv_40", stem, 7, pad=0), 41)
        for index, made, stride in ((42, low, 1), (44, middle, 2), (46, deep, 2)):
            gain = relu_gain(LEAK)
            x = net.conv(x, f"Conv_{index}", made, stride=stride, gain=gain)
            x = _leak(net, x, index + 1)
    for index in range(62, 602, 90):
        y = net.add("Relu", _style(net, x, source, index), name=f"Relu_{index + 26}")
        y = _style(net, y, source, index + 45)
        x = net.add("Add", x, y, name=f"Add_{index + 71}")
    with net.role("tail"):
        for index, made in ((590, middle), (594, low), (596, stem)):
            if index != 596:
                x = net.resize(x, 2, "half_pixel", name=f"Resize_{index - 1}")
            x = _leak(net, net.conv(x, f"Conv_{index}", made, gain=relu_gain(LEAK)), index + 1)
        x = net.conv(_reflect(net, x, 3, 611), "Conv_612", 3, 7, pad=0, gain=0.25)
    x = net.calc("Add", net.add("Tanh", x, name="Tanh_613"), 1.0)
    net.output(net.calc("Div", x, 2.0), "output")
    square = net.draw(VECTOR, VECTOR).astype(numpy.float64)
    net.store(numpy.linalg.qr(square)[0], "buff2fs")  # has to stay the last one


def _reflect(net: Net, x: str, pad: int, index: int) -> str:
    return net.pad(x, pad, pad, "reflect", name=f"Pad_{index}")


def _leak(net: Net, x: str, index: int) -> str:
    return net.add("LeakyRelu", x, name=f"LeakyRelu_{index}", alpha=LEAK)


def _style(net: Net, x: str, source: str, index: int) -> str:
    """Convolution, instance norm, then scale and shift from the source."""
    made = net.shapes[x][1]
    x = net.conv(_reflect(net, x, 1, index - 1), f"Conv_{index}", made, pad=0)
    x = net.add("Sub", x, net.along("ReduceMean", x, 2, 3, keepdims=1))
    spread = net.along("ReduceMean", net.add("Mul", x, x), 2, 3, keepdims=1)
    root = net.add("Sqrt", net.calc("Add", spread, 1e-8))
    x = net.add("Mul", x, net.add("Div", net.literal(1.0), root))
    with net.role("style"):
        start = numpy.repeat([1.0, 0.0], made)
        row = net.linear(source, f"Gemm_{index + 11}", 2 * made, gain=0.5, start=start)
    row = net.along("Unsqueeze", net.along("Unsqueeze", row, 2), 3)
    x = net.inject("Mul", x, net.slice(row, 1, 0, made), f"Mul_{index + 18}")
    return net.inject("Add", x, net.slice(row, 1, made, 2 * made), f"Add_{index + 25}")
