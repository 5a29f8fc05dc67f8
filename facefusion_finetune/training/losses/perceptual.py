"""Perceptual distances of pictures, from the features of networks."""

import os
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from facefusion_finetune import home
from facefusion_finetune.errors import TrainingError
from facefusion_finetune.training.losses.recogniser import TorchRecogniser

VGG_VARIABLE = "FACEFUSION_FINETUNE_VGG"
"""Path of the weights; takes precedence over other locations."""

VGG_FILE = "vgg19-dcbb9e9d.pth"
"""Torchvision's name of the weights in torch's cache."""

PATTERNS = ("vgg19*.safetensors", "vgg19*.pth")
"""Names of the weights in the folder `weights` of the home folder."""

BLOCKS = ((64, 64), (128, 128), (256, 256, 256, 256))
"""Channels of the convolutions; max pooling between blocks halves the resolution."""

STAGES = (3, 8, 17)
"""Modules whose outputs are compared: relu1_2, relu2_2 and relu3_4."""

MEAN = (0.485, 0.456, 0.406)
STANDARD_DEVIATION = (0.229, 0.224, 0.225)
"""ImageNet's, which the weights expect."""


class VggFeatures(nn.Module):
    """The frozen first ten convolutions of VGG19.

    Args:
        path: A state dict with torchvision's names, `.pth` or `.safetensors`.

    Raises:
        TrainingError: The file is missing or damaged, or has other weights.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.layers = _build_layers()
        self._load(path)
        self.register_buffer("_mean", torch.tensor(MEAN).view(3, 1, 1))
        self.register_buffer("_deviation", torch.tensor(STANDARD_DEVIATION).view(3, 1, 1))
        self.requires_grad_(False)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Feature maps of `STAGES`, finest first, of (n, 3, H, W) pictures, RGB, 0 to 1."""
        features = (pictures - self.get_buffer("_mean")) / self.get_buffer("_deviation")
        stages = []
        for index, layer in enumerate(self.layers):
            features = layer(features)
            if index in STAGES:
                stages.append(features)
        return stages

    def _load(self, path: Path) -> None:
        given, todo = (
            f"VGG weights {path}",
            f"Use torchvision's {VGG_FILE}, or remove the file.",
        )
        if not path.is_file():
            raise TrainingError(given, "file not found.", todo)
        try:
            found: Any = (
                load_file(path)
                if path.suffix == ".safetensors"
                else torch.load(path, map_location="cpu", weights_only=True)
            )
        except Exception as error:  # the readers raise many kinds of exceptions
            # the rest of torch's message is advice
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise TrainingError(given, f"they cannot be read ({reason}).", todo) from error
        weights = {}
        for name, tensor in self.layers.state_dict().items():
            values = found.get(f"features.{name}") if isinstance(found, dict) else None
            if not isinstance(values, Tensor) or values.shape != tensor.shape:
                shape = " x ".join(map(str, tensor.shape))
                why = f"they are not a VGG19's: features.{name} with shape {shape} is missing."
                raise TrainingError(given, why, todo)
            if not torch.isfinite(values).all():
                raise TrainingError(given, f"features.{name} has NaN or infinite values.", todo)
            weights[name] = values
        self.layers.load_state_dict(weights)


def _build_layers() -> nn.Sequential:
    """The layers, numbered as in torchvision."""
    layers: list[nn.Module] = []
    inputs = 3
    for block in BLOCKS:
        if layers:
            layers.append(nn.MaxPool2d(2))
        for outputs in block:
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
            inputs = outputs
    return nn.Sequential(*layers)


def find_vgg_weights() -> Path | None:
    """Path of the weights: `FACEFUSION_FINETUNE_VGG`, otherwise a file in `weights` in the home
    folder, otherwise torchvision's file in torch's cache; None if there are none."""
    configured = os.environ.get(VGG_VARIABLE)
    if configured:
        return home.expand_path(configured, f"{VGG_VARIABLE}={configured}")
    folder = home.home_directory() / "weights"
    own = [path for pattern in PATTERNS for path in sorted(folder.glob(pattern))]
    cached = Path(torch.hub.get_dir()) / "checkpoints" / VGG_FILE
    return next((path for path in [*own, cached] if path.is_file()), None)


GRADIENT_SCALES = (1, 2, 4)


class Perceptual(Protocol):
    """A perceptual distance of pictures, differentiable with respect to the first one."""

    def __call__(self, output: Tensor, truth: Tensor, matrix: Tensor, pixels: Tensor) -> Tensor:
        """(n,) distances; 0 if output and truth are equal.

        Args:
            output: (n, 3, H, W), RGB, 0 to 1.
            truth: (n, 3, H, W).
            matrix: (n, 2, 3), from crop pixels to the recogniser's crop pixels.
            pixels: (n, 1, H, W), weight of each pixel.
        """


class VggPerceptual:
    """Weighted difference of VGG19's features."""

    def __init__(self, vgg: VggFeatures) -> None:
        self._vgg = vgg

    def __call__(self, output: Tensor, truth: Tensor, matrix: Tensor, pixels: Tensor) -> Tensor:
        """See `Perceptual`."""
        with torch.no_grad():
            real = self._vgg(truth)
        return compare_stages(self._vgg(output), real, pixels)


class RecogniserPerceptual:
    """Early features of the recogniser and image gradients; needs no extra weights.

    Pixels are not weighted, as the recogniser's crop shows little but the face.
    """

    def __init__(self, recogniser: TorchRecogniser) -> None:
        self._recogniser = recogniser

    def __call__(self, output: Tensor, truth: Tensor, matrix: Tensor, pixels: Tensor) -> Tensor:
        """See `Perceptual`."""
        with torch.no_grad():
            real = self._recogniser.compute_features(truth, matrix)
        made = self._recogniser.compute_features(output, matrix)
        return compute_gradient_loss(output, truth) + compare_stages(made, real)


def compare_stages(made: list[Tensor], real: list[Tensor], pixels: Tensor | None = None) -> Tensor:
    """Sum over stages of the L1 between feature maps, relative to the truth's mean magnitude.

    Args:
        made: The output's feature maps, (n, c, h, w) per stage.
        real: The truth's feature maps.
        pixels: (n, 1, H, W), weight of each pixel; without it, 1.

    Returns:
        (n,).
    """
    total = made[0].new_zeros(len(made[0]), dtype=torch.float32) if made else torch.zeros(())
    for features, reference in zip(made, real, strict=True):
        known = reference.float()
        difference = (features.float() - known).abs()
        if pixels is not None:
            height, width = known.shape[-2:]
            difference = difference * functional.adaptive_avg_pool2d(pixels, (height, width))
        # Relative to the truth's magnitude, so that no stage dominates.
        size = known.abs().mean(dim=(1, 2, 3)).clamp_min(1e-6)
        total = total + difference.mean(dim=(1, 2, 3)) / size
    return total


def compute_gradient_loss(output: Tensor, truth: Tensor) -> Tensor:
    """(n,): L1 between the horizontal and vertical image gradients at three scales."""
    total = output.new_zeros(len(output))
    for scale in GRADIENT_SCALES:
        difference = functional.avg_pool2d(output - truth, scale)
        for dim in (2, 3):
            total = total + difference.diff(dim=dim).abs().mean(dim=(1, 2, 3))
    return total
