"""`facefusion-finetune jobs ...`."""

import functools
import json
from collections.abc import Callable

import pytest

from facefusion_finetune import locks
from facefusion_finetune.jobs.record import Failure, JobState
from facefusion_finetune.people.profile import Person
from tests.support.commands import run_command
from tests.support.job_processes import submit

Command = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.usefixtures("no_runner")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command of `jobs` in this process."""

    return functools.partial(run_command, monkeypatch, capsys, "jobs")


def test_jobs_are_listed(person: Person, command: Command) -> None:
    assert command("list") == (0, "There are no jobs.\n", "")
    assert command("list", "--json") == (0, "[]\n", "")
    done, running, queued, damaged = (submit(person) for _ in range(4))
    done.write_state(JobState(status="done"))
    (damaged.directory / "job.json").write_text("{")
    with locks.hold(running.lock_path):
        running.write_state(
            JobState(status="running", stage="Training", done=3, total=8, seconds_left=75.0)
        )
        code, out, _ = command("list")
        listed = json.loads(command("list", "--json")[1])
    assert code == 0
    assert out.splitlines() == [
        f"{done.id}  ada  done",
        f"{running.id}  ada  running, Training, 3 of 8, 1:15 left",
        f"{queued.id}  ada  queued",
        f"{damaged.id}  ada  damaged: {damaged.directory / 'job.json'}: the job cannot be read"
        " (Invalid JSON: EOF while parsing an object at line 1 column 1).",
    ]
    assert [job["state"]["status"] for job in listed[:3]] == ["done", "running", "queued"]
    assert [job["damaged"] for job in listed[:3]] == [None, None, None]
    assert (listed[3]["id"], listed[3]["person"]) == (damaged.id, "ada")
    assert listed[3]["state"] is listed[3]["kind"] is None
    assert str(damaged.directory / "job.json") in listed[3]["damaged"]
    assert listed[1]["directory"] == str(running.directory)
    assert listed[1]["kind"] == "estimate"


def test_job_is_shown_with_its_error_and_log(person: Person, command: Command) -> None:
    job = submit(person)
    failure = Failure(given="clip.mp4", why="it shows nobody.", todo="Give another one.")
    job.write_state(JobState(status="failed", error=failure, notes=["left out: a.mp4"]))
    job.log_path.write_text("Extracting clip.mp4\n")
    code, out, _ = command("show", job.id)
    assert code == 0
    assert f"{job.id}: estimate of ada, failed" in out
    assert "left out: a.mp4" in out
    assert "error: clip.mp4\n  why:  it shows nobody.\n  do:   Give another one.\n" in out
    assert out.endswith(f"log: {job.log_path}\nExtracting clip.mp4\n")
    shown = json.loads(command("show", job.id, "--json")[1])
    assert shown["state"]["error"] == failure.model_dump()
    assert shown["log"] == "Extracting clip.mp4\n"
    good = submit(person)
    good.write_state(JobState(status="done", result={"kept": 36}))
    assert '"kept": 36' in command("show", good.id)[1]


def test_job_is_stopped(person: Person, command: Command) -> None:
    queued, running = submit(person), submit(person)
    assert command("stop", queued.id)[:2] == (0, f"{queued.id}: stopped.\n")
    with locks.hold(running.lock_path):
        running.write_state(JobState(status="running"))
        assert command("stop", running.id)[:2] == (0, f"{running.id}: stopping.\n")
    code, _, err = command("stop", queued.id)
    assert code == 1
    assert "it has already ended (stopped)" in err
    code, _, err = command("show", "nothing")
    assert code == 1
    assert "no such job" in err
