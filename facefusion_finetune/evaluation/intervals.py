"""What may be said about the mean of scores whose frames were taken in one go."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray
from scipy import stats

BOOTSTRAP_ROUNDS = 2000
BOOTSTRAP_SEED = 20240611
CONFIDENCE = 0.95
FEWEST_BLOCKS = 4
"""Fewer independent blocks than this say nothing about how far the mean may be off."""

Values = NDArray[numpy.float64]


@dataclass(frozen=True)
class Block:
    """What a frame was taken with: frames of one clip, and of one second of it, are alike."""

    clip: str
    part: str


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval; without limits where there are too few blocks."""

    mean: float
    low: float | None
    high: float | None


def bootstrap_mean(values: Values, blocks: Sequence[Block]) -> Interval:
    """Mean of paired differences, with an interval from whole clips, then whole seconds of them.

    Frames of one second are no independent witnesses, and neither are seconds of one clip. So
    clips are drawn with replacement, and of each drawn clip its blocks. With a single clip its
    blocks alone are drawn; the interval then says nothing about other clips.

    The interval is the mean and so many standard deviations of the redrawn means as Student's t
    with one degree of freedom less than clips demands; percentiles would be too narrow for few
    clips (Hesterberg, 2015, "What Teachers Should Know About the Bootstrap", The American
    Statistician 69(4)).

    Args:
        values: (n,); those that are not a number are left out.
        blocks: (n,), of each value.
    """
    known = numpy.isfinite(values)
    if not known.any():
        return Interval(float("nan"), None, None)
    kept = [block for block, use in zip(blocks, known, strict=True) if use]
    mean = float(values[known].mean())
    clips = _Clips.of(values[known], kept)
    if clips.count_blocks() < FEWEST_BLOCKS:
        return Interval(mean, None, None)
    means = clips.draw_means(numpy.random.default_rng(BOOTSTRAP_SEED))
    reach = find_reach(clips.count_units()) * float(means.std())
    return Interval(mean, mean - reach, mean + reach)


def bootstrap_difference(
    first: Values, first_blocks: Sequence[Block], second: Values, second_blocks: Sequence[Block]
) -> Interval:
    """Mean of `first` minus mean of `second`, for two groups of frames that are not paired."""
    spread = 0.0
    units = []
    for values, blocks in ((first, first_blocks), (second, second_blocks)):
        if len(values) == 0:
            return Interval(float("nan"), None, None)
        clips = _Clips.of(values, blocks)
        units.append(clips.count_units() if clips.count_blocks() >= FEWEST_BLOCKS else 0)
        means = clips.draw_means(numpy.random.default_rng([BOOTSTRAP_SEED, len(units)]))
        spread += float(means.var())
    mean = float(first.mean() - second.mean())
    if not min(units):
        return Interval(mean, None, None)
    reach = find_reach(min(units)) * float(numpy.sqrt(spread))
    return Interval(mean, mean - reach, mean + reach)


def find_reach(units: int) -> float:
    """Standard deviations of a bootstrap over that many units that hold 95 % on both sides.

    The bootstrap's own standard deviation is too small by the root of (n - 1) / n.
    """
    share = 1 - (1 - CONFIDENCE) / 2
    return float(numpy.sqrt(units / (units - 1)) * stats.t.ppf(share, units - 1))


@dataclass(frozen=True)
class _Clips:
    """Sums and numbers of values by clip and block."""

    sums: list[Values]
    """One array a clip, one entry a block."""
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
        """What is drawn first: the clips, or the blocks of the only one."""
        return len(self.sums) if len(self.sums) > 1 else self.count_blocks()

    def draw_means(self, generator: numpy.random.Generator) -> Values:
        """(BOOTSTRAP_ROUNDS,): means of redrawn values."""
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
