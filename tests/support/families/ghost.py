"""ghost_1_256, ghost_2_256 and ghost_3_256: GHOST with 1, 2 and 3 AAD layers per residual block.

Topology: github.com/ai-forever/ghost, network/AEI_Net.py and AADLayer.py, U-net backbone, vector
of 512. An attribute U-net reads the target at 2 to 128 pixels, and resized at 256; eight AAD
blocks lead from a transposed convolution of the vector to tanh. No feature of the target enters
the generator but through AAD. 128, 184 and 240 M parameters at width 1. The published files of
ghost_1 and ghost_2 have the sizes of these graphs to 0.1 %; ghost_3 has 855 MB, not 961.

All carry: the eight attribute maps as further outputs, as the published files do; instance norm
with ones and zeros as weights; BatchNormalization after the transposed convolutions of the U-net;
styles reshaped to (1, c, 1, 1), batch 1 baked in, and expanded; Resize with align_corners.
ghost_1: opset 11; batch norms also after convolutions; Expand to sizes asked for by Shape; ones in
the shape of each mask as initializers.
ghost_2: opset 14; Expand to baked sizes; such ones as `Constant` nodes.
ghost_3: opset 16; fully connected layers as MatMul and Add; instance norm over (1, c, h * w);
such ones by Shape and ConstantOfShape.
"""

from tests.support.families import aad
from tests.support.families.aad import Dialect
from tests.support.families.layers import VECTOR, Net

DIALECTS = {
    1: Dialect("align_corners", "instance", folded=False, baked=False, one="folded"),
    2: Dialect("align_corners", "instance", one="folded"),
    3: Dialect("align_corners", "flat", matmul=True, one="filled"),
}


def write(net: Net, size: int, blocks: int) -> None:
    """Write the network for crops of `size` pixels with `blocks` AAD layers per block."""
    target = net.input("target", 1, 3, size, size)
    source = net.input("source", 1, VECTOR)
    features = aad.encode(net, target, DIALECTS[blocks])
    with net.role("frozen"):
        x = net.reshape(source, 1, -1, 1, 1)
        x = net.deconv(x, "generator.up", net.channels(1024), 2, stride=1, gain=20.0)
    x = aad.decode(net, x, source, features, blocks, DIALECTS[blocks])
    net.output(net.add("Tanh", x), "output")
    for feature in features:
        net.output(feature, f"attributes_{net.shapes[feature][2]}")
