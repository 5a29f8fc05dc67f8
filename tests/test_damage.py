"""Damage of one person's files stops nothing: everybody else is listed whole, the damaged as such.

All files of a person, and of the person's models in a FaceFusion folder, are damaged one after the
other, and all at once.
"""

import contextlib
import functools
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import typer.main

from facefusion_finetune import analysers, home
from facefusion_finetune.damage import (
    MAX_REASON,
    DamageError,
    parse_json,
    parse_toml,
    read_file,
)
from facefusion_finetune.dataset.coverage import text as coverage_text
from facefusion_finetune.dataset.coverage.measure import measure_coverage
from facefusion_finetune.dataset.coverage.report import write_report
from facefusion_finetune.dataset.extraction.seen import read_known_sources
from facefusion_finetune.dataset.manifest import digest_dataset, read_manifest
from facefusion_finetune.dataset.review import curation
from facefusion_finetune.dataset.review.sheets import list_tiles
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.errors import FinetuneError
from facefusion_finetune.evaluation.page import describe_figure, sort_figures
from facefusion_finetune.evaluation.report import read_report
from facefusion_finetune.host.models import models_directory
from facefusion_finetune.jobs import queue
from facefusion_finetune.jobs.record import DamagedJob, Failure, JobState
from facefusion_finetune.jobs.times import find_time
from facefusion_finetune.people import elsewhere
from facefusion_finetune.people.profile import Person, add_person, create_consent, load_person
from facefusion_finetune.presets import preset
from facefusion_finetune.registry import store, transfer
from facefusion_finetune.runs.observer import format_seconds
from facefusion_finetune.runs.run import create_run, find_run, load_run, next_version
from tests.support.commands import Result, run_command
from tests.support.damage import KINDS, UNSEEN, can_be_damaged, change_every_value, damaged
from tests.support.host import create_fake_checkout
from tests.support.runs import create_finished_run

DAMAGED, OTHER = "ada", "bea"
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


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, judged_home: Path, analyser: DemoAnalyser
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("two")
    found = World(folder / "home", folder / "facefusion", folder / "spare")
    found.spare.mkdir()
    shutil.copytree(judged_home, found.home)
    create_fake_checkout(found.host)
    with home.use_home(found.home), pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue, "ensure_runner", lambda: None)
        # A third of each listing's time would go into making the same commands again.
        patch.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
        other = add_person(OTHER, create_consent(None, "Another drawn person agrees."))
        create_finished_run(other, analyser.get_swapper("demo"), proven=True)
        _furnish(load_person(DAMAGED), folder, found.host)
        _furnish(other, folder, found.host)
        _thin_out(found.person)
        yield found


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


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], world: World
) -> Command:
    """Run a command in this process, in the home of the two."""
    monkeypatch.setenv(home.HOME_VARIABLE, str(world.home))
    monkeypatch.setenv("FACEFUSION_PATH", str(world.host))
    return functools.partial(run_command, monkeypatch, capsys)


LISTINGS: tuple[Arguments, ...] = (
    ("models", "list"),
    ("models", "show", f"{OTHER}@1"),
    ("person", "list"),
    ("person", "show", DAMAGED),
    ("person", "show", OTHER),
    ("jobs", "list"),
)

RECORD, RUNS = f"people/{DAMAGED}/person.toml", f"people/{DAMAGED}/runs/*"
TOLD: dict[Arguments, tuple[str, ...]] = {
    ("models", "list"): (
        *(RECORD, f"{RUNS}/config.toml", f"{RUNS}/model.onnx"),
        *(f".assets/models/finetuned/{DAMAGED}-1.{suffix}" for suffix in ("onnx", "hash", "json")),
    ),
    ("person", "list"): (RECORD,),
    ("person", "show", DAMAGED): (
        *(RECORD, f"{RUNS}/config.toml", f"{RUNS}/model.onnx"),
        *(f"people/{DAMAGED}/{name}" for name in ("crops.jsonl", "hosts.json", "elsewhere.json")),
    ),
    ("jobs", "list"): tuple(
        f"people/{DAMAGED}/jobs/*/{name}" for name in ("job.json", "state.json")
    ),
}
"""By listing: the files whose damage it names."""


