"""The process that runs the queue: `python -m facefusion_finetune.jobs.runner`.

There is one per machine, which holds the queue's lock. Each job runs in a separate worker process,
which continues if the runner is killed; the next runner then waits for it. It imports neither torch
nor onnx.
"""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from facefusion_finetune import home, locks
from facefusion_finetune.jobs import processes, queue
from facefusion_finetune.jobs.failures import MEMORY_TODO, explain
from facefusion_finetune.jobs.queue import release_uploads
from facefusion_finetune.jobs.record import (
    REQUEST_FILE,
    Failure,
    Job,
    explain_crash,
    read_state,
)
from facefusion_finetune.jobs.stopping import END_SECONDS, STEP_SECONDS, STOP_SECONDS
from facefusion_finetune.runs.observer import STEPS_STAGE

WORKER = (*processes.PYTHON, "facefusion_finetune.jobs.work")
LOCK_SECONDS = 3.0
DRAFT_SECONDS = 24 * 3600.0
"""Age at which uploads that never became a job are deleted."""


@dataclass(frozen=True)
class Runner:
    """Runs the queue."""

    command: Sequence[str] = WORKER
    """Command of a worker; the job's folder is added as the last argument."""
    stop_seconds: float = STOP_SECONDS
    step_seconds: float = STEP_SECONDS
    end_seconds: float = END_SECONDS
    pause: float = 0.2
    """Seconds between two checks of a worker."""

    def run(self) -> None:
        """Run jobs until the queue is empty; return at once if there is another runner."""
        while True:
            with locks.hold(queue.lock_path(), LOCK_SECONDS) as is_ours:
                if not is_ours:
                    return
                _delete_drafts()
                self._process_queue()
            # A job submitted a moment ago may rely on this runner.
            if not queue.list_queued():
                return

    def _process_queue(self) -> None:
        while True:
            jobs = queue.list_jobs()
            for job in jobs:
                if job.lock_path.is_file() and job.state.is_ended:
                    self._conclude(job, None)
            states = [(job, job.state) for job in jobs]
            active = [job for job, state in states if state.is_active]
            queued = [job for job, state in states if state.status == "queued"]
            if not active and not queued:
                return
            job = [*active, *queued][0]
            try:
                process = None if active else self._start(job)
                self._watch(job, process)
                self._conclude(job, process)
            except Exception as error:
                self._finish(job, explain(error, f"job {job.id}"))

    def _start(self, job: Job) -> subprocess.Popen[bytes]:
        return processes.start_worker([*self.command, str(job.directory)], job.log_path)

    def _watch(self, job: Job, process: subprocess.Popen[bytes] | None) -> None:
        """Wait for a worker to end; once a stop is requested, terminate and then kill it."""
        began: float | None = None
        ends: list[tuple[Callable[[], float], Callable[[Path], None]]] = [
            (lambda: self._get_timeout(job), processes.terminate),
            (lambda: self.end_seconds, processes.kill),
        ]
        while (process and process.poll() is None) or locks.is_held(job.lock_path):
            if began is None and job.stop_path.exists():
                began = time.monotonic()
            if began is not None and ends and time.monotonic() - began > ends[0][0]():
                ends.pop(0)[1](job.directory)
                began = time.monotonic()
            time.sleep(self.pause)

    def _get_timeout(self, job: Job) -> float:
        """Seconds that a job may take to stop by itself in its current stage."""
        return self.step_seconds if job.state.stage == STEPS_STAGE else self.stop_seconds

    def _conclude(self, job: Job, process: subprocess.Popen[bytes] | None) -> None:
        """Ensure that the end of a job whose worker has ended is recorded."""
        written = read_state(job.state_path)
        if written is None or not written.is_ended:
            code = process.returncode if process else None
            self._finish(job, None if code is None else _explain_code(job, code))
            return
        if written.status == "done":
            release_uploads(job)
        job.release_lock()

    def _finish(self, job: Job, failure: Failure | None) -> None:
        # On a full disk, no other job could run either.
        while not queue.record_end(job, failure):
            time.sleep(self.pause * 5)


def _explain_code(job: Job, code: int) -> Failure:
    if code == -getattr(signal, "SIGKILL", 9):
        failure = explain_crash(
            job, "the system killed its process, most likely because it ran out of memory."
        )
        return failure.model_copy(update={"todo": f"{MEMORY_TODO} {failure.todo}"})
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return explain_crash(job, f"its process crashed ({name}).")
    return explain_crash(job, f"its process ended unexpectedly with exit code {code}.")


def _delete_drafts() -> None:
    for folder in home.people_directory().glob(f"*/{home.JOBS_FOLDER}/*"):
        try:
            age = time.time() - folder.stat().st_mtime
            is_draft = folder.is_dir() and not (folder / REQUEST_FILE).exists()
        except OSError:
            continue
        if is_draft and age > DRAFT_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    Runner().run()
    sys.exit(0)
