"""The contents of `report.json`: the results of an evaluation, and the material it used.

The field names are the keys of the file. This module imports only pydantic, so a report can be
shown without loading the code that creates it.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from facefusion_finetune.damage import MAX_NUMBER, DamageError, read_file
from facefusion_finetune.errors import EvaluationError

if TYPE_CHECKING:
    from facefusion_finetune.runs.run import Run

Better = Literal["less", "more", "same"]
"""The direction of improvement of a figure; `same` if it should not change."""
Role = Literal["primary", "non-inferiority", "condition"]
"""A primary outcome, a figure that must not get worse, or a required condition."""
Outcome = Literal["won", "lost", "held", "open", "not measured", "failed"]
Verdict = Literal["better", "worse", "no difference", "not judged"]
Number = Annotated[float, Field(ge=-1e32, le=1e32)]
Count = Annotated[int, Field(ge=0, le=10**9)]


class _Part(BaseModel):
    """Types are strict, and numbers must be finite; unknown keys of later versions are ignored."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


class Check(_Part):
    """One check of the activation gate."""

    name: str
    """Key of its figure, or name of its condition."""
    title: str
    role: Role
    outcome: Outcome
    text: str
    """The result as text."""


class Change(_Part):
    """After minus before, averaged over pairs, in the figure's unit, with five digits."""

    mean: Number | None
    """None if no pair could be measured."""
    low: Number | None
    """Ends of the 95 % interval; None if there are too few blocks."""
    high: Number | None


class ReportedFigure(_Part):
    """One metric of base and tuned model; its numbers are in `unit`, with five digits."""

    title: str
    group: str
    """Figures of one group are shown together."""
    order: Count
    """Position among all figures."""
    unit: str
    """For example `grey levels` (0 to 255), `cosine`, `degrees` or `share` (0 to 1)."""
    better: Better
    explanation: str
    before: Number | None
    """The base's mean over pairs; None if only a change was measured, or nothing."""
    after: Number | None
    """The same for the tuned model."""
    change: Change
    ceiling: Number | None = None
    """Score of the person's real frames."""
    pairs: Count
    """Number of compared pairs of pictures."""
    blocks: Count
    """Number of independent stretches of footage they are from."""


class PairScores(_Part):
    """The pairwise scores of a figure, n of each, in the figure's unit."""

    ids: tuple[str, ...]
    """Ids of the pairs: a crop's id, or a crop's id and the number of another person."""
    clips: tuple[str, ...] | None = None
    """The clip of each pair."""
    parts: tuple[str, ...] | None = None
    """The part of the clip: pairs of the same clip and part form a block."""
    before: tuple[Number | None, ...]
    """None if it could not be measured."""
    after: tuple[Number | None, ...]

    @model_validator(mode="after")
    def _check_lengths(self) -> "PairScores":
        columns = (self.ids, self.clips, self.parts, self.before, self.after)
        if len({len(column) for column in columns if column is not None}) > 1:
            raise ValueError("the columns differ in length")
        return self


class ReportedBase(_Part):
    """The swapper that was tuned."""

    name: str
    vendor: str
    """Empty if unknown."""
    licence: str
    """Empty if unknown."""
    sha256: str


class ReportedRecogniser(_Part):
    """A face recogniser's name, and the sha256 of its file."""

    name: str
    sha256: str


class ReportedJudge(ReportedRecogniser):
    """The recogniser that scored the likeness."""

    independent: bool
    """Whether it differs from the recogniser that drives the swap."""


class TargetCounts(_Part):
    """Frames that the person was swapped onto."""

    kind: Literal["people", "stand-in"]
    """Frames of other people, or held-out frames of the person as stand-ins."""
    frames: Count
    shots: Count


class MaterialCounts(_Part):
    """Amount of material; all values are counts."""

    train: Count
    """Training crops."""
    train_shots: Count
    """Shots of the training crops used in this evaluation."""
    held_out: Count
    """Held-out crops used."""
    held_out_shots: Count
    left_out: Count
    """Held-out crops that were too similar to training crops."""
    targets: TargetCounts | None = None
    other_vectors: Count
    """Number of other people swapped in."""


class Missing(_Part):
    """A figure that was not measured."""

    title: str
    why: str


class ReportedPicture(_Part):
    """A picture in the run's folder `previews`."""

    name: str
    """File name."""
    title: str
    text: str
    """Caption."""


class Report(_Part):
    """The evaluation of a tuned model."""

    model: str
    """`NAME@VERSION`."""
    person: str
    version: Count
    verdict: Verdict
    sentence: str
    """The verdict as a sentence."""
    proven: bool
    """Whether the model may be activated without `--force`."""
    reasons: tuple[str, ...]
    """Why the model is not proven; empty if it is."""
    checks: tuple[Check, ...]
    """The checks of the activation gate, primary outcomes first."""
    notes: tuple[str, ...]
    """Notes on the material for the reader."""
    preset: str
    seed: Annotated[int, Field(ge=0, lt=MAX_NUMBER)]
    analyser: str
    """The analyser that found and aligned the faces, with its version."""
    package_version: str
    dataset_digest: str
    """sha256 of the person's crops."""
    base: ReportedBase
    judge: ReportedJudge | None = None
    """None if there was no recogniser independent of the training recogniser."""
    training_recogniser: ReportedRecogniser | None = None
    material: MaterialCounts
    figures: Mapping[str, ReportedFigure]
    """Figures by key, as in `figures.KINDS`."""
    missing: tuple[Missing, ...] = ()
    values: Mapping[str, PairScores] = {}
    """Pairwise scores of the main figures, by key."""
    pictures: tuple[ReportedPicture, ...] = ()


def read_report(run: "Run") -> Report | None:
    """The stored report of a run; None if there is none.

    Raises:
        EvaluationError: The file is damaged, or not a report.
    """
    path = run.report_json_path
    try:
        return read_file(path, Report.model_validate_json)
    except FileNotFoundError:
        return None
    except DamageError as error:
        raise EvaluationError(
            str(path),
            f"the report cannot be read ({error}).",
            f"Recreate it: facefusion-finetune evaluate {run.reference}.",
        ) from error


def encode_report(report: Report) -> str:
    """The text of `report.json`."""
    values = report.model_dump(mode="json")
    return json.dumps(values, indent=2, sort_keys=True, allow_nan=False) + "\n"


def summarise_report(report: Report) -> dict[str, Any]:
    """The summary of the evaluation for the model card."""
    figures, judge = report.figures, report.judge
    return {
        "verdict": report.verdict,
        "proven": report.proven,
        "face_l1_change": figures["face_l1"].change.model_dump(),
        "judge": judge.name if judge else None,
        "judge_sha256": judge.sha256 if judge else None,
        "judge_change": figures["judge_targets"].change.model_dump() if judge else None,
    }
