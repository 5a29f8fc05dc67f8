"""The benchmark over people: its statistics, who its people are, and that it goes on."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest

from benchmarks import people_training
from benchmarks.people import BEGIN, END, main, measure
from benchmarks.people_results import (
    KEYS,
    Result,
    Row,
    Scores,
    Settings,
    World,
    create_result,
    pool,
    summarise,
)
from benchmarks.people_training import CENTROID, Subject, choose_subjects, tune_subject
from facefusion_finetune.demo.networks.figures import PEOPLE
from facefusion_finetune.demo.people import FIRST_UNSEEN_SEED
from facefusion_finetune.demo.run import TARGETS
from facefusion_finetune.demo.truths import FIRST_OTHER_SEED, OTHERS
from facefusion_finetune.evaluation import material
from facefusion_finetune.evaluation.intervals import Block, bootstrap_mean
from facefusion_finetune.evaluation.report import Report
from facefusion_finetune.runs.observer import Observer
from tests.support.demo_world import QUICK_PRESET
from tests.support.reports import build_report

WORLD = World(package_version="0", networks={}, footage=())
BASES = {"true_swap": 6.0, "judge_targets": 0.5, "others_l1": 5.0, "others_towards_person": 0.1}
NOISE = {"true_swap": 0.3, "judge_targets": 0.02, "others_l1": 0.02, "others_towards_person": 0.004}
"""How much the change differs from pair to pair."""


def invent_scores(key: str, change: float, seed: int, pairs: int = 32) -> dict[str, Any]:
    """Scores of one person: eight shots, each of one block."""
    generator = numpy.random.default_rng([seed, KEYS.index(key)])
    before = BASES[key] + generator.normal(0, 0.1 * BASES[key], pairs)
    after = before + change + generator.normal(0, NOISE[key], pairs)
    clips = [f"shot-{number * 8 // pairs}" for number in range(pairs)]
    return {
        "ids": [str(number) for number in range(pairs)],
        "clips": clips,
        "parts": ["0"] * pairs,
        "before": before.tolist(),
        "after": after.tolist(),
    }


def invent_result(seed: int, changes: dict[str, float], pairs: int = 32) -> Result:
    scores = {
        key: Scores.model_validate(invent_scores(key, changes.get(key, 0.0), seed, pairs))
        for key in KEYS
    }
    settings = Settings(world=WORLD, person=seed, preset="")
    return Result(settings=settings, is_proven=seed % 2 == 0, seconds=seed, scores=scores)


class FakeTune:
    """Invents a report, and remembers for whom."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.calls: list[tuple[int, str]] = []
        self._stop_after = stop_after

    def __call__(self, subject: Subject, preset: str, observer: Observer) -> tuple[Report, float]:
        if len(self.calls) == self._stop_after:
            raise KeyboardInterrupt
        self.calls.append((subject.seed, Path(preset).stem))
        values = {key: invent_scores(key, 0.0, subject.seed) for key in KEYS}
        return build_report(proven=False, values=values), 12.0


@pytest.mark.parametrize(
    ("changes", "verdict", "reason"),
    [
        ({"true_swap": -1.0, "judge_targets": 0.1}, "better", "true swap, judge"),
        ({"judge_targets": 0.1}, "better", "judge"),
        ({}, "no difference", "no gain"),
        ({"true_swap": 1.0}, "worse", "true swap"),
        ({"true_swap": -1.0, "judge_targets": -0.1}, "worse", "judge"),
        ({"true_swap": -1.0, "others_l1": 0.15}, "no difference", "others drift"),
        ({"true_swap": -1.0, "others_l1": 0.5}, "worse", "others drift"),
        ({"true_swap": -1.0, "others_towards_person": 0.1}, "worse", "towards the person"),
        ({"others_l1": -1.0, "others_towards_person": -0.1}, "no difference", "no gain"),
    ],
)
def test_verdict_follows_gain_and_harm(
    changes: dict[str, float], verdict: str, reason: str
) -> None:
    row = summarise("p", [invent_result(seed, changes) for seed in range(6)])
    assert row.verdict == verdict
    assert reason in row.reason
    assert row.passes == 3
    assert row.seconds == 2.5


def test_gain_of_some_people_alone_is_no_gain() -> None:
    gains = [-3.0, -3.0, -3.0, 0.5, 0.8, 0.6]
    results = [invent_result(seed, {"true_swap": gain}) for seed, gain in enumerate(gains)]
    row = summarise("p", results)
    assert row.verdict == "no difference"
    figure = row.figures["true_swap"]
    assert figure.scores is not None
    alike = [Block("", f"{place.clip}/{place.part}") for place in figure.places]
    narrow = bootstrap_mean(figure.scores[1] - figure.scores[0], alike)
    assert narrow.high is not None
    assert narrow.high < 0, "pairs alone would have called it a gain"
    assert figure.change.high is not None
    assert figure.change.high > 0


