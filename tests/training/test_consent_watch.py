"""Consent that ends while a training is running: nothing more is kept, and no model is made."""

import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.errors import ConsentError
from facefusion_finetune.evaluation import held_out
from facefusion_finetune.people import profile
from facefusion_finetune.people.elsewhere import list_locations
from facefusion_finetune.people.profile import Person, add_person, create_consent
from facefusion_finetune.privacy.removal import remove_person
from facefusion_finetune.registry.store import read_card
from facefusion_finetune.runs.observer import Observer
from facefusion_finetune.runs.run import Run, find_run
from facefusion_finetune.training.cache import feed
from facefusion_finetune.training.cache.header import read_owner
from facefusion_finetune.training.engine.checkpoint import load_checkpoint
from facefusion_finetune.training.recipe import train_person
from facefusion_finetune.training.request import TrainRequest
from tests.support.tiny_training import TinyWorld
from tests.support.waiting import HANGS

TODAY = date(2030, 5, 3)

End = Callable[[Person], object]


class _Today(date):
    """A date whose today can be set."""

    now = TODAY

    @classmethod
    def today(cls) -> "_Today":
        return cls(cls.now.year, cls.now.month, cls.now.day)


@pytest.fixture
def calendar(monkeypatch: pytest.MonkeyPatch) -> type[_Today]:
    monkeypatch.setattr(_Today, "now", TODAY)
    monkeypatch.setattr(profile, "date", _Today)
    return _Today


