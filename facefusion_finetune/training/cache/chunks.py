"""Training on more rows than a cache holds: in chunks, one in use while the next one is filled.

Which rows a chunk holds and which chunk a step uses depend on nothing but seed and step, so that a
resumed run goes on as the interrupted one would have.
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

MOST_USES = 4
"""How often a row is drawn on average before its chunk makes way, where training is long enough."""
_CHUNKS = 0x6368756E
"""Sets the chunks' random numbers apart from the batches'."""

Freeze = Callable[[Sequence[int]], tuple[Tensor, ...]]
"""The cut's tensors, (n, ...) each, of the pairs at n rows."""


@dataclass(frozen=True)
class Draws:
    """Which rows each step trains on, where all of them are at hand."""

    pairs: PairSet
    mix: PairMix
    size: int
    """Rows of a step."""
    seed: int
    steps: int
    """Of the whole training."""

    def draw(self, step: int) -> list[int]:
        """The rows of step number `step`, from 0."""
        return draw_batch(self.pairs, self.mix, self.size, self.seed, step)

    @property
    def uses(self) -> float:
        """How often a row is drawn on average."""
        return self.steps * self.size / max(1, len(self.pairs))


class ChunkPlan:
    """Which rows each chunk holds, and which of them each step trains on.

    A chunk holds the kinds in the shares of the mix. The rows of a kind take their turns in random
    order, each once before any a second time.
    """

    def __init__(self, draws: Draws, rows: int) -> None:
        """Lay out the chunks.

        Args:
            draws: What would be drawn without chunks.
            rows: Most rows of a chunk.
        """
        self._draws = draws
        self.rows = rows
        uses = min(MOST_USES, max(1.0, draws.uses))
        self.steps_each = max(1, round(uses * rows / draws.size))
        """How many steps use one chunk."""
        self._counts = self._count_kinds()
        self.list_rows = lru_cache(maxsize=4)(self._list_rows)

    @property
    def count(self) -> int:
        """Number of chunks that the training uses."""
        return -(-self._draws.steps // self.steps_each)

    def find_chunk(self, step: int) -> int:
        """Number of the chunk that a step uses."""
        return step // self.steps_each

    def draw(self, step: int) -> list[int]:
        """The rows of step number `step`, from 0."""
        draws = self._draws
        rows = numpy.array(self.list_rows(self.find_chunk(step)))
        names = ("kind", "crop", "target", "goal", "source")
        part = replace(draws.pairs, **{name: getattr(draws.pairs, name)[rows] for name in names})
        places = draw_batch(part, draws.mix, draws.size, draws.seed, step)
        return [int(rows[place]) for place in places]

    def _count_kinds(self) -> dict[Kind, int]:
        """How many rows of each kind a chunk holds."""
        pairs, mix = self._draws.pairs, self._draws.mix
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
        # A kind of next to no share has one row all the same, at the cost of the largest.
        largest = max(counts, key=lambda kind: counts[kind])
        counts[largest] -= max(0, sum(counts.values()) - self.rows)
        return counts

    def _list_rows(self, chunk: int) -> list[int]:
        """The rows of a chunk, by their place in it."""
        rows: list[int] = []
        for kind, count in self._counts.items():
            pool = self._draws.pairs.pools[kind]
            first = chunk * count
            turns = range(first // len(pool), (first + count - 1) // len(pool) + 1)
            order = numpy.concatenate([self._shuffle(kind, pool, turn) for turn in turns])
            start = first - turns[0] * len(pool)
            rows += order[start : start + count].tolist()
        return rows

    def _shuffle(self, kind: Kind, pool: NDArray[numpy.int64], turn: int) -> NDArray[numpy.int64]:
        seeds = [self._draws.seed, _CHUNKS, KINDS.index(kind), turn]
        return numpy.random.default_rng(seeds).permutation(pool)


class ChunkBuffers:
    """Two chunks in a store: one that steps use, one that a thread fills meanwhile."""

    def __init__(
        self,
        plan: ChunkPlan,
        store: RecordStore,
        freeze: Freeze,
        group: int,
        context: Callable[[], AbstractContextManager[object]],
    ) -> None:
        """Nothing is filled yet.

        Args:
            plan: Of chunks that fit into half of the store.
            store: Of two chunks.
            freeze: Called in the thread with the rows of one group.
            group: Rows that are computed together.
            context: Entered by the thread.
        """
        self._plan = plan
        self._store = store
        self._freeze = freeze
        self._group = group
        self._context = context
        self._held: list[int | None] = [None, None]
        self._filling: _Filling | None = None

    def locate(self, rows: Sequence[int], step: int) -> list[int] | None:
        """Where in the store the rows of a step are; None if one is not in the step's chunk.

        Waits for the chunk where it is not filled yet, and has the next one filled.

        Raises:
            Exception: Whatever filling a chunk has raised.
        """
        chunk = self._plan.find_chunk(step)
        self._hold(chunk)
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

    def _hold(self, chunk: int) -> None:
        if self._held[chunk % 2] != chunk:
            if self._filling is None or self._filling.chunk != chunk:
                # After a jump, as to another step on resuming, it is a chunk nobody waits for.
                self.close()
                self._begin(chunk)
            self._settle()
        if self._filling is not None and not self._filling.is_alive():
            self._settle()
        following = chunk + 1
        if (
            self._filling is None
            and following < self._plan.count
            and self._held[following % 2] != following
        ):
            self._begin(following)

    def _begin(self, chunk: int) -> None:
        self._held[chunk % 2] = None
        self._filling = _Filling(self._fill, chunk)
        self._filling.start()

    def _settle(self) -> None:
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
                self._store.write(start + place, self._freeze(part))

    def _start_of(self, chunk: int) -> int:
        return chunk % 2 * self._plan.rows


class _Filling(threading.Thread):
    """One chunk being filled."""

    def __init__(self, fill: Callable[["_Filling"], None], chunk: int) -> None:
        super().__init__(name=f"cache chunk {chunk}", daemon=True)
        self._fill = fill
        self.chunk = chunk
        self.stop = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._fill(self)
        except BaseException as error:  # whatever it is, the training thread has to know
            self.error = error
