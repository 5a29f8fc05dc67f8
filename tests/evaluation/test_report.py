"""The report holds the figures, the pictures and where the model comes from."""

import base64
import json
import re

import cv2
import numpy
import pytest

from facefusion_finetune.people.profile import Person
from facefusion_finetune.training.run import Run, find_run


@pytest.fixture
def run(trained: Person) -> Run:
    return find_run(trained, None)


def test_page_says_what_the_json_says(run: Run) -> None:
    report = json.loads((run.directory / "report.json").read_text())
    page = run.report_path.read_text()
    assert report["sentence"] in page
    assert f'class="verdict {report["verdict"].replace(" ", "-")}"' in page
    for digest in (report["base"]["sha256"], report["dataset_digest"]):
        assert digest in page
    cells = re.findall(r"<td>([^<]*)</td>", page)
    for name, digits in (("face_l1", 2), ("judge", 3), ("training_recogniser", 3)):
        for key in ("before", "after"):
            assert f"{report[name][key]:.{digits}f}" in cells
        assert f"{report[name]['change']['mean']:+.{digits}f}" in cells


def test_page_needs_no_other_file(run: Run) -> None:
    page = run.report_path.read_text()
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == 1
    content = numpy.frombuffer(base64.b64decode(pictures[0]), dtype=numpy.uint8)
    saved = cv2.imread(str(run.directory / "previews" / "held_out.png"))
    numpy.testing.assert_array_equal(cv2.imdecode(content, cv2.IMREAD_COLOR), saved)


def test_figures_are_those_of_the_pairs(run: Run) -> None:
    report = json.loads((run.directory / "report.json").read_text())
    assert len(report["face_l1"]["pairs"]) == report["crops"]["held_out"] == 12
    change = report["face_l1"]["change"]
    assert change["mean"] == pytest.approx(numpy.mean(report["face_l1"]["pairs"]), abs=1e-3)
    assert change["mean"] == pytest.approx(
        report["face_l1"]["after"] - report["face_l1"]["before"], abs=1e-3
    )
    assert change["low"] <= change["mean"] <= change["high"]
    assert 0 < report["judge"]["ceiling"] <= 1
    assert report["proven"] == (report["verdict"] == "better")
