"""A small feed, to be read with a cache or without.

Two functions are for a process of its own, which is killed in the middle, or in which no file may
grow.
"""

import os
import resource
import signal
from collections.abc import Mapping
from pathlib import Path

from benchmarks.training_material import create_pairs
from facefusion_finetune.presets.preset import PairMix
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.graphs.graph import read_swapper, select_layers
from facefusion_finetune.training.cache.chunks import BatchSampler
from facefusion_finetune.training.cache.feed import CacheSettings, DirectFeed, choose_feed
from tests.support.inswapper import write_inswapper

PLENTY = 1 << 40
MIX = PairMix(cycle=4, self=2, cross=1, prior=1)
COUNTS = {"cycle": 14, "self": 9, "cross": 5, "prior": 6}
FEW_COUNTS = {"cycle": 4, "self": 2, "cross": 1, "prior": 1}
"""Where each takes long."""
ROWS = sum(COUNTS.values())


def create_feed(
    folder: Path, layers: str = "decoder", steps: int = 40, counts: Mapping[str, int] = COUNTS
) -> DirectFeed:
    """A feed of noise for a small inswapper, which lies in the folder afterwards.

    Args:
        folder: Where the swapper goes.
        layers: Those that are trained.
        steps: Of the training.
        counts: Pairs of each kind.
    """
    options = write_inswapper(folder / f"{layers}-{steps}.onnx")
    graph = read_swapper(options.path)
    swapper = TorchSwapper(graph, select_layers(graph, layers))
    sampler = BatchSampler(create_pairs(counts, (64, 64)), MIX, 4, seed=5, steps=steps)
    return DirectFeed(swapper, sampler, options, "cpu")


def create_settings(folder: Path, limit: int = PLENTY) -> CacheSettings:
    """A cache in the folder, of so many bytes at most."""
    return CacheSettings(folder / "cache", limit, run="ada@1", base="ab" * 32)


def fill_until_killed(folder: Path) -> None:
    """Fill a cache, and die when it holds 16 rows."""

    def tell(done: int, total: int) -> None:
        if done >= 16:
            os.kill(os.getpid(), signal.SIGKILL)

    choose_feed(create_feed(folder), create_settings(folder), on_progress=tell)


def fill_within_limit(folder: Path) -> None:
    """Say what is chosen where no file may become larger than 256 KiB."""
    direct = create_feed(folder)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, 1 << 18))
    notes: list[str] = []
    feed = choose_feed(direct, create_settings(folder), notes.append)
    output, _ = feed.run(feed.draw(0), 0)
    print(type(feed).__name__, len(output), notes)
