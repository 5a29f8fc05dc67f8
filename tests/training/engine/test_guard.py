"""Going back to good states, and how often."""

import pytest
import torch

from facefusion_finetune.errors import TrainingError
from facefusion_finetune.training.engine.checkpoint import Checkpoint, Identity, Progress
from facefusion_finetune.training.engine.guard import Guard
from facefusion_finetune.training.engine.state import EarlyStopping


def _state(step: int, **progress: float) -> Checkpoint:
    return Checkpoint(
        Identity("b", "s"),
        Progress(step, 4, **progress),
        {},
        {},
        {},
        {},  # type: ignore[arg-type]
    )


def test_each_return_halves_the_rate_and_the_fourth_fails() -> None:
    guard = Guard([_state(0)])
    guard.keep(_state(10))
    factors = [guard.roll_back(14, "loss", "run ada@1").progress.rate_factor for _ in range(3)]
    assert factors == [0.5, 0.25, 0.125]
    with pytest.raises(TrainingError, match="did not help 3 times") as caught:
        guard.roll_back(14, "loss", "run ada@1")
    assert "ada@1, step 15" in caught.value.given


def test_only_a_step_further_than_the_failed_one_is_progress() -> None:
    guard = Guard([_state(10)])
    for _ in range(2):
        guard.roll_back(14, "loss", "run")
    guard.note_progress(12)
    assert guard.rollbacks == 2
    guard.note_progress(15)
    assert guard.rollbacks == 0
    assert guard.rate_factor == 0.25, "the rate stays low"


def test_a_state_that_itself_fails_is_given_up() -> None:
    guard = Guard([_state(0)])
    guard.keep(_state(10))
    guard.keep(_state(20))
    assert guard.roll_back(20, "loss", "run").step == 10
    assert guard.roll_back(10, "loss", "run").step == 10, "there is none before"


def test_a_resumed_guard_goes_on_counting() -> None:
    guard = Guard([_state(5), _state(10, rate_factor=0.25, returns=2, failed_at=12)])
    state = guard.roll_back(12, "gradient", "run")
    assert (state.progress.rate_factor, state.progress.returns) == (0.125, 3)
    with pytest.raises(TrainingError, match="gradient"):
        guard.roll_back(11, "gradient", "run")


def test_early_stopping_keeps_copies_and_ignores_nan() -> None:
    weights = {"w": torch.zeros(2)}
    stopping = EarlyStopping(patience=2)
    assert stopping.explain() is None
    for step, score in ((0, 0.1), (2, float("nan")), (4, 0.4), (6, float("inf"))):
        weights["w"].fill_(step)
        stopping.add(step, score, weights)
        assert not stopping.should_stop or step == 6
    assert stopping.best["w"].tolist() == [4, 4]
    assert not stopping.should_stop
    stopping.add(8, 0.4, weights)
    assert stopping.best["w"].tolist() == [4, 4], "the first of equals"
    assert stopping.should_stop


def test_early_stopping_without_finite_scores_stops_too() -> None:
    stopping = EarlyStopping(patience=2)
    for step in (0, 1, 2):
        assert not stopping.should_stop
        stopping.add(step, float("nan"), {})
    assert stopping.should_stop
    assert "last averaged weights" in str(stopping.explain())
