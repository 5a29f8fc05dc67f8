"""Layers with random weights, scaled so that a signal keeps its size from layer to layer."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import sqrt
from typing import Any

import numpy
from numpy.typing import NDArray

from tests.support.families.writer import Graph

VECTOR = 512
"""Length of an identity vector."""

LEAST_CHANNELS = 8


def relu_gain(slope: float = 0.0) -> float:
    """Factor that keeps the size of a signal through a (leaky) ReLU (He et al., 2015)."""
    return sqrt(2 / (1 + slope * slope))


class Net(Graph):
    """A graph with layers whose weights come from one seeded generator."""

    def __init__(
        self,
        name: str,
        opset: int,
        *,
        width: float,
        seed: int | tuple[int, ...],
        power: float = 1.0,
        **rest: Any,
    ) -> None:
        """Start an empty network.

        Args:
            name: Of the graph.
            opset: 11 to 21.
            width: Share of the true channel counts; 1.0 is the true network.
            seed: Of the weights.
            power: Widths below 1 shrink by this power: very large families take more than 1.
            rest: As for `Graph`.
        """
        super().__init__(name, opset, **rest)
        self.share: float = width**power
        self.roles: dict[str, list[str]] = {}
        """Names of nodes by the part they play, which are the fields of `Facts`."""
        self.mask_rows: dict[str, tuple[int, ...]] = {}
        self._role = ""
        self._random = numpy.random.default_rng(seed)

    @contextmanager
    def role(self, name: str) -> Iterator[None]:
        """Weighted nodes written inside play this part."""
        before, self._role = self._role, name
        yield
        self._role = before

    def note(self, name: str, role: str | None = None) -> str:
        """Record a node's part: `role`, or that of the surrounding block."""
        if role or self._role:
            self.roles.setdefault(role or self._role, []).append(name)
        return name

    def inject(self, kind: str, x: str, vector: str, name: str) -> str:
        """A node at which something made from the source vector meets a feature map."""
        self.note(name, "injections")
        return self.add(kind, x, vector, name=name, shape=self.shapes[x])

    def channels(self, true_count: int) -> int:
        """Channels at this width for a layer that truly has `true_count`."""
        return max(LEAST_CHANNELS, round(true_count * self.share))

    def draw(self, *shape: int, size: float = 1.0) -> NDArray[numpy.float32]:
        """Normally distributed numbers of standard deviation `size`."""
        values = self._random.standard_normal(shape, dtype=numpy.float32)
        values *= numpy.float32(size)
        return values

    def conv(
        self,
        x: str,
        name: str,
        made: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        pad: int | None = None,
        gain: float = 1.0,
        bias: bool | str = True,
        weight: str = "",
    ) -> str:
        """Convolution (n, c, h, w) -> (n, made, h', w'), padded with zeros.

        Args:
            x: Input.
            name: Of the node; its weight and bias are `<name>.weight` and `<name>.bias`.
            made: Output channels.
            kernel: Width and height of the kernel.
            stride: In both directions.
            pad: On all sides; half the kernel if not given.
            gain: Size of the output over that of the input.
            bias: Whether there is one, or the tensor that serves as bias.
            weight: Tensor that serves as weight.
        """
        n, taken, h, w = self.shapes[x]
        pad = kernel // 2 if pad is None else pad
        size = gain / sqrt(taken * kernel * kernel)
        inputs = [
            x,
            weight
            or self.store(self.draw(made, taken, kernel, kernel, size=size), f"{name}.weight"),
        ]
        inputs += self._bias(name, made, bias)
        height, width = ((edge + 2 * pad - kernel) // stride + 1 for edge in (h, w))
        return self.add(
            *("Conv", *inputs),
            name=self.note(name),
            shape=(n, made, height, width),
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[pad] * 4,
            dilations=[1, 1],
            group=1,
        )

    def deconv(
        self,
        x: str,
        name: str,
        made: int,
        kernel: int,
        *,
        stride: int = 2,
        pad: int = 0,
        gain: float = 1.0,
        bias: bool = True,
        weight: str = "",
    ) -> str:
        """Transposed convolution (n, c, h, w) -> (n, made, h', w'); arguments as for `conv`."""
        n, taken, h, w = self.shapes[x]
        size = gain * stride / sqrt(taken * kernel * kernel)
        inputs = [
            x,
            weight
            or self.store(self.draw(taken, made, kernel, kernel, size=size), f"{name}.weight"),
        ]
        inputs += self._bias(name, made, bias)
        height, width = ((edge - 1) * stride - 2 * pad + kernel for edge in (h, w))
        return self.add(
            *("ConvTranspose", *inputs),
            name=self.note(name),
            shape=(n, made, height, width),
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[pad] * 4,
            dilations=[1, 1],
            group=1,
        )

    def linear(
        self,
        x: str,
        name: str,
        made: int,
        *,
        gain: float = 1.0,
        start: float | NDArray[Any] = 0.0,
        matmul: bool = False,
    ) -> str:
        """Fully connected layer (n, c) -> (n, made).

        Args:
            x: Input.
            name: Of the node, or of the MatMul.
            made: Outputs.
            gain: Standard deviation of an output for an input of length 1.
            start: Bias, one number or one for each output.
            matmul: Write MatMul and Add instead of Gemm, as exporters do for 3-D inputs.
        """
        n, taken = self.shapes[x]
        drawn = self.draw(made, taken, size=gain)
        weight = self.store(drawn.T if matmul else drawn, f"{name}.weight")
        bias = self.store(numpy.broadcast_to(numpy.float32(start), (made,)), f"{name}.bias")
        if matmul:
            x = self.add("MatMul", x, weight, name=self.note(name), shape=(n, made))
            return self.add("Add", bias, x, name=f"{name}_bias")
        return self.add(*("Gemm", x, weight, bias), name=self.note(name), shape=(n, made), transB=1)

    def batch_norm(self, x: str, name: str, *, variance: float = 1.0, scale: float = 1.0) -> str:
        """BatchNormalization in evaluation mode with slightly uneven statistics."""
        made = self.shapes[x][1]
        rows = {
            "weight": scale * (1 + self.draw(made, size=0.1)),
            "bias": self.draw(made, size=0.03),
            "running_mean": self.draw(made, size=0.03),
            "running_var": variance * numpy.exp(self.draw(made, size=0.2)),
        }
        stored = [self.store(values, f"{name}.{key}") for key, values in rows.items()]
        extra: dict[str, Any] = {"training_mode": 0} if self.opset >= 14 else {}
        return self.add(
            *("BatchNormalization", x, *stored), name=name, epsilon=1e-5, momentum=0.9, **extra
        )

    def instance_norm(self, x: str, name: str, *, flat: bool = False) -> str:
        """InstanceNormalization without weights of its own: ones and zeros.

        Args:
            x: (1, c, h, w).
            name: Of the node.
            flat: Reshape to (1, c, h * w) first and back afterwards, batch 1 baked in.
        """
        n, c, h, w = self.shapes[x]
        inputs = self.store(numpy.ones(c, numpy.float32)), self.store(numpy.zeros(c, numpy.float32))
        if flat:
            x = self.reshape(x, n, c, h * w)
        x = self.add("InstanceNormalization", x, *inputs, name=name, epsilon=1e-5)
        return self.reshape(x, n, c, h, w) if flat else x

    def _bias(self, name: str, made: int, bias: bool | str) -> list[str]:
        if isinstance(bias, str):
            return [bias]
        return [self.store(self.draw(made, size=0.05), f"{name}.bias")] if bias else []
