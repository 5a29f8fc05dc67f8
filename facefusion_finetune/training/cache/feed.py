"""Provides the swapper's outputs and the batch for the rows of a step.

Either the whole swapper runs at every step, or only its trained layers do, on cached activations of
the frozen layers. The results are equal up to rounding, as the frozen layers' batches differ.
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
from facefusion_finetune.training.cache.chunks import (
    MAX_USES,
    BatchSampler,
    ChunkBuffers,
    ChunkPlan,
)
from facefusion_finetune.training.cache.header import Origin
from facefusion_finetune.training.cache.store import (
    CacheSpec,
    RecordStore,
    disable_cache,
    is_full,
    open_cache,
)
from facefusion_finetune.training.pairs.pair_set import Batch

MIN_SAVING = 1 / 3
"""Minimum share of a training's multiplications that a cache must save."""
MIN_CHUNK = 4
"""Minimum number of batches per chunk."""
GROUP, GROUP_ON_GPU = 8, 16
"""Rows per pass of the frozen layers. The size is fixed because it affects rounding."""

Autocast = Callable[[], AbstractContextManager[object]]


class Feed(Protocol):
    """Source of the training loop's samples."""

    def run(self, rows: Sequence[int], step: int) -> tuple[Tensor, Batch]:
        """Outputs of the swapper for the pairs at `rows`, and the batch with their truths.

        Args:
            rows: n rows that `draw` returned for the step.
            step: Counted from 0.

        Returns:
            (n, 3, H, W), in the file's own output range, with a gradient; and the batch, whose
            inputs are empty if they come from the cache.
        """
        ...

    def draw(self, step: int) -> list[int]:
        """Rows that step `step`, counted from 0, trains on."""
        ...

    def close(self) -> None:
        """Stop background work; files on disk are kept for a resumed run."""
        ...


@dataclass(frozen=True)
class DirectFeed:
    """Runs the whole swapper at every step."""

    swapper: TorchSwapper
    sampler: BatchSampler
    options: SwapperOptions
    device: str
    autocast: Autocast = nullcontext
    """Entered for each pass of the network."""

    def run(self, rows: Sequence[int], step: int) -> tuple[Tensor, Batch]:
        """See `Feed.run`."""
        batch = self.sampler.pairs.select(rows, self.options, self.device)
        with self.autocast():
            return self.swapper(batch.target, batch.source), batch

    def draw(self, step: int) -> list[int]:
        """See `Feed.draw`."""
        return self.sampler.draw(step)

    def close(self) -> None:
        """Do nothing; no file is open."""


@dataclass(frozen=True)
class CacheSettings:
    """Location and size limit of a run's cache."""

    folder: Path
    limit: int
    """Maximum size in bytes."""
    run: str
    """Reference of the run, `NAME@VERSION`."""
    base: str
    """sha256 of the base file."""


