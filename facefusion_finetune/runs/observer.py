"""Callbacks for the progress of a training."""

from collections.abc import Callable
from dataclasses import dataclass, field

StepCallback = Callable[[int, int, dict[str, float]], None]
"""Called after each step with its number, the total, and the measured values, which include
`seconds_left`."""

STEPS_STAGE = "Training"
"""The stage that runs the training steps."""


@dataclass(frozen=True)
class Observer:
    """Receives the progress of a training; by default, does nothing."""

    on_stage: Callable[[str], None] = field(default=lambda text: None)
    on_step: StepCallback = field(default=lambda step, total, values: None)
    on_note: Callable[[str], None] = field(default=lambda text: None)
    """Called for unusual events that were handled."""
    on_run: Callable[[int], None] = field(default=lambda version: None)
    """Called with the version of the run once it is on disk."""
    is_stopped: Callable[[], bool] = field(default=lambda: False)
    """Called after each step; if it returns True, a checkpoint is written and StoppedError is
    raised. Before and after the steps, `on_stage` may raise it."""


def format_seconds(seconds: float) -> str:
    """A duration such as `1:02:03` or `0:42`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
