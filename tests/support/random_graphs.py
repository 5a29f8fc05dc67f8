"""Small swappers put together at random from everything exporters write."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy
import onnx

from tests.support.families.layers import VECTOR, Net

CHANNELS = (4, 6, 8)
LAST_OPSET = 21


@dataclass(frozen=True)
class Plan:
    """What decides a graph; the same plan gives the same bytes."""

    seed: int
    opset: int
    half: bool
    size: int
    """Height and width of the crop."""
    picture: bool
    """Whether the source is a picture of 16 x 16, not a vector."""
    blocks: tuple[str, ...]
    """Names of `BLOCKS`, before and after the source comes in."""
    constants: bool
    """Whether small constants are nodes."""


class RandomNet(Net):
    """A graph under construction, with a choice at every corner."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(
            *("random", plan.opset),
            width=1.0,
            seed=plan.seed,
            half=plan.half,
            constant_nodes=plan.constants,
        )
        self.dice = Random(plan.seed)
        self.count = 0
        self.source = ""
        self.kept: list[str] = []
        """Feature maps to go back to."""
        self.weights: dict[tuple[int, ...], str] = {}

    def label(self) -> str:
        """A name for the next layer."""
        self.count += 1
        return f"layer{self.count}"

    def weigh(self, *shape: int, fan: int) -> str:
        """A weight: an initializer, one that is in use, or one behind a chain of nodes."""
        if shape in self.weights and self.dice.random() < 0.2:
            return self.weights[shape]
        values = self.draw(*shape, size=fan**-0.5)
        way = self.choose(
            *("plain", "plain", "reshape", "transpose", "identity", "cast", "flat", "other")
        )
        stored = f"{self.label()}.weight"
        if way == "reshape":
            x = self.reshape(self.store(values.reshape(shape[0], -1), stored), *shape)
        elif way == "flat":
            x = self.reshape(self.store(values.reshape(-1), stored), *shape)
        elif way == "transpose":
            turned = tuple(reversed(range(len(shape))))
            x = self.store(values.transpose(turned), stored)
            x = self.add("Transpose", x, perm=list(turned), shape=shape)
        elif way == "identity":
            x = self.add("Identity", self.store(values, stored))
        elif way == "cast":
            x = self.add("Cast", self.store(values, stored), to=self.float_type)
        elif way == "other":
            # In a half-precision graph the cast rounds, in another it does not.
            half, self.half = self.half, not self.half
            x = self.store(values, stored)
            self.half = half
            x = self.add("Cast", x, to=self.float_type)
        else:
            x = self.store(values, stored)
        self.weights[shape] = x
        return x

    def style(self, count: int) -> str:
        """(1, count, 1, 1) of the source."""
        if len(self.shapes[self.source]) == 4:
            x = self.along("ReduceMean", self.source, 2, 3, keepdims=0)
        else:
            x = self.source
        taken = self.shapes[x][1]
        weight = self.weigh(taken, count, fan=1)
        x = self.add("MatMul", x, weight, name=self.label(), shape=(1, count))
        if self.choose(True, False):
            return self.reshape(x, 1, count, 1, 1)
        return self.along("Unsqueeze", x, 2, 3)

    def choose(self, *choices: Any) -> Any:
        """One of them."""
        return self.dice.choice(choices)


def _convolve(net: RandomNet, x: str) -> str:
    made, kernel = net.choose(*CHANNELS), net.choose(1, 3)
    taken = net.shapes[x][1]
    weight = net.weigh(made, taken, kernel, kernel, fan=taken * kernel * kernel)
    bias: Any = net.choose(True, True, False)
    return net.conv(x, net.label(), made, kernel, weight=weight, bias=bias)


def _convolve_groups(net: RandomNet, x: str) -> str:
    n, taken, h, w = net.shapes[x]
    weight = net.weigh(taken, 1, 3, 3, fan=9)
    return net.add(
        *("Conv", x, weight), name=net.label(), group=taken, pads=[1] * 4, shape=(n, taken, h, w)
    )


def _shrink_and_grow(net: RandomNet, x: str) -> str:
    made = net.choose(*CHANNELS)
    x = net.conv(x, net.label(), made, 3, stride=2)
    x = net.add("LeakyRelu", x, alpha=0.2)
    weight = net.weigh(made, made, 4, 4, fan=made * 4)
    return net.deconv(x, net.label(), made, 4, pad=1, weight=weight)


