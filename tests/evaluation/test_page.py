"""The page says what the report says, whole, alone and safely."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy
import pytest

from facefusion_finetune.evaluation.page import describe_figure, sort_figures, write_page
from facefusion_finetune.evaluation.report import Report
from tests.support.reports import (
    FIGURES,
    SENTENCES,
    build_content,
    build_pictures,
    build_report,
    parse,
)

VOID = {"meta", "img", "br"}
HOSTILE = "<b>\"x'&"


class _Parser(HTMLParser):
    """Collects the text, by tag; fails where tags do not balance."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", " ".join(data.split())))

    @property
    def text(self) -> str:
        return " ".join(text for tag, text in self.texts if text and tag != "style")


def _parse(page: str) -> _Parser:
    parser = _Parser()
    parser.feed(page)
    parser.close()
    assert not parser.open
    return parser


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "report.html"


def _write(path: Path, report: Report) -> str:
    write_page(path, report, build_pictures())
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("verdict", list(SENTENCES))
def test_every_verdict_has_its_words(path: Path, verdict: str) -> None:
    report = build_report(verdict)
    parsed = _parse(_write(path, report))
    text = parsed.text
    kinds = [attributes.get("class") for tag, attributes in parsed.attributes if tag == "section"]
    assert kinds[0] == f"verdict {verdict.replace(' ', '-')}"
    assert text.index(verdict.capitalize()) < text.index(report.sentence)
    assert text.index(report.sentence) < text.index("What was checked")
    for check in report.checks:
        assert check.title in text
    for reason in report.reasons:
        assert text.index("What was checked") < text.index(reason) < text.index("Terms")
    assert ("not proven" in text) == (not report.proven)


def test_all_that_was_measured_is_there(path: Path) -> None:
    report = build_report()
    parsed = _parse(_write(path, report))
    text = parsed.text
    assert report.judge is not None
    assert report.training_recogniser is not None
    for figure in report.figures.values():
        assert ("th", figure.title) in parsed.texts
        assert figure.explanation in text
    for value in (
        *report.base.model_dump().values(),
        *report.notes,
        report.dataset_digest,
        report.model,
        report.analyser,
        report.package_version,
        report.judge.name,
        report.judge.sha256,
        report.training_recogniser.name,
        "412 pictures from 9 shots",
        "60 pictures from 3 shots",
        "48 frames from 4 shots of other people",
        *(entry.title for entry in report.missing),
        *(entry.why for entry in report.missing),
    ):
        assert value in text


def test_row_holds_the_numbers_of_its_figure(path: Path) -> None:
    page = _write(path, build_report())
    (row,) = (row for row in re.findall(r"<tr>.*?</tr>", page, re.S) if ">Flicker" in row)
    cells = _parse(row).texts
    numbers = [text for tag, text in cells if text and tag in ("span", "small")]
    assert numbers[1:5] == ["0.72", "1.33", "+0.61", "+0.39 to +0.83"]
    assert {"worse", "0.55", "60 pairs, 12 blocks"} <= set(numbers)


def test_figures_are_sorted_by_group_then_order() -> None:
    figures = dict(build_report().figures)
    figures["seam"] = figures["seam"].model_copy(update={"order": -1})
    changes = {"group": "unheard of", "title": "odd"}
    figures["odd"] = figures["pose"].model_copy(update=changes)
    shuffled = {key: figures[key] for key in sorted(figures, reverse=True)}
    titles = [figure.title for figure in sort_figures(shuffled)]
    expected = [key for key in FIGURES if key != "seam"]
    expected.insert(expected.index("flicker"), "seam")
    assert titles == [figures[key].title for key in [*expected, "odd"]]


def test_main_questions_come_first_in_large(path: Path) -> None:
    report = build_report()
    page = _write(path, report)
    cards = re.findall(r'<div class="outcome">.*?</div>', page, re.S)
    assert [re.findall("<h3>(.*?)</h3>", card)[0] for card in cards] == [
        report.figures[key].title for key in ("judge_targets", "face_l1")
    ]
    text = _parse(cards[0]).text
    assert "0.612 → 0.643 cosine (real frames: 0.874)" in text
    assert "change +0.031, interval +0.020 to +0.042; higher is better" in text


def test_figure_that_was_no_question_is_no_answer(path: Path) -> None:
    report = build_report("not judged")
    assert "face_l1" in report.figures
    page = _write(path, report)
    assert 'class="outcome"' not in page
    assert _write(path, build_report("not judged", checks=[])).count('class="outcome"') == 1


