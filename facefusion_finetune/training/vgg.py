"""VGG19's early features, where its weights are at hand; nothing is ever downloaded for them.

Source: Simonyan and Zisserman, arXiv 1409.1556; features as in Johnson et al., arXiv 1603.08155.
"""

import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from facefusion_finetune import home
from facefusion_finetune.errors import TrainingError

VGG_VARIABLE = "FACEFUSION_FINETUNE_VGG"
"""Path of the weights, before any other place."""

VGG_FILE = "vgg19-dcbb9e9d.pth"
"""Torchvision's name for them in torch's cache."""

PATTERNS = ("vgg19*.safetensors", "vgg19*.pth")
"""What they may be called in `weights` in the home folder."""

BLOCKS = ((64, 64), (128, 128), (256, 256, 256, 256))
"""Channels of the convolutions; between two blocks a maximum halves the picture."""

STAGES = (3, 8, 17)
"""Modules whose output is compared: relu1_2, relu2_2 and relu3_4."""

MEAN = (0.485, 0.456, 0.406)
STANDARD_DEVIATION = (0.229, 0.224, 0.225)
"""Of ImageNet, which the weights are used to."""


class VggFeatures(nn.Module):
    """The frozen first ten convolutions of VGG19.

    Args:
        path: A state dict with torchvision's names, `.pth` or `.safetensors`.

    Raises:
        TrainingError: The file is missing or damaged, or holds other weights.
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
            f"Give torchvision's {VGG_FILE}, or take the file away.",
        )
        if not path.is_file():
            raise TrainingError(given, "there is no such file.", todo)
        try:
            found: Any = (
                load_file(path)
                if path.suffix == ".safetensors"
                else torch.load(path, map_location="cpu", weights_only=True)
            )
        except Exception as error:  # the readers raise whatever they stumble on
            # torch's own message goes on with pages of advice
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise TrainingError(given, f"they cannot be read ({reason}).", todo) from error
        weights = {}
        for name, tensor in self.layers.state_dict().items():
            values = found.get(f"features.{name}") if isinstance(found, dict) else None
            if not isinstance(values, Tensor) or values.shape != tensor.shape:
                shape = " x ".join(map(str, tensor.shape))
                why = f"they are not those of a VGG19: features.{name} of {shape} is missing."
                raise TrainingError(given, why, todo)
            if not torch.isfinite(values).all():
                raise TrainingError(given, f"features.{name} holds values that are none.", todo)
            weights[name] = values
        self.layers.load_state_dict(weights)


def _build_layers() -> nn.Sequential:
    """Numbered as torchvision numbers them."""
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
    """The weights: what `FACEFUSION_FINETUNE_VGG` names, else a file in `weights` in the home
    folder, else torchvision's in torch's cache."""
    configured = os.environ.get(VGG_VARIABLE)
    if configured:
        return Path(configured).expanduser()
    folder = home.home_directory() / "weights"
    kept = [path for pattern in PATTERNS for path in sorted(folder.glob(pattern))]
    cached = Path(torch.hub.get_dir()) / "checkpoints" / VGG_FILE
    return next((path for path in [*kept, cached] if path.is_file()), None)