@pytest.fixture
def always_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a cache although it does not pay for so few steps."""
    monkeypatch.setattr(feed, "MIN_SAVING", -1e9)


def _at_step(step: int, act: Callable[[], object]) -> Observer:
    def on_step(done: int, total: int, values: dict[str, float]) -> None:
        if done == step:
            act()

    return Observer(on_step=on_step)


def _withdraw(person: Person) -> None:
    path = person.directory / "person.toml"
    path.write_text(path.read_text().split("[consent]")[0])


def _expire(person: Person) -> None:
    past = date.today() - timedelta(days=1)
    consent = create_consent(None, "yes").model_copy(update={"expires": past})
    add_person(person.name, consent, renew=True)


ENDS = {"withdrawn": (_withdraw, "no consent is on record"), "expired": (_expire, "expired on")}


def _check_stopped(run: Run) -> None:
    assert not run.is_finished
    assert not list(run.directory.glob("*.onnx"))


@pytest.mark.parametrize("kind", ENDS)
def test_consent_that_ends_while_training(
    extracted: Person, analyser: DemoAnalyser, preset_file: Path, kind: str
) -> None:
    end, words = ENDS[kind]
    record = (extracted.directory / "person.toml").read_text()
    observer = _at_step(5, lambda: end(extracted))
    with pytest.raises(ConsentError, match=words):
        train_person(
            extracted,
            analyser,
            TrainRequest(base="demo", preset=str(preset_file), seed=11),
            observer=observer,
        )
    (extracted.directory / "person.toml").write_text(record)
    run = find_run(extracted, None)
    _check_stopped(run)
    assert load_checkpoint(run.checkpoint_path).step == 4, "of the next one nothing was kept"

    end(extracted)
    before = _read_all(extracted.directory)
    with pytest.raises(ConsentError, match=words):
        train_person(extracted, analyser, TrainRequest(resume=True))
    assert _read_all(extracted.directory) == before, "whoever was loaded before is looked up again"

    (extracted.directory / "person.toml").write_text(record)
    renewed = add_person("ada", create_consent(None, "and again"), renew=True)
    run, _ = train_person(renewed, analyser, TrainRequest(resume=True))
    assert read_card(run.model_path).consent_digest == renewed.require_consent().sha256


def test_consent_that_expires_at_midnight(
    extracted: Person, analyser: DemoAnalyser, preset_file: Path, calendar: type[_Today]
) -> None:
    person = add_person("ada", create_consent(None, "today", expires=TODAY), renew=True)

    def pass_midnight() -> None:
        calendar.now = TODAY + timedelta(days=1)

    with pytest.raises(ConsentError, match="expired on 2030-05-03") as caught:
        train_person(
            person,
            analyser,
            TrainRequest(base="demo", preset=str(preset_file)),
            observer=_at_step(3, pass_midnight),
        )
    assert "person add ada --renew" in caught.value.todo
    run = find_run(person, None)
    _check_stopped(run)
    assert load_checkpoint(run.checkpoint_path).step == 2


@pytest.mark.parametrize(
    "moment", ["Making held-out pairs", "Training", "Writing the weights back and evaluating"]
)
def test_consent_withdrawn_between_the_steps(
    extracted: Person, analyser: DemoAnalyser, preset_file: Path, moment: str
) -> None:
    """No step tells of these moments; what follows each of them asks again."""

    def on_stage(text: str) -> None:
        if text == moment:
            _withdraw(extracted)

    with pytest.raises(ConsentError, match="no consent"):
        train_person(
            extracted,
            analyser,
            TrainRequest(base="demo", preset=str(preset_file)),
            observer=Observer(on_stage=on_stage),
        )
    run = find_run(extracted, None)
    _check_stopped(run)
    assert not run.report_path.exists()
    assert run.checkpoint_path.exists() == (moment == "Writing the weights back and evaluating")


def test_consent_withdrawn_while_judging_makes_no_model(
    extracted: Person, analyser: DemoAnalyser, preset_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = held_out.write_report

    def judge(*arguments: object) -> object:
        _withdraw(extracted)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(held_out, "write_report", judge)
    with pytest.raises(ConsentError, match="no consent"):
        train_person(extracted, analyser, TrainRequest(base="demo", preset=str(preset_file)))
    _check_stopped(find_run(extracted, None))


@pytest.mark.parametrize("step", [3, 4])
@pytest.mark.usefixtures("always_cached")
def test_person_removed_while_training_stays_removed(
    extracted: Person,
    analyser: DemoAnalyser,
    preset_file: Path,
    tmp_path: Path,
    home_folder: Path,
    step: int,
) -> None:
    cache = tmp_path / "cache"

    def remove() -> None:
        assert list(cache.iterdir())
        remove_person("ada").require_complete()

    observer = _at_step(step, remove)
    with pytest.raises(ConsentError, match="removed"):
        train_person(
            extracted,
            analyser,
            TrainRequest(
                base="demo",
                preset=str(preset_file),
                seed=11,
                trackers=("tensorboard",),
                cache=cache,
            ),
            observer=observer,
        )
    assert not extracted.directory.exists()
    assert [path for path in home_folder.rglob("*") if path.is_file()] == []
    assert not cache.exists()


def test_person_removed_while_judging_stays_removed(
    extracted: Person,
    analyser: DemoAnalyser,
    preset_file: Path,
    home_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Judging makes folders of its own, and would make the run's anew."""
    real = held_out.write_report

    def judge(*arguments: object) -> object:
        remove_person("ada").require_complete()
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(held_out, "write_report", judge)
    with pytest.raises(ConsentError, match="removed"):
        train_person(extracted, analyser, TrainRequest(base="demo", preset=str(preset_file)))
    assert [path for path in home_folder.rglob("*") if path.is_file()] == []
    assert not extracted.directory.exists()


def test_run_removed_while_training(
    extracted: Person, analyser: DemoAnalyser, preset_file: Path
) -> None:
    def remove() -> None:
        shutil.rmtree(extracted.runs_directory / "1")

    with pytest.raises(ConsentError, match="was removed while it was running"):
        train_person(
            extracted,
            analyser,
            TrainRequest(base="demo", preset=str(preset_file)),
            observer=_at_step(2, remove),
        )
    assert not extracted.runs_directory.exists()
    assert (extracted.directory / "crops.jsonl").exists()


