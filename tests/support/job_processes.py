"""Processes of the queue with stand-in tasks, which do nothing but what a test asks for.

`python -m tests.support.job_processes runner` works off the queue; with a job's folder as its only
word it does that job. All but the tasks is the package's own.
"""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from facefusion_finetune import home
from facefusion_finetune.errors import FootageError
from facefusion_finetune.jobs import queue, tasks, work
from facefusion_finetune.jobs.record import STATE_FILE, Job
from facefusion_finetune.jobs.reporting import Reporter, say
from facefusion_finetune.jobs.runner import Runner
from facefusion_finetune.people.profile import Person

COMMAND = (sys.executable, "-m", "tests.support.job_processes")
RUNNER = Runner(COMMAND, stop_seconds=0.5, step_seconds=5, end_seconds=0.5, pause=0.02)
"""An impatient one."""
TOLD = "ready"
"""A file in the job's folder: the task is at work."""
REFUSED = "refused"
"""A file beside the one that stands for a full disk: a state could not be written."""


def submit(person: Person, do: str = "done", **values: Any) -> Job:
    """Queue a job whose task does what a test asks for."""
    settings = {"do": do, **values}
    return queue.submit(person, "estimate", {}, settings=settings)


@contextlib.contextmanager
def open_runners() -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts runners in processes of their own, which are gone afterwards."""
    started = []

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen([*COMMAND, "runner"])
        started.append(process)
        return process

    try:
        yield start
    finally:
        for process in started:
            process.kill()
            process.wait()


def wait_for(path: Path, seconds: float = 20.0) -> None:
    """Wait until a file is there.

    Raises:
        AssertionError: It takes too long.
    """
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)


def wait_for_end(*jobs: Job, seconds: float = 30.0) -> None:
    """Wait until jobs have ended.

    Raises:
        AssertionError: It takes too long.
    """
    deadline = time.monotonic() + seconds
    while not all(job.state.is_ended for job in jobs):
        assert time.monotonic() < deadline, [(job.state, job.read_log()) for job in jobs]
        time.sleep(0.05)


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
    say(f"doing {do}")
    reporter.tell_stage(settings.get("stage", "Working (1 of 3)"))
    if do == "child":
        code = "import time; time.sleep(60)"
        child = subprocess.Popen([sys.executable, "-c", code, "child of", str(job.id)])
        (job.directory / "child").write_text(str(child.pid))
    if do == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (job.directory / TOLD).touch()
    while do == "wait":
        reporter.check()
        time.sleep(0.01)
    while do in ("deaf", "stubborn", "child"):
        time.sleep(0.01)
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


def fill_disk_while(path: Path) -> None:
    """Let no state be written as long as a file is there."""
    real = home.write_text

    def write_text(target: Path, content: str, mode: int = 0o600) -> None:
        if target.name == STATE_FILE and path.exists():
            path.with_name(REFUSED).touch()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        real(target, content, mode)

    home.write_text = write_text


def main(word: str) -> int:
    """Be a runner, or do a job."""
    fill_disk_while(home.home_directory() / "full")
    if word == "runner":
        RUNNER.run()
        return 0
    for kind in tasks.TASKS:
        tasks.TASKS[kind] = do_task  # type: ignore[index]
    return work.main(Path(word))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))


def wait_for_work(job: Job) -> None:
    """Wait until a worker is at work on a job, and has said so."""
    wait_for(job.directory / TOLD)
    wait_for(job.state_path)
