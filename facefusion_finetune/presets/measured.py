"""The presets' measured gain where the true swap is known: the README's table as data."""

import json
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Change:
    """A metric for the base and for the tuned model."""

    before: float
    after: float
    change: float
    low: float
    high: float
    """Bounds of the change's 95 % interval, over people and their frames."""


@dataclass(frozen=True)
class Gain:
    """The gain of one preset for synthetic people that no network had seen."""

    people: int
    distance: Change
    """L1 distance to the true swap inside the face, in grey levels."""
    judge: Change
    """Likeness according to the independent judge, a cosine."""
    others: float
    """How much other people's swaps changed, in grey levels."""
    passed: int
    """Number of models that pass the activation gate."""


def load_gain(preset: str) -> Gain | None:
    """A preset's measured gain; None if it was not measured, as for the user's own presets."""
    text = resources.files(__package__).joinpath("measured.json").read_text("utf-8")
    values = json.loads(text)
    measured = values["presets"].get(preset)
    if measured is None:
        return None
    return Gain(
        people=values["people"],
        distance=Change(*measured["distance"]),
        judge=Change(*measured["judge"]),
        others=measured["others"],
        passed=measured["passed"],
    )
