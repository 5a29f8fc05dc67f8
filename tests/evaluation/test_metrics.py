"""Scores and intervals."""

import numpy
import pytest

from facefusion_finetune.evaluation.metrics import (
    bootstrap_mean,
    measure_face_l1,
    measure_similarity,
)
from facefusion_finetune.evaluation.pictures import choose_rows, draw_grid
from facefusion_finetune.evaluation.protocol import decide


def test_distance_counts_the_face_alone() -> None:
    truth = numpy.zeros((1, 4, 4, 3), dtype=numpy.float32)
    picture = truth.copy()
    picture[:, :2] = 30
    face = numpy.zeros((1, 4, 4), dtype=numpy.float32)
    face[:, :2] = 1
    assert measure_face_l1(picture, truth, face).tolist() == [30]
    assert measure_face_l1(picture, truth, 1 - face).tolist() == [0]
    assert measure_face_l1(picture, truth, numpy.ones_like(face)).tolist() == [15]


def test_covered_face_is_no_fault_in_the_mean() -> None:
    truth = numpy.zeros((1, 4, 4, 3), dtype=numpy.float32)
    covered = numpy.zeros((1, 4, 4), dtype=numpy.float32)
    assert measure_face_l1(truth + 9, truth, covered).tolist() == [0]


def test_similarity_ignores_length() -> None:
    rows = numpy.array([[3.0, 0.0], [0.0, 7.0], [1.0, 1.0]], dtype=numpy.float32)
    scores = measure_similarity(rows, numpy.array([1.0, 0.0]))
    numpy.testing.assert_allclose(scores, [1, 0, numpy.sqrt(0.5)], rtol=1e-6)


def test_frames_of_one_second_are_one_witness() -> None:
    generator = numpy.random.default_rng(0)
    of_block = generator.normal(0, 1, 10)
    values = numpy.repeat(of_block, 30) + generator.normal(0, 0.01, 300)
    blocks = [f"block {index}" for index in range(10) for _ in range(30)]
    together = bootstrap_mean(values, blocks)
    alone = bootstrap_mean(values, [str(index) for index in range(300)])
    assert together.mean == alone.mean == pytest.approx(values.mean())
    assert together.high - together.low > 3 * (alone.high - alone.low)
    assert together.low < together.mean < together.high
    assert bootstrap_mean(values, blocks) == together


def test_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    generator = numpy.random.default_rng(1)
    hits = 0
    for _ in range(200):
        values = generator.normal(0.5, 1, 40)
        interval = bootstrap_mean(values, [str(index) for index in range(40)])
        hits += interval.low <= 0.5 <= interval.high
    assert 0.88 <= hits / 200 <= 0.99


def _scored(low: float, high: float) -> dict[str, object]:
    return {"before": 1.0, "after": 1.0, "change": {"mean": 0, "low": low, "high": high}}


@pytest.mark.parametrize(
    ("l1", "judge", "verdict"),
    [
        ((-2, -1), None, "better"),
        ((-2, 1), None, "no difference"),
        ((1, 2), None, "worse"),
        ((-2, -1), (-0.1, 0.1), "better"),
        ((-1, 1), (0.1, 0.2), "better"),
        ((-1, 1), (-0.1, 0.1), "no difference"),
        ((-2, -1), (-0.2, -0.1), "worse"),
        ((1, 2), (0.1, 0.2), "worse"),
    ],
)
def test_verdict(l1: tuple[float, float], judge: tuple[float, float] | None, verdict: str) -> None:
    decided, sentence = decide(_scored(*l1), _scored(*judge) if judge else None)
    assert decided == verdict
    assert sentence.endswith(".")


def test_rows_are_chosen_by_rule() -> None:
    scores = numpy.array([3.0, 1.0, 2.0, 5.0, 4.0, 0.0, 6.0])
    assert choose_rows(scores, 3) == [5, 0, 6]
    assert choose_rows(scores[:2], 5) == [1, 0]


def test_grid_holds_every_picture() -> None:
    pictures = numpy.full((3, 64, 64, 3), 77, dtype=numpy.uint8)
    grid = draw_grid({"one": pictures, "two": pictures.astype(numpy.float32)})
    assert (grid == 77).all(axis=2).sum() == 2 * 3 * 128 * 128
