"""Stored reports are read into types, written again to the same bytes, refused where damaged."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from facefusion_finetune.errors import EvaluationError
from facefusion_finetune.evaluation.report import (
    Change,
    PairScores,
    Report,
    ReportedJudge,
    encode_report,
    read_report,
    summarise_report,
)
from facefusion_finetune.people.profile import Person
from facefusion_finetune.runs.run import ImportRecord, Run, find_run
from tests.support.reports import SENTENCES, build_content, build_report, parse

STORED = Path(__file__).parents[1] / "data" / "report.json"
"""Of the demo with seed 0, written by the version before reports had types."""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run's folder without a report."""
    record = ImportRecord(
        person="ada",
        version=2,
        created=datetime.now(UTC),
        package_version="0",
        base_name="demo",
        base_sha256="0",
        base_vendor="",
        base_licence="",
        consent_digest="0",
        dataset_digest="0",
        preset_name="balanced",
        imported_at=datetime.now(UTC),
        origin="ada@1",
    )
    return Run(tmp_path, record)


@pytest.fixture
def content() -> dict[str, Any]:
    """What the stored report holds."""
    content: dict[str, Any] = json.loads(STORED.read_bytes())
    return content


def _read(run: Run) -> Report:
    report = read_report(run)
    assert report is not None
    return report


def test_stored_report_is_written_again_to_the_same_bytes(run: Run) -> None:
    run.report_json_path.write_bytes(STORED.read_bytes())
    assert encode_report(_read(run)).encode() == STORED.read_bytes()


@pytest.mark.parametrize("fixture", ["judged", "trained"])
def test_report_of_a_run_is_written_again_to_the_same_bytes(
    fixture: str, request: pytest.FixtureRequest
) -> None:
    person: Person = request.getfixturevalue(fixture)
    run = find_run(person, None)
    assert encode_report(_read(run)).encode() == run.report_json_path.read_bytes()


def test_types_say_what_the_file_says(run: Run, content: dict[str, Any]) -> None:
    run.report_json_path.write_bytes(STORED.read_bytes())
    report = _read(run)
    assert (report.verdict, report.proven, report.reasons) == ("better", True, ())
    assert report.judge == ReportedJudge(**content["judge"])
    assert report.figures["face_l1"].change == Change(mean=-2.46574, low=-3.10754, high=-1.82394)
    assert report.figures["memorisation"].before is None
    assert [check.name for check in report.checks[:2]] == ["judge_targets", "face_l1"]
    assert report.values["true_swap"].before[0] == 8.75513
    assert json.loads(encode_report(report)) == content


@pytest.mark.parametrize("verdict", list(SENTENCES))
def test_every_verdict_survives_a_file(run: Run, verdict: str) -> None:
    report = build_report(verdict)
    run.report_json_path.write_text(encode_report(report))
    assert _read(run) == report


def test_no_report_is_none(run: Run) -> None:
    assert read_report(run) is None


@pytest.mark.parametrize(
    "place",
    [
        *(["judge"], ["training_recogniser"], ["missing"], ["values"], ["pictures"]),
        *(["material", "targets"], ["figures", "pose", "ceiling"]),
        *(["values", "face_l1", "clips"], ["values", "face_l1", "parts"]),
    ],
    ids=".".join,
)
def test_parts_that_lack_are_no_error(run: Run, content: dict[str, Any], place: list[str]) -> None:
    *way, last = place
    holder = content
    for key in way:
        holder = holder[key]
    del holder[last]
    run.report_json_path.write_text(json.dumps(content))
    part: Any = _read(run)
    for key in place:
        part = part[key] if isinstance(part, dict) else getattr(part, key)
    assert not part


def test_keys_of_a_later_version_are_ignored(run: Run, content: dict[str, Any]) -> None:
    later = content | {"weather": "fair"}
    later["judge"] = content["judge"] | {"wears": "a wig"}
    run.report_json_path.write_text(json.dumps(later))
    assert _read(run) == parse(content)


def _set(*place: str | int, to: Any) -> Callable[[dict[str, Any]], str]:
    """What makes the text of a report with another value in a place."""

    def make(content: dict[str, Any]) -> str:
        holder: Any = content
        for key in place[:-1]:
            holder = holder[key]
        holder[place[-1]] = to
        return json.dumps(content)

    return make


