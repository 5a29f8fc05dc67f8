"""What is said of a mean: how often it is right, and when nothing is said."""

import numpy
import pytest
from numpy.typing import NDArray

from facefusion_finetune.evaluation import intervals
from facefusion_finetune.evaluation.intervals import (
    MIN_BLOCKS,
    Block,
    Interval,
    bootstrap_difference,
    bootstrap_mean,
    compute_reach,
)

Values = NDArray[numpy.float64]


def _draw(
    generator: numpy.random.Generator,
    clips: int,
    parts: int,
    frames: int,
    spreads: tuple[float, float, float],
) -> tuple[Values, list[Block]]:
    """Scores whose clips, seconds and frames each add something of their own; their mean is 0."""
    of_clip, of_part, of_frame = spreads
    values = (
        generator.normal(0, of_clip, (clips, 1, 1))
        + generator.normal(0, of_part, (clips, parts, 1))
        + generator.normal(0, of_frame, (clips, parts, frames))
    )
    blocks = [
        Block(f"clip {clip}", f"{part}")
        for clip in range(clips)
        for part in range(parts)
        for _ in range(frames)
    ]
    return values.ravel(), blocks


def _width(interval: Interval) -> float:
    assert interval.low is not None
    assert interval.high is not None
    return interval.high - interval.low


@pytest.mark.parametrize(
    ("clips", "parts", "spreads"),
    [(10, 4, (1.0, 0.5, 0.3)), (10, 4, (0.0, 1.0, 0.3)), (1, 12, (0.0, 1.0, 0.3))],
    ids=["clips differ", "seconds differ", "one clip"],
)
def test_interval_covers_the_mean_at_least_as_often_as_it_says(
    monkeypatch: pytest.MonkeyPatch, clips: int, parts: int, spreads: tuple[float, float, float]
) -> None:
    monkeypatch.setattr(intervals, "BOOTSTRAP_ROUNDS", 500)
    generator = numpy.random.default_rng(1)
    hits = 0
    for _ in range(150):
        interval = bootstrap_mean(*_draw(generator, clips, parts, 3, spreads))
        hits += interval.low <= 0 <= interval.high
    # 95 % less twice the error of a share of 150
    assert hits / 150 >= 0.91


def test_frames_taken_as_independent_would_claim_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "BOOTSTRAP_ROUNDS", 500)
    generator = numpy.random.default_rng(2)
    hits = {"frames": 0, "clips": 0}
    for _ in range(100):
        values, blocks = _draw(generator, 8, 3, 10, (1.0, 0.5, 0.1))
        alone = [Block("all", str(row)) for row in range(len(values))]
        narrow, wide = bootstrap_mean(values, alone), bootstrap_mean(values, blocks)
        assert narrow.mean == wide.mean == pytest.approx(values.mean())
        assert _width(wide) > 2 * _width(narrow)
        hits["frames"] += narrow.low <= 0 <= narrow.high
        hits["clips"] += wide.low <= 0 <= wide.high
    assert hits["frames"] < 60
    assert hits["clips"] >= 88


def test_more_frames_of_the_same_seconds_prove_nothing_more() -> None:
    values, blocks = _draw(numpy.random.default_rng(3), 6, 4, 1, (0.5, 1.0, 0.0))
    once, often = (
        bootstrap_mean(numpy.repeat(values, times), list(numpy.repeat(blocks, times)))
        for times in (1, 20)
    )
    assert once.mean == pytest.approx(often.mean)
    assert once.low == pytest.approx(often.low)
    assert once.high == pytest.approx(often.high)


def test_fewer_clips_give_a_wider_interval() -> None:
    generator = numpy.random.default_rng(4)
    spread = (1.0, 0.2, 0.1)
    few, many = (
        numpy.mean([_width(bootstrap_mean(*_draw(generator, n, 3, 2, spread))) for _ in range(10)])
        for n in (5, 40)
    )
    assert few > 2 * many


