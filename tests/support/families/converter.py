"""A converter from one recogniser's vectors to another's.

Topology: github.com/facefusion/facefusion-labs, crossface/src/models/crossface.py: the vector is
normalised; 0.2 of a linear map joins an MLP of 1024, 2048, 1024 with LayerNorm and GELU. The
hidden layers are an eighth as wide here.

Carries: opset 15, as its README exports; F.normalize as ReduceL2, Clip with an omitted upper
bound, Shape, Expand and Div; LayerNorm and GELU as chains (their operators are newer); Mul and Add
with initializers.
"""

import numpy
import onnx

from tests.support.families.layers import VECTOR, Net

HIDDEN = (128, 256, 128)
OPSET = 15


def build_converter(seed: int = 1) -> onnx.ModelProto:
    """A crossface: input `input`, (1, 512); output `output`, (1, 512)."""
    net = Net("crossface", OPSET, width=1.0, seed=seed)
    vector = normalise(net, net.input("input", 1, VECTOR))
    x, gain = vector, 1.0
    for index, made in enumerate(HIDDEN):
        x = net.linear(x, f"sequence.{4 * index}", made, gain=gain, start=0.01)
        x = _activate(net, _normalise_layer(net, x, f"sequence.{4 * index + 1}"))
        gain = 1 / numpy.sqrt(made)
    x = net.linear(x, "sequence.12", VECTOR, gain=gain, start=0.01)
    rest = net.linear(vector, "linear", VECTOR, start=0.01)
    net.output(net.add("Add", x, net.calc("Mul", rest, 0.2)), "output")
    return net.finish()


def normalise(net: Net, x: str) -> str:
    """Rows (1, c) of length 1, as the exporter writes F.normalize."""
    length = net.along("ReduceL2", x, 1, keepdims=1)
    length = net.add("Clip", length, net.literal(1e-12), "")
    return net.add("Div", x, net.expand(length, x, baked=False))


def _normalise_layer(net: Net, x: str, name: str) -> str:
    """LayerNorm of (1, c) with weights of its own."""
    made = net.shapes[x][1]
    x = net.add("Sub", x, net.along("ReduceMean", x, -1, keepdims=1))
    spread = net.along("ReduceMean", net.calc("Pow", x, 2.0), -1, keepdims=1)
    x = net.add("Div", x, net.add("Sqrt", net.calc("Add", spread, 1e-5)))
    x = net.add("Mul", x, net.store(1 + net.draw(made, size=0.1), f"{name}.weight"))
    return net.add("Add", x, net.store(net.draw(made, size=0.1), f"{name}.bias"))


def _activate(net: Net, x: str) -> str:
    """GELU by the error function."""
    y = net.add("Erf", net.calc("Div", x, numpy.sqrt(2)))
    y = net.add("Mul", x, net.calc("Add", y, 1.0))
    return net.calc("Mul", y, 0.5)
