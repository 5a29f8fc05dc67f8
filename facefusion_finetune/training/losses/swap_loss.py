"""The loss terms. Only the reference side is detached, so every term has a gradient.

Each term is computed only for the kinds of pairs it applies to, and is 0 for the others.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.image import structural_similarity_index_measure

from facefusion_finetune.faces.vectors import leave_one_out
from facefusion_finetune.presets.preset import Preset
from facefusion_finetune.swappers.catalogue import RecogniserOptions, SwapperOptions
from facefusion_finetune.training.losses.perceptual import (
    Perceptual,
    RecogniserPerceptual,
    VggFeatures,
    VggPerceptual,
    find_vgg_weights,
)
from facefusion_finetune.training.losses.recogniser import TorchRecogniser
from facefusion_finetune.training.pairs.pair_set import KINDS, Batch, Kind

_WITH_TRUTH: tuple[Kind, ...] = ("cycle", "self", "prior")
_WITH_REAL_TRUTH: tuple[Kind, ...] = ("cycle", "self")

APPLIES: Mapping[str, tuple[Kind, ...]] = MappingProxyType(
    {
        "l1": _WITH_TRUTH,
        "high_pass": _WITH_TRUTH,
        "ssim": _WITH_REAL_TRUTH,
        "perceptual": _WITH_TRUTH,
        "features": _WITH_REAL_TRUTH,
        "identity": ("cycle", "self", "cross"),
        "anchor": ("cross",),
    }
)
"""The kinds of pairs each term applies to."""

NETWORKS = ("perceptual", "identity")
"""Terms that run a network, which may use the swapper's precision."""

MIN_SCALE = 1e-2
"""Minimum of a tensor's mean square in `measure_stay`, as a share of the average over all tensors,
so that a bias that is 0 in the base may still change a little."""


@dataclass(frozen=True)
class Samples:
    """Inputs of a loss term: n samples of the kinds it applies to."""

    output: Tensor
    """(n, 3, H, W), RGB, 0 to 1."""
    truth: Tensor
    """(n, 3, H, W)."""
    pixels: Tensor
    """(n, 1, H, W), weight of each pixel."""
    features: Tensor
    """(n, 1, H, W), 1 on eyes and mouth."""
    matrix: Tensor
    """(n, 2, 3), from crop pixels to the recogniser's crop pixels."""
    anchor: Tensor
    """(n, 3, H / 8, W / 8), RGB, 0 to 1."""

    def pick(self, rows: Tensor) -> "Samples":
        """The samples at `rows`, (m,)."""
        return Samples(*(getattr(self, entry.name).index_select(0, rows) for entry in fields(self)))


