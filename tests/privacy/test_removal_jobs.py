"""Removing a person while jobs of the person are queued and at work: nothing is written back."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from facefusion_finetune.jobs import queue, stopping
from facefusion_finetune.people.profile import Person, add_person, create_consent, list_names
from facefusion_finetune.privacy import removal
from facefusion_finetune.privacy.inventory import take_inventory
from facefusion_finetune.privacy.removal import RemovalError, remove_person
from tests.support.job_processes import open_runners, submit, wait_for_work

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def start_runner(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
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
    start_runner: Callable[[], subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    do: str,
) -> None:
    monkeypatch.setattr(removal, "STOP_SECONDS", 0.5)
    monkeypatch.setattr(stopping, "END_SECONDS", 2)
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
    assert runner.wait(20) == 0
    time.sleep(0.3)
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


def test_extraction_at_work_leaves_nothing(person: Person, footage: Path, tmp_path: Path) -> None:
    """A real one, in the middle of its frames."""
    job = queue.submit(person, "extract", {"paths": [str(footage)]}, faces="demo")
    staged = person.directory / "extraction"
    deadline = time.monotonic() + 60
    while len(list(staged.glob("*.png"))) < 8:
        assert time.monotonic() < deadline, job.read_log()
        time.sleep(0.02)
    remove_person("ada").require_complete()
    time.sleep(1)
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