def test_people_weigh_alike() -> None:
    results = [
        invent_result(1, {"true_swap": 0.0}, pairs=64),
        invent_result(2, {"true_swap": -4.0}, pairs=16),
    ]
    assert pool("true_swap", results).change.mean == pytest.approx(-2.0, abs=0.2)


def test_too_few_pairs_are_no_verdict() -> None:
    few = [invent_result(seed, {"true_swap": -3.0}, pairs=1) for seed in (1, 2)]
    row = summarise("p", few)
    assert (row.verdict, row.reason) == ("no difference", "too few pairs for an interval")


def test_one_person_is_no_verdict() -> None:
    row = summarise("p", [invent_result(1, {"true_swap": -3.0})])
    high = row.figures["true_swap"].change.high
    assert high is not None
    assert high < 0
    assert (row.verdict, row.reason) == ("no difference", "one person says nothing about others")


def test_people_are_nobody_elses(tmp_path: Path) -> None:
    known = {
        *range(FIRST_UNSEEN_SEED, FIRST_UNSEEN_SEED + PEOPLE),
        *range(FIRST_OTHER_SEED, FIRST_OTHER_SEED + OTHERS),
        *(FIRST_UNSEEN_SEED + seed * 100 + n for seed in range(100) for n in range(TARGETS + 1)),
    }
    drawn: list[int] = []
    for seed in range(4):
        for subject in choose_subjects(200, seed, tmp_path):
            drawn += [subject.seed, *subject.targets]
    assert len(drawn) == len(set(drawn)) == 4 * 200 * (TARGETS + 1)
    assert min(drawn) >= FIRST_UNSEEN_SEED
    assert not known & set(drawn)
    assert choose_subjects(3, 2, tmp_path) == choose_subjects(9, 2, tmp_path)[:3]


def test_second_call_repeats_only_what_changed(tmp_path: Path) -> None:
    preset = tmp_path / "mine.toml"
    preset.write_text(QUICK_PRESET)
    presets, output = [str(preset), CENTROID], tmp_path / "out"
    first = FakeTune()
    rows = measure(2, 5, presets, output, first)
    people = [subject.seed for subject in choose_subjects(2, 5, output)]
    assert first.calls == [(seed, name) for seed in people for name in ("mine", CENTROID)]
    again = FakeTune()
    assert [row.as_dict() for row in measure(2, 5, presets, output, again)] == [
        row.as_dict() for row in rows
    ]
    assert not again.calls
    more = FakeTune()
    measure(3, 5, [CENTROID], output, more)
    assert [seed for seed, _ in more.calls] == [seed for seed, _ in more.calls if seed > people[1]]
    assert len(more.calls) == 1
    preset.write_text(QUICK_PRESET.replace("steps = 8", "steps = 9"))
    changed = FakeTune()
    measure(2, 5, presets, output, changed)
    assert changed.calls == [(seed, "mine") for seed in people]


