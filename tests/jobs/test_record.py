"""Requests and states: what is written, and what is made of damaged or abandoned ones."""

import json
from pathlib import Path

import pytest

from facefusion_finetune import locks
from facefusion_finetune.errors import JobError
from facefusion_finetune.jobs.arguments import KINDS, MODELS, check_arguments
from facefusion_finetune.jobs.record import Job, JobState, load_job
from facefusion_finetune.people.profile import Person
from tests.support.job_processes import submit

pytestmark = pytest.mark.usefixtures("no_runner")


def test_request_is_read_as_it_was_written(person: Person) -> None:
    job = submit(person, "done", number=3)
    again = load_job(job.directory)
    assert again.request == job.request
    assert again.request.settings == {"do": "done", "number": 3}
    assert (again.request.person, again.request.kind) == ("ada", "estimate")
    assert again.request.read_arguments() == MODELS["estimate"]()


@pytest.mark.parametrize(
    ("kind", "arguments", "named"),
    [
        ("extract", {"paths": []}, "paths"),
        ("extract", {"paths": ["/a"], "fps": 3}, "fps"),
        ("extract", {"paths": ["/a"], "frames_per_second": 0}, "frames_per_second"),
        ("train", {"precision": "fp8"}, "precision"),
        ("train", {"seed": -1}, "seed"),
        ("estimate", {"steps": 1}, "steps"),
        ("evaluate", {}, "version"),
        ("evaluate", {"version": "two"}, "version"),
    ],
)
def test_wrong_arguments_are_refused_by_name(kind: str, arguments: dict, named: str) -> None:
    with pytest.raises(JobError, match=f"{kind} with {named} = "):
        check_arguments(kind, arguments)  # type: ignore[arg-type]


def test_every_kind_has_arguments() -> None:
    assert set(MODELS) == set(KINDS)


def test_queued_until_something_is_written(person: Person) -> None:
    job = submit(person)
    assert job.state == JobState()
    job.stop_path.touch()
    assert job.state.status == "stopped"


def test_a_stop_shows_while_the_process_lives(person: Person) -> None:
    job = submit(person)
    with locks.hold(job.lock_path):
        job.write_state(JobState(status="running", stage="Training"))
        assert job.state.status == "running"
        job.stop_path.touch()
        assert (job.state.status, job.state.stage) == ("stopping", "Training")
    assert job.state.status == "stopped"


def test_abandoned_job_has_failed_in_words(person: Person) -> None:
    job = submit(person)
    job.write_state(JobState(status="running", stage="Working", done=1, total=3))
    job.log_path.write_text("first line\nthe last line\n")
    state = job.state
    assert (state.status, state.stage, state.done) == ("failed", "Working", 1)
    assert state.error is not None
    assert "was killed, or the machine was switched off" in state.error.why
    assert state.error.why.endswith("Its log ends with: the last line")
    assert str(job.log_path) in state.error.todo


@pytest.mark.parametrize("content", ["", "{", "[]", '{"status": "lost"}', "\0\0", '{"done": "x"}'])
def test_damaged_state(person: Person, content: str) -> None:
    job = submit(person)
    job.state_path.write_text(content)
    assert job.state.status == "failed"
    assert job.state.error is not None
    assert "state.json is damaged" in job.state.error.why
    with locks.hold(job.lock_path):
        assert job.state.status == "running", "its process is about to write it again"


def test_state_of_another_version_is_read(person: Person) -> None:
    job = submit(person)
    job.state_path.write_text(json.dumps({"status": "done", "colour": "blue"}))
    assert job.state.status == "done"


@pytest.mark.parametrize("content", ["", "{", '{"id": "x"}', "null"])
def test_damaged_request(person: Person, content: str) -> None:
    job = submit(person)
    (job.directory / "job.json").write_text(content)
    with pytest.raises(JobError, match="cannot be read"):
        load_job(job.directory)


def test_copied_folder_is_no_other_job(person: Person) -> None:
    job = submit(person)
    folder = job.directory.with_name("other")
    folder.mkdir()
    (folder / "job.json").write_bytes((job.directory / "job.json").read_bytes())
    with pytest.raises(JobError, match="belongs to another job"):
        load_job(folder)


def test_nothing_raises_once_the_folder_is_gone(person: Person, tmp_path: Path) -> None:
    job = submit(person)
    gone = Job(tmp_path / "gone", job.request)
    assert gone.state == JobState()
    assert gone.read_log() == ""


def test_end_of_a_long_log(person: Person) -> None:
    job = submit(person)
    job.log_path.write_bytes(b"x" * 5000 + "é".encode())
    assert job.read_log(11) == "x" * 9 + "é"
    assert job.read_log(1) == "\ufffd"
