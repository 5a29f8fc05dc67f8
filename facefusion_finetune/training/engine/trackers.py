"""Experiment trackers in addition to metrics.jsonl, through accelerate."""

import os
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from accelerate import Accelerator

from facefusion_finetune.people import elsewhere
from facefusion_finetune.people.profile import person_directory
from facefusion_finetune.runs.run import Run

PROJECT = "facefusion-finetune"
MLFLOW_VARIABLE = "MLFLOW_TRACKING_URI"


class Tracking:
    """Logs to the accelerator's trackers; a failing tracker does not abort the run."""

    def __init__(self, accelerator: Accelerator, run: Run, on_note: Callable[[str], None]) -> None:
        """Trackers start when the context is entered.

        Args:
            accelerator: Created with the names of the trackers.
            run: Its settings are logged, and trackers write to its folder.
            on_note: Called if a tracker fails.
        """
        self._accelerator = accelerator
        self._run = run
        self._on_note = on_note
        self._sets_address = False
        self._umask: int | None = None

    def __enter__(self) -> "Tracking":
        if self._accelerator.log_with:
            # Trackers create files themselves, now and later.
            self._umask = os.umask(0o077)
            self._try("start", self._start)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Not `end_training`, which would also close the connection of the processes.
        for tracker in self._accelerator.trackers:
            self._try("finish", tracker.finish)
        self._accelerator.trackers = []
        if self._sets_address:
            os.environ.pop(MLFLOW_VARIABLE, None)
            self._sets_address = False
        if self._umask is not None:
            os.umask(self._umask)
            self._umask = None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values measured after `step` steps."""
        if self._accelerator.trackers:
            self._try("log", lambda: self._accelerator.log(dict(values), step=step))

    def _start(self) -> None:
        folder = self._run.directory / "trackers"
        # Without parents, so that a removed run stays removed.
        folder.mkdir(mode=0o700, exist_ok=True)
        if MLFLOW_VARIABLE not in os.environ:
            # MLflow's default is the current folder.
            os.environ[MLFLOW_VARIABLE] = f"sqlite:///{(folder / 'mlflow.db').as_posix()}"
            self._sets_address = True
        elif "mlflow" in map(str, self._accelerator.log_with) and self._accelerator.is_main_process:
            address = _hide_password(os.environ[MLFLOW_VARIABLE])
            directory = person_directory(self._run.record.person)
            elsewhere.remember(directory, address, "tracker", self._run.reference)
        mlflow = {"logging_dir": (folder / "mlflow").as_uri(), "run_name": self._run.reference}
        self._accelerator.init_trackers(
            PROJECT, flatten(self._run.config.model_dump(mode="json")), {"mlflow": mlflow}
        )

    def _try(self, action: str, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:
            self._accelerator.trackers = []
            self._on_note(f"Trackers failed to {action} ({error}) and are off; see metrics.jsonl.")


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str | int | float | bool]:
    """Flatten nested settings to keys such as `A.B`; lists become their length."""
    flat: dict[str, str | int | float | bool] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{name}.")
        elif isinstance(value, (list, tuple)):
            flat[f"{name}.count"] = len(value)
        elif value is not None:
            flat[name] = value
    return flat


def _hide_password(address: str) -> str:
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