class SwapLoss:
    """Weighted sum of a preset's loss terms."""

    def __init__(
        self,
        preset: Preset,
        recogniser: TorchRecogniser | None,
        centroid: Tensor,
        level: float = 1.0,
        perceptual: Perceptual | None = None,
    ) -> None:
        """Set the references of the terms.

        Args:
            preset: Has the weights of the terms and of the picture's regions.
            recogniser: Required for `identity`.
            centroid: (512,) unit vector of the person.
            level: Cosine to the centroid above which `identity` is 0; see `measure_identity_level`.
            perceptual: Required for `perceptual`; defaults to one based on the recogniser.
        """
        self._preset = preset
        self._recogniser = recogniser
        self._centroid = centroid
        self._level = level
        if perceptual is None and recogniser is not None:
            perceptual = RecogniserPerceptual(recogniser)
        self._perceptual = perceptual
        self._measures: dict[str, Callable[[Samples], Tensor]] = {
            "l1": measure_l1,
            "high_pass": measure_high_pass,
            "ssim": measure_ssim,
            "perceptual": self._measure_perceptual,
            "features": measure_features,
            "identity": self._measure_identity,
            "anchor": measure_anchor,
        }

    def __call__(self, output: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss per sample, so that micro-batches add up to the whole batch.

        Networks run in the precision of the surrounding autocast, everything else in float32.

        Args:
            output: (n, 3, H, W), the swapper's output, RGB, 0 to 1: see `scale_to_rgb`.
            batch: The inputs and truths.

        Returns:
            (n,) weighted sums of the terms, with a gradient, and (n,) unweighted values of each
            term with a nonzero weight, without a gradient; 0 where a term does not apply.
        """
        preset, device = self._preset, output.device.type
        samples = Samples(
            output=output.float(),
            truth=batch.truth,
            pixels=preset.outside_weight
            + batch.face * (preset.face_weight - preset.outside_weight),
            features=batch.features,
            matrix=batch.matrix,
            anchor=batch.anchor,
        )
        kinds = [KINDS[index] for index in batch.kind.tolist()]
        # Zero, but with a gradient in case no term applies to any sample.
        total = samples.output.flatten(1).sum(dim=1) * 0
        terms: dict[str, Tensor] = {}
        for name, measure in self._measures.items():
            weight = getattr(preset.losses, name)
            if not weight:
                continue
            rows = [row for row, kind in enumerate(kinds) if kind in APPLIES[name]]
            values = torch.zeros_like(total)
            if rows:
                index = torch.tensor(rows).to(output.device, non_blocking=True)
                part = samples if len(rows) == len(kinds) else samples.pick(index)
                autocast = name in NETWORKS and torch.is_autocast_enabled(device)
                with torch.autocast(device, enabled=autocast):
                    values = values.index_copy(0, index, measure(part))
            terms[name] = values.detach()
            total = total + weight * values
        return total, terms

    @staticmethod
    def measure_stay(trained: Mapping[str, Tensor], origin: Mapping[str, Tensor]) -> Tensor:
        """Distance of tensors from their starting point (L2-SP; Li et al., arXiv 1802.01483).

        Args:
            trained: The current tensors by name.
            origin: The same tensors in the base.

        Returns:
            Mean over the tensors of the mean squared distance relative to the origin's mean square.
        """
        squares = torch.stack([origin[name].detach().square().mean() for name in trained])
        scales = torch.maximum(squares, MIN_SCALE * squares.mean())
        scales = torch.where(scales > 0, scales, 1.0)
        distances = torch.stack(
            [(tensor - origin[name].detach()).square().mean() for name, tensor in trained.items()]
        )
        return (distances / scales).mean()

    def _measure_perceptual(self, samples: Samples) -> Tensor:
        assert self._perceptual is not None
        return self._perceptual(samples.output, samples.truth, samples.matrix, samples.pixels)

    def _measure_identity(self, samples: Samples) -> Tensor:
        assert self._recogniser is not None
        vectors = self._recogniser(samples.output, samples.matrix)
        return functional.relu(self._level - (vectors * self._centroid).sum(dim=1))


def create_loss(
    preset: Preset,
    recogniser: RecogniserOptions,
    centroid: NDArray[Any],
    level: float,
    device: torch.device | str,
) -> SwapLoss:
    """Create the loss of a preset, with the networks it needs.

    Args:
        preset: Has the weights of the terms.
        recogniser: The training recogniser; opened only if needed.
        centroid: (512,), unit vector of the person.
        level: See `measure_identity_level`.
        device: The swapper's device.

    Raises:
        SwapperError: The recogniser cannot be opened.
        TrainingError: The VGG weights are missing or invalid.
    """
    path = find_vgg_weights() if preset.losses.perceptual else None
    perceptual = VggPerceptual(VggFeatures(path).to(device)) if path else None
    network: TorchRecogniser | None = None
    if preset.losses.identity or (preset.losses.perceptual and perceptual is None):
        network = TorchRecogniser(recogniser).to(device)
    direction = torch.from_numpy(centroid.astype(numpy.float32)).to(device)
    return SwapLoss(preset, network, direction, level, perceptual)


def measure_identity_level(embeddings: NDArray[Any], clips: Sequence[str] | None = None) -> float:
    """Typical similarity of the person's own frames to the person's vector.

    Args:
        embeddings: (n, 512), embeddings of at least two real frames.
        clips: (n,), the clip of each frame; see `leave_one_out`.

    Returns:
        25th percentile of the cosines of each frame to the centroid of the others.
    """
    return float(numpy.percentile(leave_one_out(embeddings, clips), 25))


def scale_to_rgb(output: Tensor, options: SwapperOptions) -> Tensor:
    """A swapper's output, (n, 3, H, W), as RGB, 0 to 1: `sessions.scale_output` in PyTorch."""
    if not options.family.signed:
        return output
    scale = output.new_tensor(options.standard_deviation).view(3, 1, 1)
    return output * scale + output.new_tensor(options.mean).view(3, 1, 1)


def high_pass(pictures: Tensor) -> Tensor:
    """(n, 3, H, W) minus its blur with a 5 x 5 binomial kernel."""
    row = pictures.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    kernel = (row[:, None] * row[None]).expand(pictures.shape[1], 1, 5, 5)
    padded = functional.pad(pictures, (2, 2, 2, 2), mode="reflect")
    return pictures - functional.conv2d(padded, kernel, groups=pictures.shape[1])


def measure_l1(samples: Samples) -> Tensor:
    """(n,): weighted L1 to the truth."""
    return _average(samples.pixels * (samples.output - samples.truth).abs())


def measure_high_pass(samples: Samples) -> Tensor:
    """(n,): weighted L1 of the high frequencies."""
    return _average(samples.pixels * high_pass(samples.output - samples.truth).abs())


def measure_ssim(samples: Samples) -> Tensor:
    """(n,): weighted mean over the pixels of 1 - SSIM (Wang et al., 2004)."""
    _, maps = structural_similarity_index_measure(
        samples.output, samples.truth, data_range=1.0, reduction="none", return_full_image=True
    )
    return _weigh(1 - maps, samples.pixels)


def measure_features(samples: Samples) -> Tensor:
    """(n,): L1 over eyes and mouth only; 0 if they are occluded."""
    return _weigh((samples.output - samples.truth).abs(), samples.features)


def measure_anchor(samples: Samples) -> Tensor:
    """(n,): L1 to the base's swap, both average-pooled."""
    height, width = samples.anchor.shape[-2:]
    pooled = functional.adaptive_avg_pool2d(samples.output, (height, width))
    return _average((pooled - samples.anchor).abs())


def _average(maps: Tensor) -> Tensor:
    return maps.mean(dim=(1, 2, 3))


def _weigh(maps: Tensor, weights: Tensor) -> Tensor:
    """(n,): means of (n, c, H, W) weighted by (n, 1, H, W); 0 if all weights are 0."""
    total = weights.sum(dim=(1, 2, 3)).clamp_min(1e-6)
    return (maps.mean(dim=1, keepdim=True) * weights).sum(dim=(1, 2, 3)) / total
