"""hififace_unofficial_256: an unofficial HifiFace that takes a vector.

Topology: github.com/xuehy/HiFiFace-pytorch, models/ (generator, model_blocks,
semantic_face_fusion_model), inside the inputs and outputs of the published file: batches of
`target` and `source`, a vector of 512; a picture and its mask. Residual blocks lead the target
from 256 to 8 pixels and, with AdaIN, back to 64; there a predicted mask fuses them with the
encoder's features; two more AdaIN blocks, two plain ones up to 256 pixels, and a head.

Not as in that repository: no shape coefficients of a 3-D model, for which the published file has
neither the input nor the size (204 MB; 235 MB here at width 1, so some of its blocks differ too);
one convolution makes the picture and its mask, mask first, as in github.com/maum-ai/hififace
(`Facts.mask_rows`); the low-resolution picture, a training output, is left out; the result is
clipped to -1..1.

Carries: opset 12; a symbolic batch `batch_size`; nodes without a name; a second output `mask` that
the graph itself reads; one zero bias for many convolutions in front of a norm, through `Identity`
nodes as the exporter writes them; InstanceNormalization, and in AdaIN a chain of ReduceMean, Sub,
Pow, Sqrt and Div; AveragePool; Unsqueeze; Slice with negative and with INT64_MAX ends; Resize with
`pytorch_half_pixel`; Clip with bounds worked out by Cast and Neg.
"""

import numpy

from tests.support.families.layers import VECTOR, Net, relu_gain
from tests.support.families.writer import LAST

LEAK = 0.2
DOWN = ((128, True), (256, True), (512, True), (512, True), (512, True), (512, False), (512, False))
UP = ((512, False), (512, False), (512, True), (512, True), (256, True))
"""Channels of the blocks, and whether they change height and width."""


def write(net: Net, size: int) -> None:
    """Write the network for crops of `size` pixels."""
    net.batch, net.anonymous = "batch_size", True
    target = net.input("target", 1, 3, size, size)
    source = net.input("source", 1, VECTOR)
    blocks = _Blocks(net, source)
    with net.role("frozen"):
        x = net.conv(target, "encoder.first", net.channels(64))
        skip = ""
        for index, (made, halve) in enumerate(DOWN):
            x = blocks.plain(x, f"encoder.{index}", made, "half" if halve else "")
            skip = x if index == 1 else skip
        skip = blocks.plain(skip, "fusion.sigma", 256)
    for index, (made, double) in enumerate(UP):
        x = blocks.styled(x, f"decoder.{index}", made, "double" if double else "")
    with net.role("frozen"):
        mask = net.add("Sigmoid", net.conv(x, "fusion.mask", 1))
    x = blocks.styled(_blend(net, x, skip, mask), "fusion.0", 256)
    x = blocks.styled(x, "fusion.1", 256, last=True)
    with net.role("tail"):
        for index in range(2):
            x = blocks.plain(x, f"up.{index}", 256, "double")
        x = net.conv(net.add("LeakyRelu", x, alpha=LEAK), "up.head", 4, gain=0.2)
    net.mask_rows["up.head"] = (0,)
    mask = net.add("Sigmoid", net.slice(x, 1, 0, -3))
    x = _blend(net, net.slice(x, 1, 1, LAST), target, mask)
    bound = net.add("Cast", net.literal(numpy.array(1)), to=net.float_type)
    net.output(net.add("Clip", x, net.add("Neg", bound), bound, shape=net.shapes[x]), "output")
    net.output(mask, "mask")


class _Blocks:
    """Residual blocks; convolutions in front of a norm share one zero bias of each length."""

    def __init__(self, net: Net, vector: str) -> None:
        self._net, self._vector = net, vector
        self._zeros: dict[int, str] = {}

    def plain(self, x: str, name: str, count: int, way: str = "") -> str:
        """Norm, leaky ReLU and convolution, twice, beside one 1 x 1 convolution."""
        net, made = self._net, self._net.channels(count)
        y = net.instance_norm(x, f"{name}.norm1")
        y = _move(net, self._convolve(y, f"{name}.conv1", made, self._find_zeros(made)), way)
        y = self._convolve(net.instance_norm(y, f"{name}.norm2"), f"{name}.conv2", made)
        return net.add("Add", y, _move(net, net.conv(x, f"{name}.side", made, 1), way))

    def styled(self, x: str, name: str, count: int, way: str = "", *, last: bool = False) -> str:
        """The same with AdaIN; in the last one, what follows the second AdaIN is tail."""
        net, made = self._net, self._net.channels(count)
        y = self._adapt(x, f"{name}.adain1")
        y = _move(net, self._convolve(y, f"{name}.conv1", made, self._find_zeros(made)), way)
        y = self._adapt(y, f"{name}.adain2")
        with net.role("tail" if last else ""):
            y = self._convolve(y, f"{name}.conv2", made)
            return net.add("Add", y, _move(net, net.conv(x, f"{name}.side", made, 1), way))

    def _adapt(self, x: str, name: str) -> str:
        """Instance norm, then scale and shift from the vector."""
        net, made = self._net, self._net.shapes[x][1]
        with net.role("style"):
            rows = [
                net.linear(self._vector, f"{name}.{part}_fc", made, gain=0.7, start=start)
                for part, start in (("std", 1.0), ("mean", 0.0))
            ]
        scale, shift = (net.along("Unsqueeze", net.along("Unsqueeze", r, 2), 3) for r in rows)
        x = net.inject("Mul", self._normalise(x), scale, f"{name}.scale")
        return net.inject("Add", x, shift, f"{name}.shift")

    def _normalise(self, x: str) -> str:
        """Instance norm as a chain."""
        net = self._net
        x = net.add("Sub", x, net.along("ReduceMean", x, 2, 3, keepdims=1))
        spread = net.along("ReduceMean", net.calc("Pow", x, 2.0), 2, 3, keepdims=1)
        return net.add("Div", x, net.add("Sqrt", net.calc("Add", spread, 1e-5)))

    def _convolve(self, x: str, name: str, made: int, bias: bool | str = True) -> str:
        x = self._net.add("LeakyRelu", x, alpha=LEAK)
        return self._net.conv(x, name, made, gain=relu_gain(LEAK), bias=bias)

    def _find_zeros(self, made: int) -> str:
        """The zero bias of this length, or an alias of it once somebody has it."""
        if made in self._zeros:
            return self._net.add("Identity", self._zeros[made])
        self._zeros[made] = self._net.store(numpy.zeros(made, numpy.float32), f"zeros.{made}")
        return self._zeros[made]


def _move(net: Net, x: str, way: str) -> str:
    """`half` or `double` height and width, or leave them."""
    if way == "half":
        n, c, h, w = net.shapes[x]
        halved = (n, c, h // 2, w // 2)
        return net.add("AveragePool", x, shape=halved, kernel_shape=[2, 2], strides=[2, 2])
    return net.resize(x, 2, "pytorch_half_pixel") if way else x


def _blend(net: Net, x: str, y: str, mask: str) -> str:
    """`x` where the mask is 1, `y` where it is 0."""
    rest = net.add("Sub", net.literal(1.0), mask)
    return net.add("Add", net.add("Mul", mask, x), net.add("Mul", rest, y))
