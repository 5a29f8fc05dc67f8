"""blendswap_256: the swapper published with BlendFace.

Topology: github.com/mapooon/BlendFace, swapping/ (blendswap.py, model/generator.py, encoder.py).
An iresnet100 inside the graph turns the source picture into a vector. FaceShifter's attribute
U-net and AAD generator, two AAD layers per block, with 3 x 3 convolutions from attributes and
BatchNormalization instead of instance norm; the generator starts from the deepest attributes.
Sigmoid; then a mask predicted from the last attributes blends it into the target, all in 0..1.

Carries: opset 16; a recogniser inside the graph that normalises its crop; F.normalize with an
omitted upper bound of Clip; flattening by Shape, Gather, Unsqueeze, Concat and Reshape;
BatchNormalization after transposed convolutions and in front of every AAD layer; styles
unsqueezed with axes as an input and expanded to baked sizes; Resize with align_corners.
"""

from tests.support.families import aad
from tests.support.families.aad import Dialect
from tests.support.families.converter import normalise
from tests.support.families.layers import Net
from tests.support.families.recogniser import CROP, R100, embed

DIALECT = Dialect("align_corners", "batch", kernel=3, bias=True, unsqueezed=True, ending=1.2)


def write(net: Net, size: int) -> None:
    """Write the network for crops of `size` pixels."""
    target = net.input("target", 1, 3, size, size)
    source = net.input("source", 1, 3, CROP, CROP)
    with net.role("frozen"):
        x = net.calc("Div", net.calc("Sub", source, 0.5), 0.5)
        vector = normalise(net, embed(net, x, R100, folded=True))
    features = aad.encode(net, target, DIALECT)
    x = aad.decode(net, features[0], vector, features, 2, DIALECT)
    x = net.add("Sigmoid", x)
    with net.role("frozen"):
        mask = net.add("Sigmoid", net.conv(features[-1], "mask_head", 1, 1))
    rest = net.add("Mul", target, net.add("Sub", net.literal(1.0), mask))
    net.output(net.add("Add", net.add("Mul", x, mask), rest), "output")
