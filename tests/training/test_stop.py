"""A training that is asked to stop: it ends at that very step, and loses nothing."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from facefusion_finetune import home
from facefusion_finetune.dataset.extraction.extract import extract_footage
from facefusion_finetune.dataset.manifest import read_manifest
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.errors import ConsentError, StoppedError
from facefusion_finetune.people.profile import Person
from facefusion_finetune.runs.observer import Observer
from facefusion_finetune.runs.run import find_run, list_runs
from facefusion_finetune.training.engine import loop
from facefusion_finetune.training.engine.checkpoint import load_checkpoint
from facefusion_finetune.training.recipe import train_person
from facefusion_finetune.training.request import TrainRequest
from tests.support.runs import read_digests
from tests.support.stopped_training import Stopper, train_until_stopped
from tests.support.tiny_training import TinyWorld, are_same
from tests.support.waiting import HANGS


@pytest.mark.parametrize("stops", [(1,), (7,), (7, 8, 13), (20,)])
def test_stopped_and_resumed_to_the_same_bits(tmp_path: Path, stops: tuple[int, ...]) -> None:
    changes = {"steps": 20, "validate_every": 4, "patience": 99, "checkpoint_every": 5}
    whole = TinyWorld(tmp_path / "whole", **changes)
    expected = whole.train()
    done = 0
    for stop in stops:
        world = TinyWorld(tmp_path / "stopped", **changes)
        stopper = Stopper(*stops)
        with pytest.raises(StoppedError, match=f"after step {stop} of 20") as stopped:
            train_until_stopped(world, stopper, resume=done > 0)
        assert stopped.value.exit_code == 1
        assert stopped.value.todo == "Resume with: facefusion-finetune train ada --resume."
        assert stopper.seen == list(range(done + 1, stop + 1)), "no step is done twice"
        assert load_checkpoint(world.run.checkpoint_path).step == stop
        done = stop
    last = TinyWorld(tmp_path / "stopped", **changes)
    assert are_same(train_until_stopped(last, Stopper(), resume=True), expected)
    assert [step for step, _ in last.feed.runs] == list(range(done, 20))
    lines = [line | {"seconds": 0} for line in last.read_metrics()]
    assert lines == [line | {"seconds": 0} for line in whole.read_metrics()]


def test_checkpoint_that_is_due_is_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    real = loop.save_checkpoint

    def save(path: Path, checkpoint: object, **options: object) -> None:
        written.append(checkpoint.step)  # type: ignore[attr-defined]
        real(path, checkpoint, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "save_checkpoint", save)
    with pytest.raises(StoppedError):
        train_until_stopped(TinyWorld(tmp_path / "due", steps=20, checkpoint_every=5), Stopper(10))
    assert written == [5, 10]
    written.clear()
    with pytest.raises(StoppedError):
        train_until_stopped(
            TinyWorld(tmp_path / "other", steps=20, checkpoint_every=5), Stopper(11)
        )
    assert written == [5, 10, 11]


def test_nothing_is_kept_without_consent(tmp_path: Path) -> None:
    world = TinyWorld(tmp_path, steps=20, checkpoint_every=5)

    def check_consent() -> None:
        if len(world.feed.runs) > 6:
            raise ConsentError("the person", "it has ended.", "Ask again.")

    trainer = replace(world.create_trainer(), check_consent=check_consent)
    with pytest.raises(ConsentError):
        trainer.train(False, Stopper(7).create_observer(), world.previews.append)
    assert load_checkpoint(world.run.checkpoint_path).step == 5


def test_person_is_trained_on_to_the_same_file(
    extracted: Person, trained_home: Path, analyser: DemoAnalyser, preset_file: Path
) -> None:
    """Stopped before the first step, and in the middle of the steps."""
    versions: list[int] = []

    def observe(stage: str, step: int) -> Observer:
        done: list[int] = [0]

        def on_stage(text: str) -> None:
            if text == stage:
                raise StoppedError("the stage", text, "Go on.")

        return Observer(
            on_stage=on_stage,
            on_step=lambda step, total, values: done.append(step),
            on_run=versions.append,
            is_stopped=lambda: done[-1] == step,
        )

    def train(observer: Observer) -> None:
        train_person(
            extracted,
            analyser,
            TrainRequest(base="demo", preset=str(preset_file), seed=11),
            observer=observer,
        )

    with pytest.raises(StoppedError, match="Making held-out pairs"):
        train(observe("Making held-out pairs", 0))
    with pytest.raises(StoppedError, match="after step 3 of 8"):
        train_person(extracted, analyser, TrainRequest(resume=True), observer=observe("", 3))
    run, _ = train_person(extracted, analyser, TrainRequest(resume=True), observer=observe("", 0))
    assert versions == [1, 1, 1]
    assert [run.reference for run in list_runs(extracted)] == ["ada@1"]
    with home.use_home(trained_home):
        whole = read_digests(find_run(extracted, None))
    assert read_digests(run) == whole


def test_extraction_goes_on_where_it_was_stopped(
    person: Person, analyser: DemoAnalyser, footage: Path, extracted_home: Path
) -> None:
    seen: list[object] = []

    def stop(progress: object) -> None:
        seen.append(progress)
        if len(seen) == 20:
            raise StoppedError("the extraction", "it was stopped.", "Go on.")

    with pytest.raises(StoppedError):
        extract_footage(person, [footage], analyser, progress=stop)
    assert read_manifest(person) == []
    result = extract_footage(person, [footage], analyser)
    assert result.resumed_frames >= 15
    with home.use_home(extracted_home):
        expected = [record.model_dump_json() for record in read_manifest(person)]
    assert [record.model_dump_json() for record in read_manifest(person)] == expected


@pytest.mark.slow
def test_all_processes_stop_at_the_same_step(tmp_path: Path) -> None:
    alone = TinyWorld(tmp_path / "alone", steps=9).train()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2"]
    command += ["-m", "tests.support.stopped_training", str(tmp_path / "many")]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
        timeout=HANGS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    left = sorted(path.name for path in (tmp_path / "many").glob("left-*"))
    assert left == ["left-0", "left-1"], "a process that has not left the others may abort"
    many = torch.load(tmp_path / "many" / "final.pt", weights_only=True)
    assert max(float((alone[name] - many[name]).abs().max()) for name in alone) < 1e-6
