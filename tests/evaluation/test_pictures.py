"""Rows of a grid are chosen by rule and say which they are."""

import numpy
import pytest

from facefusion_finetune.evaluation.pictures import choose_rows, draw_grid, label_rows


def test_rows_are_best_quartiles_and_worst() -> None:
    scores = numpy.array([8, 6, 4, 2, 0, 1, 3, 5, 7], dtype=float)
    rows = choose_rows(scores)
    assert scores[rows].tolist() == [0, 2, 4, 6, 8]
    assert label_rows(scores, rows) == ["best", "between", "median", "between", "worst"]


def test_rows_without_a_score_are_passed_over() -> None:
    scores = numpy.array([numpy.nan, 3.0, numpy.nan, 1.0, 2.0, numpy.nan])
    rows = choose_rows(scores, 3)
    assert rows == [3, 4, 1]
    assert label_rows(scores, rows) == ["best", "median", "worst"]
    assert choose_rows(numpy.full(4, numpy.nan)) == choose_rows(numpy.zeros(0)) == []
    assert label_rows(numpy.full(4, numpy.nan), []) == []


@pytest.mark.parametrize("total", range(1, 40))
def test_no_row_comes_twice(total: int) -> None:
    scores = numpy.random.default_rng(total).integers(0, 5, total).astype(float)
    for count in range(1, 8):
        rows = choose_rows(scores, count)
        assert len(rows) == len(set(rows)) == min(count, total)
        assert scores[rows].tolist() == sorted(scores[rows])
        assert scores[rows[0]] == scores.min()
        assert count == 1 or scores[rows[-1]] == scores.max()


@pytest.mark.parametrize(
    ("total", "labels"),
    [
        (1, ["median"]),
        (2, ["best", "worst"]),
        (3, ["best", "median", "worst"]),
        (4, ["best", "between", "median", "worst"]),
    ],
)
def test_labels_of_few_rows(total: int, labels: list[str]) -> None:
    scores = numpy.arange(total, dtype=float)
    assert label_rows(scores, choose_rows(scores)) == labels


def test_row_labels_stand_left_of_their_rows() -> None:
    pictures = numpy.full((2, 128, 128, 3), 77, dtype=numpy.uint8)
    plain = draw_grid({"one": pictures, "two": pictures})
    labelled = draw_grid({"one": pictures, "two": pictures}, ["best", ""])
    added = labelled.shape[1] - plain.shape[1]
    assert 0 < added < 64
    numpy.testing.assert_array_equal(labelled[:, added:], plain)
    rows_with_ink = numpy.flatnonzero((labelled[:, :added] < 128).any(axis=(1, 2)))
    tile = numpy.flatnonzero((plain == 77).all(axis=(1, 2)) | (plain == 77).any(axis=(1, 2)))
    first = tile[tile < tile[0] + 128]
    assert len(rows_with_ink) > 0
    assert first[0] < rows_with_ink.min() < rows_with_ink.max() < first[-1]