@pytest.fixture
def whole(command: Command) -> dict[tuple[Arguments, bool], Any]:
    """What every listing, as text and as JSON, says of the other person before any damage."""
    found = {}
    for arguments in LISTINGS:
        for as_json in (False, True):
            out = _list(command, arguments, as_json)
            assert "damaged" not in out.replace('"damaged": null', ""), out
            found[arguments, as_json] = _keep_other(arguments, out, as_json)
            assert found[arguments, as_json] or DAMAGED in arguments
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_everybody_else_is_listed_whole(
    kind: str,
    world: World,
    command: Command,
    whole: dict[tuple[Arguments, bool], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number, path in enumerate(world.list_files(kind)):
        name = world.name(path)
        for arguments in LISTINGS:
            if "show" in arguments and DAMAGED not in arguments:
                continue  # takes long, and comes where all is damaged at once
            as_json = bool(number % 2)
            with damaged(path, kind, world.spare), monkeypatch.context() as patch:
                if kind == "removed meanwhile":
                    _remove_once_seen(path, patch)
                out = _list(command, arguments, as_json)
            kept = _keep_other(arguments, out, as_json)
            assert kept == whole[arguments, as_json], (name, arguments, out)
            is_told = any(fnmatch(name, pattern) for pattern in TOLD.get(arguments, ()))
            if is_told and "removed" not in kind and (kind, path.name) not in UNSEEN:
                said = _find_damage(arguments, out, as_json)
                (why,) = [text for text in said if str(path) in text]
                assert "\n" not in why
                assert len(why) < len(str(path)) + MAX_REASON + 150


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_everybody_else_is_listed_whole_where_nothing_of_one_person_is(
    kind: str, world: World, command: Command, whole: dict[tuple[Arguments, bool], Any]
) -> None:
    with contextlib.ExitStack() as stack:
        for number, path in enumerate(world.list_files(kind)):
            spare = world.spare / str(number)
            spare.mkdir(exist_ok=True)
            stack.enter_context(damaged(path, kind, spare))
        for (arguments, as_json), kept in whole.items():
            out = _list(command, arguments, as_json)
            assert _keep_other(arguments, out, as_json) == kept, (arguments, out)


AIMED: dict[Arguments, str] = {
    ("models", "show", f"{DAMAGED}@1"): f"people/{DAMAGED}/runs/1/model.onnx",
    ("models", "show", f"{DAMAGED}@3"): f"people/{DAMAGED}/runs/3/config.toml",
    ("models", "show", f"{DAMAGED}@2"): RECORD,
    ("models", "verify", DAMAGED): f".assets/models/finetuned/{DAMAGED}-1.json",
    ("models", "activate", f"{DAMAGED}@2", "--force"): f"people/{DAMAGED}/hosts.json",
    ("dataset", "show", DAMAGED): f"people/{DAMAGED}/crops.jsonl",
    ("dataset", "reject", DAMAGED, "0000"): f"people/{DAMAGED}/crops.jsonl",
    ("jobs", "show", "ID"): f"people/{DAMAGED}/jobs/ID/job.json",
}
"""By command: the file without which it cannot do its work."""


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "removed" not in kind])
def test_what_is_aimed_at_damage_fails_in_words(kind: str, world: World, command: Command) -> None:
    job = min(path.name for path in (world.person / "jobs").iterdir())
    for arguments, name in AIMED.items():
        root = world.home if name.startswith("people") else world.host
        path = root / name.replace("ID", job)
        if not can_be_damaged(path, kind) or (kind, path.name) in UNSEEN:
            continue
        with damaged(path, kind, world.spare):
            given = [job if argument == "ID" else argument for argument in arguments]
            code, out, err = command(*given)
        assert (code, out) == (1, ""), (arguments, out)
        assert err.startswith("error: "), err
        assert str(path) in err.splitlines()[0], err
        assert "\n  why:  " in err
        assert "\n  do:   " in err
        assert max(map(len, err.splitlines())) < len(str(path)) + MAX_REASON + 150


