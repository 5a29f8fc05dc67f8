"""The runner: one job after the other, whatever becomes of them, and of the runner itself."""

import itertools
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from facefusion_finetune import home, locks
from facefusion_finetune.jobs import processes, queue
from facefusion_finetune.jobs.record import JobState
from facefusion_finetune.people.profile import Person, add_person, create_consent
from tests.support.job_processes import (
    FULL,
    GO,
    LOOKS,
    REFUSED,
    RUNNER,
    StartRunner,
    read_error,
    submit,
    wait_for_end,
    wait_for_more,
    wait_for_work,
)
from tests.support.waiting import HANGS, wait_until

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")


def test_runner_is_started_only_where_there_is_something_to_do(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []

    def start(command: list[str]) -> subprocess.Popen[bytes]:
        started.append(command)
        return subprocess.Popen([sys.executable, "-c", ""])

    monkeypatch.setattr(processes, "start_detached", start)
    monkeypatch.setattr(queue, "_started", [])
    queue.ensure_runner()
    assert started == []
    with locks.hold(queue.lock_path()):
        job = submit(person)
        assert started == [], "one is there"
    queue.ensure_runner()
    queue.ensure_runner()
    assert started == [[*processes.PYTHON, "facefusion_finetune.jobs.runner"]]
    queue._started[0][1].wait()
    queue.ensure_runner()
    assert len(started) == 2, "the first one is gone, and the job is still there"
    queue._started[0][1].wait()
    queue.request_stop(job)
    queue.ensure_runner()
    assert len(started) == 2


@pytest.mark.usefixtures("no_runner")
@posix
def test_every_job_ends_in_words(person: Person) -> None:
    """One that goes well comes after all that do not: none keeps the others from their turn."""
    dos = ["refuse", "bug", "memory", "full", "exit", "kill", "done"]
    jobs = {do: submit(person, do, number=5) for do in dos}
    RUNNER.run()
    states = {do: job.state for do, job in jobs.items()}
    assert {do: state.status for do, state in states.items()} == {
        **dict.fromkeys(dos, "failed"),
        "done": "done",
    }
    assert states["done"].result == {"number": 5}
    assert states["done"].error is None
    assert read_error(jobs["refuse"]) == "clip.mp4: it shows nobody. Give another one."
    assert "an unexpected error occurred" in read_error(jobs["bug"])
    assert "ValueError: a number is odd" in read_error(jobs["bug"])
    assert "Traceback" in jobs["bug"].read_log()
    assert "ran out of memory" in read_error(jobs["memory"])
    assert "smaller base or preset" in read_error(jobs["memory"])
    assert read_error(jobs["full"]).startswith("crops/1.png: No space left on device.")
    assert "ended unexpectedly with exit code 7" in read_error(jobs["exit"])
    assert "Its log ends with: Working" in read_error(jobs["exit"])
    assert "the system killed its process" in read_error(jobs["kill"])
    assert "ran out of memory" in read_error(jobs["kill"])
    for job, state in zip(jobs.values(), states.values(), strict=True):
        assert state.ended is not None
        assert state.started is None or state.started < state.ended
        assert not job.lock_path.exists()
        assert job.log_path.stat().st_mode & 0o777 == 0o600
        assert job.read_log().startswith("doing")


@pytest.mark.usefixtures("no_runner")
def test_damaged_jobs_of_one_person_keep_nobody_from_their_turn(person: Person) -> None:
    other = add_person("bea", create_consent(None, "Bea agreed."))
    illegible, stateless, unlocked = (submit(other) for _ in range(3))
    (illegible.directory / "job.json").write_text("{")
    stateless.state_path.mkdir()
    stateless.lock_path.touch()
    unlocked.write_state(JobState(status="done"))
    unlocked.lock_path.mkdir()
    job = submit(person)
    RUNNER.run()
    assert job.state.status == "done"
    assert "state.json is damaged" in read_error(stateless)
    assert not stateless.lock_path.exists()
    assert unlocked.state.status == "done"


def test_no_runner_is_started_for_a_job_that_is_not_legible(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    monkeypatch.setattr(processes, "start_detached", started.append)
    monkeypatch.setattr(queue, "_started", [])
    with locks.hold(queue.lock_path()):
        job = submit(person)
    (job.directory / "job.json").write_bytes(b"[" * 100_000)
    job.lock_path.touch()
    queue.ensure_runner()
    assert started == []


@pytest.mark.usefixtures("no_runner")
def test_worker_that_does_not_start(person: Person) -> None:
    jobs = [submit(person), submit(person)]
    replace(RUNNER, command=[sys.executable, "-c", "raise SystemExit('no such module')"]).run()
    assert [job.state.status for job in jobs] == ["failed", "failed"]
    assert "Its log ends with: no such module" in read_error(jobs[0])
    job = submit(person)
    replace(RUNNER, command=[str(home.home_directory() / "no-python")]).run()
    assert "no-python: No such file" in read_error(job)


@pytest.mark.usefixtures("no_runner")
def test_stopped_jobs_are_passed_over(person: Person) -> None:
    first, second = submit(person, "bug"), submit(person)
    queue.request_stop(first)
    RUNNER.run()
    assert (first.state.status, second.state.status) == ("stopped", "done")
    assert not first.log_path.exists()


@posix
def test_process_that_is_told_to_end_says_so(person: Person, start_runner: StartRunner) -> None:
    job = submit(person, "deaf")
    start_runner()
    wait_for_work(job)
    os.kill(job.state.pid or 0, signal.SIGTERM)
    wait_for_end(job)
    assert "was terminated by the system or a user" in read_error(job)


@posix
def test_killed_runner_is_followed_by_another(person: Person, start_runner: StartRunner) -> None:
    """The job at work goes on, and the next runner neither starts it twice nor overtakes it."""
    job, later = submit(person, "wait"), submit(person)
    runner = start_runner()
    wait_for_work(job)
    pid = job.state.pid
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    assert job.state.status == "running"
    second = start_runner()
    wait_for_more(LOOKS, 3)
    assert second.poll() is None
    assert (job.state.status, job.state.pid, later.state.status) == ("running", pid, "queued")
    queue.request_stop(job)
    assert second.wait(HANGS) == 0
    assert (job.state.status, later.state.status) == ("stopped", "done")
    assert job.read_log().count("doing") == 1


@posix
def test_worker_and_runner_killed(person: Person, start_runner: StartRunner) -> None:
    """As when the machine is switched off."""
    job, later = submit(person, "wait"), submit(person)
    runner = start_runner()
    wait_for_work(job)
    runner.kill()
    runner.wait()
    pid = job.state.pid or 0
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not locks.is_held(job.lock_path), "what a process held goes with it")
    assert job.state.status == "failed"
    assert start_runner().wait(HANGS) == 0
    assert "ended unexpectedly" in read_error(job)
    assert later.state.status == "done"


def test_only_one_runner_works(person: Person, start_runner: StartRunner) -> None:
    jobs = [submit(person, seconds=0.1) for _ in range(4)]
    for runner in [start_runner() for _ in range(3)]:
        assert runner.wait(HANGS) == 0
    wait_for_end(*jobs)
    assert [job.state.status for job in jobs] == ["done"] * 4
    assert [job.read_log().count("doing") for job in jobs] == [1] * 4
    times = [(job.state.started, job.state.ended) for job in jobs]
    for (_, ended), (started, _) in itertools.pairwise(times):
        assert ended <= started, "one after the other"  # type: ignore[operator]


@pytest.mark.usefixtures("no_runner")
def test_damaged_files_do_not_hold_up_the_queue(person: Person) -> None:
    jobs = [submit(person) for _ in range(3)]
    (jobs[0].directory / "job.json").write_text("{")
    jobs[1].state_path.write_text("{")
    jobs[1].lock_path.touch()
    RUNNER.run()
    assert "state.json is damaged" in read_error(jobs[1])
    assert jobs[2].state.status == "done"


def test_full_disk_while_a_state_is_written(person: Person, start_runner: StartRunner) -> None:
    """The job goes on, and says how it ended as soon as there is room again."""
    job = submit(person, "wait")
    runner = start_runner()
    wait_for_work(job)
    full = home.home_directory() / FULL
    full.touch()
    queue.request_stop(job)
    wait_for_more(REFUSED, 3)
    assert not job.state.is_ended
    assert job.state.status == "stopping"
    full.unlink()
    wait_for_end(job)
    assert job.state.status == "stopped"
    assert runner.wait(HANGS) == 0


def test_full_disk_before_a_job_begins(person: Person, start_runner: StartRunner) -> None:
    full = home.home_directory() / FULL
    full.touch()
    job, later = submit(person), submit(person)
    runner = start_runner()
    wait_for_more(REFUSED, 5)
    assert runner.poll() is None
    full.unlink()
    assert runner.wait(HANGS) == 0
    assert "No space left on device" in read_error(job)
    assert later.state.status == "done"


def test_folder_that_goes_under_a_job_does_not_come_back(
    person: Person, start_runner: StartRunner, tmp_path: Path
) -> None:
    other = add_person("bea", create_consent(None, "Agreed on paper."))
    job, theirs = submit(person, "hold"), submit(other)
    runner = start_runner()
    wait_for_work(job)
    # In one step: deleting file by file meets what the job is writing meanwhile.
    person.directory.rename(tmp_path / "gone")
    (home.home_directory() / GO).touch()
    assert runner.wait(HANGS) == 0
    assert theirs.state.status == "done"
    assert not person.directory.exists()
