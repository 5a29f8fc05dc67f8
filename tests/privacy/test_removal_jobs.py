"""Removing a person while jobs of the person are queued and at work: nothing is written back."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from facefusion_finetune.jobs import queue, stopping
from facefusion_finetune.people.profile import Person, add_person, create_consent, list_names
from facefusion_finetune.privacy import removal
from facefusion_finetune.privacy.inventory import take_inventory
from facefusion_finetune.privacy.removal import RemovalError, remove_person
from tests.support.job_processes import (
    StartRunner,
    end_in_vain,
    open_runners,
    submit,
    wait_for_work,
)
from tests.support.waiting import HANGS

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def start_runner(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[StartRunner]:
    """Starts a runner whose jobs do what a test asks for."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setattr(queue, "ensure_runner", lambda: None)
    with open_runners() as start:
        yield start


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.parametrize("do", ["wait", "stubborn"])
def test_jobs_end_before_anything_is_deleted(
    extracted: Person,
    home_folder: Path,
    start_runner: StartRunner,
    monkeypatch: pytest.MonkeyPatch,
    do: str,
) -> None:
    monkeypatch.setattr(removal, "STOP_SECONDS", HANGS if do == "wait" else 0.1)
    end_in_vain(monkeypatch)
    other = add_person("bea", create_consent(None, "Agreed on paper."))
    job, queued, theirs = submit(extracted, do), submit(extracted), submit(other)
    (job.directory / "footage").mkdir()
    (job.directory / "footage" / "clip.mp4").write_bytes(b"a clip")
    runner = start_runner()
    wait_for_work(job)
    removed = remove_person("ada")
    removed.require_complete()
    assert {job.log_path, job.directory / "footage" / "clip.mp4"} <= set(removed.removed)
    assert {path.parent for path in removed.removed if path.name == "job.json"} == {
        job.directory,
        queued.directory,
    }
    assert runner.wait(HANGS) == 0
    assert list_names() == ["bea"]
    assert not extracted.directory.exists(), "nobody brought it back"
    assert theirs.state.status == "done"
    assert not list(home_folder.rglob("*ada*"))


def test_job_that_cannot_be_ended_keeps_everything(
    extracted: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "stop_all", lambda name, seconds: ["20260101-train"])
    before = sorted(extracted.directory.rglob("*"))
    with pytest.raises(RemovalError, match="20260101-train cannot be stopped"):
        remove_person("ada")
    assert sorted(extracted.directory.rglob("*")) == before


def test_extraction_at_work_leaves_nothing(
    person: Person,
    footage: Path,
    tmp_path: Path,
    start_runner: StartRunner,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A real one, in the middle of its frames."""
    monkeypatch.setattr(removal, "STOP_SECONDS", HANGS)
    monkeypatch.setattr(stopping, "RUNNER_SECONDS", HANGS)
    arguments, settings = {"paths": [str(footage)]}, {"do": "extract"}
    job = queue.submit(person, "extract", arguments, settings=settings, faces="demo")
    runner = start_runner()
    wait_for_work(job)
    assert list((person.directory / "extraction").glob("*.png"))
    remove_person("ada").require_complete()
    assert runner.wait(HANGS) == 0
    assert list_names() == []
    assert not person.directory.exists()
    assert not [path for path in tmp_path.rglob("*") if "ada" in path.name]


def test_jobs_are_a_part_of_the_folder(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "ensure_runner", lambda: None)
    submit(person)
    parts = {part.name: part for part in take_inventory("ada").parts}
    assert parts["jobs"].what is not None
    assert "uploaded footage" in parts["jobs"].what
    assert parts["jobs"].size.files == 1
