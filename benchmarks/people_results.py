"""The stored result per person and preset, and a preset's verdict over all people."""

import hashlib
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from facefusion_finetune import home
from facefusion_finetune.evaluation.figures import Figure, compare
from facefusion_finetune.evaluation.gate import (
    OTHERS_ERROR,
    UNHARMED,
    Margin,
    orient_change,
)
from facefusion_finetune.evaluation.intervals import Block
from facefusion_finetune.evaluation.report import Report, Verdict
from facefusion_finetune.runs.crops import spread

OUTCOMES = {"true_swap": "true swap", "judge_targets": "judge"}
"""Figures that decide whether there is a gain, and their names in the table."""
UNHARMED_OTHERS = {
    "others_l1": ("others drift", OTHERS_ERROR),
    "others_towards_person": ("others towards the person", UNHARMED["others_towards_person"]),
}
"""Figures of other people's swaps, the names of their harm in the table, and the gate's margins."""
KEYS = (*OUTCOMES, *UNHARMED_OTHERS)

MIN_PEOPLE = 2
"""With fewer, the intervals cover frames of one person only, so there is no verdict."""


class World(BaseModel):
    """What every result depends on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    package_version: str
    networks: dict[str, str]
    """SHA-256 of the demo's networks, by file name."""
    footage: tuple[int, ...]
    """Numbers of shots, frames and other people drawn for each person."""


class Settings(BaseModel):
    """What one result depends on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    world: World
    person: int
    """The person's seed."""
    preset: str
    """SHA-256 of the preset's content."""


class Scores(BaseModel):
    """One figure of one person, pair by pair, as in `report.json`."""

    model_config = ConfigDict(frozen=True)

    clips: list[str]
    parts: list[str]
    before: list[float | None]
    after: list[float | None]

    @model_validator(mode="after")
    def _check_lengths(self) -> "Scores":
        columns = (self.clips, self.parts, self.before, self.after)
        if len({len(column) for column in columns}) > 1:
            raise ValueError("the columns differ in length")
        return self


class Result(BaseModel):
    """The result of tuning the base to one person with one preset."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    settings: Settings
    is_proven: bool
    """Whether the model passed the gate."""
    seconds: float | None
    """From the crops to the last step; None if nothing was trained, or training was interrupted."""
    scores: dict[str, Scores]

    @model_validator(mode="after")
    def _check_whole(self) -> "Result":
        missing = [key for key in KEYS if key not in self.scores]
        if missing:
            raise ValueError(f"{', '.join(missing)} are missing")
        return self


def create_result(settings: Settings, report: Report, seconds: float | None) -> Result:
    """Extract from a report what the benchmark needs.

    Args:
        settings: Of the result.
        report: Has scores for all `KEYS`.
        seconds: See `Result`.
    """
    scores = {key: Scores.model_validate(report.values[key], from_attributes=True) for key in KEYS}
    return Result(settings=settings, is_proven=report.proven, seconds=seconds, scores=scores)


def read_result(path: Path, settings: Settings) -> Result | None:
    """The stored result; None if missing, damaged, or made with other settings."""
    try:
        result = Result.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    return result if result.settings == settings else None


def write_result(path: Path, result: Result) -> None:
    """Store a result atomically."""
    home.create_private_directory(path.parent)
    home.write_text(path, json.dumps(result.model_dump(mode="json"), indent=1) + "\n")


def digest_text(text: str) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


@dataclass(frozen=True)
class Row:
    """A preset's results and verdict."""

    preset: str
    results: Sequence[Result]
    """One per person."""
    figures: dict[str, Figure]
    """One for each of `KEYS`, over all people."""
    verdict: Verdict
    reason: str

    @property
    def seconds(self) -> float | None:
        """Median over people; None if nothing was trained."""
        known = [result.seconds for result in self.results if result.seconds is not None]
        return statistics.median(known) if known else None

    @property
    def passes(self) -> int:
        """Number of people whose model passed the gate."""
        return sum(result.is_proven for result in self.results)

    def as_dict(self) -> dict[str, Any]:
        """As JSON-serialisable values."""
        return {
            "preset": self.preset,
            "persons": len(self.results),
            "verdict": self.verdict,
            "reason": self.reason,
            "gate_passes": self.passes,
            "seconds": self.seconds,
            "figures": {
                key: figure.as_reported().model_dump() for key, figure in self.figures.items()
            },
            "by_person": [_describe(result) for result in self.results],
        }


def summarise(preset: str, results: Sequence[Result]) -> Row:
    """Summarise a preset's results over all people.

    Args:
        preset: As given.
        results: One per person.
    """
    figures = {key: pool(key, results) for key in KEYS}
    if len(results) < MIN_PEOPLE:
        return Row(
            preset, results, figures, "no difference", "one person says nothing about others"
        )
    return Row(preset, results, figures, *decide(figures))


def pool(key: str, results: Sequence[Result]) -> Figure:
    """One figure over all people; its bootstrap interval draws people, then their blocks.

    Everybody has the same weight: from each person, evenly spread, as many pairs are taken as the
    person with the fewest has.

    Args:
        key: One of `KEYS`.
        results: One per person.
    """
    tables = [_list_pairs(key, result) for result in results]
    fewest = min(len(table) for table in tables)
    pairs = [pair for table in tables for pair in spread(table, fewest)]
    scores = [
        numpy.array([pair[column] for pair in pairs], dtype=numpy.float64) for column in (1, 2)
    ]
    return compare(key, scores, [pair[0] for pair in pairs])


def decide(figures: dict[str, Figure]) -> tuple[Verdict, str]:
    """The verdict on a preset, and the reason.

    A preset is better if the whole interval of the distance to the true swap or of the judge's
    likeness shows a gain, the other one shows no loss, and the whole intervals of other people's
    swaps stay within the gate's margins. It is worse if any of these intervals lies entirely on the
    wrong side.
    """
    if any(figure.change.low is None for figure in figures.values()):
        return "no difference", "too few pairs for an interval"
    ends = {key: orient_change(figure) for key, figure in figures.items()}
    limits: dict[str, tuple[str, Margin]] = UNHARMED_OTHERS
    margins = {key: margin.of(figures[key]) for key, (_, margin) in limits.items()}
    lost = [name for key, name in OUTCOMES.items() if ends[key][0] > 0]
    lost += [name for key, (name, _) in limits.items() if ends[key][0] > margins[key]]
    if lost:
        return "worse", ", ".join(lost)
    won = [name for key, name in OUTCOMES.items() if ends[key][1] < 0]
    if not won:
        return "no difference", "no gain shown"
    at_risk = [name for key, (name, _) in limits.items() if ends[key][1] > margins[key]]
    if at_risk:
        return "no difference", f"gains ({', '.join(won)}), but possibly {', '.join(at_risk)}"
    return "better", ", ".join(won)


def _list_pairs(key: str, result: Result) -> list[tuple[Block, float, float]]:
    scores = result.scores[key]
    columns = (scores.clips, scores.parts, scores.before, scores.after)
    return [
        (Block(str(result.settings.person), f"{clip}/{part}"), before, after)
        for clip, part, before, after in zip(*columns, strict=True)
        if before is not None and after is not None
    ]


def _describe(result: Result) -> dict[str, Any]:
    parts = {"before", "after", "change", "pairs", "blocks"}
    alone = {key: pool(key, [result]).as_reported() for key in KEYS}
    return {
        "person": result.settings.person,
        "proven": result.is_proven,
        "seconds": result.seconds,
        "figures": {key: figure.model_dump(include=parts) for key, figure in alone.items()},
    }
