"""A home that an earlier version wrote is read with all its values; see tests/data/home-0.1.0."""

import functools
import json
import re
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from facefusion_finetune.dataset.extraction.seen import read_known_sources
from facefusion_finetune.dataset.manifest import digest_dataset, read_manifest
from facefusion_finetune.dataset.review.curation import read_choices
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.errors import TrainingError
from facefusion_finetune.evaluation.report import encode_report, read_report
from facefusion_finetune.evaluation.watching import read_scores
from facefusion_finetune.jobs import queue
from facefusion_finetune.jobs.arguments import EvaluateArguments, ExtractArguments
from facefusion_finetune.people import elsewhere
from facefusion_finetune.people.profile import Person, load_person
from facefusion_finetune.registry import store
from facefusion_finetune.runs.run import ImportRecord, find_run, list_runs, next_version
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.training.engine.checkpoint import load_checkpoint
from facefusion_finetune.training.recipe import find_unfinished, train_person
from facefusion_finetune.training.request import TrainRequest
from tests.support.commands import Result, run_command
from tests.support.host import create_fake_checkout

STORED = Path(__file__).parent / "data" / "home-0.1.0"
BASE = "hyperswap_1a_256"
DIGEST = "dda6cfb5ecdef0f34e55364e31d1679c9df09c683cc8ae2bc785ff2db0ddb240"
CONSENT = "bf3d972a255c7a7d09af8af7ad4992d77914880736fabe6c26e45a6294fea4ee"
DATASET = "4c9690a2225ac62176ab57c40d4bc7783b0ad379f8bfae6e41396e8144c89bad"
REJECTED = "e267ecd53e3e1b75"
TRAIN = ["80c0df93a7624e13", "6a2e477cfefdbaae", "a1f068e9174686c0", "b3273da2723ae6bb"]
HELD_OUT = ["b272e0dd4cdc1127", "b1450947eb992a1d", "f541641dea6a34d1"]

Command = Callable[..., Result]


class StoredAnalyser(DemoAnalyser):
    """The demo's, with the base of the stored runs."""

    def __init__(self, base: Path) -> None:
        super().__init__([])
        self._base = base

    def get_swapper(self, name: str, path: Path | None = None) -> SwapperOptions:
        return SwapperOptions(
            name=name,
            path=path or self._base,
            type="hyperswap",
            template=super().get_swapper("demo").template,
            size=(64, 64),
            mean=(0.5, 0.5, 0.5),
            standard_deviation=(0.5, 0.5, 0.5),
            vendor="tests",
            licence="Apache-2.0",
        )


@pytest.fixture(autouse=True)
def stored_home(home_folder: Path) -> None:
    """A copy of the stored home in this test's own one."""
    shutil.copytree(STORED / "home", home_folder)


@pytest.fixture
def ada() -> Person:
    return load_person("ada")


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A FaceFusion with the model that was active."""
    host = create_fake_checkout(tmp_path / "facefusion")
    shutil.copytree(STORED / "facefusion", host, dirs_exist_ok=True)
    return host


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command in this process."""
    return functools.partial(run_command, monkeypatch, capsys)


