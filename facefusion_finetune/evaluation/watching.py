"""Scores of held-out frames during training, for display only.

They must not be used for any decision, since the final evaluation uses the same frames.
"""

import contextlib
import json
from dataclasses import asdict, dataclass
from typing import Annotated

import numpy
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError

from facefusion_finetune import home
from facefusion_finetune.damage import DamageError, read_lines
from facefusion_finetune.runs.run import Run

SCORES_FILE = "held_out.jsonl"


@dataclass(frozen=True)
class Score:
    """Mean L1 to the true frames inside the face over the shown pairs, in grey levels."""

    step: Annotated[int, Field(ge=0)]
    base: Annotated[float, Field(allow_inf_nan=False)]
    tuned: Annotated[float, Field(allow_inf_nan=False)]


_SCORE = TypeAdapter(Score)


def write_score(
    run: Run, step: int, base: NDArray[numpy.float64], tuned: NDArray[numpy.float64]
) -> None:
    """Write a line of `held_out.jsonl`, in place of an earlier one for that step.

    Args:
        run: The run being trained.
        step: Number of completed steps.
        base: (n,), scores of the base's swaps.
        tuned: (n,), scores of the tuned model's swaps.
    """
    scores = {score.step: score for score in read_scores(run)}
    scores[step] = Score(step, float(base.mean()), float(tuned.mean()))
    lines = (json.dumps(asdict(scores[key])) + "\n" for key in sorted(scores))
    home.write_text(run.directory / SCORES_FILE, "".join(lines))


def read_scores(run: Run) -> list[Score]:
    """The scores by step; for a step repeated after a stop, the later one."""
    try:
        lines = read_lines(run.directory / SCORES_FILE)
    except (FileNotFoundError, DamageError):
        return []
    scores: dict[int, Score] = {}
    for line in lines:
        # The last line may be incomplete.
        with contextlib.suppress(ValidationError):
            score = _SCORE.validate_json(line)
            scores[score.step] = score
    return [scores[step] for step in sorted(scores)]
