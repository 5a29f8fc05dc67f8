"""What a working process tells: its state on disk, and lines in its log."""

import os
import re
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from facefusion_finetune.errors import StoppedError
from facefusion_finetune.jobs.record import Job, JobState

if TYPE_CHECKING:
    from facefusion_finetune.dataset.extraction.extract import Progress
    from facefusion_finetune.runs.observer import Observer

WRITE_SECONDS = 0.4
"""Between two writes of the state."""
LAST_SECONDS = 20.0
"""How long the last state is tried to be written, where the disk is full."""

_COUNTED = re.compile(r"(.+) \((\d+) of (\d+)[^()]*\)")
"""A stage that says how far it is, such as `Making pairs (3 of 120)`."""


class Reporter:
    """Tells the state of one job, from a thread of its own. Use it as a context manager.

    A state that cannot be written, because the disk is full, is tried again: the job itself goes on
    as long as it can.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._state = JobState(status="running", pid=os.getpid(), started=datetime.now(UTC))
        self._guard = threading.Lock()
        self._is_due = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write_often, daemon=True)
        self._said = ""
        self._first: tuple[float, float] | None = None
        """When the first frame was looked at, and what share was done then."""

    def __enter__(self) -> "Reporter":
        self._job.write_state(self._state)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._is_due.set()
        self._thread.join()

    @property
    def is_stop_wanted(self) -> bool:
        """Whether the user wants the job to end."""
        return self._job.stop_path.exists()

    def check(self) -> None:
        """Go on only if that is still wanted.

        Raises:
            StoppedError: It is not.
        """
        if self.is_stop_wanted:
            raise StoppedError(
                f"job {self._job.id}",
                "it was stopped before it was done.",
                "Start it again to go on: what was done so far is kept.",
            )

    def create_observer(self) -> "Observer":
        """For a training."""
        from facefusion_finetune.runs.observer import Observer

        def on_stage(text: str) -> None:
            self.check()
            self.tell_stage(text)

        return Observer(
            on_stage=on_stage,
            on_step=self._on_step,
            on_note=self.add_note,
            on_run=self.tell_version,
            is_stopped=lambda: self.is_stop_wanted,
        )

    def tell_stage(self, text: str) -> None:
        """Something else begins, or goes on, as `Making pairs (3 of 120)` tells."""
        counted = _COUNTED.fullmatch(text)
        stage = counted[1] if counted else text
        done, total = (int(counted[2]), int(counted[3])) if counted else (None, None)
        self._say_once(stage)
        self._change(stage=stage, done=done, total=total, seconds_left=None)

    def tell_count(self, done: int, total: int) -> None:
        """How far the stage is."""
        self._change(done=done, total=total)

    def tell_version(self, version: int) -> None:
        """Which run the job is about."""
        self._change(version=version)

    def on_file(self, progress: "Progress") -> None:
        """Told about each frame of an extraction.

        Raises:
            StoppedError: The job is to end.
        """
        self.check()
        verb = "Checking" if progress.stage == "checking" else "Extracting"
        stage = f"{verb} {progress.name} ({progress.number} of {progress.total})"
        self._say_once(stage)
        if progress.stage == "checking":
            self._change(stage=stage, done=None, total=None, seconds_left=None)
            return
        done, total = progress.frames, progress.planned
        if total == 1:
            # Pictures are counted, not each one's only frame.
            done, total = progress.number, progress.total
        self._change(stage=stage, done=done, total=total, seconds_left=self._estimate(progress))

    def add_note(self, text: str) -> None:
        """Something is out of the ordinary."""
        say(text)
        self._change(notes=[*self._state.notes, text])

    def finish(self, **changes: Any) -> bool:
        """Tell the last state; nothing can be told afterwards.

        Returns:
            Whether it is on disk.
        """
        self.__exit__()
        ending = {"ended": datetime.now(UTC), "done": None, "total": None, "seconds_left": None}
        self._change(**ending, **changes)
        deadline = time.monotonic() + LAST_SECONDS
        while not self._write():
            if time.monotonic() > deadline or not self._job.directory.is_dir():
                return False
            time.sleep(WRITE_SECONDS)
        return True

    def _estimate(self, progress: "Progress") -> float | None:
        """Seconds that an extraction needs, if all its files take the same time."""
        now = time.monotonic()
        share = (progress.number - 1 + progress.frames / progress.planned) / progress.total
        if self._first is None:
            self._first = (now, share)
        began, first = self._first
        return (now - began) / (share - first) * (1 - share) if share > first else None

    def _on_step(self, step: int, total: int, values: dict[str, float]) -> None:
        if step * 10 // total > (step - 1) * 10 // total:
            say(f"step {step} of {total}: loss {values['loss']:.4f}")
        self._change(done=step, total=total, seconds_left=values.get("seconds_left"))

    def _say_once(self, text: str) -> None:
        if self._said != text:
            self._said = text
            say(text)

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
        while not self._over.is_set():
            self._is_due.wait()
            self._is_due.clear()
            if not self._over.is_set() and not self._write():
                self._is_due.set()
            self._over.wait(WRITE_SECONDS)


def say(text: str) -> None:
    """Write a line to the log; a full disk does not end what is at work."""
    try:
        print(text, flush=True)
    except OSError:
        return
