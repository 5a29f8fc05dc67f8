"""Every command that reads a damaged file ends in a sentence, and so does what the page reads.

The table below is the matrix: commands by the files that they read, each with every kind of damage.
"""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from facefusion_finetune import analysers, home
from facefusion_finetune.damage import MAX_REASON
from facefusion_finetune.dataset.coverage import text as coverage_text
from facefusion_finetune.dataset.coverage.measure import measure_coverage
from facefusion_finetune.dataset.extraction.seen import read_known_sources
from facefusion_finetune.dataset.manifest import digest_dataset, read_manifest
from facefusion_finetune.dataset.review import curation
from facefusion_finetune.dataset.review.sheets import list_tiles
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.errors import MAX_PART, FinetuneError
from facefusion_finetune.evaluation.page import describe_figure, sort_figures
from facefusion_finetune.evaluation.report import read_report
from facefusion_finetune.jobs import queue
from facefusion_finetune.jobs.record import DamagedJob
from facefusion_finetune.jobs.times import find_time
from facefusion_finetune.people import elsewhere
from facefusion_finetune.people.profile import Person, load_person
from facefusion_finetune.runs.observer import format_seconds
from facefusion_finetune.runs.run import find_run
from tests.support.commands import run_command
from tests.support.damage import KINDS, change_every_value, damaged
from tests.support.damaged_home import (
    DAMAGED,
    RECORD,
    RUNS,
    Arguments,
    World,
    copy_world,
    use_world,
)

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
    ("models", "import", "SENT"): (RECORD, "sent.onnx"),
    ("inspect", "SENT"): ("sent.onnx",),
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
    damaged_world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    analyser: DemoAnalyser,
) -> None:
    own = copy_world(damaged_world, tmp_path)
    use_world(monkeypatch, own)
    monkeypatch.setattr(analysers, "open_analyser", lambda *options: analyser)
    names = {
        "ID": min(path.name for path in (own.person / "jobs").iterdir()),
        "CROP": min(path.stem for path in (own.person / "crops").glob("*.png"))[:16],
        **{"OUTPUT": str(own.spare / "out.onnx"), "SENT": str(own.home / "sent.onnx")},
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
            assert max(map(len, err.splitlines()), default=0) < MAX_PART + 20, err


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
    pattern: str, damaged_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is damage and what could be said of a value, the reader decides, in words."""
    monkeypatch.setenv(home.HOME_VARIABLE, str(damaged_world.home))
    person, refused = load_person(DAMAGED), []
    path = min(damaged_world.find([pattern], "other types"))
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
