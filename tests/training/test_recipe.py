"""Training: finished, interrupted and resumed, refused."""

import hashlib
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy
import onnx
import pytest
from onnx import numpy_helper

from facefusion_finetune import home
from facefusion_finetune.dataset.manifest import (
    cutout_path,
    read_manifest,
)
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.errors import (
    ConsentError,
    DatasetError,
    SwapperError,
    TrainingError,
)
from facefusion_finetune.people import elsewhere
from facefusion_finetune.people.profile import Person, load_person
from facefusion_finetune.registry.store import read_card
from facefusion_finetune.runs.observer import Observer
from facefusion_finetune.runs.run import find_run
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.training.cache.header import CacheHeader, Origin, write_header
from facefusion_finetune.training.engine import checkpoint
from facefusion_finetune.training.recipe import train_person
from facefusion_finetune.training.request import TrainRequest
from tests.support.forked import ForkServer
from tests.support.runs import read_digests


class StoppedError(Exception):
    """Stands for a user's Ctrl-C."""


def _stop_after(step: int) -> Observer:
    def on_step(done: int, total: int, values: dict[str, float]) -> None:
        if done == step:
            raise StoppedError

    return Observer(on_step=on_step)


def test_finished_run_leaves_model_report_and_metrics(
    trained: Person, analyser: DemoAnalyser
) -> None:
    run = find_run(trained, None)
    card = read_card(run.model_path)
    assert (card.person, card.version, card.base_name) == ("ada", 1, "demo")
    assert card.base_licence == "Apache-2.0"
    assert card.consent_digest == trained.require_consent().sha256
    assert card.dataset_digest == run.config.dataset_digest
    lines = (run.directory / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 9))
    assert {"loss", "l1", "high_pass", "perceptual", "identity"} <= set(json.loads(lines[0]))
    assert (run.directory / "previews" / "step_000004.png").is_file()
    assert (run.directory / "report.html").is_file()
    base = onnx.load(str(analyser.get_swapper("demo").path))
    after = read_digests(run)
    changed = {
        tensor.name
        for tensor in base.graph.initializer
        if after[tensor.name] != hashlib.sha256(numpy_helper.to_array(tensor).tobytes()).hexdigest()
    }
    assert changed == {
        f"Conv_{number}.{role}" for number in (594, 596, 612) for role in ("weight", "bias")
    }
    assert list(after) == [tensor.name for tensor in base.graph.initializer]
    assert numpy_helper.to_array(base.graph.initializer[-1]).shape == (512, 512)


