"""Steps of the training benchmark: with the cache, without it, and as in a naive loop."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.training_material import create_pairs, write_base, write_recogniser
from facefusion_finetune.presets.preset import LossWeights, PairMix, Preset, load_preset
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.graphs.graph import read_swapper, select_layers
from facefusion_finetune.training.cache.chunks import BatchSampler
from facefusion_finetune.training.cache.feed import (
    CachedFeed,
    CacheSettings,
    DirectFeed,
    Feed,
    choose_feed,
)
from facefusion_finetune.training.losses.perceptual import Perceptual
from facefusion_finetune.training.losses.recogniser import TorchRecogniser
from facefusion_finetune.training.losses.swap_loss import SwapLoss, scale_to_rgb
from facefusion_finetune.training.pairs.pair_set import Batch

BATCH = 4
STEPS = 1000
"""Declared length of a training, such that a cache pays off."""
FRAME = 640
"""Width and height of the frames for face detection."""
CHOICES = ("last_2", "decoder")
IMAGE_LOSSES = LossWeights(l1=1.0, high_pass=0.5)
WITH_IDENTITY = LossWeights(l1=1.0, high_pass=0.5, identity=0.2)

Step = Callable[[], object]
Picture = NDArray[numpy.uint8]


@dataclass(frozen=True)
class Trained:
    """A swapper in training, with its optimiser."""

    swapper: TorchSwapper
    options: SwapperOptions
    optimiser: torch.optim.Optimizer
    preset: Preset

    def update(self, output: Tensor, batch: Batch, loss: SwapLoss) -> None:
        """Update the weights from the swapper's output."""
        totals, _ = loss(scale_to_rgb(output.float(), self.options), batch)
        self.optimiser.zero_grad()
        totals.mean().backward()
        torch.nn.utils.clip_grad_norm_(self.swapper.trained.values(), self.preset.clip_norm)
        self.optimiser.step()


def create_trained(options: SwapperOptions, choice: str) -> Trained:
    """Convert a base such that the chosen layers are trainable."""
    graph = read_swapper(options.path)
    swapper = TorchSwapper(graph, select_layers(graph, choice))
    optimiser = torch.optim.Adam(swapper.trained.values(), lr=1e-4, betas=(0.9, 0.99))
    return Trained(swapper, options, optimiser, load_preset("balanced"))


def create_loss(
    weights: LossWeights,
    recogniser: TorchRecogniser | None = None,
    perceptual: Perceptual | None = None,
    device: str = "cpu",
) -> SwapLoss:
    """The loss of `balanced` with other weights."""
    preset = load_preset("balanced").model_copy(update={"losses": weights})
    centroid = torch.nn.functional.normalize(torch.ones(512), dim=0).to(device)
    return SwapLoss(preset, recogniser, centroid, perceptual=perceptual)


def create_direct(trained: Trained) -> DirectFeed:
    """One batch of cycle pairs, for the whole swapper."""
    pairs = create_pairs({"cycle": BATCH}, trained.options.size)
    sampler = BatchSampler(pairs, PairMix(cycle=1), BATCH, seed=0, steps=STEPS)
    return DirectFeed(trained.swapper, sampler, trained.options, "cpu")


def take_step(trained: Trained, feed: Feed, loss: SwapLoss, step: int = 0) -> None:
    """Take one step of ours: draw, forward, loss, backward, update."""
    output, batch = feed.run(feed.draw(step), step)
    trained.update(output, batch, loss)