CROPS, CONFIG = f"people/{DAMAGED}/crops.jsonl", f"{RUNS}/config.toml"
CHOICES, SOURCES = f"people/{DAMAGED}/choices.json", f"people/{DAMAGED}/sources.jsonl"
HOSTS, ELSEWHERE = f"people/{DAMAGED}/hosts.json", f"people/{DAMAGED}/elsewhere.json"
REPORT, MODEL = f"{RUNS}/report.json", f"{RUNS}/model.onnx"
JOBS = f"people/{DAMAGED}/jobs/*/*.json"
ACTIVE = f".assets/models/finetuned/{DAMAGED}-1.*"
READING: dict[Arguments, tuple[str, ...]] = {
    ("person", "add", DAMAGED, "--renew", "--consent-note", "still"): (RECORD,),
    ("person", "remove", DAMAGED): (RECORD, HOSTS, ELSEWHERE),
    ("dataset", "show", DAMAGED): (RECORD, CROPS),
    ("dataset", "review", DAMAGED): (RECORD, CROPS),
    ("dataset", "reject", DAMAGED, "CROP"): (RECORD, CROPS, CHOICES),
    ("dataset", "restore", DAMAGED, "CROP"): (RECORD, CROPS, CHOICES),
    ("extract", DAMAGED, "none.mp4"): (RECORD, CROPS, SOURCES, CHOICES),
    ("train", DAMAGED, "--base", "demo"): (RECORD, CROPS),
    ("train", DAMAGED, "--base", "demo", "--dry-run"): (RECORD, CROPS),
    ("train", DAMAGED, "--base", "demo", "--preset", "own.toml"): ("own.toml",),
    ("train", DAMAGED, "--resume"): (RECORD, CROPS, CONFIG),
    ("evaluate", f"{DAMAGED}@1"): (RECORD, CROPS, CONFIG, MODEL, REPORT),
    ("models", "show", DAMAGED): (RECORD, CONFIG, MODEL, ACTIVE),
    ("models", "activate", f"{DAMAGED}@1", "--force"): (RECORD, CONFIG, MODEL, HOSTS),
    ("models", "verify", DAMAGED): (RECORD, ACTIVE),
    ("models", "remove", f"{DAMAGED}@2"): (RECORD, CONFIG, HOSTS),
    ("models", "export", f"{DAMAGED}@1", "--output", "OUTPUT"): (RECORD, CONFIG, MODEL, ELSEWHERE),
    ("models", "import", "SENT"): (RECORD,),
    ("jobs", "show", "ID"): (JOBS,),
    ("jobs", "stop", "ID"): (JOBS,),
    ("link", "HOST"): ("host.json",),
    ("unlink",): ("host.json",),
    ("models", "deactivate", DAMAGED): (RECORD, ACTIVE),
}
"""By command: the files that it reads, all of them in turn; in an order in which one leaves what
the next needs."""


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_every_command_that_reads_damage_ends_in_words(
    kind: str,
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    analyser: DemoAnalyser,
) -> None:
    own = _copy(world, tmp_path)
    monkeypatch.setenv(home.HOME_VARIABLE, str(own.home))
    monkeypatch.setenv("FACEFUSION_PATH", str(own.host))
    monkeypatch.setattr(analysers, "open_analyser", lambda *options: analyser)
    names = {
        "ID": min(path.name for path in (own.person / "jobs").iterdir()),
        "CROP": min(path.stem for path in (own.person / "crops").glob("*.png"))[:16],
        **{"OUTPUT": str(own.spare / "out.onnx"), "SENT": str(own.spare.parent / "ada.onnx")},
        **{"HOST": str(own.host), "own.toml": str(own.home / "own.toml")},
    }
    for arguments, patterns in READING.items():
        given = [names.get(argument, argument) for argument in arguments]
        for path in filter(Path.exists, own.find(patterns, kind)):
            monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
            with damaged(path, kind, own.spare):
                code, _, err = run_command(monkeypatch, capsys, *given)
            assert code in (0, 1, 2), (arguments, path)
            assert "Traceback" not in err, (arguments, path, err)
            assert code == 0 or "error: " in err or "Abort" in err, (arguments, path, err)
            assert max(map(len, err.splitlines()), default=0) < 1000, err


def _use_crops(person: Person) -> None:
    records = read_manifest(person)
    coverage_text.describe(person.name, measure_coverage(records))
    list_tiles(records)
    digest_dataset(records)


def _use_report(person: Person) -> None:
    report = read_report(find_run(person, 1))
    assert report is not None
    for figure in sort_figures(report.figures):
        describe_figure(figure)


def _use_jobs(person: Person) -> None:
    for job in queue.scan_jobs(person.name):
        if isinstance(job, DamagedJob):
            raise job.error
        if damage := job.find_damage():
            raise damage
        if (left := job.state.seconds_left) is not None:
            format_seconds(left)
        job.request.read_arguments()
    find_time("demo", "fast")