def test_names_cannot_break_out(path: Path) -> None:
    def spoil(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: spoil(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [spoil(entry) for entry in value]
        return value + HOSTILE if isinstance(value, str) else value

    report = build_content("worse")
    spoilt = spoil(report)
    # What the code looks up stays as it is.
    spoilt["verdict"] = report["verdict"]
    for mine, theirs in zip(spoilt["checks"], report["checks"], strict=True):
        mine.update({key: theirs[key] for key in ("name", "role", "outcome")})
    for key, figure in spoilt["figures"].items():
        figure["better"] = report["figures"][key]["better"]
    spoilt["material"]["targets"]["kind"] = report["material"]["targets"]["kind"]
    page = _write(path, parse(spoilt))
    parsed = _parse(page)
    assert "<b>" not in page
    assert not any(tag == "b" for tag, _ in parsed.attributes)
    assert ("h1", f"ada{HOSTILE}, version 1") in parsed.texts
    _read_plots(page)


def _read_plots(page: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg .*?</svg>", page, re.S)]


def test_plots_are_well_formed_and_described(path: Path) -> None:
    plots = _read_plots(_write(path, build_report()))
    kinds = [plot.attrib["class"] for plot in plots]
    assert kinds == ["levels", "levels", "forest", "pairs", "pairs"]
    assert all(plot.attrib["aria-label"] for plot in plots)


def test_page_needs_no_other_file_and_no_script(path: Path) -> None:
    page = _write(path, build_report())
    assert not re.search(r'(?:src|href)="(?!data:)|url\(|@import|<script|<link', page)
    contents = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    for content, picture in zip(contents, build_pictures(), strict=True):
        read = numpy.frombuffer(base64.b64decode(content), dtype=numpy.uint8)
        numpy.testing.assert_array_equal(cv2.imdecode(read, cv2.IMREAD_COLOR), picture.pixels)
    for tag, attributes in _parse(page).attributes:
        assert tag != "img" or attributes["alt"]


def test_same_report_is_the_same_page(path: Path) -> None:
    first = _write(path, build_report())
    turned = build_content()
    for key in ("figures", "values"):
        turned[key] = dict(reversed(turned[key].items()))
    assert _write(path, parse(turned)) == first
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_report_is_left_as_it_was(path: Path) -> None:
    report = build_report()
    former = report.model_copy(deep=True)
    _write(path, report)
    assert report == former


def test_least_that_a_report_can_hold(path: Path) -> None:
    content = build_content(
        "not judged",
        checks=[],
        reasons=[],
        notes=[],
        judge=None,
        training_recogniser=None,
        figures={},
        missing=[],
        values={},
        pictures=[],
    )
    content["material"]["targets"] = None
    report = parse(content)
    write_page(path, report, [])
    text = _parse(path.read_text()).text
    for heading in ("What was checked", "All figures", "Pair by pair", "Notes", "Not measured"):
        assert heading not in text
    assert report.sentence in text


def test_numbers_that_lack_are_no_error(path: Path) -> None:
    content = build_content()
    for figure in content["figures"].values():
        figure |= {"before": None, "after": None, "ceiling": None}
        figure["change"] |= {"low": None, "high": None}
    content["figures"]["pose"]["change"]["mean"] = None
    content["values"]["face_l1"]["before"][0] = None
    content["values"]["judge_targets"]["after"] = [None] * 60
    page = _write(path, parse(content))
    text = _parse(page).text
    assert not re.search(r"\b(nan|None|inf)\b", text)
    assert f"{content['figures']['pose']['title']}: not measured" in text
    kinds = [plot.attrib["class"] for plot in _read_plots(page)]
    assert kinds == ["forest", "pairs"]
    assert "of 59 pairs" in text


def test_judge_that_is_no_judge_is_said_to_be_none(path: Path) -> None:
    judge = {"name": "arcface", "sha256": "0" * 64, "independent": False}
    content = build_content("better", judge=judge, proven=False, reasons=["It is no judge."])
    content["material"]["targets"] = {"kind": "stand-in", "frames": 1, "shots": 1}
    text = _parse(_write(path, parse(content))).text
    assert "(not proven)" in text
    assert "the training recogniser itself: not independent" in text
    assert "1 frame from 1 shot, as stand-ins for other people" in text


def test_row_of_a_figure_has_one_count_of_decimals() -> None:
    row = describe_figure(build_report().figures["judge_targets"])
    numbers = [row.before, row.after, row.ceiling, row.change, *row.interval.split(" to ")]
    assert numbers == ["0.612", "0.643", "0.874", "+0.031", "+0.020", "+0.042"]


def test_pairs_are_shown_in_the_order_of_their_figures(path: Path) -> None:
    content = build_content()
    content["values"]["a score of its own"] = {"ids": ["a"], "before": [1.0], "after": [2.0]}
    page = _write(path, parse(content))
    titles = [content["figures"][key]["title"] for key in ("judge_targets", "face_l1")]
    assert re.findall(r"<figure>\s*<h3>(.*?)</h3>", page) == [*titles, "a score of its own"]
