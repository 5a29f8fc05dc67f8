"""How a worker reports: its state on disk, and lines in its log."""

import os
import re
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from facefusion_finetune.errors import StoppedError
from facefusion_finetune.jobs.record import Job, JobState

if TYPE_CHECKING:
    from facefusion_finetune.dataset.extraction.extract import Progress
    from facefusion_finetune.runs.observer import Observer

WRITE_SECONDS = 0.4
"""Interval between two writes of the state."""
RETRY_SECONDS = 20.0
"""How long writing the final state is retried if the disk is full."""

_COUNTED = re.compile(r"(.+) \((\d+) of (\d+)[^()]*\)")
"""A stage that includes its progress, such as `Making pairs (3 of 120)`."""


class Reporter:
    """Writes the state of one job, in a separate thread. Use it as a context manager.

    If a state cannot be written because the disk is full, the write is retried; the job itself
    continues as long as it can.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._began = time.monotonic()
        self._state = JobState(status="running", pid=os.getpid(), started=datetime.now(UTC))
        self._guard = threading.Lock()
        self._is_due = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._write_often, daemon=True)
        self._last_logged = ""
        self._first: tuple[float, float] | None = None
        """Time of the first frame, and the share that was already done then."""

    def __enter__(self) -> "Reporter":
        self._job.write_state(self._state)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._closed.set()
        self._is_due.set()
        self._thread.join()

    @property
    def is_stop_requested(self) -> bool:
        """Whether the user requested a stop."""
        return self._job.stop_path.exists()

    def check(self) -> None:
        """Stop if the user requested it.

        Raises:
            StoppedError: A stop was requested.
        """
        if self.is_stop_requested:
            raise StoppedError(
                f"job {self._job.id}",
                "it was stopped before it was finished.",
                "Start it again to continue: completed work is kept.",
            )

    def create_observer(self) -> "Observer":
        """Create the observer of a training."""
        from facefusion_finetune.runs.observer import Observer

        def on_stage(text: str) -> None:
            self.check()
            self.set_stage(text)

        return Observer(
            on_stage=on_stage,
            on_step=self._on_step,
            on_note=self.add_note,
            on_run=self.set_version,
            is_stopped=lambda: self.is_stop_requested,
        )

    def set_stage(self, text: str) -> None:
        """Set the stage, which may include its progress, as in `Making pairs (3 of 120)`."""
        counted = _COUNTED.fullmatch(text)
        stage = counted[1] if counted else text
        done, total = (int(counted[2]), int(counted[3])) if counted else (None, None)
        self._log_once(stage)
        self._change(stage=stage, done=done, total=total, seconds_left=None)

    def set_count(self, done: int, total: int) -> None:
        """Set the progress of the stage."""
        self._change(done=done, total=total)

    def set_version(self, version: int) -> None:
        """Set the version of the run."""
        self._change(version=version)

    def on_progress(self, progress: "Progress") -> None:
        """Set the progress of an extraction; called for each frame.

        Raises:
            StoppedError: A stop was requested.
        """
        self.check()
        verb = "Checking" if progress.stage == "checking" else "Extracting"
        stage = f"{verb} {progress.name} ({progress.number} of {progress.total})"
        self._log_once(stage)
        if progress.stage == "checking":
            self._change(stage=stage, done=None, total=None, seconds_left=None)
            return
        done, total = progress.frames, progress.planned
        if total == 1:
            # Count pictures rather than each picture's single frame.
            done, total = progress.number, progress.total
        self._change(stage=stage, done=done, total=total, seconds_left=self._estimate(progress))

    def add_note(self, text: str) -> None:
        """Add a note about an unusual event."""
        log(text)
        self._change(notes=[*self._state.notes, text])

    def finish(self, **changes: Any) -> bool:
        """Write the final state; it cannot be changed afterwards.

        Returns:
            Whether it was written.
        """
        self.__exit__()
        ending = {"ended": self._find_end(), "done": None, "total": None, "seconds_left": None}
        self._change(**ending, **changes)
        deadline = time.monotonic() + RETRY_SECONDS
        while not self._write():
            if time.monotonic() > deadline or not self._job.directory.is_dir():
                return False
            time.sleep(WRITE_SECONDS)
        return True

    def _find_end(self) -> datetime:
        """Now, but not before the job's duration is over: the clock may have been set back."""
        assert self._state.started is not None
        duration = timedelta(seconds=time.monotonic() - self._began)
        return max(datetime.now(UTC), self._state.started + duration)

    def _estimate(self, progress: "Progress") -> float | None:
        """Estimated seconds left of an extraction, assuming that all files take the same time."""
        now = time.monotonic()
        share = (progress.number - 1 + progress.frames / progress.planned) / progress.total
        if self._first is None:
            self._first = (now, share)
        began, first = self._first
        return (now - began) / (share - first) * (1 - share) if share > first else None

    def _on_step(self, step: int, total: int, values: dict[str, float]) -> None:
        if step * 10 // total > (step - 1) * 10 // total:
            log(f"step {step} of {total}: loss {values['loss']:.4f}")
        self._change(done=step, total=total, seconds_left=values.get("seconds_left"))

    def _log_once(self, text: str) -> None:
        if self._last_logged != text:
            self._last_logged = text
            log(text)

    def _change(self, **changes: Any) -> None:
        with self._guard:
            self._state = self._state.model_copy(update=changes)
        self._is_due.set()

    def _write(self) -> bool:
        with self._guard:
            state = self._state
        try:
            self._job.write_state(state)
        except OSError:
            return False
        return True

    def _write_often(self) -> None:
        while not self._closed.is_set():
            self._is_due.wait()
            self._is_due.clear()
            if not self._closed.is_set() and not self._write():
                self._is_due.set()
            self._closed.wait(WRITE_SECONDS)


def log(text: str) -> None:
    """Write a line to the log; a full disk is ignored."""
    try:
        print(text, flush=True)
    except OSError:
        return
