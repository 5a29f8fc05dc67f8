"""The page goes on where files of one person are damaged: people, versions, jobs, crops."""

import html
import importlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest

from facefusion_finetune.evaluation.watching import write_score
from facefusion_finetune.host.models import model_path, models_directory
from facefusion_finetune.jobs import queue
from facefusion_finetune.jobs.record import JobState
from facefusion_finetune.people.profile import Person
from facefusion_finetune.registry import store
from facefusion_finetune.runs.run import Run
from facefusion_finetune.swappers.catalogue import SwapperOptions
from tests.support.crops import add_person_with_crops
from tests.support.damage import KINDS, UNSEEN, can_be_damaged, damaged
from tests.support.runs import create_finished_run
from tests.support.tab_models import write_report

pytestmark = pytest.mark.host

PACKAGE = "facefusion_finetune.facefusion"
DAMAGED, OTHER = "ada", "bea"


@pytest.fixture
def page(processor: object, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The sections of the tab, rendered; nobody works on what is queued."""
    monkeypatch.setattr(queue, "ensure_runner", lambda: None)
    gradio = importlib.import_module("gradio")
    with gradio.Blocks():
        importlib.import_module(f"{PACKAGE}.uis.layouts.finetune").render()
    sections = {
        name: importlib.import_module(f"{PACKAGE}.uis.components.finetune_{name}")
        for name in ("person", "footage", "training", "report", "versions")
    }
    choices = importlib.import_module(f"{PACKAGE}.processors.modules.finetuned_swapper.choices")
    monkeypatch.setattr(importlib.import_module(f"{PACKAGE}.uis.page"), "warn", lambda text: None)
    return SimpleNamespace(**sections, choices=choices)


@pytest.fixture
def files(
    page: SimpleNamespace, options: SwapperOptions, linked_host: Path
) -> Iterator[list[Path]]:
    """All files of one person that the page reads; there is another person with as many."""
    for name in (OTHER, DAMAGED):
        person = add_person_with_crops(name, 3)
        run = _furnish(person, options)
        store.activate(person, run, linked_host)
    active = model_path(models_directory(linked_host), DAMAGED, 1)
    yield [
        *(person.directory / name for name in ("person.toml", "crops.jsonl", "coverage.json")),
        *(run.directory / name for name in ("config.toml", "metrics.jsonl", "held_out.jsonl")),
        *(run.directory / name for name in ("report.json", "model.onnx")),
        *sorted(person.directory.glob("jobs/*/*.json")),
        *(active.with_suffix(suffix) for suffix in (".onnx", ".hash", ".json")),
    ]
    for path in models_directory(linked_host).glob("*"):
        if path.name.startswith((DAMAGED, OTHER)):
            path.unlink()


def _furnish(person: Person, options: SwapperOptions) -> Run:
    run = create_finished_run(person, options, proven=True)
    write_report(run)
    run.log(1, {"loss": 0.5})
    write_score(run, 1, numpy.array([9.0]), numpy.array([7.0]))
    now = datetime(2026, 5, 3, tzinfo=UTC)
    train = queue.submit(person, "train", {"base": "inswapper_128"})
    extract = queue.submit(person, "extract", {"paths": ["/footage"]})
    train.write_state(JobState(status="done", started=now, ended=now, result={"sentence": "Good."}))
    found = {"kept": 3, "rejected": {"blurred": 1}}
    extract.write_state(JobState(status="done", started=now, ended=now, result=found))
    return run


def _look(page: SimpleNamespace, name: str) -> dict[str, object]:
    """What the page shows once a person is chosen, by section."""
    person = page.person.show(name)
    training, run = page.training.show_job(name), page.training.show_run(name)
    footage, crops = page.footage.show_job(name), page.footage.show_crops(name, "all")
    report = page.report.refresh(name, None, "", "")
    versions = page.versions.refresh(None, None, "", "", None, None, "", None)
    for section in (page.person, page.training.fingerprint_job, page.footage.fingerprint_job):
        fingerprint = section if callable(section) else section.fingerprint
        fingerprint(name)
    return {
        "person": person[page.person.PERSON_HTML],
        "training": training[page.training.TRAINING_HTML],
        "curve": (run[page.training.LOSS_PLOT].value or {}).get("data"),
        "footage": footage[page.footage.EXTRACT_HTML],
        "crops": crops[page.footage.CROPS_HTML],
        "report": report[page.report.PROOF_HTML],
        "versions": versions[page.versions.MODELS_HTML],
    }


def _keep_row(table: str) -> str:
    """The row of the other person's version."""
    (row,) = [row.partition("</tr>")[0] for row in table.split("<tr") if f">{OTHER}@1<" in row]
    return row


SHOWN = {
    "person.toml": ("person",),
    "crops.jsonl": ("person",),
    "config.toml": ("versions",),
    "model.onnx": ("versions",),
    "report.json": ("report",),
    "job.json": ("training", "footage"),
    f"{DAMAGED}-1.onnx": ("versions",),
    f"{DAMAGED}-1.hash": ("versions",),
    f"{DAMAGED}-1.json": ("versions",),
}
"""By file: the sections of which one names it."""


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "removed meanwhile"])
def test_the_page_shows_everybody_else_whole(
    kind: str, page: SimpleNamespace, files: list[Path], tmp_path: Path
) -> None:
    before = _look(page, OTHER)
    assert before["curve"] == [[1, 0.5, "loss"]]
    assert OTHER in dict(page.choices.label_models())
    for path in files:
        if not can_be_damaged(path, kind):
            continue
        with damaged(path, kind, tmp_path):
            seen, own = _look(page, OTHER), _look(page, DAMAGED)
            assert OTHER in dict(page.choices.label_models())
        assert {**seen, "versions": ""} == {**before, "versions": ""}, path
        assert _keep_row(str(seen["versions"])) == _keep_row(str(before["versions"])), path
        where = SHOWN.get(path.name)
        if where and not kind.startswith("removed") and (kind, path.name) not in UNSEEN:
            text = "".join(str(own[section]) for section in where)
            assert html.escape(str(path), quote=True) in text, (path, text)
