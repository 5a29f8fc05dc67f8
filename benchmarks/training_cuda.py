"""The training benchmark on a GPU: images per second, and from crops to a written model."""

import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import vgg

from benchmarks.training_material import create_pairs, write_base, write_recogniser
from benchmarks.training_steps import Trained, create_direct, create_loss, create_trained, take_step
from facefusion_finetune.presets.preset import LossWeights, PairMix
from facefusion_finetune.swappers.files.writeback import save_model
from facefusion_finetune.training.cache.chunks import BatchSampler
from facefusion_finetune.training.cache.feed import (
    CachedFeed,
    CacheSettings,
    DirectFeed,
    Feed,
    choose_feed,
)
from facefusion_finetune.training.losses.perceptual import VggFeatures, VggPerceptual
from facefusion_finetune.training.losses.recogniser import TorchRecogniser
from facefusion_finetune.training.losses.swap_loss import SwapLoss

CROPS = 100
PAIRS_PER_CROP = 4
"""Cycle pairs per crop, and as many prior pairs: what `balanced` makes."""
STEPS = 300
BATCH = 16
WARM_UP = 10
MATRIX = 8192
"""Side of the matrices used to measure the chip's rate."""
LOSSES = LossWeights(l1=1.0, high_pass=0.5, identity=0.2, perceptual=0.3)


def measure_cuda(
    folder: Path,
    device: str = "cuda",
    width: float = 1.0,
    crops: int = CROPS,
    steps: int = STEPS,
    batch: int = BATCH,
    matrix: int = MATRIX,
) -> dict[str, float]:
    """Measure one run from crops in memory to a written model, and the speed of its steps.

    The wall time includes the conversion, the base's swaps that pairs are made of (pasting them
    back is the host's work and is not included), the cache, all steps and writing the model.

    Args:
        folder: For the graphs, the cache and the model.
        device: A GPU.
        width: Fraction of the real channel counts.
        crops: Number of crops.
        steps: Number of training steps.
        batch: Samples per step.
        matrix: Side of the matrices used to measure the chip's rate.
    """
    options = write_base(folder, width)
    recogniser = TorchRecogniser(write_recogniser(folder, width)).to(device)
    loss = _create_loss(folder, recogniser, device)
    rate = measure_matrix_rate(device, matrix)
    count = crops * PAIRS_PER_CROP
    pairs = create_pairs({"cycle": count, "prior": count}, options.size, crops)
    _settle(device)

    began = time.perf_counter()
    trained = create_trained(options, "decoder")
    trained.swapper.to(device)
    kind = torch.device(device).type
    # CPUs without bf16 instructions compute it many times slower than fp32.
    autocast = partial(torch.autocast, kind, torch.bfloat16, enabled=kind != "cpu")
    direct = replace(
        create_direct(trained),
        sampler=BatchSampler(pairs, PairMix(cycle=5, prior=3), batch, seed=0, steps=steps),
        device=device,
        autocast=autocast,
    )
    _swap_all(direct)
    made = time.perf_counter()
    feed = choose_feed(direct, CacheSettings(folder / "cache", 1 << 40, "benchmark@1", ""))
    _settle(device)
    cached = time.perf_counter()
    ends = []
    for step in range(steps):
        with autocast():
            take_step(trained, feed, loss, step)
        if step >= min(WARM_UP, steps - 2):
            _settle(device)
            ends.append(time.perf_counter())
    save_model(trained.swapper.graph.file, folder / "model.onnx", trained.swapper.export_weights())
    wall = time.perf_counter() - began

    seconds = statistics.median(b - a for a, b in itertools.pairwise(ends))
    operations = _count_operations(trained, feed, loss, autocast)
    feed.close()
    return {
        "cached": float(isinstance(feed, CachedFeed)),
        "wall seconds": wall,
        "swaps seconds": made - began,
        "cache seconds": cached - made,
        "step seconds": seconds,
        "images a second": batch / seconds,
        "operations a step": operations,
        "matrix rate": rate,
        "share of matrix rate": operations / seconds / rate,
    }


def measure_matrix_rate(device: str, side: int = MATRIX) -> float:
    """Operations per second of a large bf16 matrix product; a multiply-add counts as two."""
    first, second = (torch.randn(side, side, device=device).bfloat16() for _ in range(2))
    rates = []
    for _ in range(10):
        _settle(device)
        began = time.perf_counter()
        for _ in range(4):
            torch.mm(first, second)
        _settle(device)
        rates.append(4 * 2 * side**3 / (time.perf_counter() - began))
    return statistics.median(rates)


def _create_loss(folder: Path, recogniser: TorchRecogniser, device: str) -> SwapLoss:
    """Image, identity and VGG losses, by random networks of real width."""
    torch.manual_seed(0)
    features = vgg.make_layers(vgg.cfgs["E"]).state_dict()
    path = folder / "vgg19.pth"
    torch.save({f"features.{name}": values for name, values in features.items()}, path)
    perceptual = VggPerceptual(VggFeatures(path).to(device))
    return create_loss(LOSSES, recogniser, perceptual, device)


def _swap_all(direct: DirectFeed) -> None:
    """Run the base's swap of every row, from which pairs are made."""
    pairs = direct.sampler.pairs
    with torch.no_grad(), direct.autocast():
        for start in range(0, len(pairs), BATCH):
            rows = range(start, min(len(pairs), start + BATCH))
            batch = pairs.select(rows, direct.options, direct.device)
            direct.swapper(batch.target, batch.source).float().cpu()


def _count_operations(
    trained: Trained, feed: Feed, loss: SwapLoss, autocast: Callable[[], torch.autocast]
) -> float:
    """Operations of one step, forward and backward, including the losses."""
    counter = FlopCounterMode(display=False)
    with counter, autocast():
        take_step(trained, feed, loss)
    return float(counter.get_total_flops())


def _settle(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
