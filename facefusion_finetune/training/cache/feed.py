"""What a step trains on: the swapper's outputs for some rows of the pairs, and the batch.

Either the whole swapper runs at every step, or its frozen part ran before and only the live part
does. Both give the same, up to rounding: samples are frozen in other groups than they are drawn in.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.convert.frontier import Frontier, split_at_cut
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.graphs.costs import Cost, measure_cost
from facefusion_finetune.training.cache.chunks import MOST_USES, ChunkBuffers, ChunkPlan, Draws
from facefusion_finetune.training.cache.header import Origin
from facefusion_finetune.training.cache.store import (
    RecordStore,
    Wanted,
    drop_cache,
    is_full,
    open_cache,
)
from facefusion_finetune.training.pairs.pair_set import Batch

WORTHWHILE = 1 / 3
"""Share of a training's multiplications that a cache has to save."""
SMALLEST_CHUNK = 4
"""Batches that a chunk has to hold."""
GROUP, GROUP_ON_GPU = 8, 16
"""Rows that are frozen together. Groups are fixed, because they decide how sums are rounded."""

Autocast = Callable[[], AbstractContextManager[object]]


class Feed(Protocol):
    """Where the loop gets its samples from."""

    def run(self, rows: Sequence[int], step: int) -> tuple[Tensor, Batch]:
        """Outputs of the swapper for the pairs at `rows`, and what they should be.

        Args:
            rows: n of those that `draw` gave for the step.
            step: From 0.

        Returns:
            (n, 3, H, W), in the file's own output range, with a gradient; and the batch, whose
            inputs are only there where they were needed.
        """
        ...

    def draw(self, step: int) -> list[int]:
        """Rows that step number `step`, from 0, trains on."""
        ...

    def close(self) -> None:
        """End what goes on in the background; what is on disk stays for a resumed run."""
        ...


@dataclass(frozen=True)
class DirectFeed:
    """Runs the whole swapper at every step."""

    swapper: TorchSwapper
    draws: Draws
    options: SwapperOptions
    device: str
    autocast: Autocast = nullcontext
    """Entered for each run of the network."""

    def run(self, rows: Sequence[int], step: int) -> tuple[Tensor, Batch]:
        """See `Feed.run`."""
        batch = self.draws.pairs.select(rows, self.options, self.device)
        with self.autocast():
            return self.swapper(batch.target, batch.source), batch

    def draw(self, step: int) -> list[int]:
        """See `Feed.draw`."""
        return self.draws.draw(step)

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True)
class CacheSettings:
    """Where a run may keep how much."""

    folder: Path
    limit: int
    """Bytes."""
    run: str
    """Reference of the run."""
    base: str
    """sha256 of the base file."""


