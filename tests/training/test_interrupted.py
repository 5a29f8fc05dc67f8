"""A training that Ctrl-C or a full disk ends in one phase after the other, and that goes on."""

import errno
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from facefusion_finetune import analysers, home
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.evaluation.held_out import HeldOutEvaluator
from facefusion_finetune.people.profile import Person
from facefusion_finetune.runs.run import Run, find_run
from facefusion_finetune.training import recipe
from tests.support.commands import Result, run_command
from tests.support.runs import read_digests

PHASES: list[tuple[str, Any, str]] = [
    ("preparing", recipe, "prepare_training"),
    ("steps", Run, "log"),
    ("writing back", recipe, "write_candidate"),
    ("judging", HeldOutEvaluator, "write_report"),
]
"""Each with a function that is called in it."""


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], analyser: DemoAnalyser
) -> Iterator[Callable[..., Result]]:
    """Run a command in this process, with the demo's analyser in FaceFusion's place."""
    monkeypatch.setattr(analysers, "open_analyser", lambda *options: analyser)
    # FaceFusion, which other tests have in this process, does not listen to Ctrl-C.
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda *arguments: run_command(monkeypatch, capsys, *arguments)
    signal.signal(signal.SIGINT, former)


def _interrupt(*_arguments: object, **_options: object) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def _said(err: str) -> str:
    """What was said after the progress bar."""
    return err.splitlines()[-1]


def test_interrupted_in_every_phase_it_ends_as_an_undisturbed_one(
    run: Callable[..., Result],
    extracted: Person,
    trained_home: Path,
    preset_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = ["train", "ada", "--base", "demo", "--preset", preset_file, "--seed", 11]
    with monkeypatch.context() as patch:
        patch.setattr(recipe, "plan_run", _interrupt)
        code, _, err = run(*command)
    assert (code, _said(err)) == (
        130,
        "Interrupted. Nothing was begun: run the same command again.",
    )
    assert not list(extracted.runs_directory.glob("*"))
    for phase, owner, name in PHASES:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, _interrupt)
            code, _, err = run(*command)
        said = "Interrupted. Resume with: facefusion-finetune train ada --resume"
        assert (code, _said(err)) == (130, said), phase
        assert "Traceback" not in err, phase
        assert [path.name for path in extracted.runs_directory.iterdir()] == ["1"], phase
        command = ["train", "ada", "--resume"]
    assert run(*command)[0] == 0
    done = find_run(extracted, None)
    lines = (done.directory / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 9))
    assert not list(extracted.directory.rglob("*.part"))
    with home.use_home(trained_home):
        whole = read_digests(find_run(extracted, None))
    assert read_digests(done) == whole


def test_full_disk_is_said_and_the_training_goes_on_later(
    run: Callable[..., Result],
    extracted: Person,
    trained_home: Path,
    preset_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel's error names no file where the disk is full."""
    full, sync = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), os.fsync

    def fill(handle: int) -> None:
        if list(extracted.directory.rglob(".last.safetensors.*.part")):
            raise full
        sync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fill)
        code, _, err = run("train", "ada", "--base", "demo", "--preset", preset_file, "--seed", 11)
    path = extracted.runs_directory / "1" / "checkpoints" / "last.safetensors"
    assert code == 1
    assert f"error: {path}\n" in err
    assert err.count("No space left on device") == 1
    assert "Traceback" not in err
    assert not list(extracted.directory.rglob("*.part"))
    assert run("train", "ada", "--resume")[0] == 0
    done = find_run(extracted, None)
    with home.use_home(trained_home):
        whole = read_digests(find_run(extracted, None))
    assert (done.record.version, read_digests(done)) == (1, whole)