def test_everything_stored_is_small_and_names_no_machine() -> None:
    files = [path for path in STORED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 600_000
    texts = [path for path in files if path.suffix in (".toml", ".json", ".jsonl")]
    paths = [path for text in texts for path in re.findall('"(/[^"]+)"', text.read_text("utf-8"))]
    assert len(paths) == 21
    assert {Path(path).parts[:3] for path in paths} == {("/", "home", "user")}


def test_persons(command: Command, ada: Person, home_folder: Path) -> None:
    code, out, err = command("person", "list", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == [{"name": "ada", "damaged": None}, {"name": "bea", "damaged": None}]
    assert ada.created == datetime(2026, 11, 30, 17, 42, 47, 923051, tzinfo=UTC)
    consent = ada.require_consent()
    assert (consent.kind, consent.text) == ("note", "A drawn person agrees to nothing.")
    assert (consent.sha256, consent.scope) == (CONSENT, "tests")
    assert (consent.recorded, consent.expires) == (date(2026, 11, 30), date(2099, 1, 31))
    assert load_person("bea").require_consent().expires is None
    held = json.loads(command("person", "show", "ada", "--json")[1])
    assert held["problems"] == []
    assert None not in [part["what"] for part in held["parts"]]
    assert (held["crops_kept"], held["rejected"], held["shots"]) == (7, {"rejected by hand": 1}, 4)
    assert held["sources"][0] == "/home/user/footage/shot-001/frame-0001.png"
    assert len(held["sources"]) == 8
    folder = home_folder / "people" / "ada"
    assert held["vectors"] == {
        str(folder / "crops.jsonl"): 8,
        str(folder / "runs/1/model.onnx"): 1,
        str(folder / "runs/2/model.onnx"): 1,
    }
    assert [(run["reference"], run["state"]) for run in held["run_details"]] == [
        ("ada@1", "finished"),
        ("ada@2", "imported"),
        ("ada@3", "not finished"),
    ]
    assert held["hosts"] == {"/home/user/facefusion": []}
    (sent,) = held["elsewhere"]
    assert (sent["path"], sent["kind"]) == ("/home/user/sent/ada.onnx", "export")
    assert (sent["about"], sent["recorded"]) == ("ada@1", "2026-11-30T17:42:51+00:00")
    assert elsewhere.list_hosts(folder) == [Path("/home/user/facefusion")]


def test_crops(command: Command, ada: Person) -> None:
    records = read_manifest(ada)
    assert sorted(record.id for record in records) == sorted([*TRAIN, *HELD_OUT, REJECTED])
    first = next(record for record in records if record.id == "b272e0dd4cdc1127")
    assert (first.offset, first.size) == ((53, 58), (89, 88))
    assert first.source == "/home/user/footage/shot-001/frame-0001.png"
    assert first.embedding is not None
    assert first.measures is not None
    assert digest_dataset(records) == DATASET
    assert read_choices(ada) == {REJECTED: "rejected"}
    known = read_known_sources(ada, records)
    assert [(source.frames, source.faces) for source in known.values()] == [(1, 1)] * 8
    shown = json.loads(command("dataset", "show", "ada", "--json")[1])
    assert (shown["kept"], shown["rejected"]) == (7, 1)
    assert shown["pose"]["counts"] == [[0] * 7, [0, 0, 0, 6, 0, 0, 0], [0, 0, 0, 1, 0, 0, 0]]
    assert shown["mouth"] == {"closed": 5, "slightly": 2, "open": 0, "unknown": 0}
    assert shown["size"] == {"low": 53.974, "median": 57.78, "high": 63.762}
    assert [shot["crops"] for shot in shown["shots"]] == [2, 2, 2, 1]


def test_models(command: Command, host: Path) -> None:
    code, out, err = command("models", "list", "--json", "--host", host)
    assert (code, err) == (0, "")
    known = {"base": BASE, "preset": "quick", "proven": False, "damaged": None}
    done = {**known, "finished": True, "verdict": "not judged"}
    assert json.loads(out) == [
        {**done, "model": "ada@1", "imported": False, "active": True},
        {**done, "model": "ada@2", "imported": True, "active": False},
        {
            **{**known, "model": "ada@3", "imported": False, "active": False},
            **{"finished": False, "verdict": None},
        },
    ]
    card = json.loads(command("models", "show", "ada@1", "--json", "--host", host)[1])
    assert (card["person"], card["version"], card["type"]) == ("ada", 1, "hyperswap")
    assert (card["base_sha256"], card["dataset_digest"]) == (DIGEST, DATASET)
    assert (card["consent_digest"], card["created"]) == (CONSENT, "2026-11-30T17:42:49+00:00")
    assert card["judge_result"]["face_l1_change"]["mean"] == -0.36073
    imported = json.loads(command("models", "show", "ada@2", "--json")[1])
    assert imported["judge_result"]["made_elsewhere"] is True
    code, out, _ = command("models", "verify", "ada", "--host", host)
    assert (code, out) == (0, f"ada-1.onnx: intact, {BASE} tuned to ada\n")
    code, out, _ = command("models", "activate", "ada@2", "--force", "--host", host)
    assert (code, "ada@2 is active (unproven)" in out) == (0, True)
    assert command("models", "verify", "ada@2", "--host", host)[0] == 0


def test_runs(ada: Person) -> None:
    first, second, third = list_runs(ada)
    assert [run.reference for run in (first, second, third)] == ["ada@1", "ada@2", "ada@3"]
    assert next_version(ada) == 4
    config = first.config
    assert (config.train, config.held_out, config.kept_back) == (TRAIN, HELD_OUT, [])
    assert (config.analyser, config.base_argument, config.seed) == ("demo 0.1.0", BASE, 11)
    assert (config.package_version, config.dataset_digest) == ("0.1.0", DATASET)
    assert config.created == datetime(2026, 11, 30, 17, 42, 49, 203041, tzinfo=UTC)
    preset = config.preset
    assert (preset.layers, preset.steps, preset.learning_rate) == ("all", 6, 1e-3)
    assert (preset.pairs.cycle, preset.pairs.prior, preset.losses.identity) == (2, 1, 0.2)
    assert isinstance(second.record, ImportRecord)
    assert second.record.origin == "ada@1"
    assert (third.config.seed, third.is_finished) == (12, False)
    steps = [json.loads(line)["step"] for line in first.metrics_path.read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5, 6]
    (score,) = read_scores(first)
    stored = json.loads((first.directory / "held_out.jsonl").read_text())
    assert (score.step, score.base, score.tuned) == (6, stored["base"], stored["tuned"])
    model = store.read_model(first.model_path)
    assert list(model.tensors) == [
        *("first.weight", "first.bias", "style.weight", "shape", "last.weight", "last.bias")
    ]
    assert model.is_linked
    checkpoint = load_checkpoint(third.checkpoint_path)
    assert checkpoint.step == 4


def test_report(ada: Person) -> None:
    run = find_run(ada, 1)
    report = read_report(run)
    assert report is not None
    assert (report.verdict, report.proven) == ("not judged", False)
    assert report.sentence == "This model could not be judged; the reasons are listed."
    assert (report.base.name, report.base.sha256) == (BASE, DIGEST)
    assert report.judge is not None
    assert report.judge.name == "demo_judge"
    assert report.material.held_out == 3
    assert report.checks[1].name == "face_l1"
    assert report.checks[1].outcome == "not measured"
    assert json.loads(encode_report(report)) == json.loads(run.report_json_path.read_text())
    assert read_report(find_run(ada, 2)) is None


def test_jobs(command: Command) -> None:
    code, out, err = command("jobs", "list")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "20261130-174252-345514-extract  ada  done, 8 of 8",
        "20261130-174252-348841-train  ada  done, 6 of 6",
        "20261130-174252-353728-evaluate  ada  failed",
        "20261130-174252-357060-train  ada  stopped, 4 of 6",
        "20261130-174252-361657-estimate  ada  queued",
    ]
    extract, train, failed, stopped, queued = queue.list_jobs("ada")
    assert extract.request.faces == "demo"
    assert extract.request.read_arguments() == ExtractArguments(paths=["/home/user/footage"])
    assert extract.state.result["kept"] == 8
    request = TrainRequest(base=BASE, preset="fast", seed=11)
    assert train.request.read_arguments() == request
    assert train.state.result["verdict"] == "not judged"
    assert train.state.started == datetime(2026, 5, 3, 9, 30, tzinfo=UTC)
    assert len(train.state.notes) == 3
    assert train.read_log() == "Training\nWriting back and judging\n"
    judge = "/home/user/judge.onnx"
    assert failed.request.read_arguments() == EvaluateArguments(version=1, judge=judge)
    assert failed.state.error is not None
    assert failed.state.error.given == f"judge {judge}"
    assert stopped.request.read_arguments() == request.model_copy(update={"seed": 12})
    assert (stopped.state.version, stopped.state.done) == (3, 4)
    assert queued.request.read_arguments() == TrainRequest(base=BASE, preset="balanced")
    assert queued.request.host == "/home/user/facefusion"


@pytest.fixture
def analyser(home_folder: Path) -> StoredAnalyser:
    (base,) = (home_folder / "bases").iterdir()
    return StoredAnalyser(base)


def test_an_unfinished_run_goes_on(ada: Person, analyser: StoredAnalyser) -> None:
    assert find_unfinished(ada).reference == "ada@3"
    before = find_run(ada, 3).metrics_path.read_text()
    run, report = train_person(ada, analyser, TrainRequest(resume=True))
    assert run.reference == "ada@3"
    after = run.metrics_path.read_text()
    assert after.startswith(before)
    steps = [json.loads(line)["step"] for line in after.splitlines()]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert report is not None
    assert report.seed == 12
    assert store.read_card(run.model_path).base_sha256 == DIGEST
    with pytest.raises(TrainingError, match="nothing to resume"):
        find_unfinished(ada)


def test_an_unfinished_run_goes_on_with_its_own_base_only(
    ada: Person, tmp_path: Path, analyser: StoredAnalyser
) -> None:
    other = tmp_path / f"{BASE}.onnx"
    content = bytearray(analyser.get_swapper(BASE).path.read_bytes())
    content[content.index(b"first.weight") - 40] ^= 1
    other.write_bytes(content)
    with pytest.raises(TrainingError, match="base"):
        train_person(ada, StoredAnalyser(other), TrainRequest(resume=True))
    with pytest.raises(TrainingError, match="nothing to resume"):
        train_person(load_person("bea"), analyser, TrainRequest(resume=True))
