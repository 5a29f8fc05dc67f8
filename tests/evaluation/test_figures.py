"""What is reported of a figure: five digits, and nothing where there is no number."""

import numpy

from facefusion_finetune.evaluation.figures import KINDS, compare
from facefusion_finetune.evaluation.intervals import Block
from facefusion_finetune.evaluation.report import Change, PairScores


def test_figure_is_reported_with_five_digits() -> None:
    blocks = [Block("a", "0"), Block("a", "1"), Block("b", "0")]
    before = numpy.array([1.0, 2.0, numpy.nan])
    after = numpy.array([1.1234567, 2.0, 3.0])
    figure = compare("pose", (before, after), blocks, ceiling=1 / 3)
    reported = figure.as_reported()
    assert (reported.before, reported.after, reported.ceiling) == (1.5, 1.56173, 0.33333)
    assert reported.change == Change(mean=0.06173, low=None, high=None)
    assert (reported.pairs, reported.blocks) == (2, 2)
    assert KINDS["pose"].title == reported.title
    assert list(KINDS)[reported.order] == "pose"
    assert figure.list_pairs(["x", "y", "z"]) == PairScores(
        ids=("x", "y", "z"),
        clips=("a", "a", "b"),
        parts=("0", "1", "0"),
        before=(1.0, 2.0, None),
        after=(1.12346, 2.0, 3.0),
    )


def test_figure_of_nothing_has_no_numbers() -> None:
    scores = numpy.full(2, numpy.nan)
    reported = compare("pose", (scores, scores), [Block("a", "0")] * 2).as_reported()
    assert (reported.before, reported.after, reported.ceiling) == (None, None, None)
    assert reported.change == Change(mean=None, low=None, high=None)
    assert (reported.pairs, reported.blocks) == (0, 0)


def test_every_figure_has_its_place() -> None:
    scores = numpy.arange(8.0)
    blocks = [Block(str(row), "") for row in range(8)]
    orders = [compare(key, (scores, scores), blocks).as_reported().order for key in KINDS]
    assert orders == list(range(len(KINDS)))
