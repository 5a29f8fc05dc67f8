"""How long a training will take, from what its steps and its other work took so far."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

WINDOW = 256
"""Steps that the estimate rests on: enough to hold several rounds of work that comes now and then,
such as a cache that is refilled."""


@dataclass(frozen=True)
class Schedule:
    """When something besides the steps is due."""

    every: int
    """Steps between two times; 0 for never."""
    total: int
    """Steps of the whole run."""
    at_end: bool
    """Whether it is due after the last step, whatever its number."""

    def is_due(self, done: int) -> bool:
        """Whether it is due after `done` steps."""
        if not self.every:
            return False
        return self.at_end if done == self.total else done % self.every == 0

    def count_left(self, done: int) -> int:
        """How many times it is still due after more than `done` steps."""
        if not self.every or done >= self.total:
            return 0
        return (self.total - 1) // self.every - done // self.every + self.at_end


class Clock:
    """Collects durations and estimates what is left."""

    def __init__(self, total: int, schedules: Mapping[str, Schedule]) -> None:
        """Begin a run.

        Args:
            total: Steps of the whole run.
            schedules: What else is due, by name.
        """
        self._total = total
        self._schedules = schedules
        self._first: float | None = None
        self._steps: deque[float] = deque(maxlen=WINDOW)
        self._costs: dict[str, deque[float]] = {name: deque(maxlen=WINDOW) for name in schedules}

    def add_step(self, seconds: float) -> None:
        """A step took that long, without what else was due."""
        if self._first is None:
            # Memory and kernels are set up in it.
            self._first = seconds
        else:
            self._steps.append(seconds)

    def add_cost(self, name: str, seconds: float) -> None:
        """Something that was due took that long."""
        self._costs[name].append(seconds)

    def estimate_left(self, done: int) -> float:
        """Seconds that a run needs from `done` steps on; before any step, 0."""
        step = _average(self._steps) if self._steps else self._first or 0.0
        left = (self._total - done) * step
        for name, schedule in self._schedules.items():
            if costs := self._costs[name]:
                left += schedule.count_left(done) * _average(costs)
        return left


def format_seconds(seconds: float) -> str:
    """For people, as in `1:02:03` or `0:42`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _average(durations: Iterable[float]) -> float:
    """Mean, with the longest one counted as the next to longest.

    One stall of the machine does not count so, while work that comes back does.
    """
    ordered = sorted(durations)
    if len(ordered) > 2:
        ordered[-1] = ordered[-2]
    return sum(ordered) / len(ordered)