@pytest.mark.usefixtures("always_cached")
def test_cache_elsewhere_is_remembered_until_it_is_gone(
    extracted: Person, analyser: DemoAnalyser, preset_file: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(KeyboardInterrupt):
        train_person(
            extracted,
            analyser,
            TrainRequest(base="demo", preset=str(preset_file), cache=cache),
            observer=_at_step(3, _interrupt),
        )
    (entry,) = list_locations(extracted.directory)
    assert (entry.path, entry.kind, entry.about) == (str(cache), "cache", "ada@1")
    assert read_owner(cache) == "ada@1"
    # It goes on with another cache; what it left in the former one goes as well.
    train_person(extracted, analyser, TrainRequest(resume=True))
    assert not cache.exists()
    assert list_locations(extracted.directory) == []


def test_tracker_elsewhere_is_remembered_without_its_password(
    extracted: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facefusion_finetune.training.engine.trackers import Tracking

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ada:secret@example.org:5000/x")
    world = TinyWorld(tmp_path)
    monkeypatch.setattr(world.accelerator, "log_with", ["mlflow"])
    monkeypatch.setattr(world.accelerator, "init_trackers", lambda *_, **__: None)
    with Tracking(world.accelerator, world.run, world.notes.append):
        pass
    assert world.notes == []
    assert [(entry.path, entry.kind) for entry in list_locations(extracted.directory)] == [
        ("https://example.org:5000/x", "tracker")
    ]
    assert "secret" not in (extracted.directory / "elsewhere.json").read_text()


def test_all_processes_stop_where_one_may_not_go_on(tmp_path: Path) -> None:
    code = f"""
import os, sys
from pathlib import Path
from dataclasses import replace
from facefusion_finetune.errors import ConsentError
from facefusion_finetune.runs.observer import Observer
from tests.support.tiny_training import TinyWorld

asked = []
def permit():
    asked.append(1)
    if os.environ["RANK"] == "1" and len(asked) == 3:
        raise ConsentError("person 'ada'", "it is withdrawn.", "Ask.")

world = TinyWorld(Path({str(tmp_path)!r}) / os.environ["RANK"])
try:
    replace(world.create_trainer(), check_consent=permit).train(False, Observer(), print)
except ConsentError as error:
    print("stopped:", error.why)
"""
    environment = {
        **os.environ,
        **{"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _find_port()},
        **{"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    done = [process.communicate(timeout=HANGS) for process in processes]
    assert "another process of it found no valid consent" in done[0][0], done[0][1]
    assert "it is withdrawn" in done[1][0], done[1][1]
    assert load_checkpoint(tmp_path / "0" / "checkpoints" / "last.safetensors").step == 3


def test_files_of_a_whole_job_are_private(
    extracted: Person, analyser: DemoAnalyser, preset_file: Path, home_folder: Path, tmp_path: Path
) -> None:
    former = os.umask(0o022)
    try:
        seen: list[Path] = []
        observer = _at_step(3, lambda: seen.extend(_find_public(home_folder)))
        train_person(
            extracted,
            analyser,
            TrainRequest(base="demo", preset=str(preset_file), trackers=("tensorboard",)),
            observer=observer,
        )
        assert os.umask(0o022) == 0o022, "the user's own mask is back"
    finally:
        os.umask(former)
    assert list((find_run(extracted, None).directory / "trackers").rglob("*tfevents*"))
    assert seen == []
    assert _find_public(home_folder) == []


def test_files_of_judged_runs_are_private(judged: Person, home_folder: Path) -> None:
    assert (find_run(judged, None).directory / "targets").is_dir()
    assert _find_public(home_folder) == []


def _interrupt() -> None:
    raise KeyboardInterrupt


def _find_public(folder: Path) -> list[Path]:
    """What others than the user may touch.

    A base is one file with the user's own copy of it, whose rights are not ours to change; it says
    nothing about a person, and nobody else enters the folders it lies in.
    """
    paths = [path for path in [folder, *folder.rglob("*")] if path.suffix != ".base"]
    return [path for path in paths if stat.S_IMODE(path.stat().st_mode) & 0o077]


def _read_all(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _find_port() -> str:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return str(server.getsockname()[1])
