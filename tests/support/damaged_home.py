"""A home and a FaceFusion with all that there can be of two persons, for tests of damage."""

import functools
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer.main

from facefusion_finetune import home
from facefusion_finetune.dataset.coverage.report import write_report
from facefusion_finetune.dataset.manifest import read_manifest
from facefusion_finetune.dataset.review import curation
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.host.models import models_directory
from facefusion_finetune.jobs import queue
from facefusion_finetune.jobs.record import Failure, JobState
from facefusion_finetune.people.profile import Person, add_person, create_consent, load_person
from facefusion_finetune.presets import preset
from facefusion_finetune.registry import store, transfer
from facefusion_finetune.runs.run import create_run, find_run
from tests.support.commands import Result, run_command
from tests.support.damage import can_be_damaged
from tests.support.host import create_fake_checkout
from tests.support.runs import create_finished_run

DAMAGED, OTHER = "ada", "bea"
RECORD, RUNS = f"people/{DAMAGED}/person.toml", f"people/{DAMAGED}/runs/*"
Arguments = tuple[str, ...]
Command = Callable[..., Result]


@dataclass(frozen=True)
class World:
    """Two persons with all there can be of them."""

    home: Path
    host: Path
    spare: Path

    @property
    def person(self) -> Path:
        """Folder of the person whose files are damaged."""
        return self.home / "people" / DAMAGED

    def list_files(self, kind: str) -> list[Path]:
        """The person's files, and those of the person's models in FaceFusion."""
        files = [path for path in self.person.rglob("*") if path.is_file()]
        files += models_directory(self.host).glob(f"{DAMAGED}-*")
        return sorted(path for path in files if can_be_damaged(path, kind))

    def find(self, patterns: Iterable[str], kind: str) -> list[Path]:
        """The files of these paths in the home or in FaceFusion that can be damaged so."""
        paths = [
            path
            for pattern in patterns
            for root in (self.home, self.host)
            for path in root.glob(pattern)
        ]
        return sorted(path for path in paths if can_be_damaged(path, kind))

    def name(self, path: Path) -> str:
        """A file's path in the home or in FaceFusion."""
        root = self.host if self.host in path.parents else self.home
        return path.relative_to(root).as_posix()


@pytest.fixture(scope="session")
def damaged_world(
    tmp_path_factory: pytest.TempPathFactory, judged_home: Path, analyser: DemoAnalyser
) -> World:
    """Two persons; files are put back after each damage."""
    folder = tmp_path_factory.mktemp("two")
    found = World(folder / "home", folder / "facefusion", folder / "spare")
    found.spare.mkdir()
    shutil.copytree(judged_home, found.home)
    create_fake_checkout(found.host)
    with home.use_home(found.home), pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue, "ensure_runner", lambda: None)
        other = add_person(OTHER, create_consent(None, "Another drawn person agrees."))
        create_finished_run(other, analyser.get_swapper("demo"), proven=True)
        _furnish(load_person(DAMAGED), folder, found.host)
        _furnish(other, folder, found.host)
    _thin_out(found.person)
    return found


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], damaged_world: World
) -> Command:
    """Run a command in this process, in the home of the two; nobody works on what is queued."""
    use_world(monkeypatch, damaged_world)
    return functools.partial(run_command, monkeypatch, capsys)


# A third of each listing's time would go into making the same commands again.
_make_command_once = functools.cache(typer.main.get_command)


def use_world(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """Let commands of this process see a world."""
    monkeypatch.setenv(home.HOME_VARIABLE, str(world.home))
    monkeypatch.setenv("FACEFUSION_PATH", str(world.host))
    monkeypatch.setattr(queue, "ensure_runner", lambda: None)
    monkeypatch.setattr(typer.main, "get_command", _make_command_once)


def _furnish(person: Person, folder: Path, host: Path) -> None:
    """Give a person, who has a finished run, everything else."""
    run = find_run(person, 1)
    store.activate(person, run, host, force=True)
    sent = transfer.export_model(person, run, folder / f"{person.name}.onnx", standalone=True)
    transfer.import_model(sent.path, person.name, [])
    create_run(person, run.config.model_copy(update={"version": 3})).log(1, {"loss": 0.5})
    records = read_manifest(person)
    if records:
        curation.reject(person, [records[0].id])
        write_report(person)
    done = queue.submit(person, "train", {"base": "demo", "preset": "fast"})
    done.write_state(JobState(status="done", result={"version": 1, "sentence": "It is better."}))
    failed = queue.submit(person, "evaluate", {"version": 1})
    why = Failure(given="judge.onnx", why="it is none.", todo="Give another one.")
    failed.write_state(JobState(status="failed", pid=7, error=why))
    failed.log_path.write_text("Judging\n")
    queue.submit(person, "evaluate", {"version": 1})


def _thin_out(folder: Path) -> None:
    """Leave one picture of each folder, and of large texts the beginning: no listing reads them."""
    for path in [*folder.rglob("*.png"), *folder.rglob("*.html")]:
        if path == min(path.parent.glob(f"*{path.suffix}")):
            path.write_bytes(path.read_bytes()[:1000])
        else:
            path.unlink()


def copy_world(world: World, folder: Path) -> World:
    """A world that commands may change."""
    copy = World(folder / "home", folder / "facefusion", folder / "spare")
    copy.spare.mkdir()
    shutil.copytree(world.home, copy.home)
    shutil.copytree(world.host, copy.host)
    shutil.copy(world.home.parent / f"{DAMAGED}.onnx", copy.home / "sent.onnx")
    (copy.home / "host.json").write_text(json.dumps({"path": str(copy.host)}))
    shutil.copy(Path(preset.__file__).with_name("fast.toml"), copy.home / "own.toml")
    return copy