USES: dict[str, Callable[[Person], object]] = {
    RECORD: lambda person: load_person(person.name).require_consent(),
    f"people/{DAMAGED}/runs/3/config.toml": lambda person: find_run(person, 3).config,
    CROPS: _use_crops,
    SOURCES: lambda person: read_known_sources(person, []),
    CHOICES: curation.read_choices,
    HOSTS: lambda person: elsewhere.list_hosts(person.directory),
    ELSEWHERE: lambda person: elsewhere.list_locations(person.directory),
    f"people/{DAMAGED}/runs/1/report.json": _use_report,
    f"people/{DAMAGED}/jobs/*/job.json": _use_jobs,
    f"people/{DAMAGED}/jobs/*/state.json": _use_jobs,
}
"""By file: what it is read for."""
WRONG: tuple[Any, ...] = (True, -1, 10**400, 1e308, float("nan"), "x\0", [], [[7]], {"a": {}})


@pytest.mark.parametrize("pattern", USES)
def test_every_value_in_turn_is_of_another_type_or_size(
    pattern: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is damage and what could be said of a value, the reader decides, in words."""
    monkeypatch.setenv(home.HOME_VARIABLE, str(world.home))
    person, refused = load_person(DAMAGED), []
    path = min(world.find([pattern], "other types"))
    whole = path.read_bytes()
    try:
        for content in change_every_value(whole, path.suffix, WRONG):
            path.write_bytes(content)
            try:
                USES[pattern](person)
            except FinetuneError as error:
                refused.append(error)
    finally:
        path.write_bytes(whole)
    assert refused
    for error in refused:
        assert len(str(error)) < len(str(path)) + MAX_REASON + 200


def _copy(world: World, folder: Path) -> World:
    """A world that commands may change."""
    copy = World(folder / "home", folder / "facefusion", folder / "spare")
    copy.spare.mkdir()
    shutil.copytree(world.home, copy.home)
    shutil.copytree(world.host, copy.host)
    shutil.copy(world.home.parent / f"{DAMAGED}.onnx", folder)
    (copy.home / "host.json").write_text(json.dumps({"path": str(copy.host)}))
    shutil.copy(Path(preset.__file__).with_name("fast.toml"), copy.home / "own.toml")
    return copy


def test_other_versions_of_the_person_can_be_used(world: World, command: Command) -> None:
    with damaged(world.person / "runs/1/config.toml", "half", world.spare):
        code, out, _ = command("models", "show", f"{DAMAGED}@2", "--json")
        rows = json.loads(command("models", "list", "--json")[1])
        with home.use_home(world.home):
            assert next_version(load_person(DAMAGED)) == 4
    assert (code, json.loads(out)["version"]) == (0, 2)
    assert [(row["model"], bool(row["damaged"])) for row in rows if DAMAGED in row["model"]] == [
        (f"{DAMAGED}@1", True),
        (f"{DAMAGED}@2", False),
        (f"{DAMAGED}@3", False),
    ]
    assert rows[0] == {
        **{"model": f"{DAMAGED}@1", "base": None, "preset": None, "imported": None},
        **{"finished": True, "verdict": None, "proven": False, "active": True},
        "damaged": rows[0]["damaged"],
    }


def test_a_record_of_somebody_else_is_damage(world: World, command: Command) -> None:
    path = world.person / "person.toml"
    with damaged(path, "removed", world.spare):
        shutil.copy(world.home / "people" / OTHER / "person.toml", path)
        rows = json.loads(command("person", "list", "--json")[1])
    assert rows[0]["name"] == DAMAGED
    assert "it is the record of 'bea'" in rows[0]["damaged"]
    assert rows[1] == {"name": OTHER, "damaged": None}
    path = world.person / "runs/1/config.toml"
    with damaged(path, "removed", world.spare):
        shutil.copy(world.person / "runs/3/config.toml", path)
        rows = json.loads(command("models", "list", "--json")[1])
    assert "the settings of another run" in rows[0]["damaged"]


def test_a_folder_without_a_record_is_listed(world: World, command: Command) -> None:
    with damaged(world.person / "person.toml", "removed", world.spare):
        code, out, _ = command("person", "list")
    assert code == 0
    line, other = out.splitlines()
    assert line.startswith(f"{DAMAGED}  damaged: person record {world.person / 'person.toml'}: ")
    assert "it is missing" in line
    assert other == OTHER


def test_a_half_activated_model_is_told(world: World, command: Command) -> None:
    for suffix in ("hash", "json"):
        path = models_directory(world.host) / f"{DAMAGED}-1.{suffix}"
        with damaged(path, "removed", world.spare):
            rows = json.loads(command("models", "list", "--json")[1])
        assert (rows[0]["model"], rows[0]["active"]) == (f"{DAMAGED}@1", False)
        assert str(path) in rows[0]["damaged"]


def test_resumed_metrics_may_be_damaged(world: World) -> None:
    run = load_run(world.person / "runs/3/config.toml")
    path = run.directory / "metrics.jsonl"
    content = b'{"step": 1, "loss": 0.5}\n[]\n\xff\n{"step": "many"}\n{"step": 5}\n{"step": 6'
    with damaged(path, "removed", world.spare):
        path.write_bytes(content)
        run.forget_metrics_after(4)
        assert path.read_bytes() == b'{"step": 1, "loss": 0.5}\n[]\n\xff\n{"step": "many"}\n'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"\xff\xfe{", "it is not UTF-8 text"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b"9" * 6000, "Exceeds the limit"),
        (b'{"a"', "Expecting ':' delimiter"),
    ],
)
def test_what_is_no_json_says_why_in_one_line(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DamageError, match=reason) as caught:
        read_file(tmp_path / "file", parse_json)
    assert len(str(caught.value)) <= MAX_REASON
    assert "\n" not in str(caught.value)


def test_what_is_no_toml_and_what_is_no_file(tmp_path: Path) -> None:
    assert parse_toml(b"a = 1") == {"a": 1}
    for content, reason in (
        (b"", "it is empty"),
        (b"a =", "Invalid value"),
        (b"\xff", "not UTF-8"),
    ):
        with pytest.raises(DamageError, match=reason):
            parse_toml(content)
    with pytest.raises(DamageError, match="Is a directory"):
        read_file(tmp_path, parse_json)
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "missing", parse_json)


def _list(command: Command, arguments: Arguments, as_json: bool) -> str:
    code, out, err = command(*arguments, *(["--json"] if as_json else []))
    assert (code, err) == (0, ""), (arguments, err)
    return out


def _keep_other(arguments: Arguments, out: str, as_json: bool) -> Any:
    """What a listing says of the other person."""
    if "show" in arguments:
        return None if DAMAGED in arguments else out
    if as_json:
        keys = ("name", "model", "person")
        return [row for row in json.loads(out) if _is_other(row.get(key) for key in keys)]
    return [line for line in out.splitlines() if _is_other(line.split()[:2])]


def _is_other(words: Iterable[str | None]) -> bool:
    return any(word is not None and word.partition("@")[0] == OTHER for word in words)


def _find_damage(arguments: Arguments, out: str, as_json: bool) -> list[str]:
    """What a listing says of damage."""
    if not as_json:
        words = ("damaged: ", "damaged (", "problem: ")
        return [line for line in out.splitlines() if any(word in line for word in words)]
    rows = json.loads(out)
    if "show" in arguments:
        return [*rows["problems"], *(run["damaged"] or "" for run in rows["run_details"])]
    return [row["damaged"] or "" for row in rows]


def _remove_once_seen(path: Path, patch: pytest.MonkeyPatch) -> None:
    """Let a file be gone as soon as something that lists its folder has seen it."""
    glob, iterdir, walk = Path.glob, Path.iterdir, os.walk

    def tell(paths: Iterable[Path]) -> Iterator[Path]:
        found = list(paths)
        if path in found:
            path.unlink(missing_ok=True)
        return iter(found)

    def see(*arguments: Any, **options: Any) -> Iterator[tuple[str, list[str], list[str]]]:
        for folder, folders, names in walk(*arguments, **options):
            if path.name in names and Path(folder) == path.parent:
                path.unlink(missing_ok=True)
            yield folder, folders, names

    patch.setattr(Path, "glob", lambda folder, pattern: tell(glob(folder, pattern)))
    patch.setattr(Path, "iterdir", lambda folder: tell(iterdir(folder)))
    patch.setattr(os, "walk", see)
