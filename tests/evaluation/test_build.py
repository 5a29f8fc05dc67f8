"""The report holds the figures, the pictures and where the model comes from."""

import base64
import html
import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy
import pytest

from facefusion_finetune.evaluation.figures import KINDS
from facefusion_finetune.evaluation.targets import read_targets
from facefusion_finetune.people.profile import Person
from facefusion_finetune.runs.run import Run, find_run
from tests.support.demo_world import FRAMES_PER_SHOT

KNOWN_IN_DRAWN_WORLDS = {KINDS[key].title for key in ("others_l1", "true_swap")}


@pytest.fixture
def run(judged: Person) -> Run:
    """With targets and true swaps."""
    return find_run(judged, None)


@pytest.fixture
def lonely_run(trained: Person) -> Run:
    """Without footage of others."""
    return find_run(trained, None)


def _read(run: Run) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(run.report_json_path.read_text())
    return report


def test_page_says_what_the_json_says(run: Run) -> None:
    report = _read(run)
    page = html.unescape(run.report_path.read_text())
    for text in (
        report["sentence"],
        *report["notes"],
        *report["reasons"],
        *(check["text"] for check in report["checks"]),
        *(entry["why"] for entry in report["missing"]),
        *(figure["title"] for figure in report["figures"].values()),
        *(picture["title"] for picture in report["pictures"]),
        report["base"]["sha256"],
        report["dataset_digest"],
        report["judge"]["sha256"],
    ):
        assert text in page


def test_page_needs_no_other_file(run: Run) -> None:
    page = run.report_path.read_text()
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert "@import" not in page
    assert "<script" not in page
    contents = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    names = [picture["name"] for picture in _read(run)["pictures"]]
    assert names == ["held_out.png", "targets.png"]
    for name, content in zip(names, contents, strict=True):
        pixels = numpy.frombuffer(base64.b64decode(content), dtype=numpy.uint8)
        saved = cv2.imread(str(run.directory / "previews" / name))
        numpy.testing.assert_array_equal(cv2.imdecode(pixels, cv2.IMREAD_COLOR), saved)


@pytest.mark.parametrize("fixture", ["run", "lonely_run"])
def test_every_figure_is_there_or_said_to_be_missing(
    fixture: str, request: pytest.FixtureRequest
) -> None:
    report = _read(request.getfixturevalue(fixture))
    there = {figure["title"] for figure in report["figures"].values()}
    missing = {entry["title"] for entry in report["missing"]}
    assert all(entry["why"].endswith(".") for entry in report["missing"])
    assert not there & missing
    absent = {kind.title for kind in KINDS.values()} - there - missing
    if fixture == "run":
        assert absent == set()
    else:
        assert absent <= KNOWN_IN_DRAWN_WORLDS


def test_figures_are_those_of_the_pairs(run: Run) -> None:
    report = _read(run)
    held_out = report["values"]["face_l1"]
    assert sorted(held_out["ids"]) == sorted(run.config.held_out)
    targets = report["values"]["judge_targets"]
    assert targets["ids"] == [record.id for record in read_targets(run)]
    for key, values in report["values"].items():
        figure = report["figures"][key]
        before, after = (numpy.array(values[part], dtype=float) for part in ("before", "after"))
        known = numpy.isfinite(before) & numpy.isfinite(after)
        assert figure["pairs"] == known.sum() > 0
        assert figure["before"] == pytest.approx(before[known].mean(), abs=1e-4)
        assert figure["after"] == pytest.approx(after[known].mean(), abs=1e-4)
        change = figure["change"]
        assert change["mean"] == pytest.approx((after - before)[known].mean(), abs=1e-4)
        if change["low"] is not None:
            assert change["low"] <= change["mean"] <= change["high"]


def test_base_is_measured_against_the_known_truth(run: Run) -> None:
    figures = _read(run)["figures"]
    assert figures["true_swap"]["pairs"] == 2 * FRAMES_PER_SHOT
    assert figures["true_swap"]["unit"] == "grey levels"
    # The base brings the person nearer to the truth than a quarter of all grey levels.
    assert 0 < figures["true_swap"]["before"] < 64
    ceiling = figures["judge_targets"]["ceiling"]
    assert figures["judge_targets"]["before"] < ceiling <= 1
    assert figures["others_drift"]["change"]["mean"] > 0


def test_material_is_counted(run: Run) -> None:
    material = _read(run)["material"]
    assert material["train"] == len(run.config.train)
    assert material["held_out"] == len(run.config.held_out)
    assert material["left_out"] == 0
    assert material["targets"] == {"kind": "people", "frames": 2 * FRAMES_PER_SHOT, "shots": 2}
    assert material["other_vectors"] >= 10


def test_without_footage_of_others_it_says_what_stood_in(lonely_run: Run) -> None:
    report = _read(lonely_run)
    assert report["material"]["targets"]["kind"] == "stand-in"
    assert any("--targets" in note for note in report["notes"])
    assert [picture["name"] for picture in report["pictures"]] == ["held_out.png"]


@pytest.mark.parametrize("fixture", ["run", "lonely_run"])
def test_nothing_in_it_depends_on_the_machine_or_the_hour(
    fixture: str, request: pytest.FixtureRequest, footage: Path, other_footage: Path
) -> None:
    run: Run = request.getfixturevalue(fixture)
    text = run.report_json_path.read_text()
    places = [Path.home(), run.directory, footage, other_footage, Path(cv2.__file__).parent]
    for place in (*places, footage.parent):
        assert str(place) not in text
    assert not re.search(r'"[^"]*(?<![\w<])/(?:home|tmp|usr|work|root|var)\b', text)
    created = run.config.created
    for moment in (created.date().isoformat(), created.strftime("%H:%M")):
        assert moment not in text


def test_verdict_follows_from_the_checks(run: Run) -> None:
    report = _read(run)
    outcomes = {check["name"]: check["outcome"] for check in report["checks"]}
    assert outcomes["judge"] == "held"
    won = [name for name in ("judge_targets", "face_l1") if outcomes[name] == "won"]
    assert report["proven"] <= bool(won)
    assert report["proven"] <= (report["verdict"] == "better")
    assert (report["reasons"] == []) == report["proven"]
    for key in ("judge_targets", "face_l1"):
        change = report["figures"][key]["change"]
        if change["low"] is None:
            assert outcomes[key] == "not measured"
        elif key == "face_l1":
            assert (outcomes[key] == "won") == (change["high"] < 0)
        else:
            assert (outcomes[key] == "won") == (change["low"] > 0)
