"""What the presets brought where the true swap is known: the README's table, for programs."""

import json
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Change:
    """A measure with the base and with the tuned model."""

    before: float
    after: float
    change: float
    low: float
    high: float
    """95 % interval of the change, over people and their frames."""


@dataclass(frozen=True)
class Gain:
    """What one preset brought on drawn people whom no network had seen."""

    people: int
    distance: Change
    """L1 to the true swap, in grey levels inside the face."""
    judge: Change
    """The independent judge's likeness, a cosine."""
    others: float
    """By how many grey levels other people's swaps moved."""
    passed: int
    """Models that may be activated without force."""


def load_gain(preset: str) -> Gain | None:
    """What was measured of a preset; None for one of the user's own, or one not measured."""
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
