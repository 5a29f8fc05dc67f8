"""How different two pictures look, by what networks see in them."""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from facefusion_finetune.training.recogniser import TorchRecogniser
from facefusion_finetune.training.vgg import VggFeatures

GRADIENT_SCALES = (1, 2, 4)


class Perceptual(Protocol):
    """A distance of pictures with a gradient to the first of them."""

    def __call__(self, output: Tensor, truth: Tensor, matrix: Tensor, pixels: Tensor) -> Tensor:
        """(n,) distances, 0 for the truth itself.

        Args:
            output: (n, 3, H, W), RGB, 0 to 1.
            truth: (n, 3, H, W).
            matrix: (n, 2, 3), from crop pixels to the recogniser's crop pixels.
            pixels: (n, 1, H, W), weight of each pixel.
        """


class VggPerceptual:
    """Difference of VGG19's features, weighted where the picture is."""

    def __init__(self, vgg: VggFeatures) -> None:
        self._vgg = vgg

    def __call__(self, output: Tensor, truth: Tensor, matrix: Tensor, pixels: Tensor) -> Tensor:
        """See `Perceptual`."""
        with torch.no_grad():
            real = self._vgg(truth)
        return compare_stages(self._vgg(output), real, pixels)


class RecogniserPerceptual:
    """Early features of the recogniser, and picture gradients; needs no weights of its own.

    Pixels are not weighted: the recogniser sees little but the face.
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
    """Sum over stages of the L1 between feature maps, over the truth's own size.

    Args:
        made: Stages of (n, c, h, w) each.
        real: The truth's.
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
        # Divided by the truth's own size, so that no stage drowns another.
        size = known.abs().mean(dim=(1, 2, 3)).clamp_min(1e-6)
        total = total + difference.mean(dim=(1, 2, 3)) / size
    return total


def compute_gradient_loss(output: Tensor, truth: Tensor) -> Tensor:
    """(n,): L1 between the horizontal and vertical differences at three scales."""
    total = output.new_zeros(len(output))
    for scale in GRADIENT_SCALES:
        difference = functional.avg_pool2d(output - truth, scale)
        for dim in (2, 3):
            total = total + difference.diff(dim=dim).abs().mean(dim=(1, 2, 3))
    return total