class CachedFeed:
    """Runs only the trained layers, on cached activations of the frozen layers."""

    def __init__(
        self,
        direct: DirectFeed,
        frontier: Frontier,
        store: RecordStore,
        on_note: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Use a store with all rows, or two chunks at a time in a smaller one."""
        self._direct = direct
        self._frontier = frontier
        self._store: RecordStore | None = store
        self._on_note = on_note
        self._plan: ChunkPlan | None = None
        self._chunks: ChunkBuffers | None = None
        if store.header.chunked:
            self._plan = ChunkPlan(direct.sampler, store.header.rows // 2)
            self._chunks = ChunkBuffers(
                self._plan,
                store,
                lambda rows: run_frozen(frontier, direct, rows),
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
        batch = direct.sampler.pairs.select(rows, direct.options, direct.device, inputs=False)
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
            disable_cache(folder, self._on_note)
            return None


def choose_feed(
    direct: DirectFeed,
    settings: CacheSettings,
    on_note: Callable[[str], None] = lambda text: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Feed:
    """A feed with a cache if that saves enough and the disk has room, otherwise `direct`.

    Args:
        direct: The feed without a cache.
        settings: Location and size limit of the cache.
        on_note: Called with the reason if the disk allows no cache or only a smaller one.
        on_progress: Called with the number of cached rows and the total.

    Raises:
        TrainingError: The folder contains other files or another run's cache, or cannot be used.
    """
    sampler = direct.sampler
    if not estimate_cache(direct, settings.limit):
        return direct
    cost = _measure_trained(direct.swapper)
    frontier = split_at_cut(direct.swapper, cost.cut)
    group = find_group(direct.device)
    first = run_frozen(frontier, direct, range(min(group, len(sampler.pairs))))
    described = (sampler.pairs.digest(), cost.cut, group, direct.options.type)
    spec = CacheSpec(
        settings.folder,
        Origin(
            run=settings.run,
            base=settings.base,
            digest=hashlib.sha256(repr(described).encode()).hexdigest(),
        ),
        settings.limit,
        len(sampler.pairs),
        MIN_CHUNK * sampler.size,
    )
    store = open_cache(spec, list(zip(cost.cut, first, strict=True)), on_note)
    if store is None:
        return direct
    if store.is_complete or store.header.chunked:
        return CachedFeed(direct, frontier, store, on_note)
    try:
        _fill(store, frontier, direct, first, on_progress)
    except BaseException as error:
        store.close()
        if isinstance(error, OSError) and is_full(error):
            disable_cache(settings.folder, on_note)
            return direct
        raise
    return CachedFeed(direct, frontier, store, on_note)


def estimate_cache(direct: DirectFeed, limit: int) -> int:
    """Size of the cache in bytes in fp32; 0 if a cache saves too little to be used.

    Args:
        direct: As for `choose_feed`.
        limit: Maximum size in bytes.
    """
    cost = _measure_trained(direct.swapper)
    size = cost.cut_bytes * len(direct.sampler.pairs)
    if limit <= 0 or measure_saving(cost, direct.sampler, whole=size <= limit) < MIN_SAVING:
        return 0
    return min(size, limit)


def measure_saving(cost: Cost, sampler: BatchSampler, whole: bool) -> float:
    """Share of the training's forward multiplications that a cache saves; negative if it costs.

    Args:
        cost: Cost of the trained layers.
        sampler: Draws the training's batches.
        whole: Whether all rows fit into the cache, so that each is computed once.
    """
    uses = sampler.uses if whole else min(MAX_USES, max(1.0, sampler.uses))
    frozen = cost.macs - cost.live_macs
    return 1 - (frozen / uses + cost.live_macs) / cost.macs


def _measure_trained(swapper: TorchSwapper) -> Cost:
    layers = {layer for uses in swapper.places.values() for _, _, layer in uses}
    return measure_cost(swapper.graph.trace, sorted(layers, key=lambda layer: layer.index))


def find_group(device: str) -> int:
    """Rows per pass of the frozen layers on a device."""
    return GROUP_ON_GPU if torch.device(device).type == "cuda" else GROUP


def run_frozen(frontier: Frontier, direct: DirectFeed, rows: Sequence[int]) -> tuple[Tensor, ...]:
    """The tensors at the cut, (n, ...) each, for the pairs at `rows`."""
    batch = direct.sampler.pairs.select(rows, direct.options, direct.device)
    with direct.autocast():
        return frontier.run_frozen(batch.target, batch.source)


def _fill(
    store: RecordStore,
    frontier: Frontier,
    direct: DirectFeed,
    first: tuple[Tensor, ...],
    on_progress: Callable[[int, int], None],
) -> None:
    """Write all rows, of which the `first` group is already computed."""
    rows, group = store.header.rows, find_group(direct.device)
    store.write(0, first)
    for start in range(group, rows, group):
        on_progress(start, rows)
        part = range(start, min(rows, start + group))
        store.write(start, run_frozen(frontier, direct, part))
    store.finish()
    on_progress(rows, rows)


def _use_own_stream(device: str) -> AbstractContextManager[object]:
    """On a GPU, a separate stream for the thread, so that it does not wait for the steps."""
    if torch.device(device).type != "cuda":
        return nullcontext()
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    # Earlier copies to the device must have completed.
    stream.wait_stream(torch.cuda.current_stream(device))
    context: AbstractContextManager[object] = torch.cuda.stream(stream)
    return context