def _resize(net: RandomNet, x: str) -> str:
    sampling = net.choose("nearest", "half_pixel", "asymmetric", "align_corners")
    grown = net.resize(x, 2, sampling)
    n, c, h, w = net.shapes[grown]
    return net.add(
        *("AveragePool", grown), kernel_shape=[2, 2], strides=[2, 2], shape=(n, c, h // 2, w // 2)
    )


def _pad_and_cut(net: RandomNet, x: str) -> str:
    x = net.pad(x, 1, 2, net.choose("reflect", "constant", "edge"))
    x = net.slice(x, 2, 1, -2)
    return net.slice(x, 3, 2, net.shapes[x][3] - 1)


def _split(net: RandomNet, x: str) -> str:
    if net.choose(True, False):
        x = net.split(x, 1, 1)[0]
    first, second = net.split(x, 1, 2)
    return net.concat(net.add("Sigmoid", second), first, axis=1)


def _flatten(net: RandomNet, x: str) -> str:
    n, c, h, w = net.shapes[x]
    y = net.reshape(x, n, c, h * w)
    y = net.add("Tanh", y)
    return net.reshape(y, n, c, h, w)


def _bake(net: RandomNet, x: str) -> str:
    """Without a batch."""
    n, c, h, w = net.shapes[x]
    y = net.reshape(x, c, h * w)
    y = net.add("Mul", y, net.store(net.draw(c, 1)), shape=(c, h * w))
    return net.reshape(y, n, c, h, w)


def _multiply(net: RandomNet, x: str) -> str:
    n, c, h, w = net.shapes[x]
    y = net.reshape(x, n, c, h * w)
    y = net.add("Transpose", y, perm=[0, 2, 1], shape=(n, h * w, c))
    y = net.add("MatMul", y, net.weigh(c, c, fan=c), name=net.label(), shape=(n, h * w, c))
    y = net.add("Transpose", y, perm=[0, 2, 1], shape=(n, c, h * w))
    return net.reshape(y, n, c, h, w)


def _scale(net: RandomNet, x: str) -> str:
    style = net.style(net.shapes[x][1])
    return net.add("Mul", x, net.calc("Add", style, 1.0), shape=net.shapes[x])


def _shift(net: RandomNet, x: str) -> str:
    style = net.style(net.shapes[x][1])
    if net.choose(True, False):
        style = net.expand(style, x, baked=net.choose(True, False))
    return net.add("Add", x, style, shape=net.shapes[x])


def _normalise(net: RandomNet, x: str) -> str:
    if net.choose(True, False):
        return net.batch_norm(x, net.label())
    return net.instance_norm(x, net.label(), flat=net.choose(True, False))


def _centre(net: RandomNet, x: str) -> str:
    mean = net.along("ReduceMean", x, 2, 3, keepdims=1)
    return net.add("Sub", x, mean, shape=net.shapes[x])


def _slope(net: RandomNet, x: str) -> str:
    slope = net.store(abs(net.draw(net.shapes[x][1], 1, 1, size=0.2)))
    return net.add("PRelu", x, slope, shape=net.shapes[x])


def _clip(net: RandomNet, x: str) -> str:
    return net.add("Clip", x, net.literal(-2.0), net.literal(2.0))


def _activate(net: RandomNet, x: str) -> str:
    return net.add(net.choose("Relu", "Sigmoid", "Tanh", "Elu", "Softplus", "LeakyRelu"), x)


def _go_back(net: RandomNet, x: str) -> str:
    same = [one for one in net.kept if net.shapes[one] == net.shapes[x]]
    if same and net.choose(True, False):
        return net.add("Add", x, net.choose(*same))
    return net.concat(x, net.choose(*net.kept), axis=1) if net.kept else x


BLOCKS: dict[str, Callable[[RandomNet, str], str]] = {
    "convolve": _convolve,
    "convolve groups": _convolve_groups,
    "shrink and grow": _shrink_and_grow,
    "resize": _resize,
    "pad and cut": _pad_and_cut,
    "split": _split,
    "flatten": _flatten,
    "bake": _bake,
    "multiply": _multiply,
    "scale": _scale,
    "shift": _shift,
    "normalise": _normalise,
    "centre": _centre,
    "slope": _slope,
    "clip": _clip,
    "activate": _activate,
    "go back": _go_back,
}


def build_random(plan: Plan) -> onnx.ModelProto:
    """A checked swapper, 1 x 3 x size x size in and out."""
    net = RandomNet(plan)
    target = net.input("target", 1, 3, plan.size, plan.size)
    shape = (1, 3, 16, 16) if plan.picture else (1, VECTOR)
    net.source = net.input("source", *shape)
    x = _convolve(net, target)
    for number, block in enumerate(plan.blocks):
        if net.shapes[x][1] > 2 * max(CHANNELS):
            x = _convolve(net, x)
        if net.shapes[x][1] % 2 and block == "split":
            continue
        net.kept.append(x)
        x = BLOCKS[block](net, x)
        if number == len(plan.blocks) // 2:
            x = _shift(net, x)
    # What comes last decides how far apart two ways to work it out are.
    x = net.conv(x, "last", 3, 3)
    net.output(net.add(net.choose("Sigmoid", "Tanh"), x), "output")
    if net.choose(True, False):
        net.store(net.draw(VECTOR, VECTOR), "emap")
    return net.finish()


def create_inputs(model: onnx.ModelProto, count: int) -> dict[str, numpy.ndarray[Any, Any]]:
    """Inputs for `count` runs."""
    random = numpy.random.default_rng(5)
    made = {}
    for value in model.graph.input:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        array = random.standard_normal((count, *shape[1:])).astype(numpy.float32)
        made[value.name] = array / (22 if len(shape) == 2 else 2)
    return made
