"""The worker, which runs one job: `python -m facefusion_finetune.jobs.work FOLDER`."""

import contextlib
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from facefusion_finetune import locks
from facefusion_finetune.errors import FinetuneError, JobError, StoppedError
from facefusion_finetune.jobs.failures import explain
from facefusion_finetune.jobs.queue import release_uploads
from facefusion_finetune.jobs.record import Failure, Job, load_job
from facefusion_finetune.jobs.reporting import Reporter, log
from facefusion_finetune.people.work import ending_with_removal

LOCK_SECONDS = 10.0


class _EndedError(BaseException):
    """The process received SIGTERM."""


def main(folder: Path) -> int:
    """Run a queued job; do nothing if it is no longer queued.

    Args:
        folder: The job's folder.

    Returns:
        The exit code: 1 if the job or its state cannot be read or written.
    """
    try:
        load_job(folder)
        with locks.hold(folder / ".lock", LOCK_SECONDS) as is_ours:
            # It may have been stopped, removed or finished while waiting for the lock.
            job = load_job(folder)
            if not is_ours or job.state.status != "queued":
                return 0
            signal.signal(signal.SIGTERM, _end)
            return _carry_out(job)
    except FileNotFoundError:
        # The person was removed.
        return 0
    except JobError as error:
        log(str(error))
        return 1


def _carry_out(job: Job) -> int:
    from facefusion_finetune.jobs.tasks import TASKS

    with Reporter(job) as reporter:
        changes: dict[str, Any]
        try:
            result = TASKS[job.request.kind](job, reporter)
            changes = {"status": "done", "result": result, "stage": ""}
        except StoppedError as error:
            reporter.add_note(f"{error.why} {error.todo}")
            changes = {"status": "stopped"}
        except _EndedError:
            changes = _describe_end(job, reporter)
        except Exception as error:
            if not isinstance(error, FinetuneError):
                with contextlib.suppress(OSError):
                    traceback.print_exc()
            failure = explain(error, f"job {job.id}")
            log(f"failed: {failure.given}: {failure.why} {failure.todo}")
            changes = {"status": "failed", "error": failure}
        # A SIGTERM must not prevent the final state from being written.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        is_recorded = reporter.finish(**changes)
    if changes["status"] == "done":
        release_uploads(job)
    if is_recorded:
        job.lock_path.unlink(missing_ok=True)
    return 0 if is_recorded else 1


def _describe_end(job: Job, reporter: Reporter) -> dict[str, Any]:
    todo = "Start it again to continue: completed work is kept."
    if job.request.kind == "train":
        todo = "Resume the training: it continues from its last checkpoint."
    if reporter.is_stop_requested:
        reporter.add_note(f"It was terminated because it did not stop in time. {todo}")
        return {"status": "stopped"}
    why = "its process was terminated by the system or a user."
    return {"status": "failed", "error": Failure(given=f"job {job.id}", why=why, todo=todo)}


def _end(number: int, frame: object) -> None:
    raise _EndedError


if __name__ == "__main__":
    with ending_with_removal():
        sys.exit(main(Path(sys.argv[1])))
