"""How long trainings take on this machine, from the jobs that were done on it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from facefusion_finetune.jobs import queue
from facefusion_finetune.jobs.record import JobState
from facefusion_finetune.jobs.times import find_time
from facefusion_finetune.people.profile import Person, add_person, create_consent

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Person:
    """Somebody whose jobs nobody works on."""
    monkeypatch.setattr(queue, "ensure_runner", lambda: None)
    return add_person("jane", create_consent(None, "She agreed."))


def _end(person: Person, kind: Any, seconds: float, day: int = 0, **arguments: Any) -> None:
    values = {"base": "inswapper_128", "preset": "fast", **arguments}
    job = queue.submit(person, kind, values)
    result = {"seconds_total": seconds} if kind == "estimate" else {}
    began = START + timedelta(days=day)
    ended = began + timedelta(seconds=seconds)
    job.write_state(JobState(status="done", started=began, ended=ended, result=result))


def test_nothing_is_known_before_anything_was_done(person: Person) -> None:
    queue.submit(person, "train", {"base": "inswapper_128", "preset": "fast"})
    assert find_time("inswapper_128", "fast") is None


def test_training_counts_over_estimate_and_the_latest_over_former_ones(person: Person) -> None:
    _end(person, "estimate", 50, day=9)
    found = find_time("inswapper_128", "fast")
    assert found is not None
    assert (found.seconds, found.is_estimate) == (50, True)
    _end(person, "train", 80, day=2)
    _end(person, "train", 70, day=1)
    found = find_time("inswapper_128", "fast")
    assert found is not None
    assert (found.seconds, found.is_estimate) == (80, False)
    assert find_time("inswapper_128", "balanced") is None
    assert find_time("simswap_256", "fast") is None


def test_rest_of_a_training_says_nothing(person: Person) -> None:
    _end(person, "train", 5, resume=True)
    assert find_time("inswapper_128", "fast") is None
