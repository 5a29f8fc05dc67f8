"""Confidence intervals of mean scores over correlated frames."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray
from scipy import stats

BOOTSTRAP_ROUNDS = 2000
BOOTSTRAP_SEED = 20240611
CONFIDENCE = 0.95
MIN_BLOCKS = 4
"""Minimum number of independent blocks for an interval."""

Values = NDArray[numpy.float64]


@dataclass(frozen=True)
class Block:
    """A clip and a part of it: frames within one clip, and even more within one part, correlate."""

    clip: str
    part: str


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval, whose bounds are None if there are too few blocks."""

    mean: float
    low: float | None
    high: float | None


def bootstrap_mean(values: Values, blocks: Sequence[Block]) -> Interval:
    """Mean of paired differences, with an interval from a bootstrap over clips and their blocks.

    Frames of one second are not independent, and neither are the seconds of one clip. So clips are
    resampled with replacement, and then the blocks of each clip. With a single clip, only its
    blocks are resampled; the interval then does not account for other clips.

    The half-width of the interval is the standard deviation of the bootstrap means times the
    quantile of Student's t with (number of clips - 1) degrees of freedom; a percentile interval
    would be too narrow for few clips (Hesterberg, 2015, "What Teachers Should Know About the
    Bootstrap", The American Statistician 69(4)).

    Args:
        values: (n,); NaN and infinity are left out.
        blocks: (n,), block of each value.
    """
    known = numpy.isfinite(values)
    if not known.any():
        return Interval(float("nan"), None, None)
    kept = [block for block, use in zip(blocks, known, strict=True) if use]
    mean = float(values[known].mean())
    clips = _Clips.of(values[known], kept)
    if clips.count_blocks() < MIN_BLOCKS:
        return Interval(mean, None, None)
    means = clips.draw_means(numpy.random.default_rng(BOOTSTRAP_SEED))
    reach = compute_reach(clips.count_units()) * float(means.std())
    return Interval(mean, mean - reach, mean + reach)


def bootstrap_difference(
    first: Values, first_blocks: Sequence[Block], second: Values, second_blocks: Sequence[Block]
) -> Interval:
    """Mean of `first` minus mean of `second`, for two unpaired groups of frames."""
    spread = 0.0
    units = []
    for values, blocks in ((first, first_blocks), (second, second_blocks)):
        if len(values) == 0:
            return Interval(float("nan"), None, None)
        clips = _Clips.of(values, blocks)
        units.append(clips.count_units() if clips.count_blocks() >= MIN_BLOCKS else 0)
        means = clips.draw_means(numpy.random.default_rng([BOOTSTRAP_SEED, len(units)]))
        spread += float(means.var())
    mean = float(first.mean() - second.mean())
    if not min(units):
        return Interval(mean, None, None)
    reach = compute_reach(min(units)) * float(numpy.sqrt(spread))
    return Interval(mean, mean - reach, mean + reach)


def compute_reach(units: int) -> float:
    """Half-width of a 95 % interval in standard deviations of a bootstrap over this many units.

    Includes a correction, as the bootstrap's standard deviation is too small by a factor of
    sqrt((n - 1) / n).
    """
    share = 1 - (1 - CONFIDENCE) / 2
    return float(numpy.sqrt(units / (units - 1)) * stats.t.ppf(share, units - 1))


@dataclass(frozen=True)
class _Clips:
    """Sums and counts of values by clip and block."""

    sums: list[Values]
    """One array per clip, one entry per block."""
    counts: list[NDArray[numpy.int64]]

    @staticmethod
    def of(values: Values, blocks: Sequence[Block]) -> "_Clips":
        table: dict[str, dict[str, list[float]]] = {}
        for value, block in zip(values, blocks, strict=True):
            table.setdefault(block.clip, {}).setdefault(block.part, []).append(float(value))
        clips = [[table[clip][part] for part in sorted(table[clip])] for clip in sorted(table)]
        return _Clips(
            [numpy.array([sum(part) for part in clip]) for clip in clips],
            [numpy.array([len(part) for part in clip]) for clip in clips],
        )

    def count_blocks(self) -> int:
        return sum(len(clip) for clip in self.sums)

    def count_units(self) -> int:
        """Number of units resampled first: the clips, or the blocks of a single clip."""
        return len(self.sums) if len(self.sums) > 1 else self.count_blocks()

    def draw_means(self, generator: numpy.random.Generator) -> Values:
        """(BOOTSTRAP_ROUNDS,): means of the resampled values."""
        number = len(self.sums)
        drawn = generator.integers(0, number, (BOOTSTRAP_ROUNDS, number))
        total = numpy.zeros(BOOTSTRAP_ROUNDS)
        count = numpy.zeros(BOOTSTRAP_ROUNDS)
        for clip, (sums, counts) in enumerate(zip(self.sums, self.counts, strict=True)):
            rounds, _ = numpy.nonzero(drawn == clip)
            parts = generator.integers(0, len(sums), (len(rounds), len(sums)))
            numpy.add.at(total, rounds, sums[parts].sum(axis=1))
            numpy.add.at(count, rounds, counts[parts].sum(axis=1))
        return numpy.asarray(total / count)