@pytest.mark.parametrize("fault", ["torn", "empty", "other network", "short column", "bytes"])
def test_useless_result_is_repeated(tmp_path: Path, fault: str) -> None:
    measure(2, 5, [CENTROID], tmp_path / "out", FakeTune())
    path = sorted((tmp_path / "out").rglob("result.json"))[1]
    text = path.read_text()
    values = json.loads(text)
    if fault == "other network":
        values["settings"]["world"]["networks"]["judge.onnx"] = "0" * 64
    elif fault == "short column":
        values["scores"]["true_swap"]["after"].pop()
    broken = {"torn": text[: len(text) // 2], "empty": ""}.get(fault, json.dumps(values))
    path.write_bytes(b"\xff\xfe\x00" if fault == "bytes" else broken.encode())
    again = FakeTune()
    measure(2, 5, [CENTROID], tmp_path / "out", again)
    assert [f"person-{seed}" for seed, _ in again.calls] == [path.parent.parent.name]
    assert path.read_text() == text


def test_interrupted_command_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--persons", "2", "--preset", "fast", "--preset", CENTROID, "--json"]
    arguments += ["--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as stopped:
        main(arguments, FakeTune(stop_after=3))
    assert stopped.value.code == 130
    assert capsys.readouterr().out == ""
    rest = FakeTune()
    main(arguments, rest)
    assert [name for _, name in rest.calls] == [CENTROID]
    told = capsys.readouterr()
    values = json.loads(told.out)
    assert [row["preset"] for row in values["rows"]] == ["fast", CENTROID]
    assert values["rows"][0]["figures"]["true_swap"]["pairs"] == 64
    assert len(values["rows"][0]["by_person"]) == 2
    assert "person 2 of 2, centroid" in told.err


def test_table_goes_between_the_marks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = tmp_path / "page.md"
    document.write_text(f"# Before\n{BEGIN}\nold\n{END}\n\nafter\n{END}\n")
    arguments = ["--persons", "1", "--preset", CENTROID, "--output", str(tmp_path / "out")]
    main([*arguments, "--write", str(document)], FakeTune())
    table = capsys.readouterr().out.strip()
    assert document.read_text() == f"# Before\n{BEGIN}\n{table}\n{END}\n\nafter\n{END}\n"
    head, rule, row = table.splitlines()
    assert len(head) == len(rule) == len(row)
    assert row.startswith("| centroid | 1 ")
    assert "no difference: one person" in row


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "best"], "centroid, or the path"),
        (["--preset", "missing.toml"], "cannot be read"),
        (["--persons", "0"], "number from 1"),
        (["--persons", "1001"], "number from 1"),
        (["--seed", "-1"], "out of range"),
        (["--write", "plain.md"], "it lacks the lines"),
        (["--write", "missing.md"], "No such file"),
        (["--output", "."], "something other than"),
        (["--output", "plain.md"], "something other than"),
        (["--output", "plain.md/out"], "cannot be created"),
    ],
)
def test_wrong_use_is_said_before_anything_is_done(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("plain.md").write_text("nothing")
    tune = FakeTune()
    with pytest.raises(SystemExit) as stopped:
        main(arguments, tune)
    told = capsys.readouterr()
    assert stopped.value.code == 2
    assert message in told.err
    assert told.out == ""
    assert not tune.calls
    assert [path.name for path in tmp_path.iterdir()] == ["plain.md"]


@pytest.fixture(scope="module")
def less_footage() -> Iterator[None]:
    """Half the shots of a real benchmark, fewer frames of each target, each of the others once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(people_training, "SHOTS", 8)
        patch.setattr(people_training, "TARGET_FRAMES", 3)
        patch.setattr(material, "TARGETS_PER_PERSON", 1)
        yield


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, preset_file: Path, less_footage: None
) -> Iterator[tuple[Path, list[Row]]]:
    """The real thing on two people, the first training of them interrupted; and its rows."""
    output = tmp_path_factory.mktemp("benchmark")

    def stop(step: int, total: int, values: dict[str, float]) -> None:
        if step == 5:
            raise KeyboardInterrupt

    def tune(subject: Subject, preset: str, observer: Observer) -> tuple[Report, float | None]:
        return tune_subject(subject, preset, Observer(on_step=stop))

    with pytest.raises(KeyboardInterrupt):
        measure(2, 3, [str(preset_file)], output, tune)
    rows = measure(2, 3, [str(preset_file), CENTROID], output)
    yield output, rows
    shutil.rmtree(output)


@pytest.mark.slow
def test_real_people_are_tuned_and_judged(finished: tuple[Path, list[Row]]) -> None:
    output, (tuned, centroid) = finished
    for row in (tuned, centroid):
        assert row.figures["true_swap"].pairs == row.figures["judge_targets"].pairs > 40
        assert row.figures["others_l1"].pairs == 2 * material.OTHER_PEOPLE
    assert tuned.figures["true_swap"].change.mean != 0
    # Nothing is tuned, so that the base's swaps of others are what they were.
    for key in ("others_l1", "others_towards_person"):
        change = centroid.figures[key].change
        assert (change.mean, change.low, change.high) == (0, 0, 0)
    assert centroid.figures["true_swap"].change.mean < 0, "many frames say more than one"
    assert len(list(output.rglob("report.html"))) == 4


@pytest.mark.slow
def test_interrupted_training_ends_as_if_it_had_not_been(
    finished: tuple[Path, list[Row]], tmp_path: Path, preset_file: Path
) -> None:
    source, (resumed, _) = finished
    assert [path.name for path in source.rglob("runs/*")] == ["1", "1"], "none began anew"
    (subject, _) = choose_subjects(2, 3, tmp_path / "people")
    shutil.copytree(source / "people" / subject.folder.name, subject.folder)
    (runs,) = subject.folder.rglob("runs")
    # As if the machine went down in the midst of it: no model yet, and the checkpoint torn.
    (runs / "1" / "model.onnx").unlink()
    for checkpoint in (runs / "1" / "checkpoints").iterdir():
        checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    report, seconds = tune_subject(subject, str(preset_file), Observer())
    assert seconds is not None, "what cannot go on begins anew"
    anew = create_result(resumed.results[0].settings, report, seconds)
    assert anew.scores == resumed.results[0].scores
    assert resumed.results[0].seconds is None, "half of it was not timed"
    assert resumed.seconds == resumed.results[1].seconds


@pytest.mark.slow
def test_half_extracted_person_is_made_anew(
    finished: tuple[Path, list[Row]], tmp_path: Path
) -> None:
    _, (_, expected) = finished
    (subject, _) = choose_subjects(2, 3, tmp_path / "people")
    home = subject.folder / "home" / "people" / "ada"
    home.mkdir(parents=True)
    (home / "crops.jsonl").write_text("{")
    (subject.folder / "footage" / "ada").mkdir(parents=True)
    report, _ = tune_subject(subject, CENTROID, Observer())
    scores = create_result(expected.results[0].settings, report, None).scores
    assert scores == expected.results[0].scores
