"""Ending jobs: asked, told, killed; one, or all of a person."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from facefusion_finetune import locks
from facefusion_finetune.jobs import processes, queue, runner, stopping
from facefusion_finetune.jobs.record import JobState
from facefusion_finetune.jobs.runner import Runner
from facefusion_finetune.people.profile import Person, add_person, create_consent
from facefusion_finetune.runs.observer import STEPS_STAGE
from tests.support.job_processes import (
    TOLD,
    StartRunner,
    end_in_vain,
    submit,
    wait_for,
    wait_for_end,
    wait_for_work,
)
from tests.support.waiting import HANGS, wait_until

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")


def test_job_stops_at_its_next_word(person: Person, start_runner: StartRunner) -> None:
    job, later = submit(person, "wait"), submit(person)
    worker = start_runner()
    wait_for_work(job)
    assert job.state.status == "running"
    assert (job.state.pid, later.state.status) != (None, "running")
    queue.request_stop(job)
    wait_for_end(job, later)
    assert job.state.status == "stopped"
    assert job.state.notes == [
        "it was stopped before it was finished. Start it again to continue: completed work is kept."
    ]
    assert later.state.status == "done"
    assert worker.wait(HANGS) == 0, "nothing is queued any more"


@posix
@pytest.mark.parametrize(
    ("do", "end_seconds"), [("deaf", HANGS), ("stubborn", 0.1), ("child", HANGS)]
)
def test_job_that_does_not_stop_is_ended(
    person: Person, start_runner: StartRunner, do: str, end_seconds: float
) -> None:
    job = submit(person, do)
    start_runner(stop_seconds=0.1, end_seconds=end_seconds)
    wait_for(job.directory / TOLD)
    queue.request_stop(job)
    wait_for_end(job)
    assert job.state.status == "stopped"
    if do != "stubborn":
        assert "because it did not stop in time" in job.state.notes[0]
    if do == "child":
        child = int((job.directory / "child").read_text())
        wait_until(
            lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie",
            "what it started goes, too",
        )


class Deaf:
    """A runner's process that goes on until it is told to end; being watched takes the time."""

    def __init__(self) -> None:
        self.clock = 0.0
        self.ended: float | None = None
        self.returncode = -signal.SIGTERM

    def poll(self) -> int | None:
        return None if self.ended is None else self.returncode

    def pass_time(self, seconds: float) -> None:
        self.clock += seconds

    def end(self, folder: Path) -> None:
        self.ended = self.clock


@pytest.mark.parametrize(("stage", "seconds"), [("Evaluating", 10), (STEPS_STAGE, 60)])
def test_only_steps_are_waited_for_longer(
    person: Person, no_runner: None, monkeypatch: pytest.MonkeyPatch, stage: str, seconds: int
) -> None:
    """A judging, say, is ended soon; a step that is ended loses what came after a checkpoint."""
    deaf, job = Deaf(), submit(person)
    time = SimpleNamespace(monotonic=lambda: deaf.clock, sleep=deaf.pass_time, time=lambda: 0.0)

    def start(command: list[str], log: Path) -> Deaf:
        job.write_state(JobState(status="running", stage=stage))
        job.stop_path.touch()
        return deaf

    monkeypatch.setattr(runner, "time", time)
    monkeypatch.setattr(processes, "start_worker", start)
    monkeypatch.setattr(processes, "terminate", deaf.end)
    Runner(pause=0.25).run()
    assert deaf.ended == seconds + 0.25, "the first look after that time"
    assert job.state.status == "stopped"


@posix
def test_all_jobs_of_one_person_end(
    person: Person,
    start_runner: StartRunner,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one at work does not listen; somebody else's is not touched."""
    end_in_vain(monkeypatch)
    other = add_person("bea", create_consent(None, "Agreed on paper."))
    done, stubborn, queued = submit(person), submit(person, "stubborn"), submit(person)
    theirs = submit(other)
    worker = start_runner()
    wait_for(stubborn.directory / TOLD)
    assert stopping.stop_all("ada", seconds=0.1) == []
    assert not locks.is_held(stubborn.lock_path)
    assert not stubborn.lock_path.exists(), "the runner has had its last word"
    assert [job.state.status for job in (done, stubborn, queued)] == ["done", "stopped", "stopped"]
    assert worker.wait(HANGS) == 0
    assert theirs.state.status == "done"
    assert not done.stop_path.exists()


@posix
def test_process_that_has_no_lock_yet_is_waited_for(
    person: Person, no_runner: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "END_SECONDS", HANGS)
    job = submit(person)
    command = [sys.executable, "-c", "import time; time.sleep(60)", str(job.directory)]
    with subprocess.Popen(command) as process:
        assert stopping.stop_all("ada", seconds=0.1) == []
        assert process.wait() == -signal.SIGTERM
    assert job.state.status == "stopped"


def test_nothing_to_stop(person: Person, no_runner: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def sleep(seconds: float) -> None:
        raise AssertionError("there is nothing to wait for")

    monkeypatch.setattr(stopping, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
    assert stopping.stop_all("ada") == []
    assert stopping.stop_all("nobody") == []
    job = submit(person)
    (job.directory / "job.json").write_text("{")
    job.state_path.write_text("{")
    assert stopping.stop_all("ada") == []
