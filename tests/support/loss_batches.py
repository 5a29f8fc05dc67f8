"""What a loss is given, drawn: a batch of every kind of pair, a preset of some terms."""

import torch
from torch import Tensor

from facefusion_finetune.presets.preset import LossWeights, Preset, parse_preset
from facefusion_finetune.training.pairs.pair_set import KINDS, Batch
from tests.support.demo_world import QUICK_PRESET

SIDE = 64
CENTROID = torch.zeros(512).index_fill(0, torch.tensor([0]), 1.0)


def draw_pictures(count: int, seed: int = 0, size: tuple[int, int] = (SIDE, SIDE)) -> Tensor:
    """(count, 3, height, width) of noise in 0..1."""
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def create_batch(*kinds: str, **changes: Tensor) -> Batch:
    """Random pictures; a face everywhere, eyes and mouth in the upper left quarter."""
    count = len(kinds)
    truth = draw_pictures(count)
    truth[[kind == "cross" for kind in kinds]] = 0
    features = torch.zeros(count, 1, SIDE, SIDE)
    features[..., : SIDE // 2, : SIDE // 2] = 1
    values = {
        "target": draw_pictures(count, seed=1),
        "source": torch.randn(count, 512, generator=torch.Generator().manual_seed(2)) / 22,
        "truth": truth,
        "face": torch.ones(count, 1, SIDE, SIDE),
        "features": features,
        "matrix": torch.eye(3)[:2].expand(count, 2, 3).clone(),
        "kind": torch.tensor([KINDS.index(kind) for kind in kinds]),
        "anchor": draw_pictures(count, seed=3)[..., ::8, ::8].contiguous(),
    }
    return Batch(**values | changes)


def create_preset(**weights: float) -> Preset:
    """Only these terms; the face weighs 1.4, the rest 0.4."""
    preset = parse_preset(QUICK_PRESET, "quick")
    return preset.model_copy(update={"losses": LossWeights(**weights)})
