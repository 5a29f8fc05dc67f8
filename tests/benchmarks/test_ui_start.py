"""The benchmark of the UI's start: turns, medians, ratios, and that it times a real start."""

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.ui_start import (
    LINKED,
    WITH_TAB,
    WITHOUT,
    create_uis,
    describe,
    is_met,
    measure,
    time_start,
)
from facefusion_finetune.host.link import is_linked
from facefusion_finetune.host.locate import read_host
from tests.support.ui import is_served


def test_starts_take_turns_and_the_first_does_not_count() -> None:
    order: list[str] = []

    def take_turns(name: str, times: list[float]) -> Callable[[], float]:
        def start() -> float:
            order.append(name)
            return times.pop(0)

        return start

    starts = {
        WITHOUT: take_turns(WITHOUT, [99.0, 2.0, 1.0, 8.0]),
        LINKED: take_turns(LINKED, [0.0, 3.0, 2.5, 2.0]),
    }
    assert measure(starts, 3) == {WITHOUT: 2.0, LINKED: 2.5}
    assert order == [WITHOUT, LINKED] * 4


def test_target_counts_for_each() -> None:
    medians = {WITHOUT: 5.0, LINKED: 5.2, WITH_TAB: 5.5}
    assert is_met(medians)
    assert not is_met({**medians, WITH_TAB: 5.51})
    assert not is_met({**medians, LINKED: 6.0})
    assert describe(medians)[2] == f"{WITH_TAB}: 5.50 s, ratio 1.100"


@pytest.mark.host
@pytest.mark.slow
def test_a_start_is_timed_and_ends(furnished_host: Path, tmp_path: Path) -> None:
    uis = create_uis(furnished_host, tmp_path)
    are_linked = [is_linked(read_host(ui.host, str(ui.host))) for ui in uis.values()]
    assert are_linked == [False, True, True]
    ui = uis[WITHOUT]
    assert 0 < time_start(ui) < 120
    assert not is_served(ui.url)
    assert ui.find_background() == []
    assert ui.read_complaints() == []
