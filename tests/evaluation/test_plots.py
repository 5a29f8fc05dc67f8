"""The plots put marks where the numbers say, and stay whole whatever the numbers are."""

import math
import re
from xml.etree import ElementTree

import pytest

from facefusion_finetune.evaluation.plots import (
    choose_digits,
    describe_change,
    draw_forest,
    draw_levels,
    draw_pairs,
    format_number,
    read_effect,
)
from facefusion_finetune.evaluation.report import ReportedFigure
from tests.support.reports import build_figure

HOSTILE = "<b>\"x\" & 'y'</b>"


def _parse(svg: str) -> ElementTree.Element:
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        for name, value in element.attrib.items():
            if name in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "width", "height"):
                assert math.isfinite(float(value))
        assert not re.search(r"nan|inf", element.get("d", ""))
    assert float(root.attrib["viewBox"].split()[3]) > 0
    return root


def _find(root: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    """Elements of a class, in the order they are drawn."""
    return [element for element in root.iter() if kind in element.get("class", "").split()]


def _number(element: ElementTree.Element, name: str) -> float:
    return float(element.attrib[name])


def _texts(root: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in root.iter("text")]


def _axis(root: ElementTree.Element) -> tuple[float, float]:
    """Where zero is, and how many units of the drawing a per cent takes."""
    label = next(text for text in root.iter("text") if (text.text or "").endswith("% better"))
    zero = next(text for text in root.iter("text") if text.text == "0")
    limit = float(str(label.text).split()[0])
    return _number(zero, "x"), (_number(label, "x") - _number(zero, "x")) / limit


def test_forest_draws_gains_to_the_right_in_per_cent_of_before() -> None:
    root = _parse(
        draw_forest(
            [
                build_figure(10, (-2, -3, -1), "less"),
                build_figure(200, (-80, -100, -60), "more"),
                build_figure(50, (1, -1, 3), "less"),
            ]
        )
    )
    zero, scale = _axis(root)
    markers = [(_number(marker, "cx") - zero) / scale for marker in root.iter("circle")]
    assert markers == pytest.approx([20, -40, -2], abs=0.05)
    ends = [
        ((_number(line, "x1") - zero) / scale, (_number(line, "x2") - zero) / scale)
        for line in _find(root, "interval")
    ]
    assert ends == [
        pytest.approx((10, 30), abs=0.05),
        pytest.approx((-50, -30), abs=0.05),
        pytest.approx((-6, 2), abs=0.05),
    ]
    for line in _find(root, "zero"):
        assert _number(line, "x1") == _number(line, "x2") == zero
    kinds = [marker.attrib["class"].split()[1:] for marker in root.iter("circle")]
    assert kinds == [["good", "clear"], ["bad", "clear"], ["open", "hollow"]]
    assert "+20 % (+10 to +30)" in _texts(root)


def test_forest_marks_the_better_side() -> None:
    root = _parse(draw_forest([build_figure(10, (1, 0, 2)), build_figure(10, (1, 0, 2), "same")]))
    zero, _ = _axis(root)
    (better,), (worse,) = _find(root, "better"), _find(root, "worse")
    assert _number(better, "x") == zero
    assert _number(worse, "x") + _number(worse, "width") == zero
    assert len(_find(root, "neutral")) == 2
    assert "a figure (should stay the same)" in _texts(root)


def test_one_wild_figure_does_not_flatten_the_others() -> None:
    tame = [build_figure(100, (-4, -8, -1), "less") for _ in range(5)]
    root = _parse(draw_forest([*tame, build_figure(1, (5, 4, 6), "less")]))
    zero, scale = _axis(root)
    assert len(list(root.iter("circle"))) == 5
    assert (_number(next(root.iter("circle")), "cx") - zero) / scale == pytest.approx(4, abs=0.05)
    (arrow,) = _find(root, "arrow")
    tip = float(arrow.attrib["d"].split()[0][1:])
    assert tip < zero - 10 * scale
    assert _find(root, "interval")[-1].attrib["x1"] == _find(root, "interval")[-1].attrib["x2"]
    assert any("600" in text for text in _texts(root))


def test_interval_beyond_the_axis_ends_in_an_arrow_on_that_side_alone() -> None:
    tame = [build_figure(100, (4, 1, 8), "more") for _ in range(5)]
    root = _parse(draw_forest([*tame, build_figure(100, (5, -2, 30), "more")]))
    zero, scale = _axis(root)
    (arrow,) = _find(root, "arrow")
    assert float(arrow.attrib["d"].split()[0][1:]) > zero + 10 * scale
    line = _find(root, "interval")[-1]
    ends = [(_number(line, name) - zero) / scale for name in ("x1", "x2")]
    assert ends == pytest.approx([-2, 10], abs=0.05)
    assert len(list(root.iter("circle"))) == 6


@pytest.mark.parametrize("before", [None, 0, 0.0001])
def test_figure_without_a_before_has_its_own_scale(before: float | None) -> None:
    root = _parse(draw_forest([build_figure(before, (0.2, 0.1, 0.4), "more")]))
    assert not list(root.iter("circle"))
    (diamond,) = _find(root, "marker")
    (line,) = _find(root, "interval")
    zero = _number(_find(root, "zero")[0], "x1")
    x = float(diamond.attrib["d"].split()[0][1:])
    low, high = _number(line, "x1") - zero, _number(line, "x2") - zero
    assert low == pytest.approx((x - zero) / 2, abs=0.02)
    assert high == pytest.approx((x - zero) * 2, abs=0.02)
    assert "+0.20 (+0.10 to +0.40)" in _texts(root)


@pytest.mark.parametrize(
    ("figure", "word"),
    [
        (build_figure(10, (-2, -3, -1), "less"), "better"),
        (build_figure(10, (-2, -3, -1), "more"), "worse"),
        (build_figure(10, (-2, -3, -1), "same"), "changed"),
        (build_figure(10, (-2, -3, 1), "less"), "no clear change"),
        (build_figure(10, (-2, -3, 0), "less"), "no clear change"),
        (build_figure(10, (2, 0, 3), "same"), "no clear change"),
        (build_figure(-10, (-2, -3, -1), "less"), "better"),
        (build_figure(None, (-2, -3, -1), "less"), "better"),
        (build_figure(10, (-2e30, -3e30, -1e30), "less"), "better"),
        (build_figure(10, (-2, None, None), "less"), "no interval"),
        (build_figure(10, (-2, -3, None), "less"), "no interval"),
        (build_figure(10, (None, None, None), "less"), "not measured"),
        (build_figure(10, (None, -1, 1), "less"), "not measured"),
    ],
)
def test_words_follow_the_interval(figure: ReportedFigure, word: str) -> None:
    assert describe_change(figure) == word
    _parse(draw_forest([figure]))


def test_gain_keeps_its_sign_where_before_is_negative() -> None:
    effect = read_effect(build_figure(-0.5, (-0.1, -0.2, -0.05), "less"))
    assert effect is not None
    assert effect.is_percent
    assert effect.values == pytest.approx((20, 10, 40))


def test_names_cannot_break_out() -> None:
    figure = build_figure(10, (1, 0, 2), title=HOSTILE, group=HOSTILE)
    root = _parse(draw_forest([figure]))
    assert [text for text in _texts(root) if "x" in text] == [HOSTILE, HOSTILE]
    assert not list(root.iter("b"))
    bars = _parse(draw_pairs([1], [2], [HOSTILE], "more"))
    assert next(bars.iter("title")).text == f"{HOSTILE}: +1.0"


def test_long_title_takes_more_lines_and_pushes_the_rest_down() -> None:
    long = " ".join(["word"] * 30)
    root = _parse(draw_forest([build_figure(1, (1, 0, 2), title=long), build_figure(1, (1, 0, 2))]))
    lines = [text for text in _find(root, "name") if "word" in (text.text or "")]
    assert " ".join(line.text or "" for line in lines) == long
    band, last = (_number(rect, "y") for rect in _find(root, "better"))
    assert max(_number(line, "y") for line in lines) < band < last


def test_bars_of_pairs_are_as_long_as_the_gains() -> None:
    root = _parse(draw_pairs([10, 10, 10], [11, 8, 6], ["a", "b", "c"], "less"))
    (zero,) = (_number(line, "y1") for line in _find(root, "zero"))
    bars = _find(root, "bar")
    assert [str(bar[0].text)[0] for bar in bars] == ["c", "b", "a"]
    scale = _number(bars[0], "height") / 4
    assert [_number(bar, "height") / scale for bar in bars] == pytest.approx([4, 2, 1], abs=0.01)
    for bar in bars[:2]:
        assert _number(bar, "y") + _number(bar, "height") == pytest.approx(zero, abs=0.02)
        assert "good" in bar.attrib["class"]
    assert _number(bars[2], "y") == pytest.approx(zero, abs=0.02)
    assert "bad" in bars[2].attrib["class"]
    assert [_number(bar, "x") for bar in bars] == sorted(_number(bar, "x") for bar in bars)
    (mean,) = (_number(line, "y1") for line in _find(root, "mean"))
    assert (zero - mean) / scale == pytest.approx(5 / 3, abs=0.01)
    assert {"+4.0", "0", "\N{MINUS SIGN}1.0"} <= set(_texts(root))


def test_pairs_without_numbers_are_left_out() -> None:
    root = _parse(draw_pairs([1, None, 1, None], [2, 2, None, 3], list("abcd"), "more"))
    assert len(_find(root, "bar")) == 1
    assert draw_pairs([], [], [], "less") == draw_pairs([None], [1], ["a"], "less") == ""
    _parse(draw_pairs([1, 1], [1, 1], ["a", "b"], "less"))


def test_pairs_of_uneven_length_are_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        draw_pairs([1, 2], [1], ["a", "b"], "less")


def test_levels_are_as_long_as_the_numbers() -> None:
    root = _parse(draw_levels(0.6, 0.3, 0.9))
    (before,), (after,) = _find(root, "before"), _find(root, "after")
    assert _number(before, "width") == pytest.approx(2 * _number(after, "width"), abs=0.02)
    (real,) = _find(root, "real")
    length = _number(real, "x1") - _number(before, "x")
    assert length == pytest.approx(1.5 * _number(before, "width"), abs=0.02)


def test_levels_below_zero_start_at_a_common_zero() -> None:
    root = _parse(draw_levels(-0.2, 0.4, None))
    (before,), (after,) = _find(root, "before"), _find(root, "after")
    assert _number(before, "x") + _number(before, "width") == pytest.approx(_number(after, "x"))
    assert not _find(root, "real")
    assert draw_levels(None, 1, 1) == draw_levels(1, None, 1) == ""
    _parse(draw_levels(0, 0, 0))


def test_empty_forest_is_whole() -> None:
    assert not _find(_parse(draw_forest([])), "row")


@pytest.mark.parametrize(
    ("value", "digits", "sign", "text"),
    [
        (1.25, 1, "-", "1.2"),
        (-0.5, 2, "-", "\N{MINUS SIGN}0.50"),
        (-0.001, 2, "+", "0.00"),
        (0.001, 2, "+", "0.00"),
        (3, 0, "+", "+3"),
    ],
)
def test_numbers_as_text(value: float, digits: int, sign: str, text: str) -> None:
    assert format_number(value, digits, sign) == text


def test_two_digits_are_left_to_the_largest() -> None:
    assert choose_digits(0.031, -0.0002, None) == 3
    assert choose_digits(-13.4) == 0
    assert choose_digits(1.6, 0.4) == 1
    assert choose_digits(1e-9) == 5
    assert choose_digits() == choose_digits(None, 0.0) == 0