def _drop(key: str) -> Callable[[dict[str, Any]], str]:
    return lambda content: json.dumps({name: content[name] for name in content if name != key})


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda content: "", "Invalid JSON"),
        (lambda content: "{", "Invalid JSON"),
        (lambda content: json.dumps(content)[:-1000], "Invalid JSON"),
        (lambda content: "\ufeff" + json.dumps(content), "Invalid JSON"),
        (lambda content: '{"sentence": "\\ud800"}', "Invalid JSON"),
        (lambda content: json.dumps(content).replace("-2.46574", "9" * 5000), "Invalid JSON"),
        (lambda content: "[" * 100_000, "recursion limit"),
        (lambda content: '{"weather": ' + '{"a": ' * 100_000, "recursion limit"),
        (lambda content: "[]", "should be an object"),
        (lambda content: "null", "should be an object"),
        (lambda content: json.dumps([content]), "should be an object"),
        (lambda content: "{}", "model: Field required"),
        *((_drop(key), f"{key}: Field required") for key in ("sentence", "checks", "figures")),
        (_set("sentence", to=3), "sentence: Input should be a valid string"),
        (_set("version", to="1"), "version: Input should be a valid integer"),
        (_set("proven", to="yes"), "proven: Input should be a valid boolean"),
        (_set("proven", to=1), "proven: Input should be a valid boolean"),
        (_set("verdict", to="best"), "verdict: Input should be 'better', 'worse', "),
        (_set("reasons", to="none"), "reasons: Input should be a valid array"),
        (_set("notes", to=[None]), r"notes\.0: Input should be a valid string"),
        (_set("judge", to=[]), "judge: Input should be an object"),
        (_set("figures", to=[]), "figures: Input should be an object"),
        (_set("figures", "pose", to=None), r"figures\.pose: Input should be an object"),
        (_set("figures", "pose", "better", to="bigger"), r"figures\.pose\.better: Input should"),
        (_set("figures", "pose", "before", to="2.4"), r"figures\.pose\.before: .* valid number"),
        (_set("figures", "pose", "before", to=float("nan")), "should be a finite number"),
        (_set("figures", "pose", "change", "low", to=float("-inf")), "should be a finite number"),
        (_set("figures", "pose", "change", "high", to=10**400), "should be a finite number"),
        (_set("checks", 0, "outcome", to="drawn"), r"checks\.0\.outcome: Input should be 'won'"),
        (_set("values", "face_l1", "after", to=[1.0]), "the columns differ in length"),
        (_set("values", "face_l1", "before", 0, to=True), r"values\.face_l1\.before\.0: .* number"),
    ],
)
def test_damaged_report_is_refused(
    run: Run, content: dict[str, Any], damage: Callable[[dict[str, Any]], str], why: str
) -> None:
    run.report_json_path.write_text(damage(content), "utf-8")
    with pytest.raises(EvaluationError, match=why) as caught:
        read_report(run)
    _check_words(caught.value, run)


def test_what_is_no_text_is_refused(run: Run) -> None:
    run.report_json_path.write_bytes(STORED.read_bytes().replace(b"balanced", b"b\xffl\xfenced"))
    with pytest.raises(EvaluationError, match="Invalid JSON") as caught:
        read_report(run)
    _check_words(caught.value, run)


def test_what_cannot_be_opened_is_refused(run: Run) -> None:
    run.report_json_path.mkdir()
    with pytest.raises(EvaluationError, match="Is a directory") as caught:
        read_report(run)
    _check_words(caught.value, run)


def _check_words(error: EvaluationError, run: Run) -> None:
    assert error.given == str(run.report_json_path)
    assert error.why.startswith("the report cannot be read (")
    assert len(error.why) < 200
    assert error.todo == "Recreate it: facefusion-finetune evaluate ada@2."


def test_nothing_in_a_report_can_be_changed() -> None:
    report = build_report()
    with pytest.raises(ValidationError, match="frozen"):
        report.proven = True  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        report.figures["pose"].change.low = 0.0  # type: ignore[misc]


def test_pairs_are_of_one_length() -> None:
    PairScores(ids=("a", "b"), before=(1.0, None), after=(None, 2.0))
    with pytest.raises(ValidationError, match="differ in length"):
        PairScores(ids=("a", "b"), clips=("c",), before=(1.0, 2.0), after=(1.0, 2.0))


def test_card_says_what_the_report_says() -> None:
    assert summarise_report(parse(json.loads(STORED.read_bytes()))) == {
        "verdict": "better",
        "proven": True,
        "face_l1_change": {"mean": -2.46574, "low": -3.10754, "high": -1.82394},
        "judge": "demo_judge",
        "judge_sha256": "59c3a80c73ae48ed3f090f64c91105d59afd319fab830441add0ae9f61f905d0",
        "judge_change": {"mean": 0.3242, "low": 0.22124, "high": 0.42717},
    }
    judged_by_none = summarise_report(parse(build_content("not judged")))
    assert [judged_by_none[key] for key in ("judge", "judge_sha256", "judge_change")] == [None] * 3


def test_reading_loads_nothing_that_makes_reports() -> None:
    code = (
        "import sys; import facefusion_finetune.evaluation.report;"
        "assert not {'torch', 'onnx', 'onnxruntime', 'cv2', 'numpy', 'jinja2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
