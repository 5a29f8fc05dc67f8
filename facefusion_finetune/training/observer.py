"""Who is told what goes on in a training."""

from collections.abc import Callable
from dataclasses import dataclass, field

StepCallback = Callable[[int, int, dict[str, float]], None]
"""Called after each step with its number, the number of all steps, and what was measured, among
it `seconds_left`."""


@dataclass(frozen=True)
class Observer:
    """Told what goes on; by default nobody listens."""

    on_stage: Callable[[str], None] = field(default=lambda text: None)
    on_step: StepCallback = field(default=lambda step, total, values: None)
    on_note: Callable[[str], None] = field(default=lambda text: None)
    """Told what is out of the ordinary, but was dealt with."""
