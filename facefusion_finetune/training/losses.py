"""The loss terms. Only the reference side is detached: every term alone has a gradient.

Source: METHOD of this project; high-pass and gradient terms stand in for VGG features, whose
weights need a download.
"""

import torch
from torch import Tensor
from torch.nn import functional

from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.training.pairs import Batch
from facefusion_finetune.training.presets import Preset
from facefusion_finetune.training.recogniser import TorchRecogniser

GRADIENT_SCALES = (1, 2, 4)


class SwapLoss:
    """Weighted sum of the terms a preset names."""

    def __init__(
        self, preset: Preset, recogniser: TorchRecogniser | None, centroid: Tensor
    ) -> None:
        """Keep what the terms compare with.

        Args:
            preset: Weights of the terms and of the picture's regions.
            recogniser: Needed for `perceptual` and `identity`.
            centroid: (512,) unit vector of the person.
        """
        self._preset = preset
        self._recogniser = recogniser
        self._centroid = centroid

    def __call__(self, output: Tensor, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Total loss, and each term before its weight.

        Args:
            output: (n, 3, H, W), the swapper's, RGB 0 to 1: see `scale_to_rgb`.
            batch: What it was made from and should be.
        """
        weights = self._preset.losses
        pixels = self._preset.outside_weight + batch.face * (
            self._preset.face_weight - self._preset.outside_weight
        )
        terms: dict[str, Tensor] = {}
        if weights.l1:
            terms["l1"] = (pixels * (output - batch.truth).abs()).mean()
        if weights.high_pass:
            difference = high_pass(output) - high_pass(batch.truth)
            terms["high_pass"] = (pixels * difference.abs()).mean()
        if weights.perceptual:
            terms["perceptual"] = self._compute_perceptual(output, batch)
        if weights.identity:
            terms["identity"] = self._compute_identity(output, batch)
        total = torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()
        return total, {name: float(term.detach()) for name, term in terms.items()}

    def _compute_perceptual(self, output: Tensor, batch: Batch) -> Tensor:
        assert self._recogniser is not None
        total = compute_gradient_loss(output, batch.truth)
        with torch.no_grad():
            truth = self._recogniser.compute_features(batch.truth, batch.matrix)
        made = self._recogniser.compute_features(output, batch.matrix)
        for feature, reference in zip(made, truth, strict=True):
            # Divided by the truth's own spread, so that no stage drowns another.
            spread = reference.abs().mean().clamp_min(1e-6)
            total = total + (feature - reference).abs().mean() / spread
        return total

    def _compute_identity(self, output: Tensor, batch: Batch) -> Tensor:
        assert self._recogniser is not None
        if not bool(batch.is_person.any()):
            return output.sum() * 0
        vectors = self._recogniser(output[batch.is_person], batch.matrix[batch.is_person])
        distance: Tensor = 1 - vectors @ self._centroid
        return distance.mean()


def scale_to_rgb(output: Tensor, options: SwapperOptions) -> Tensor:
    """A swapper's output, (n, 3, H, W), as RGB in 0..1: `sessions.scale_output` in torch."""
    if not options.family.signed:
        return output
    scale = output.new_tensor(options.standard_deviation).view(3, 1, 1)
    return output * scale + output.new_tensor(options.mean).view(3, 1, 1)


def high_pass(pictures: Tensor) -> Tensor:
    """(n, 3, H, W) minus its blur by a 5 x 5 binomial kernel."""
    row = pictures.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    kernel = (row[:, None] * row[None]).expand(pictures.shape[1], 1, 5, 5)
    padded = functional.pad(pictures, (2, 2, 2, 2), mode="reflect")
    return pictures - functional.conv2d(padded, kernel, groups=pictures.shape[1])


def compute_gradient_loss(output: Tensor, truth: Tensor) -> Tensor:
    """L1 between the horizontal and vertical differences at three scales."""
    total = output.new_zeros(())
    for scale in GRADIENT_SCALES:
        made = functional.avg_pool2d(output, scale) if scale > 1 else output
        real = functional.avg_pool2d(truth, scale) if scale > 1 else truth
        for dim in (2, 3):
            total = total + (made.diff(dim=dim) - real.diff(dim=dim)).abs().mean()
    return total
