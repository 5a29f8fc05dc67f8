"""What `report.json` holds: how a tuned model was judged, and on what.

The names are the keys of the file. This module needs pydantic alone, so that whoever shows a report
loads nothing that made it.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from facefusion_finetune.damage import DamageError, read_file
from facefusion_finetune.errors import EvaluationError

if TYPE_CHECKING:
    from facefusion_finetune.runs.run import Run

Better = Literal["less", "more", "same"]
"""Which way a figure should go; `same` is for what should not move."""
Role = Literal["primary", "non-inferiority", "condition"]
"""A main question, what must not get worse, and what has to hold besides."""
Outcome = Literal["won", "lost", "held", "open", "not measured", "failed"]
Verdict = Literal["better", "worse", "no difference", "not judged"]


class _Part(BaseModel):
    """Nothing is taken for what it is not, and no number is infinite or none at all.

    Keys that a later version added are ignored.
    """

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


class Check(_Part):
    """One question of the gate, and the answer."""

    name: str
    """Key of the figure that answers it, or the name of a condition."""
    title: str
    role: Role
    outcome: Outcome
    text: str
    """The answer in words."""


class Change(_Part):
    """After minus before, the mean over pairs, in the unit of its figure; five digits."""

    mean: float | None
    """None where no pair could be measured."""
    low: float | None
    """Ends of the 95 % interval; None where there are too few blocks for one."""
    high: float | None


class ReportedFigure(_Part):
    """One measure of base and tuned model; its numbers are in `unit`, with five digits."""

    title: str
    group: str
    """Figures of one group are shown together."""
    order: int
    """Place among all figures."""
    unit: str
    """In words, such as `grey levels` (0 to 255), `cosine`, `degrees` or `share` (0 to 1)."""
    better: Better
    explanation: str
    before: float | None
    """Mean over pairs of the base; None where only a change can be measured, or nothing."""
    after: float | None
    """The same of the tuned model."""
    change: Change
    ceiling: float | None = None
    """What real frames of the person score."""
    pairs: int
    """How many pictures of both models were compared."""
    blocks: int
    """How many independent stretches of footage those come from."""


class PairScores(_Part):
    """The scores behind a figure, pair by pair: n of each, in the unit of the figure."""

    ids: tuple[str, ...]
    """Of the pairs: a crop's, or a crop's and the number of one of the other people."""
    clips: tuple[str, ...] | None = None
    """The clip that each comes from."""
    parts: tuple[str, ...] | None = None
    """The stretch of that clip: pairs of one clip and part make a block."""
    before: tuple[float | None, ...]
    """None where it could not be measured."""
    after: tuple[float | None, ...]

    @model_validator(mode="after")
    def _check_lengths(self) -> "PairScores":
        columns = (self.ids, self.clips, self.parts, self.before, self.after)
        if len({len(column) for column in columns if column is not None}) > 1:
            raise ValueError("its columns differ in length")
        return self


class ReportedBase(_Part):
    """The swapper that was tuned."""

    name: str
    vendor: str
    """Empty where it is unknown."""
    licence: str
    """Empty where it is unknown."""
    sha256: str


class ReportedRecogniser(_Part):
    """A face recogniser: name, and sha256 of its file."""

    name: str
    sha256: str


class ReportedJudge(ReportedRecogniser):
    """The recogniser that judged the likeness."""

    independent: bool
    """Whether it is another one than the recogniser that drives the swap."""


class TargetCounts(_Part):
    """Frames that the person was swapped onto."""

    kind: Literal["people", "stand-in"]
    """Of other people, or held-out frames of the person in their place."""
    frames: int
    shots: int


class MaterialCounts(_Part):
    """How much was judged on; all are counts."""

    train: int
    """Crops that trained."""
    train_shots: int
    """Shots of those among them that were looked at here."""
    held_out: int
    """Crops that judge."""
    held_out_shots: int
    left_out: int
    """Held-out crops too much like training crops to judge."""
    targets: TargetCounts | None = None
    other_vectors: int
    """Other people who were swapped in."""


class Missing(_Part):
    """A figure that was not measured."""

    title: str
    why: str


class ReportedPicture(_Part):
    """A picture in the run's folder `previews`."""

    name: str
    """Of its file."""
    title: str
    text: str
    """What is to be seen."""


class Report(_Part):
    """How a tuned model was judged."""

    model: str
    """`NAME@VERSION`."""
    person: str
    version: int
    verdict: Verdict
    sentence: str
    """The verdict in words."""
    proven: bool
    """Whether the model may be used without `--force`."""
    reasons: tuple[str, ...]
    """Why it is not proven; none if it is."""
    checks: tuple[Check, ...]
    """What the gate asked, main questions first."""
    notes: tuple[str, ...]
    """What a reader has to know of the material."""
    preset: str
    seed: int
    analyser: str
    """What found and aligned the faces, with its version."""
    package_version: str
    dataset_digest: str
    """sha256 of the person's crops."""
    base: ReportedBase
    judge: ReportedJudge | None = None
    """None where there was no recogniser independent of the training recogniser."""
    training_recogniser: ReportedRecogniser | None = None
    material: MaterialCounts
    figures: Mapping[str, ReportedFigure]
    """By key, as in `figures.KINDS`."""
    missing: tuple[Missing, ...] = ()
    values: Mapping[str, PairScores] = {}
    """Of the main figures, by key."""
    pictures: tuple[ReportedPicture, ...] = ()


def read_report(run: "Run") -> Report | None:
    """The stored report of a run; None where there is none.

    Raises:
        EvaluationError: It is damaged, or no report.
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
            f"Make it again: facefusion-finetune evaluate {run.reference}.",
        ) from error


def encode_report(report: Report) -> str:
    """The text of `report.json`."""
    values = report.model_dump(mode="json")
    return json.dumps(values, indent=2, sort_keys=True, allow_nan=False) + "\n"


def summarise_report(report: Report) -> dict[str, Any]:
    """What the card says of how the model was judged."""
    figures, judge = report.figures, report.judge
    return {
        "verdict": report.verdict,
        "proven": report.proven,
        "face_l1_change": figures["face_l1"].change.model_dump(),
        "judge": judge.name if judge else None,
        "judge_sha256": judge.sha256 if judge else None,
        "judge_change": figures["judge_targets"].change.model_dump() if judge else None,
    }
