"""What the page says a preset brought is what the README's table says."""

from pathlib import Path

import pytest

from facefusion_finetune.presets.measured import Change, load_gain
from facefusion_finetune.presets.preset import list_presets

README = Path(__file__).parents[2] / "README.md"
ROWS = {
    cells[1].strip(): [cell.strip() for cell in cells[2:]]
    for line in README.read_text("utf-8").splitlines()
    if len(cells := line.split("|")) == 11
}


def _describe(change: Change, digits: int) -> str:
    return (
        f"{change.before:.{digits}f} to {change.after:.{digits}f}, {change.change:+.{digits}f}"
        f" [{change.low:+.{digits}f}, {change.high:+.{digits}f}]"
    )


@pytest.mark.parametrize("preset", list_presets())
def test_gains_are_those_of_the_table(preset: str) -> None:
    gain = load_gain(preset)
    assert (gain is not None) == (preset in ROWS)
    if gain is None:
        return
    people, distance, judge, others, _, _, passed, *_ = ROWS[preset]
    assert str(gain.people) == people
    assert _describe(gain.distance, 2) == distance
    assert _describe(gain.judge, 3) == judge
    assert others.startswith(f"{gain.others:+.2f} ")
    assert passed == f"{gain.passed} of {gain.people}"


def test_nothing_is_known_of_a_preset_of_ones_own() -> None:
    assert load_gain("mine.toml") is None
    assert len(ROWS) >= 3, "the table was found"
