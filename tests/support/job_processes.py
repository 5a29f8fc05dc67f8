"""Processes of the queue with stand-in tasks, which do nothing but what a test asks for.

`python -m tests.support.job_processes runner STOP END` works off the queue, with so many seconds of
patience; with a job's folder as its only word it does that job. All but the tasks is the package's.
"""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from facefusion_finetune import home
from facefusion_finetune.errors import FootageError
from facefusion_finetune.jobs import processes, queue, runner, stopping, tasks, work
from facefusion_finetune.jobs.record import STATE_FILE, Job
from facefusion_finetune.jobs.reporting import Reporter, log
from facefusion_finetune.jobs.runner import Runner
from facefusion_finetune.people.profile import Person
from tests.support.waiting import HANGS, wait_until

if TYPE_CHECKING:
    from facefusion_finetune.dataset.extraction.extract import Progress

EXTRACT = tasks.TASKS["extract"]
COMMAND = (sys.executable, "-m", "tests.support.job_processes")
RUNNER = Runner(COMMAND, stop_seconds=HANGS, step_seconds=HANGS, end_seconds=HANGS, pause=0.02)
"""One that ends no job that ends by itself."""
TOLD = "ready"
"""A file in the job's folder: the task is at work."""
GO = "go"
"""A file in the home: tasks that hold go on."""
FULL = "full"
"""A file in the home: the disk is full."""
REFUSED = "refused"
"""A file in the home: a byte for each state that could not be written."""
LOOKS = "looks"
"""A file in the home: a byte for each pause of a runner, after which it looks again."""

StartRunner = Callable[..., subprocess.Popen[bytes]]
"""Starts a runner, whose patience for stopping and ending jobs may be given in seconds."""


def submit(person: Person, do: str = "done", **values: Any) -> Job:
    """Queue a job whose task does what a test asks for."""
    settings = {"do": do, **values}
    return queue.submit(person, "estimate", {}, settings=settings)


@contextlib.contextmanager
def open_runners() -> Iterator[StartRunner]:
    """Starts runners in processes of their own, which are gone afterwards."""
    started = []

    def start(stop_seconds: float = HANGS, end_seconds: float = HANGS) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([*COMMAND, "runner", str(stop_seconds), str(end_seconds)])
        started.append(process)
        return process

    try:
        yield start
    finally:
        for process in started:
            process.kill()
            process.wait()


def wait_for(path: Path) -> None:
    """Wait until a file is there."""
    wait_until(path.exists, f"{path} never came")


def wait_for_more(name: str, count: int) -> None:
    """Wait until so many more bytes are in a file of the home, such as `LOOKS`."""
    path = home.home_directory() / name
    before = path.stat().st_size if path.exists() else 0
    wait_until(lambda: path.exists() and path.stat().st_size >= before + count, f"no more {name}")


def wait_for_end(*jobs: Job) -> None:
    """Wait until jobs have ended."""
    wait_until(
        lambda: all(job.state.is_ended for job in jobs),
        lambda: [(job.state, job.read_log()) for job in jobs],
    )


def end_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let who ends jobs hardly wait for one that was told to end, but for one that was killed."""
    kill = processes.kill

    def kill_and_wait(folder: Path) -> None:
        monkeypatch.setattr(stopping, "END_SECONDS", HANGS)
        kill(folder)

    monkeypatch.setattr(stopping, "END_SECONDS", 0.1)
    monkeypatch.setattr(stopping, "RUNNER_SECONDS", HANGS)
    monkeypatch.setattr(processes, "kill", kill_and_wait)


def read_error(job: Job) -> str:
    """Why a job failed.

    Raises:
        AssertionError: It did not.
    """
    error = job.state.error
    assert error is not None, job.state
    return f"{error.given}: {error.why} {error.todo}"


def do_task(job: Job, reporter: Reporter) -> dict[str, Any]:
    """What the request's settings name."""
    settings = job.request.settings
    do = settings["do"]
    if do == "extract":
        return extract_and_hold(job, reporter)
    log(f"doing {do}")
    reporter.set_stage(settings.get("stage", "Working (1 of 3)"))
    if do == "child":
        code = "import time; time.sleep(60)"
        child = subprocess.Popen([sys.executable, "-c", code, "child of", str(job.id)])
        (job.directory / "child").write_text(str(child.pid))
    if do == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (job.directory / TOLD).touch()
    if do == "wait":
        stay(reporter)
    if do == "hold":
        wait_for(home.home_directory() / GO)
    if do in ("deaf", "stubborn", "child"):
        stay()
    if do == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if do == "exit":
        os._exit(7)
    if do == "refuse":
        raise FootageError("clip.mp4", "it shows nobody.", "Give another one.")
    if do == "bug":
        raise ValueError("a number is odd")
    if do == "memory":
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
    if do == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "crops/1.png")
    time.sleep(settings.get("seconds", 0))
    return {"number": settings.get("number", 0)}


def stay(reporter: Reporter | None = None) -> None:
    """Go on until it is stopped, where it listens, or ended; not for ever if nobody does that."""
    for _ in range(100_000):
        if reporter is not None:
            reporter.check()
        time.sleep(0.01)


def extract_and_hold(job: Job, reporter: Reporter) -> dict[str, Any]:
    """The package's own extraction, which comes as far as its eighth frame."""
    seen = 0

    def hold(progress: "Progress") -> None:
        nonlocal seen
        Reporter.on_progress(reporter, progress)
        seen += progress.stage == "extracting"
        if seen == 8:
            (job.directory / TOLD).touch()
            stay(reporter)

    reporter.on_progress = hold  # type: ignore[method-assign]
    return EXTRACT(job, reporter)


def count(name: str) -> None:
    """Put one more byte into a file of the home."""
    with (home.home_directory() / name).open("ab") as file:
        file.write(b".")


def let_disk_fill_up() -> None:
    """Let no state be written as long as `FULL` is there."""
    real = home.write_text

    def write_text(target: Path, content: str, mode: int = 0o600) -> None:
        if target.name == STATE_FILE and (home.home_directory() / FULL).exists():
            count(REFUSED)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        real(target, content, mode)

    home.write_text = write_text


def count_looks() -> None:
    """Let the runner of this process count its pauses."""

    def sleep(seconds: float) -> None:
        count(LOOKS)
        time.sleep(seconds)

    runner.time = SimpleNamespace(monotonic=time.monotonic, sleep=sleep, time=time.time)


def main(word: str, *seconds: str) -> int:
    """Be a runner, or do a job."""
    let_disk_fill_up()
    if word == "runner":
        count_looks()
        stop, end = map(float, seconds)
        replace(RUNNER, stop_seconds=stop, end_seconds=end).run()
        return 0
    for kind in tasks.TASKS:
        tasks.TASKS[kind] = do_task  # type: ignore[index]
    return work.main(Path(word))


def wait_for_work(job: Job) -> None:
    """Wait until a worker is at work on a job, and has said so."""
    wait_for(job.directory / TOLD)
    wait_for(job.state_path)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
