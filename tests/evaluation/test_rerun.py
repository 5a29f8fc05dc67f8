"""A stored run is judged again: to the same bytes, by another judge, on another machine."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from facefusion_finetune import home
from facefusion_finetune.dataset.manifest import (
    cutout_path,
    read_manifest,
    write_manifest,
)
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.errors import (
    DatasetError,
    EvaluationError,
    FinetuneError,
    TrainingError,
)
from facefusion_finetune.evaluation.figures import KINDS
from facefusion_finetune.evaluation.report import encode_report, summarise_report
from facefusion_finetune.evaluation.rerun import evaluate_run
from facefusion_finetune.evaluation.targets import read_targets, targets_directory
from facefusion_finetune.people.profile import Person, load_person
from facefusion_finetune.registry import store
from facefusion_finetune.registry.store import read_card
from facefusion_finetune.runs.run import JudgeRecord, Run, find_run, write_record
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.files.bases import digest_file
from facefusion_finetune.swappers.files.modelfile import open_model
from tests.support.forked import ForkServer
from tests.support.runs import list_names, read_digests

CODE = """
from facefusion_finetune.evaluation.rerun import evaluate_run
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.people.profile import load_person
from facefusion_finetune.runs.run import find_run

person = load_person("ada")
evaluate_run(person, find_run(person, None), DemoAnalyser([]))
"""


@pytest.fixture
def run(judged: Person) -> Run:
    return find_run(judged, None)


def _report(run: Run) -> bytes:
    return run.report_json_path.read_bytes()


def test_same_run_same_bytes(judged: Person, run: Run, analyser: DemoAnalyser) -> None:
    written, model = _report(run), run.model_path.read_bytes()
    before = list_names(run.directory)
    run.report_json_path.unlink()
    report = evaluate_run(judged, run, analyser)
    assert _report(run) == written
    assert written.decode() == encode_report(report)
    assert evaluate_run(judged, run, analyser) == report
    assert _report(run) == written
    # What it says of itself is what it said: the model is left alone.
    assert run.model_path.read_bytes() == model
    assert list_names(run.directory) == before


def test_another_machine_finds_the_same(
    judged_home: Path, tmp_path: Path, fork_server: ForkServer
) -> None:
    elsewhere = tmp_path / "elsewhere" / "data"
    shutil.copytree(judged_home, elsewhere)
    with home.use_home(elsewhere):
        run = find_run(load_person("ada"), None)
        written = _report(run)
        for name in ("report.json", "report.html"):
            (run.directory / name).unlink()
        done = fork_server.run(CODE)
        assert done.returncode == 0, done.stderr
        assert _report(run) == written
        assert run.report_path.is_file()


def test_targets_and_true_swaps_come_from_the_run(
    judged: Person, run: Run, analyser: DemoAnalyser
) -> None:
    whole = json.loads(_report(run))
    assert whole["material"]["targets"]["kind"] == "people"
    shutil.rmtree(targets_directory(run) / "truths")
    report = evaluate_run(judged, run, analyser)
    assert "true_swap" in whole["figures"]
    assert "true_swap" not in report.figures
    for key in ("judge_targets", "face_l1", "pose", "seam"):
        assert report.figures[key].model_dump() == whole["figures"][key]
    shutil.rmtree(targets_directory(run))
    report = evaluate_run(judged, run, analyser)
    assert report.material.targets.kind == "stand-in"
    assert report.figures["face_l1"].model_dump() == whole["figures"]["face_l1"]


def test_new_targets_take_the_place_of_the_run_s(
    judged: Person, run: Run, analyser: DemoAnalyser, other_footage: Path, footage: Path
) -> None:
    report = evaluate_run(judged, run, analyser, targets=[other_footage / "shot-002"])
    assert report.material.targets.shots == 1
    kept = read_targets(run)
    written = _report(run)
    with pytest.raises(EvaluationError, match="someone other than the person"):
        evaluate_run(judged, run, analyser, targets=[footage / "shot-001"])
    assert read_targets(run) == kept
    assert _report(run) == written


def test_another_judge_and_another_verdict_are_written_to_the_model(
    judged: Person, run: Run, analyser: DemoAnalyser, tmp_path: Path
) -> None:
    card, weights, names = read_card(run.model_path), read_digests(run), list_names(run.directory)
    other = tmp_path / "second.onnx"
    judge = analyser.get_judge()
    other.write_bytes(judge.path.read_bytes())
    report = evaluate_run(judged, run, analyser, judge_path=other)
    assert report.judge.name == "second"
    changed = read_card(run.model_path)
    assert changed.judge_result == summarise_report(report) != card.judge_result
    assert {**vars(changed), "judge_result": None} == {**vars(card), "judge_result": None}
    assert read_digests(run) == weights
    assert list_names(run.directory) == names
    assert open_model(run.model_path).is_linked
    host = tmp_path / "facefusion"
    path = store.activate(judged, run, host, force=not report.proven)
    assert store.verify(path).judge_result == changed.judge_result
    # and back again
    evaluate_run(judged, run, analyser)
    assert read_card(run.model_path) == card


def test_run_without_an_independent_judge_is_not_proven(
    judged: Person, run: Run, analyser: DemoAnalyser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analyser, "get_judge", lambda: None)
    report = evaluate_run(judged, run, analyser)
    assert report.judge is None
    assert not report.proven
    assert any("no second recogniser" in reason for reason in report.reasons)
    assert read_card(run.model_path).judge_result["judge"] is None
    missing = {entry.title for entry in report.missing}
    for key in ("judge_targets", "judge_held_out", "retrieval_margin", "recogniser_gap"):
        assert key not in report.figures
        assert KINDS[key].title in missing
    assert "no second recogniser" in run.report_path.read_text()


def _remember_judge(run: Run, path: Path) -> Run:
    """The run as it is after training with `--judge`."""
    known = JudgeRecord(path=str(path), sha256=digest_file(path))
    return write_record(run.directory, run.config.model_copy(update={"judge": known}))


def test_the_run_s_judge_is_asked_again(
    judged: Person, run: Run, analyser: DemoAnalyser, tmp_path: Path
) -> None:
    path = tmp_path / "mine.onnx"
    shutil.copyfile(analyser.get_judge().path, path)
    run = _remember_judge(run, path)
    assert evaluate_run(judged, run, analyser).judge.name == "mine"
    assert str(path) not in run.report_json_path.read_text()


# Bad input: what each breaks, what is raised, and what it says.


def _lose_judge(person: Person, run: Run, folder: Path) -> Run:
    path = folder / "mine.onnx"
    path.write_bytes(b"a judge")
    run = _remember_judge(run, path)
    path.unlink()
    return run


def _change_judge(person: Person, run: Run, folder: Path) -> Run:
    path = folder / "mine.onnx"
    path.write_bytes(b"a judge")
    run = _remember_judge(run, path)
    path.write_bytes(b"another")
    return run


def _lose_crops(person: Person, run: Run, folder: Path) -> Run:
    gone = run.config.held_out[:2]
    write_manifest(person, [record for record in read_manifest(person) if record.id not in gone])
    return run


def _lose_cutout(person: Person, run: Run, folder: Path) -> Run:
    cutout_path(person, run.config.train[0]).unlink()
    return run


def _lose_model(person: Person, run: Run, folder: Path) -> Run:
    run.model_path.unlink()
    return run


def _mix_split(person: Person, run: Run, folder: Path) -> Run:
    """As if frames had been drawn at random: every held-out frame has a neighbour that trains."""
    crops = sorted([*run.config.train, *run.config.held_out])
    places = {record.id: place for place, record in enumerate(read_manifest(person))}
    crops.sort(key=places.__getitem__)
    changes = {"train": crops[::2], "held_out": crops[1::2]}
    return write_record(run.directory, run.config.model_copy(update=changes))


def _damage_truths(person: Person, run: Run, folder: Path) -> Run:
    (targets_directory(run) / "truths" / "person-0.png").write_bytes(b"")
    return run


def _lose_target(person: Person, run: Run, folder: Path) -> Run:
    (targets_directory(run) / f"{read_targets(run)[0].id}.png").unlink()
    return run


@pytest.mark.parametrize(
    ("break_it", "error", "why", "todo"),
    [
        (_lose_judge, EvaluationError, "mine.onnx .* is no longer at", "--judge FILE.onnx"),
        (_change_judge, EvaluationError, "mine.onnx", "--judge FILE.onnx"),
        (_lose_crops, DatasetError, "2 of its crops no longer exist", "Train again"),
        (_lose_cutout, DatasetError, "missing or damaged", "Extract the footage again"),
        (_lose_model, TrainingError, "not finished", "train ada --resume"),
        (_mix_split, EvaluationError, "no held-out shot is left", "shot of 2 s or more"),
        (_damage_truths, EvaluationError, "true swaps .* damaged", "Delete the folder"),
        (_lose_target, DatasetError, "missing or damaged", "."),
    ],
)
def test_what_is_missing_is_said(
    judged: Person,
    run: Run,
    analyser: DemoAnalyser,
    tmp_path: Path,
    break_it: Callable[[Person, Run, Path], Run],
    error: type[FinetuneError],
    why: str,
    todo: str,
) -> None:
    run = break_it(judged, run, tmp_path)
    written = _report(run)
    names = list_names(run.directory)
    with pytest.raises(error, match=why) as caught:
        evaluate_run(judged, run, analyser)
    assert caught.value.given
    assert todo in caught.value.todo
    assert _report(run) == written
    assert list_names(run.directory) == names


def test_base_file_has_changed(
    judged: Person,
    run: Run,
    analyser: DemoAnalyser,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = analyser.get_swapper("demo")
    other = tmp_path / "swapper.onnx"
    other.write_bytes(options.path.read_bytes() + b"\x00")
    changed = SwapperOptions(**{**vars(options), "path": other})
    monkeypatch.setattr(analyser, "get_swapper", lambda name: changed)
    with pytest.raises(TrainingError, match="the digests differ") as caught:
        evaluate_run(judged, run, analyser)
    assert str(other) in caught.value.why
    assert "Restore the original base file" in caught.value.todo


def test_the_training_recogniser_may_not_judge(
    judged: Person, run: Run, analyser: DemoAnalyser
) -> None:
    with pytest.raises(EvaluationError, match="must not judge itself"):
        evaluate_run(judged, run, analyser, judge_path=analyser.get_recogniser().path)


def test_pictures_of_the_report_are_drawn_again(
    judged: Person, run: Run, analyser: DemoAnalyser
) -> None:
    path = run.directory / "previews" / "targets.png"
    drawn = path.read_bytes()
    path.unlink()
    evaluate_run(judged, run, analyser)
    assert path.read_bytes() == drawn