def test_too_few_blocks_have_a_mean_and_no_limits() -> None:
    values = numpy.arange(3.0 * MIN_BLOCKS)
    blocks = [Block("a", str(row // 3)) for row in range(len(values))]
    cut = 3 * (MIN_BLOCKS - 1)
    short = bootstrap_mean(values[:cut], blocks[:cut])
    assert short == Interval(values[:cut].mean(), None, None)
    assert short.mean == 4.0
    whole = bootstrap_mean(values, blocks)
    assert whole.low < whole.mean < whole.high


def test_one_clip_is_drawn_by_its_seconds() -> None:
    values, blocks = _draw(numpy.random.default_rng(5), 1, 10, 5, (0.0, 1.0, 0.1))
    as_clips = [Block(block.part, "") for block in blocks]
    assert _width(bootstrap_mean(values, blocks)) == pytest.approx(
        _width(bootstrap_mean(values, as_clips)), rel=0.1
    )


def test_what_is_no_number_is_left_out() -> None:
    values, blocks = _draw(numpy.random.default_rng(6), 5, 4, 2, (0.5, 0.5, 0.5))
    holes = values.copy()
    holes[::3] = numpy.nan
    holes[1] = numpy.inf
    known = numpy.isfinite(holes)
    kept = [block for block, use in zip(blocks, known, strict=True) if use]
    assert bootstrap_mean(holes, blocks) == bootstrap_mean(values[known], kept)
    nothing = bootstrap_mean(numpy.full(40, numpy.nan), blocks)
    assert numpy.isnan(nothing.mean)
    assert (nothing.low, nothing.high) == (None, None)


def test_same_scores_give_the_same_interval_in_any_order() -> None:
    values, blocks = _draw(numpy.random.default_rng(7), 4, 3, 2, (1.0, 1.0, 1.0))
    interval = bootstrap_mean(values, blocks)
    assert bootstrap_mean(values, blocks) == interval
    order = numpy.random.default_rng(0).permutation(len(values))
    mixed = bootstrap_mean(values[order], [blocks[row] for row in order])
    assert mixed.low == pytest.approx(interval.low)
    assert mixed.high == pytest.approx(interval.high)


def test_scores_that_do_not_differ_have_an_interval_of_no_width() -> None:
    blocks = [Block(str(row // 4), str(row)) for row in range(20)]
    assert bootstrap_mean(numpy.full(20, 0.25), blocks) == Interval(0.25, 0.25, 0.25)


@pytest.mark.parametrize(
    ("units", "reach"),
    # By hand: sqrt(n / (n - 1)) * t(0.975, n - 1).
    [(2, 17.9694), (5, 3.1042), (10, 2.3845), (100_000, 1.96)],
)
def test_known_reaches(units: int, reach: float) -> None:
    assert compute_reach(units) == pytest.approx(reach, abs=1e-3)


@pytest.mark.parametrize("clips", [2, 3, 4, 6])
def test_few_clips_are_covered_as_often_as_is_said(clips: int) -> None:
    generator = numpy.random.default_rng(clips)
    hits = 0
    for _ in range(200):
        values, blocks = _draw(generator, clips, 3, 2, (1.0, 0.5, 0.3))
        interval = bootstrap_mean(values, blocks)
        hits += interval.low <= 0 <= interval.high
    assert hits / 200 >= 0.9


def test_difference_of_two_groups() -> None:
    generator = numpy.random.default_rng(8)
    first, first_blocks = _draw(generator, 8, 3, 2, (0.3, 0.3, 0.1))
    second, second_blocks = _draw(generator, 6, 3, 2, (0.3, 0.3, 0.1))
    change = bootstrap_difference(first + 3, first_blocks, second, second_blocks)
    assert change.mean == pytest.approx(first.mean() + 3 - second.mean())
    assert change.low > 2
    turned = bootstrap_difference(second, second_blocks, first + 3, first_blocks)
    assert turned.mean == pytest.approx(-change.mean)
    assert _width(change) > max(
        _width(bootstrap_mean(first, first_blocks)), _width(bootstrap_mean(second, second_blocks))
    )


def test_difference_needs_enough_of_both_groups() -> None:
    values, blocks = _draw(numpy.random.default_rng(9), 6, 2, 1, (1.0, 1.0, 1.0))
    short = bootstrap_difference(values, blocks, values[:2], blocks[:2])
    assert (short.low, short.high) == (None, None)
    assert short.mean == pytest.approx(values.mean() - values[:2].mean())
    assert numpy.isnan(bootstrap_difference(values, blocks, values[:0], []).mean)
