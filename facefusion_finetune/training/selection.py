"""Which averaged weights are written out, and when looking for better ones stops."""

import math
from collections.abc import Mapping

from torch import Tensor

from facefusion_finetune.training.checkpoint import TensorSet, copy_tensors


class Selection:
    """The scores of a run's looks at what is kept back, and the best weights seen."""

    def __init__(self, patience: int) -> None:
        """Stop after `patience` looks without better weights."""
        self._patience = patience
        self.scores: list[tuple[int, float]] = []
        """Step and score, lower is better; step 0 is the base."""
        self.best: TensorSet = {}
        """Of the tuned ones; empty before the first finite score."""

    def restore(self, scores: tuple[tuple[int, float], ...], best: TensorSet) -> None:
        """Go back to an earlier state."""
        self.scores = list(scores)
        self.best = best

    def add(self, step: int, score: float, average: Mapping[str, Tensor]) -> None:
        """Take note of a score; the weights are kept if none had a better one.

        Args:
            step: Steps done.
            score: Lower is better; what is no finite number is never best.
            average: The weights looked at.
        """
        best = self._find_best()
        self.scores.append((step, score))
        if self._find_best() != best:
            self.best = copy_tensors(average)

    @property
    def is_exhausted(self) -> bool:
        """Whether the last looks were all without better weights."""
        best = self._find_best()
        later = [step for step, _ in self.scores if step > (best[0] if best else 0)]
        return len(later) >= self._patience

    def explain(self) -> str | None:
        """In a sentence which weights are written out; None where nobody looked."""
        best = self._find_best()
        if best is None:
            return (
                "No look at the training shot that was kept back gave a number; the last averaged"
                " weights are used."
                if self.scores
                else None
            )
        step, score = best
        text = f"The averaged weights of step {step} are used: the best score seen, {score:.4f}"
        base = dict(self.scores).get(0, math.inf)
        if base <= score:
            return f"{text}. Nothing was better than the base itself ({base:.4f})."
        return f"{text}, against the base's {base:.4f}." if math.isfinite(base) else f"{text}."

    def _find_best(self) -> tuple[int, float] | None:
        tuned = [entry for entry in self.scores if entry[0] > 0 and math.isfinite(entry[1])]
        return min(tuned, key=lambda entry: entry[1], default=None)