class NaiveLoop:
    """A step as in published trainers, with everything done in the loop.

    In each step, for each of the frames: the face is detected and embedded, the frozen network
    swaps another identity onto it, the swap is pasted back and the face cropped again; then the
    network runs on the crops, and gradients are computed for every weight. The optimiser updates
    the same layers as ours. The teacher is the network itself without gradients, which costs as
    much as a second network.
    """

    def __init__(self, trained: Trained, recogniser: TorchRecogniser, loss: SwapLoss) -> None:
        self._trained = trained
        self._recogniser = recogniser
        self._loss = loss
        self._detector = create_detector()
        self._direct = create_direct(trained)
        generator = numpy.random.default_rng(0)
        self._frames = generator.integers(0, 256, (BATCH, FRAME, FRAME, 3), dtype=numpy.uint8)
        side = trained.options.size[0]
        self._matrix = numpy.array([[side / 320, 0, -side / 2], [0, side / 320, -side / 2]])
        self.detecting = 0.0
        """Seconds the detection took in the last step."""

    def take_step(self) -> None:
        """Take one step."""
        swapper, direct = self._trained.swapper, self._direct
        for parameter in swapper.parameters():
            parameter.requires_grad_(True).grad = None
        with torch.no_grad():
            began = time.perf_counter()
            self._detector(_to_input(self._frames))
            self.detecting = time.perf_counter() - began
            batch = direct.sampler.pairs.select(direct.draw(0), direct.options, "cpu")
            crops = _to_input([self._warp(frame) for frame in self._frames])
            self._recogniser(crops, batch.matrix)
            swapped = scale_to_rgb(swapper(crops, batch.source), direct.options)
        again = []
        for frame, swap in zip(self._frames, swapped.numpy(), strict=True):
            again.append(self._warp(self._paste(frame, swap)))
        self._trained.update(swapper(_to_input(again), batch.source), batch, self._loss)

    def _warp(self, frame: Picture) -> Picture:
        return cv2.warpAffine(frame, self._matrix, self._trained.options.size)

    def _paste(self, frame: Picture, swap: NDArray[numpy.float32]) -> Picture:
        """Paste a swapped crop, (3, H, W) in 0..1, back into the frame with a soft edge."""
        crop = numpy.ascontiguousarray(swap.transpose(1, 2, 0)[..., ::-1] * 255)
        height, width = crop.shape[:2]
        mask = numpy.zeros((height, width), numpy.float32)
        mask[height // 8 : -height // 8, width // 8 : -width // 8] = 1
        mask = cv2.GaussianBlur(mask, (0, 0), height / 20)
        back = cv2.invertAffineTransform(self._matrix)
        size = (FRAME, FRAME)
        over = cv2.warpAffine(crop, back, size, borderMode=cv2.BORDER_REPLICATE)
        share = cv2.warpAffine(mask, back, size)[..., None]
        return (over * share + frame * (1 - share)).clip(0, 255).astype(numpy.uint8)


def create_detector() -> nn.Module:
    """Plain convolutions with about the multiplications of SCRFD-10G: 7.2e9 per 640 x 640 frame."""
    layers: list[nn.Module] = []
    taken = 3
    for made, convolutions in ((32, 2), (64, 3), (128, 3), (256, 2)):
        for number in range(convolutions):
            stride = 2 if number == 0 else 1
            layers += [nn.Conv2d(taken, made, 3, stride, padding=1), nn.ReLU()]
            taken = made
    return nn.Sequential(*layers, nn.Conv2d(taken, 16, 1)).requires_grad_(False)


def time_rounds(
    steps: dict[str, Step], rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds of each step in each round: wall time and processor time.

    The steps alternate within a round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    worked: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            began, before = time.perf_counter(), time.process_time()
            step()
            seconds[name].append(time.perf_counter() - began)
            worked[name].append(time.process_time() - before)
    return seconds, worked


def measure_steps(folder: Path, rounds: int, width: float = 1.0) -> dict[str, float]:
    """Median seconds of each kind of step, and ratios.

    Args:
        folder: For the graphs and the caches.
        rounds: How many times each step is taken.
        width: Fraction of the real channel counts.
    """
    options = write_base(folder, width)
    recogniser = TorchRecogniser(write_recogniser(folder, width))
    pictures = create_loss(IMAGE_LOSSES)
    identity = create_loss(WITH_IDENTITY, recogniser)
    steps: dict[str, Step] = {}
    feeds: list[Feed] = []
    for choice in CHOICES:
        trained = create_trained(options, choice)
        direct = create_direct(trained)
        feed = choose_feed(direct, CacheSettings(folder / choice, 1 << 40, "benchmark@1", ""))
        assert isinstance(feed, CachedFeed)
        feeds.append(feed)
        steps[f"{choice} cached"] = _bind(take_step, trained, feed, pictures)
        steps[f"{choice} direct"] = _bind(take_step, trained, direct, pictures)
        steps[f"{choice} whole"] = _bind(take_step, trained, feed, identity)
    naive = NaiveLoop(create_trained(options, "decoder"), recogniser, identity)
    detecting: list[float] = []

    def take_naive_step() -> None:
        naive.take_step()
        detecting.append(naive.detecting)

    steps["naive"] = take_naive_step
    # The first run of a step initialises the libraries, which is negligible for the slow ones.
    for name, step in steps.items():
        if name.endswith(("cached", "whole")):
            step()
    seconds, worked = time_rounds(steps, rounds)
    for feed in feeds:
        feed.close()
    figures = {name: statistics.median(values) for name, values in seconds.items()}
    figures["detection"] = statistics.median(detecting)
    figures |= _compare(seconds, detecting)
    # On a machine shared with others, processor time says more than wall time.
    return figures | {f"{name} of work": value for name, value in _compare(worked).items()}


def _compare(seconds: dict[str, list[float]], detecting: Sequence[float] = ()) -> dict[str, float]:
    """Ratios between the times of two steps, as medians over the rounds."""

    def divide(long: Sequence[float], short: Sequence[float]) -> float:
        return statistics.median(a / b for a, b in zip(long, short, strict=True))

    figures = {}
    for choice in CHOICES:
        whole = seconds[f"{choice} whole"]
        figures[f"{choice} ratio"] = divide(
            seconds[f"{choice} direct"], seconds[f"{choice} cached"]
        )
        figures[f"{choice} naive ratio"] = divide(seconds["naive"], whole)
        if detecting:
            without = [a - b for a, b in zip(seconds["naive"], detecting, strict=True)]
            figures[f"{choice} naive ratio without detection"] = divide(without, whole)
    return figures


def _bind(step: Callable[..., object], *arguments: object) -> Step:
    return lambda: step(*arguments)


def _to_input(pictures: Sequence[Picture] | Picture) -> Tensor:
    """(n, H, W, 3) BGR bytes to (n, 3, H, W) RGB in 0..1."""
    stacked = numpy.stack(list(pictures))[..., ::-1].transpose(0, 3, 1, 2)
    return torch.from_numpy(numpy.ascontiguousarray(stacked, numpy.float32) / 255)
