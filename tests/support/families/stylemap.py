"""Blocks of StyleMapGAN as UniFace uses them: blurred resampling, and maps that modulate.

Topology: github.com/xc-csc101/UniFace, training/model.py (ConvLayer, ResBlock, StyledConv,
StyledResBlock), with upfirdn2d in its plain form: every channel is a picture of its own for one
convolution with a [1, 1, 4, 4] kernel.
"""

from math import sqrt

import numpy

from tests.support.families.layers import Net

LEAK = 0.2
BLUR = (1, 3, 3, 1)


class Maps:
    """Writes these blocks into a network; all of them share two blur kernels."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self._tensors: dict[str, str] = {}
        kernel = numpy.outer(BLUR, BLUR)[None, None] / sum(BLUR) ** 2
        self._down = net.store(kernel, "blur.down")
        self._up = net.store(4 * kernel, "blur.up")

    def conv(self, x: str, name: str, made: int, kernel: int = 3, *, node: str = "") -> str:
        """Convolution, bias, leaky ReLU.

        Args:
            x: Input.
            name: Of the weights; whoever gives the same one shares them.
            made: Output channels.
            kernel: Of the convolution.
            node: Name of the node; that of the weights if not given.
        """
        return self._activate(self._convolve(x, name, made, kernel, node or name), name)

    def residual(self, x: str, name: str, made: int, node: str) -> str:
        """Two convolutions beside one, at half the height and width."""
        y = self.conv(x, f"{name}.conv1", self.net.shapes[x][1], node=f"{node}.conv1")
        y = self._shrink(y, f"{name}.conv2", made, 3, f"{node}.conv2")
        x = self._shrink(x, f"{name}.skip", made, 1, f"{node}.skip")
        x = self.net.add("Add", self._activate(y, f"{name}.conv2"), x)
        return self.net.calc("Div", x, sqrt(2))

    def grow(
        self, x: str, name: str, made: int, kernel: int = 3, *, chained: bool, active: bool = True
    ) -> str:
        """Transposed convolution and blur, at twice the height and width.

        Args:
            x: Input.
            name: Of node and weight.
            made: Output channels.
            kernel: Of the convolution.
            chained: Whether its weight is worked out by Unsqueeze, Tile, Transpose, Reshape, Mul.
            active: Whether bias and activation follow.
        """
        net, taken = self.net, self.net.shapes[x][1]
        size = 1 / sqrt(taken * kernel * kernel)
        if chained:
            weight = self._draw(f"{name}.weight", made, taken, kernel, kernel, size=1.0)
            weight = self._tile(net.along("Unsqueeze", weight, 0))
            weight = net.calc("Mul", self._turn(weight), size)
            net.note(name, "computed")
        else:
            weight = self._draw(f"{name}.weight", taken, made, kernel, kernel, size=size)
        x = net.deconv(x, name, made, kernel, weight=weight, bias=False)
        x = self._blur(x, f"{name}.blur", self._up, *((1, 1) if kernel == 3 else (2, 2)))
        return self._activate(x, name) if active else x

    def modulate(
        self,
        x: str,
        style: str,
        name: str,
        made: int,
        kernel: int = 3,
        *,
        up: bool = False,
        gain: float = 1.0,
        chained: bool,
    ) -> str:
        """Normalise over the whole map, scale and shift by a map, convolve, activate.

        Args:
            x: (1, c, h, w).
            style: (1, s, h, w), from which scales and shifts are made.
            name: Of node and weight.
            made: Output channels.
            kernel: Of the convolution.
            up: Whether height and width double.
            gain: Size of the output over that of the input.
            chained: Whether its weight is worked out by Tile, Reshape and Transpose.
        """
        net = self.net
        n, taken, h, w = net.shapes[x]
        start = net.store(1 + net.draw(taken, size=0.05), f"{name}.gamma.bias")
        scale = net.conv(style, f"{name}.gamma", taken, bias=start, gain=0.5)
        shift = net.conv(style, f"{name}.beta", taken, gain=0.5)
        x = net.add("Add", net.add("Mul", self._normalise(x), scale), shift)
        x = net.reshape(x, n, taken, h, w)
        size = gain / sqrt(taken * kernel * kernel)
        if chained:
            weight = self._draw(f"{name}.weight", 1, made, taken, kernel, kernel, size=size)
            weight = net.reshape(self._tile(weight), made, taken, kernel, kernel)
            if up:
                weight = self._turn(net.reshape(weight, 1, made, taken, kernel, kernel))
            net.note(name, "computed")
        else:
            shape = (taken, made) if up else (made, taken)
            weight = self._draw(f"{name}.weight", *shape, kernel, kernel, size=size)
        if up:
            x = net.deconv(x, name, made, kernel, weight=weight, bias=False)
            x = self._blur(x, f"{name}.blur", self._up, 1, 1)
        else:
            x = net.conv(x, name, made, kernel, weight=weight, bias=False)
        x = net.reshape(x, *net.shapes[x], allow_zero=made == 3)
        return self._activate(x, name)

    def _draw(self, name: str, *shape: int, size: float) -> str:
        """A random initializer; asked for again, the same one."""
        if name not in self._tensors:
            self._tensors[name] = self.net.store(self.net.draw(*shape, size=size), name)
        return self._tensors[name]

    def _convolve(
        self, x: str, name: str, made: int, kernel: int, node: str, stride: int = 1
    ) -> str:
        taken = self.net.shapes[x][1]
        size = 1 / sqrt(taken * kernel * kernel)
        weight = self._draw(f"{name}.weight", made, taken, kernel, kernel, size=size)
        pad = kernel // 2 if stride == 1 else 0
        return self.net.conv(
            x, node, made, kernel, stride=stride, pad=pad, weight=weight, bias=False
        )

    def _shrink(self, x: str, name: str, made: int, kernel: int, node: str) -> str:
        x = self._blur(x, f"{node}.blur", self._down, *((2, 2) if kernel == 3 else (1, 1)))
        return self._convolve(x, name, made, kernel, node, stride=2)

    def _blur(self, x: str, node: str, kernel: str, before: int, after: int) -> str:
        net = self.net
        _, c, h, w = net.shapes[x]
        x = net.pad(net.reshape(x, -1, 1, h, w), before, after, "constant")
        with net.role("frozen"):
            x = net.conv(x, node, 1, len(BLUR), pad=0, weight=kernel, bias=False)
        return net.reshape(x, -1, c, *net.shapes[x][2:])

    def _activate(self, x: str, name: str) -> str:
        """Bias, leaky ReLU, and the factor that makes up for what the ReLU took."""
        bias = self._draw(f"{name}.bias", 1, self.net.shapes[x][1], 1, 1, size=0.05)
        x = self.net.add("LeakyRelu", self.net.add("Add", x, bias), alpha=LEAK)
        return self.net.calc("Mul", x, sqrt(2))

    def _normalise(self, x: str) -> str:
        """LayerNorm over channels, height and width, without weights of its own."""
        net = self.net
        x = net.add("Sub", x, net.along("ReduceMean", x, -3, -2, -1, keepdims=1))
        spread = net.along("ReduceMean", net.calc("Pow", x, 2.0), -3, -2, -1, keepdims=1)
        return net.add("Div", x, net.add("Sqrt", net.calc("Add", spread, 1e-5)))

    def _tile(self, weight: str) -> str:
        """Once for each sample of a batch of 1."""
        repeats = self.net.integers(1, 1, 1, 1, 1)
        return self.net.add("Tile", weight, repeats, shape=self.net.shapes[weight])

    def _turn(self, weight: str) -> str:
        """(1, out, in, k, k) -> (in, out, k, k)."""
        n, made, taken, *kernel = self.net.shapes[weight]
        shape = (n, taken, made, *kernel)
        weight = self.net.add("Transpose", weight, perm=[0, 2, 1, 3, 4], shape=shape)
        return self.net.reshape(weight, taken, made, *kernel)
