"""The time left, on made-up timings."""

import random
from collections.abc import Callable

import pytest

from facefusion_finetune.runs.observer import format_seconds
from facefusion_finetune.training.engine.schedule import Clock, Schedule

TOTAL = 600
COSTS = {"checkpoint": 4.0, "preview": 9.0, "validation": 6.0}


def _simulate(take: Callable[[int, random.Random], float]) -> list[tuple[float, float]]:
    """What was really left after each step, and by how much the estimate is off, in seconds."""
    generator = random.Random(0)
    schedules = {
        "checkpoint": Schedule(50, TOTAL, at_end=True),
        "preview": Schedule(110, TOTAL, at_end=False),
        "validation": Schedule(45, TOTAL, at_end=True),
    }
    clock = Clock(TOTAL, schedules)
    estimates, spent = [], []
    clock.add_cost("validation", COSTS["validation"])
    for done in range(1, TOTAL + 1):
        seconds = take(done, generator)
        clock.add_step(seconds)
        for name, schedule in schedules.items():
            if schedule.is_due(done):
                clock.add_cost(name, COSTS[name])
                seconds += COSTS[name]
        spent.append(seconds)
        estimates.append(clock.estimate_left(done))
    assert estimates[-1] == 0
    return [
        (sum(spent[done:]), abs(estimate - sum(spent[done:])))
        for done, estimate in enumerate(estimates, start=1)
    ]


def _even(step: int, generator: random.Random) -> float:
    return generator.uniform(0.8, 1.2)


def _slow_start(step: int, generator: random.Random) -> float:
    return 60.0 if step == 1 else _even(step, generator)


def _one_stall(step: int, generator: random.Random) -> float:
    return 80.0 if step == 90 else _even(step, generator)


def _refilled(step: int, generator: random.Random) -> float:
    return _even(step, generator) + (12.0 if step % 20 == 0 else 0.0)


@pytest.mark.parametrize("take", [_even, _slow_start, _one_stall, _refilled])
def test_estimate_holds_after_a_fifth_of_the_steps(
    take: Callable[[int, random.Random], float],
) -> None:
    results = _simulate(take)[TOTAL // 5 :]
    late = len(results) - TOTAL // 7
    assert max(error / left for left, error in results[:late]) < 0.1
    # Near the end what is due decides, and when a step is dear nobody knows: one of them, or two.
    assert max(error for _, error in results[late:]) < 25


@pytest.mark.parametrize(("every", "total"), [(3, 12), (5, 12), (12, 12), (50, 12), (0, 12)])
@pytest.mark.parametrize("at_end", [True, False])
def test_counting_agrees_with_what_is_due(every: int, total: int, at_end: bool) -> None:
    schedule = Schedule(every, total, at_end)
    for done in range(total + 1):
        left = sum(schedule.is_due(step) for step in range(done + 1, total + 1))
        assert schedule.count_left(done) == left


def test_nothing_is_known_before_the_first_step() -> None:
    clock = Clock(10, {})
    assert clock.estimate_left(0) == 0
    clock.add_step(2.0)
    assert clock.estimate_left(1) == 18


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (42.4, "0:42"), (3723, "1:02:03")])
def test_seconds_for_people(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
