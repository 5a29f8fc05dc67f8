"""Who is told what goes on in a training."""

from collections.abc import Callable
from dataclasses import dataclass, field

StepCallback = Callable[[int, int, dict[str, float]], None]
"""Called after each step with its number, the number of all steps, and what was measured, among
it `seconds_left`."""

STEPS_STAGE = "Training"
"""The stage in which steps are made."""


@dataclass(frozen=True)
class Observer:
    """Told what goes on; by default nobody listens."""

    on_stage: Callable[[str], None] = field(default=lambda text: None)
    on_step: StepCallback = field(default=lambda step, total, values: None)
    on_note: Callable[[str], None] = field(default=lambda text: None)
    """Told what is out of the ordinary, but was dealt with."""
    on_run: Callable[[int], None] = field(default=lambda version: None)
    """Told the version of the run that is trained, once it is on disk."""
    is_stopped: Callable[[], bool] = field(default=lambda: False)
    """Asked after each step whether to stop: then a checkpoint is written, and StoppedError is
    raised. Before and after the steps, `on_stage` may raise it."""


def format_seconds(seconds: float) -> str:
    """For people, as in `1:02:03` or `0:42`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
