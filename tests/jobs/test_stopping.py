"""Ending jobs: asked, told, killed; one, or all of a person."""

import os
import subprocess
import sys
import time
from collections.abc import Callable

import psutil
import pytest

from facefusion_finetune.jobs import locks, queue, stopping
from facefusion_finetune.people.profile import Person, add_person, create_consent
from facefusion_finetune.runs.observer import STEPS_STAGE
from tests.support.job_processes import (
    RUNNER,
    TOLD,
    submit,
    wait_for,
    wait_for_end,
    wait_for_work,
)

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")


def test_job_stops_at_its_next_word(
    person: Person, start_runner: Callable[[], subprocess.Popen[bytes]]
) -> None:
    job, later = submit(person, "wait"), submit(person)
    runner = start_runner()
    wait_for_work(job)
    assert job.state.status == "running"
    assert (job.state.pid, later.state.status) != (None, "running")
    queue.request_stop(job)
    wait_for_end(job, later)
    assert job.state.status == "stopped"
    assert job.state.notes == [
        "it was stopped before it was done. Start it again to go on: what was done so far is kept."
    ]
    assert later.state.status == "done"
    assert runner.wait(20) == 0, "nothing is queued any more"


@posix
@pytest.mark.parametrize("do", ["deaf", "stubborn", "child"])
def test_job_that_does_not_stop_is_ended(
    person: Person, start_runner: Callable[[], subprocess.Popen[bytes]], do: str
) -> None:
    job = submit(person, do)
    start_runner()
    wait_for(job.directory / TOLD)
    queue.request_stop(job)
    wait_for_end(job)
    assert job.state.status == "stopped"
    if do != "stubborn":
        assert "since it did not stop by itself" in job.state.notes[0]
    if do == "child":
        child = int((job.directory / "child").read_text())
        deadline = time.monotonic() + 10
        while psutil.pid_exists(child) and psutil.Process(child).status() != "zombie":
            assert time.monotonic() < deadline, "what it started goes, too"
            time.sleep(0.02)


@posix
def test_only_steps_are_waited_for_longer(
    person: Person, start_runner: Callable[[], subprocess.Popen[bytes]]
) -> None:
    """A judging, say, is ended soon; a step that is ended loses what came after a checkpoint."""
    took = {}
    for stage in ("Judging", STEPS_STAGE):
        job = submit(person, "deaf", stage=stage)
        start_runner()
        wait_for_work(job)
        deadline = time.monotonic() + 20
        while job.state.stage != stage:
            assert time.monotonic() < deadline, job.state
            time.sleep(0.02)
        began = time.monotonic()
        queue.request_stop(job)
        wait_for_end(job)
        took[stage] = time.monotonic() - began
    assert took["Judging"] < RUNNER.step_seconds <= took[STEPS_STAGE]


@posix
def test_all_jobs_of_one_person_end(
    person: Person,
    start_runner: Callable[[], subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one at work does not listen; somebody else's is not touched."""
    monkeypatch.setattr(stopping, "END_SECONDS", 2)
    other = add_person("bea", create_consent(None, "Agreed on paper."))
    done, stubborn, queued = submit(person), submit(person, "stubborn"), submit(person)
    theirs = submit(other)
    runner = start_runner()
    wait_for(stubborn.directory / TOLD)
    assert stopping.stop_all("ada", seconds=0.2) == []
    assert not locks.is_held(stubborn.lock_path)
    assert not stubborn.lock_path.exists(), "the runner has had its last word"
    assert [job.state.status for job in (done, stubborn, queued)] == ["done", "stopped", "stopped"]
    assert runner.wait(20) == 0
    assert theirs.state.status == "done"
    assert not done.stop_path.exists()


@posix
def test_process_that_has_no_lock_yet_is_waited_for(
    person: Person, no_runner: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "END_SECONDS", 5)
    job = submit(person)
    command = [sys.executable, "-c", "import time; time.sleep(60)", str(job.directory)]
    with subprocess.Popen(command) as process:
        began = time.monotonic()
        assert stopping.stop_all("ada", seconds=0.1) == []
        assert time.monotonic() - began < 5
        assert process.wait() != 0
    assert job.state.status == "stopped"


def test_nothing_to_stop(person: Person, no_runner: None) -> None:
    began = time.monotonic()
    assert stopping.stop_all("ada") == []
    assert stopping.stop_all("nobody") == []
    job = submit(person)
    (job.directory / "job.json").write_text("{")
    job.state_path.write_text("{")
    assert stopping.stop_all("ada") == []
    assert time.monotonic() - began < 5
