"""Handles divergence: rolls back to the last good state and halves the learning rate."""

from dataclasses import replace

from facefusion_finetune.errors import TrainingError
from facefusion_finetune.training.engine.checkpoint import Checkpoint

MAX_ROLLBACKS = 3
"""Consecutive rollbacks without getting past the failed step."""
RATE_DECAY = 0.5

_KEPT_STATES = 2
"""If the last state itself is bad, only the previous one helps."""


class Guard:
    """Keeps the last good states and the learning rate factor."""

    def __init__(self, states: list[Checkpoint]) -> None:
        """Start with the states a run starts from, oldest first."""
        self._states = states[-_KEPT_STATES:]
        progress = states[-1].progress
        self.rate_factor = progress.rate_factor
        self.rollbacks = progress.returns
        self.failed_at = progress.failed_at

    def note_progress(self, done: int) -> None:
        """Reset the count of rollbacks if `done` steps are past the failed one."""
        if done > self.failed_at:
            self.rollbacks = 0

    def keep(self, state: Checkpoint) -> None:
        """Keep a good state."""
        self._states = [*self._states, state][-_KEPT_STATES:]

    def roll_back(self, step: int, fault: str, given: str) -> Checkpoint:
        """The state to roll back to, with its new rate factor.

        Args:
            step: The failed step, counted from 0.
            fault: What became NaN or infinite: the loss or the gradient.
            given: The run, for the error message.

        Raises:
            TrainingError: Too many rollbacks have not helped.
        """
        if self.rollbacks == MAX_ROLLBACKS:
            raise TrainingError(
                f"{given}, step {step + 1}",
                f"the {fault} became NaN or infinite, and going back to the last good state with"
                f" half the learning rate did not help {MAX_ROLLBACKS} times.",
                "Lower the preset's learning_rate; the last checkpoint is kept.",
            )
        if self._states[-1].step == step and len(self._states) > 1:
            # Its weights themselves cause the fault, whatever the learning rate.
            self._states.pop()
        self.rollbacks += 1
        self.rate_factor *= RATE_DECAY
        self.failed_at = max(self.failed_at, step)
        state = self._states[-1]
        progress = replace(
            state.progress,
            rate_factor=self.rate_factor,
            returns=self.rollbacks,
            failed_at=self.failed_at,
        )
        self._states[-1] = replace(state, progress=progress)
        return self._states[-1]
