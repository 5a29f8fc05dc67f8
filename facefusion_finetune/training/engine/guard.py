"""What to do when training goes astray: back to the last good state, at half the rate."""

from dataclasses import replace

from facefusion_finetune.errors import TrainingError
from facefusion_finetune.training.engine.checkpoint import Checkpoint

MAX_RETURNS = 3
"""Without a step further than the one that failed."""
RATE_CUT = 0.5

_KEPT = 2
"""States kept: a state can itself be what fails, and then only the one before helps."""


class Guard:
    """Keeps the last good states, and the rate factor."""

    def __init__(self, states: list[Checkpoint]) -> None:
        """Begin with the states a run starts from, oldest first."""
        self._states = states[-_KEPT:]
        progress = states[-1].progress
        self.rate_factor = progress.rate_factor
        self.returns = progress.returns
        self.failed_at = progress.failed_at

    def pass_step(self, done: int) -> None:
        """A state after `done` steps is about to be kept."""
        if done > self.failed_at:
            self.returns = 0

    def keep(self, state: Checkpoint) -> None:
        """Take a state as good."""
        self._states = [*self._states, state][-_KEPT:]

    def return_from(self, step: int, fault: str, given: str) -> Checkpoint:
        """The state to go back to, with its new rate factor.

        Args:
            step: The one that failed, from 0.
            fault: What is not a number any more: the loss or the gradient.
            given: The run, for the error.

        Raises:
            TrainingError: Going back has not helped before.
        """
        if self.returns == MAX_RETURNS:
            raise TrainingError(
                f"{given}, step {step + 1}",
                f"the {fault} is not a number any more, and going back to the last good state at"
                f" half the rate has not helped {MAX_RETURNS} times.",
                "Lower the preset's learning_rate; the last checkpoint is kept.",
            )
        if self._states[-1].step == step and len(self._states) > 1:
            # Its weights alone lead to the fault: no rate helps there.
            self._states.pop()
        self.returns += 1
        self.rate_factor *= RATE_CUT
        self.failed_at = max(self.failed_at, step)
        state = self._states[-1]
        progress = replace(
            state.progress,
            rate_factor=self.rate_factor,
            returns=self.returns,
            failed_at=self.failed_at,
        )
        self._states[-1] = replace(state, progress=progress)
        return self._states[-1]
