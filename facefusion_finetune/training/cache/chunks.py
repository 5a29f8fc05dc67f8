"""Trains on more rows than the cache holds: in chunks, one in use while the next one is filled.

The rows of a chunk and the chunk of a step depend only on seed and step, so a resumed run continues
exactly like an uninterrupted one.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy
from numpy.typing import NDArray
from torch import Tensor

from facefusion_finetune.presets.preset import PairMix
from facefusion_finetune.training.cache.store import RecordStore
from facefusion_finetune.training.pairs.pair_set import KINDS, Kind, PairSet, draw_batch

MAX_USES = 4
"""Maximum number of times a row is drawn on average before its chunk is replaced."""
_CHUNK_SEED = 0x6368756E
"""Separates the chunks' random numbers from the batches'."""

RunFrozen = Callable[[Sequence[int]], tuple[Tensor, ...]]
"""Computes the tensors at the cut, (n, ...) each, for the pairs at n rows."""


@dataclass(frozen=True)
class BatchSampler:
    """Draws the rows that each step trains on, from all pairs."""

    pairs: PairSet
    mix: PairMix
    size: int
    """Rows per step."""
    seed: int
    steps: int
    """Number of steps of the whole training."""

    def draw(self, step: int) -> list[int]:
        """The rows of step `step`, counted from 0."""
        return draw_batch(self.pairs, self.mix, self.size, self.seed, step)

    @property
    def uses(self) -> float:
        """Average number of times a row is drawn."""
        return self.steps * self.size / max(1, len(self.pairs))


class ChunkPlan:
    """The rows of each chunk, and the rows of its chunk that each step trains on.

    A chunk contains the kinds of pairs in the shares of the mix. The rows of a kind follow in
    random order; each is used once before any is used again.
    """

    def __init__(self, sampler: BatchSampler, rows: int) -> None:
        """Plan the chunks.

        Args:
            sampler: Draws the batches when there are no chunks.
            rows: Maximum rows per chunk.
        """
        self._sampler = sampler
        self.rows = rows
        uses = min(MAX_USES, max(1.0, sampler.uses))
        self.steps_each = max(1, round(uses * rows / sampler.size))
        """Number of steps that use one chunk."""
        self._counts = self._count_kinds()
        self.list_rows = lru_cache(maxsize=4)(self._list_rows)

    @property
    def count(self) -> int:
        """Total number of chunks of the training."""
        return -(-self._sampler.steps // self.steps_each)

    def find_chunk(self, step: int) -> int:
        """Index of the chunk that a step uses."""
        return step // self.steps_each

    def draw(self, step: int) -> list[int]:
        """The rows of step `step`, counted from 0."""
        sampler = self._sampler
        rows = numpy.array(self.list_rows(self.find_chunk(step)))
        names = ("kind", "crop", "target", "goal", "source")
        part = replace(
            sampler.pairs, **{name: getattr(sampler.pairs, name)[rows] for name in names}
        )
        places = draw_batch(part, sampler.mix, sampler.size, sampler.seed, step)
        return [int(rows[place]) for place in places]

    def _count_kinds(self) -> dict[Kind, int]:
        """Number of rows of each kind in a chunk."""
        pairs, mix = self._sampler.pairs, self._sampler.mix
        shares = {
            kind: float(getattr(mix, kind))
            for kind in KINDS
            if getattr(mix, kind) > 0 and pairs.count(kind)
        }
        total = sum(shares.values())
        counts = {
            kind: min(pairs.count(kind), max(1, int(self.rows * share / total)))
            for kind, share in shares.items()
        }
        # Even a kind with a tiny share gets one row, at the expense of the largest kind.
        largest = max(counts, key=lambda kind: counts[kind])
        counts[largest] -= max(0, sum(counts.values()) - self.rows)
        return counts

    def _list_rows(self, chunk: int) -> list[int]:
        """The rows of a chunk, in their order within it."""
        rows: list[int] = []
        for kind, count in self._counts.items():
            pool = self._sampler.pairs.pools[kind]
            first = chunk * count
            turns = range(first // len(pool), (first + count - 1) // len(pool) + 1)
            order = numpy.concatenate([self._shuffle(kind, pool, turn) for turn in turns])
            start = first - turns[0] * len(pool)
            rows += order[start : start + count].tolist()
        return rows

    def _shuffle(self, kind: Kind, pool: NDArray[numpy.int64], turn: int) -> NDArray[numpy.int64]:
        seeds = [self._sampler.seed, _CHUNK_SEED, KINDS.index(kind), turn]
        return numpy.random.default_rng(seeds).permutation(pool)


class ChunkBuffers:
    """Double buffer in a store: steps use one chunk while a thread fills the other."""

    def __init__(
        self,
        plan: ChunkPlan,
        store: RecordStore,
        run_frozen: RunFrozen,
        group: int,
        context: Callable[[], AbstractContextManager[object]],
    ) -> None:
        """Create empty buffers.

        Args:
            plan: Plan of chunks that each fit into half of the store.
            store: A store of two chunks.
            run_frozen: Called in the thread with the rows of one group.
            group: Number of rows computed together.
            context: Context that the thread enters.
        """
        self._plan = plan
        self._store = store
        self._run_frozen = run_frozen
        self._group = group
        self._context = context
        self._held: list[int | None] = [None, None]
        self._filling: _Filling | None = None

    def locate(self, rows: Sequence[int], step: int) -> list[int] | None:
        """Positions in the store of a step's rows; None if one is not in the step's chunk.

        Waits until the chunk is filled, and starts filling the next one.

        Raises:
            Exception: Any exception raised while filling a chunk.
        """
        chunk = self._plan.find_chunk(step)
        self._require(chunk)
        start = self._start_of(chunk)
        places = {row: start + place for place, row in enumerate(self._plan.list_rows(chunk))}
        if not all(row in places for row in rows):
            return None
        return [places[row] for row in rows]

    def close(self) -> None:
        """Stop filling."""
        if self._filling is not None:
            self._filling.stop.set()
            self._filling.join()
            self._filling = None

    def _require(self, chunk: int) -> None:
        if self._held[chunk % 2] != chunk:
            if self._filling is None or self._filling.chunk != chunk:
                # After a jump to another step, as on resume, the chunk being filled is not needed.
                self.close()
                self._start_filling(chunk)
            self._finish_filling()
        if self._filling is not None and not self._filling.is_alive():
            self._finish_filling()
        following = chunk + 1
        if (
            self._filling is None
            and following < self._plan.count
            and self._held[following % 2] != following
        ):
            self._start_filling(following)

    def _start_filling(self, chunk: int) -> None:
        self._held[chunk % 2] = None
        self._filling = _Filling(self._fill, chunk)
        self._filling.start()

    def _finish_filling(self) -> None:
        filling, self._filling = self._filling, None
        assert filling is not None
        filling.join()
        if filling.error is not None:
            raise filling.error
        self._held[filling.chunk % 2] = filling.chunk

    def _fill(self, filling: "_Filling") -> None:
        rows = self._plan.list_rows(filling.chunk)
        start = self._start_of(filling.chunk)
        with self._context():
            for place in range(0, len(rows), self._group):
                if filling.stop.is_set():
                    return
                part = rows[place : place + self._group]
                self._store.write(start + place, self._run_frozen(part))

    def _start_of(self, chunk: int) -> int:
        return chunk % 2 * self._plan.rows


class _Filling(threading.Thread):
    """Thread that fills one chunk."""

    def __init__(self, fill: Callable[["_Filling"], None], chunk: int) -> None:
        super().__init__(name=f"cache chunk {chunk}", daemon=True)
        self._fill = fill
        self.chunk = chunk
        self.stop = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._fill(self)
        except BaseException as error:  # of any kind: it is raised again in the training thread
            self.error = error
