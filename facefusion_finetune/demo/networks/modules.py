"""The demo's four tiny networks as torch modules; `graphs` writes them as ONNX graphs.

The swapper has inswapper's layout at an eighth of its width and half its size: an encoder, style
blocks modulated by the source vector, and a decoder of four plain convolutions. The recogniser and
the judge differ in architecture, people and objective. The reader predicts pose and expression.
"""

from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from facefusion_finetune.demo.geometry import READER_FACTORS

ENCODER = {"40": (3, 16, 7, 1), "42": (16, 32, 3, 2), "44": (32, 48, 3, 1), "46": (48, 64, 3, 2)}
"""Convolutions by inswapper's node number: channels in, channels out, kernel, stride."""
STYLES = ("62", "107", "152", "197", "242", "287")
DECODER = {
    "590": (64, 48, 3, 1),
    "594": (48, 24, 3, 1),
    "596": (24, 16, 3, 1),
    "612": (16, 3, 7, 1),
}
WIDTH = 64
"""Channels of the style blocks."""
VECTOR = 512


def _convolution(taken: int, made: int, kernel: int, stride: int) -> nn.Conv2d:
    mode: Literal["reflect", "zeros"] = "reflect" if kernel == 7 else "zeros"
    layer = nn.Conv2d(taken, made, kernel, stride, kernel // 2, padding_mode=mode)
    # torch's default shrinks the signal layer by layer until the styles, of size 1, dominate it
    nn.init.kaiming_normal_(layer.weight, a=0.2)
    return layer


def _modulation(scale: float) -> nn.Linear:
    """Scales near `scale` and shifts near 0, affected by unit vectors from the start."""
    layer = nn.Linear(VECTOR, 2 * WIDTH)
    nn.init.normal_(layer.weight, std=0.5 * scale)
    nn.init.zeros_(layer.bias)
    nn.init.constant_(layer.bias[:WIDTH], scale)
    return layer


class Swapper(nn.Module):
    """inswapper's graph: target crop (batch, 3, 64, 64) 0..1 and source (batch, 512), to a crop."""

    def __init__(self) -> None:
        super().__init__()
        plain = {**ENCODER, **DECODER}
        self.convolutions = nn.ModuleDict(
            {number: _convolution(*shape) for number, shape in plain.items()}
        )
        # the last convolution starts small, where tanh does not saturate
        last = _convolution(*DECODER["612"])
        with torch.no_grad():
            last.weight.mul_(0.2)
        self.convolutions["612"] = last
        for number in STYLES:
            self.convolutions[number] = nn.Conv2d(
                WIDTH, WIDTH, 3, padding=1, padding_mode="reflect"
            )
        # the second half of each block is a residual: small, so that its input dominates
        scales = dict(zip(STYLES, (1.0, 0.3) * (len(STYLES) // 2), strict=True))
        self.modulations = nn.ModuleDict(
            {number: _modulation(scale) for number, scale in scales.items()}
        )
        square = torch.linalg.qr(torch.randn(VECTOR, VECTOR))[0]
        self.register_buffer("emap", square)
        self.emap: torch.Tensor

    def forward(self, target: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        """Swap; (batch, 3, 64, 64), RGB, 0 to 1."""
        x = target
        for number in ENCODER:
            x = functional.leaky_relu(self.convolutions[number](x), 0.2)
        for first, second in zip(STYLES[::2], STYLES[1::2], strict=True):
            branch = functional.relu(self._style(x, source, first))
            x = x + self._style(branch, source, second)
        for number in DECODER:
            if number in ("590", "594"):
                x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = self.convolutions[number](x)
            if number != "612":
                x = functional.leaky_relu(x, 0.2)
        return (torch.tanh(x) + 1) / 2

    def _style(self, x: torch.Tensor, source: torch.Tensor, number: str) -> torch.Tensor:
        x = self.convolutions[number](x)
        x = x - x.mean((2, 3), keepdim=True)
        x = x * (1 / ((x * x).mean((2, 3), keepdim=True) + 1e-8).sqrt())
        scale, shift = self.modulations[number](source)[:, :, None, None].chunk(2, dim=1)
        styled: torch.Tensor = x * scale + shift
        return styled


class Recogniser(nn.Module):
    """Strided convolutions with PReLU and residual blocks; trained to ignore detail."""

    SHAPES = (
        *((3, 32, 5, 2), (32, 48, 3, 2), (48, 48, 3, 1)),
        *((48, 64, 3, 2), (64, 64, 3, 1), (64, 64, 3, 1)),
    )
    """Channels in, channels out, kernel, stride; equal channels make a residual block."""
    REDUCED, HIDDEN = 16, 64

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(taken, made, kernel, stride, kernel // 2, bias=False)
            for taken, made, kernel, stride in self.SHAPES
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(made) for _, made, _, _ in self.SHAPES)
        self.slopes = nn.ModuleList(nn.PReLU(made, 0.25) for _, made, _, _ in self.SHAPES)
        self.reduce = nn.Conv2d(64, self.REDUCED, 1)
        self.hidden = nn.Linear(self.REDUCED * 64, self.HIDDEN)
        self.vector = nn.Linear(self.HIDDEN, VECTOR)

    def describe(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, HIDDEN): the layer before the embedding."""
        for (taken, made, _, _), layer, norm, slope in zip(
            self.SHAPES, self.layers, self.norms, self.slopes, strict=True
        ):
            y = slope(norm(layer(x)))
            x = x + y if taken == made else y
        hidden: torch.Tensor = self.hidden(self.reduce(x).flatten(1))
        return hidden

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map crops (batch, 3, 64, 64), -1 to 1, to embeddings (batch, 512), of any norm."""
        vector: torch.Tensor = self.vector(self.describe(x))
        return vector


class Judge(nn.Module):
    """Plain convolutions with ReLU and max pooling; resolves single moles."""

    SHAPES = ((3, 16), (16, 32), (32, 48), (48, 64))
    POOLED = (0, 1, 2)
    """Layers followed by pooling."""
    REDUCED, HIDDEN = 16, 64

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(taken, made, 3, padding=1, bias=False) for taken, made in self.SHAPES
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(made) for _, made in self.SHAPES)
        self.reduce = nn.Conv2d(64, self.REDUCED, 1)
        self.hidden = nn.Linear(self.REDUCED * 64, self.HIDDEN)
        self.vector = nn.Linear(self.HIDDEN, VECTOR)

    def describe(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, HIDDEN): the layer before the embedding."""
        for index, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            x = functional.relu(norm(layer(x)))
            if index in self.POOLED:
                x = functional.max_pool2d(x, 2)
        hidden: torch.Tensor = self.hidden(self.reduce(x).flatten(1))
        return hidden

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map crops (batch, 3, 64, 64), -1 to 1, to embeddings (batch, 512), of any norm."""
        vector: torch.Tensor = self.vector(self.describe(x))
        return vector


class Reader(nn.Module):
    """Strided convolutions that predict pose and expression from a crop, for any person."""

    SHAPES = ((3, 16, 5, 2), (16, 32, 3, 2), (32, 48, 3, 2), (48, 48, 3, 1))
    """Channels in, channels out, kernel, stride."""
    REDUCED, HIDDEN = 8, 32

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(taken, made, kernel, stride, kernel // 2, bias=False)
            for taken, made, kernel, stride in self.SHAPES
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(made) for _, made, _, _ in self.SHAPES)
        self.reduce = nn.Conv2d(48, self.REDUCED, 1)
        self.hidden = nn.Linear(self.REDUCED * 64, self.HIDDEN)
        self.factors = nn.Linear(self.HIDDEN, len(READER_FACTORS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map crops (batch, 3, 64, 64), -1 to 1, to scene factors (batch, len(READER_FACTORS))."""
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = functional.relu(norm(layer(x)))
        hidden = functional.relu(self.hidden(self.reduce(x).flatten(1)))
        factors: torch.Tensor = self.factors(hidden)
        return factors
