"""Poor footage: each way changes a picture a little, and the same seed does the same."""

import numpy
import pytest
from numpy.typing import NDArray

from facefusion_finetune.training.pairs.degrade import choose_degraded, degrade_picture

SIZE = 64


@pytest.fixture
def picture() -> NDArray[numpy.uint8]:
    """Gradients, edges and grain."""
    generator = numpy.random.default_rng(0)
    across, down = numpy.meshgrid(numpy.arange(SIZE), numpy.arange(SIZE))
    values = numpy.stack([across * 2 + 40, down * 2 + 40, (across // 8 % 2) * 80 + 80], axis=2)
    grain = generator.normal(0, 4, values.shape)
    return numpy.asarray((values + grain).clip(0, 255), dtype=numpy.uint8)


def _difference(first: NDArray[numpy.uint8], second: NDArray[numpy.uint8]) -> float:
    return float(numpy.abs(first.astype(int) - second).mean())


def test_a_degraded_picture_is_another_one_but_like_it(picture: NDArray[numpy.uint8]) -> None:
    before = picture.copy()
    seen = [degrade_picture(picture, numpy.random.default_rng(seed)) for seed in range(40)]
    for made in seen:
        assert (made.shape, made.dtype) == (picture.shape, numpy.uint8)
        assert 0.3 < _difference(made, picture) < 25
    assert len({made.tobytes() for made in seen}) > 30
    numpy.testing.assert_array_equal(picture, before)


def test_all_ways_come(picture: NDArray[numpy.uint8]) -> None:
    # Noise alone adds grain to a flat patch; the other ways take detail away.
    grain = [
        float(numpy.diff(made[:, :4, 2].astype(int), axis=0).std())
        for made in (degrade_picture(picture, numpy.random.default_rng(seed)) for seed in range(40))
    ]
    own = float(numpy.diff(picture[:, :4, 2].astype(int), axis=0).std())
    assert sum(value > own * 1.05 for value in grain) >= 4
    assert sum(value < own * 0.8 for value in grain) >= 12


def test_the_generator_alone_decides(picture: NDArray[numpy.uint8]) -> None:
    for seed in range(8):
        first, second = (degrade_picture(picture, numpy.random.default_rng(seed)) for _ in range(2))
        numpy.testing.assert_array_equal(first, second)


def test_the_smallest_picture() -> None:
    tiny = numpy.full((2, 3, 3), 90, dtype=numpy.uint8)
    for seed in range(20):
        made = degrade_picture(tiny, numpy.random.default_rng(seed))
        assert made.shape == tiny.shape


@pytest.mark.parametrize(
    ("count", "share", "expected"),
    [(10, 0.3, 3), (7, 0.0, 0), (7, 1.0, 7), (0, 0.5, 0), (1, 0.4, 0)],
)
def test_the_share_is_met(count: int, share: float, expected: int) -> None:
    rows = choose_degraded(count, share, numpy.random.default_rng(1))
    assert len(set(rows.tolist())) == len(rows) == expected
    assert all(0 <= row < count for row in rows)