class CachedFeed:
    """Runs only the live part, on what the frozen part made of the rows before."""

    def __init__(
        self,
        direct: DirectFeed,
        frontier: Frontier,
        store: RecordStore,
        on_note: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Train on a store that is complete, or on two chunks at a time in one that is not."""
        self._direct = direct
        self._frontier = frontier
        self._store: RecordStore | None = store
        self._on_note = on_note
        self._plan: ChunkPlan | None = None
        self._chunks: ChunkBuffers | None = None
        if store.header.chunked:
            self._plan = ChunkPlan(direct.draws, store.header.rows // 2)
            self._chunks = ChunkBuffers(
                self._plan,
                store,
                lambda rows: freeze(frontier, direct, rows),
                find_group(direct.device),
                lambda: _use_own_stream(direct.device),
            )

    def run(self, rows: Sequence[int], step: int) -> tuple[Tensor, Batch]:
        """See `Feed.run`."""
        places = self._locate(rows, step)
        if self._store is None or places is None:
            return self._direct.run(rows, step)
        direct = self._direct
        tensors = self._store.read(places, direct.device)
        batch = direct.draws.pairs.select(rows, direct.options, direct.device, inputs=False)
        with direct.autocast():
            return self._frontier.run_live(tensors), batch

    def draw(self, step: int) -> list[int]:
        """See `Feed.draw`."""
        return self._direct.draw(step) if self._plan is None else self._plan.draw(step)

    def close(self) -> None:
        """See `Feed.close`."""
        if self._chunks is not None:
            self._chunks.close()
            self._chunks = None
        if self._store is not None:
            self._store.close()
            self._store = None

    def _locate(self, rows: Sequence[int], step: int) -> Sequence[int] | None:
        if self._chunks is None:
            return rows
        try:
            return self._chunks.locate(rows, step)
        except OSError as error:
            if self._store is None or not is_full(error):
                raise
            folder = self._store.folder
            self.close()
            drop_cache(folder, self._on_note)
            return None


def choose_feed(
    direct: DirectFeed,
    settings: CacheSettings,
    on_note: Callable[[str], None] = lambda text: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Feed:
    """A feed with a cache where that saves enough and finds room, else the one given.

    Args:
        direct: Of the swapper with its trained layers, adapted or not.
        settings: Where the cache may be, and how large.
        on_note: Told why there is no cache, or a smaller one, where the disk is to blame.
        on_progress: Told how many of how many rows are in the cache.

    Raises:
        TrainingError: The folder holds something else, or another run's cache, or cannot be used.
    """
    draws = direct.draws
    if not estimate_cache(direct, settings.limit):
        return direct
    cost = _measure_trained(direct.swapper)
    frontier = split_at_cut(direct.swapper, cost.cut)
    group = find_group(direct.device)
    first = freeze(frontier, direct, range(min(group, len(draws.pairs))))
    described = (draws.pairs.digest(), cost.cut, group, direct.options.type)
    wanted = Wanted(
        settings.folder,
        Origin(
            run=settings.run,
            base=settings.base,
            digest=hashlib.sha256(repr(described).encode()).hexdigest(),
        ),
        settings.limit,
        len(draws.pairs),
        SMALLEST_CHUNK * draws.size,
    )
    store = open_cache(wanted, list(zip(cost.cut, first, strict=True)), on_note)
    if store is None:
        return direct
    if store.is_complete or store.header.chunked:
        return CachedFeed(direct, frontier, store, on_note)
    try:
        _fill(store, frontier, direct, first, on_progress)
    except BaseException as error:
        store.close()
        if isinstance(error, OSError) and is_full(error):
            drop_cache(settings.folder, on_note)
            return direct
        raise
    return CachedFeed(direct, frontier, store, on_note)


def estimate_cache(direct: DirectFeed, limit: int) -> int:
    """Bytes that a cache takes in full precision; 0 where there is none, as it saves too little.

    Args:
        direct: As for `choose_feed`.
        limit: Bytes that are allowed.
    """
    cost = _measure_trained(direct.swapper)
    size = cost.cut_bytes * len(direct.draws.pairs)
    if limit <= 0 or measure_saving(cost, direct.draws, whole=size <= limit) < WORTHWHILE:
        return 0
    return min(size, limit)


def measure_saving(cost: Cost, draws: Draws, whole: bool) -> float:
    """Share of a training's forward multiplications that a cache saves; below 0 it costs more.

    Args:
        cost: Of the trained layers.
        draws: What is trained on.
        whole: Whether all rows fit into the cache, so that each is frozen once.
    """
    uses = draws.uses if whole else min(MOST_USES, max(1.0, draws.uses))
    frozen = cost.macs - cost.live_macs
    return 1 - (frozen / uses + cost.live_macs) / cost.macs


def _measure_trained(swapper: TorchSwapper) -> Cost:
    layers = {layer for uses in swapper.places.values() for _, _, layer in uses}
    return measure_cost(swapper.graph.trace, sorted(layers, key=lambda layer: layer.index))


def find_group(device: str) -> int:
    """How many rows are frozen together on a device."""
    return GROUP_ON_GPU if torch.device(device).type == "cuda" else GROUP


def freeze(frontier: Frontier, direct: DirectFeed, rows: Sequence[int]) -> tuple[Tensor, ...]:
    """The cut's tensors, (n, ...) each, of the pairs at `rows`."""
    batch = direct.draws.pairs.select(rows, direct.options, direct.device)
    with direct.autocast():
        return frontier.run_frozen(batch.target, batch.source)


def _fill(
    store: RecordStore,
    frontier: Frontier,
    direct: DirectFeed,
    first: tuple[Tensor, ...],
    on_progress: Callable[[int, int], None],
) -> None:
    """Freeze all rows, of which the `first` group is frozen already."""
    rows, group = store.header.rows, find_group(direct.device)
    store.write(0, first)
    for start in range(group, rows, group):
        on_progress(start, rows)
        part = range(start, min(rows, start + group))
        store.write(start, freeze(frontier, direct, part))
    store.finish()
    on_progress(rows, rows)


def _use_own_stream(device: str) -> AbstractContextManager[object]:
    """On a GPU, a queue of the thread's own, so that it does not wait for the steps'."""
    if torch.device(device).type != "cuda":
        return nullcontext()
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    # What was put on the device before has to be there.
    stream.wait_stream(torch.cuda.current_stream(device))
    context: AbstractContextManager[object] = torch.cuda.stream(stream)
    return context