def test_resumed_run_ends_as_one_that_was_never_stopped(
    extracted: Person, trained_home: Path, analyser: DemoAnalyser, preset_file: Path
) -> None:
    with pytest.raises(StoppedError):
        train_person(
            extracted,
            analyser,
            TrainRequest(base="demo", preset=str(preset_file), seed=11),
            observer=_stop_after(5),
        )
    run = find_run(extracted, None)
    assert not run.is_finished
    assert checkpoint.load_checkpoint(run.checkpoint_path).step == 4
    resumed, _ = train_person(extracted, analyser, TrainRequest(resume=True))
    assert resumed.config == run.config
    steps = [
        json.loads(line)["step"]
        for line in (run.directory / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps == list(range(1, 9))
    with home.use_home(trained_home):
        whole = read_digests(find_run(extracted, None))
    assert read_digests(resumed) == whole


def test_what_a_kill_after_the_model_was_written_left_is_deleted(
    trained: Person, analyser: DemoAnalyser, tmp_path: Path
) -> None:
    run = find_run(trained, None)
    own, given = run.directory / "cache", tmp_path / "cache"
    origin = Origin(run=run.reference, base=run.record.base_sha256, digest="")
    for folder in (own, given):
        folder.mkdir()
        write_header(folder, CacheHeader(origin=origin, limit=1, tensors=(), rows=0, chunked=False))
        (folder / "frontier-cache.bin").write_bytes(b"activations")
    elsewhere.remember(trained.directory, given, "cache", run.reference)
    (trained.directory / ".dry-run-k3_9abcd").mkdir()
    (run.directory / ".report.json.k3_9abcd.part").touch()
    before = sorted(trained.directory.rglob("*"))
    with pytest.raises(TrainingError, match="nothing to resume"):
        train_person(trained, analyser, TrainRequest(resume=True))
    gone = sorted(set(before) - set(trained.directory.rglob("*")))
    assert [path.name for path in gone] == [
        ".dry-run-k3_9abcd",
        ".report.json.k3_9abcd.part",
        *("cache", "frontier-cache.bin", "frontier-cache.json"),
    ]
    assert not given.exists()
    assert elsewhere.list_locations(trained.directory) == []


def test_killed_process_is_resumed_to_the_same_weights(
    extracted_home: Path,
    footage: Path,
    other_footage: Path,
    preset_file: Path,
    tmp_path: Path,
    fork_server: ForkServer,
) -> None:
    """Each part in a process of its own, so that all run with the same number of threads."""
    code = f"""
import os, signal, sys
from pathlib import Path
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.people.profile import load_person
from facefusion_finetune.runs.observer import Observer
from facefusion_finetune.training.recipe import train_person
from facefusion_finetune.training.request import TrainRequest

def on_step(done, total, values):
    if sys.argv[1] == "killed" and done == 5:
        os.kill(os.getpid(), signal.SIGKILL)

analyser = DemoAnalyser([Path({str(footage)!r}), Path({str(other_footage)!r})])
person = load_person("ada")
is_resumed = sys.argv[1] == "resumed"
request = TrainRequest(base="demo", preset={str(preset_file)!r}, seed=11, resume=is_resumed)
train_person(person, analyser, request, None if is_resumed else Observer(on_step=on_step))
"""
    weights = {}
    for folder, part, expected in (
        ("one", "whole", 0),
        ("two", "killed", -signal.SIGKILL),
        ("two", "resumed", 0),
    ):
        if not (tmp_path / folder).exists():
            shutil.copytree(extracted_home, tmp_path / folder)
        with home.use_home(tmp_path / folder):
            done = fork_server.run(code, part)
            assert done.returncode == expected, done.stderr
            run = find_run(load_person("ada"), None)
            assert run.is_finished == (part != "killed")
            weights[part] = read_digests(run) if run.is_finished else {}
    assert weights["resumed"] == weights["whole"]


def test_interrupted_before_the_first_checkpoint_starts_over(
    extracted: Person, analyser: DemoAnalyser, preset_file: Path
) -> None:
    with pytest.raises(StoppedError):
        train_person(
            extracted,
            analyser,
            TrainRequest(base="demo", preset=str(preset_file)),
            observer=_stop_after(1),
        )
    run, _ = train_person(extracted, analyser, TrainRequest(resume=True))
    assert run.is_finished


def test_nothing_to_resume(trained: Person, analyser: DemoAnalyser) -> None:
    with pytest.raises(TrainingError, match="nothing to resume"):
        train_person(trained, analyser, TrainRequest(resume=True))


def test_half_written_checkpoint_leaves_the_one_before(
    extracted: Person,
    analyser: DemoAnalyser,
    preset_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, folder = home.write_whole, home.home_directory()
    calls = 0

    def fail_third(path: Path, write: Callable[..., object], mode: int = 0o600) -> None:
        nonlocal calls
        if path.name == "last.safetensors":
            calls += 1
            if calls == 3:

                def half(file: object) -> None:
                    file.write(b"half")  # type: ignore[attr-defined]
                    raise OSError(28, "No space left on device")

                real(path, half, mode)
        real(path, write, mode)

    monkeypatch.setattr(home, "write_whole", fail_third)
    with pytest.raises(OSError, match="No space left"):
        train_person(extracted, analyser, TrainRequest(base="demo", preset=str(preset_file)))
    monkeypatch.undo()
    monkeypatch.setenv(home.HOME_VARIABLE, str(folder))
    run = find_run(extracted, None)
    assert checkpoint.load_checkpoint(run.checkpoint_path).step == 4
    names = {path.name for path in run.checkpoint_path.parent.iterdir()}
    assert names == {"last.safetensors", "previous.safetensors"}
    assert train_person(extracted, analyser, TrainRequest(resume=True))[0].is_finished


def test_damaged_checkpoint(extracted: Person, analyser: DemoAnalyser, preset_file: Path) -> None:
    with pytest.raises(StoppedError):
        train_person(
            extracted,
            analyser,
            TrainRequest(base="demo", preset=str(preset_file)),
            observer=_stop_after(3),
        )
    path = find_run(extracted, None).checkpoint_path
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TrainingError, match="checkpoint is damaged"):
        train_person(extracted, analyser, TrainRequest(resume=True))


def test_resume_with_another_base_file(
    extracted: Person,
    analyser: DemoAnalyser,
    preset_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(StoppedError):
        train_person(
            extracted,
            analyser,
            TrainRequest(base="demo", preset=str(preset_file)),
            observer=_stop_after(3),
        )
    other = tmp_path / "swapper.onnx"
    options = analyser.get_swapper("demo")
    other.write_bytes(options.path.read_bytes() + b"\x00")
    changed = SwapperOptions(**{**vars(options), "path": other})
    monkeypatch.setattr(analyser, "get_swapper", lambda name: changed)
    with pytest.raises(TrainingError, match="the digests differ"):
        train_person(extracted, analyser, TrainRequest(resume=True))


def test_too_few_crops(extracted: Person, analyser: DemoAnalyser) -> None:
    with pytest.raises(DatasetError, match="50 training crops and at least one held-out") as caught:
        train_person(extracted, analyser, TrainRequest(base="demo", preset="reconstruction"))
    assert "24 can be used for training and 12 are held out" in caught.value.why
    assert "at least 35 more usable crops" in caught.value.todo
    assert not extracted.runs_directory.exists()


def test_no_crops(person: Person, analyser: DemoAnalyser) -> None:
    with pytest.raises(DatasetError, match="nothing was extracted yet"):
        train_person(person, analyser, TrainRequest(base="demo", preset="fast"))


def test_no_consent(extracted: Person, analyser: DemoAnalyser) -> None:
    nobody = extracted.model_copy(update={"consent": None})
    with pytest.raises(ConsentError):
        train_person(nobody, analyser, TrainRequest(base="demo", preset="fast"))


def test_unknown_base(extracted: Person, analyser: DemoAnalyser, preset_file: Path) -> None:
    with pytest.raises(SwapperError):
        train_person(
            extracted, analyser, TrainRequest(base="inswapper_9000", preset=str(preset_file))
        )
    assert not extracted.runs_directory.exists()


def test_missing_cutout(extracted: Person, analyser: DemoAnalyser, preset_file: Path) -> None:
    record = next(record for record in read_manifest(extracted) if record.kept)
    cutout_path(extracted, record.id).unlink()
    with pytest.raises(DatasetError, match="missing or damaged"):
        train_person(extracted, analyser, TrainRequest(base="demo", preset=str(preset_file)))


def test_loss_that_is_no_number_stops_and_keeps_the_checkpoint(
    extracted: Person,
    analyser: DemoAnalyser,
    preset_file: Path,
    tmp_path: Path,
) -> None:
    wild = tmp_path / "wild.toml"
    text = preset_file.read_text().replace("learning_rate = 1e-3", "learning_rate = 1e20")
    wild.write_text(text.replace("checkpoint_every = 2", "checkpoint_every = 1"))
    with pytest.raises(TrainingError, match="became NaN or infinite"):
        train_person(extracted, analyser, TrainRequest(base="demo", preset=str(wild)))
    path = find_run(extracted, None).checkpoint_path
    assert checkpoint.load_checkpoint(path).step >= 1
    assert numpy.isfinite(checkpoint.load_checkpoint(path).weights["Conv_612.bias"].numpy()).any()
