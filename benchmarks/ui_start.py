"""How much longer FaceFusion's page takes to be served with the plug-in.

    python -m benchmarks.ui_start [--rounds 7]

Times from the start of the process until the page answers with 200, for copies of one furnished
checkout: without the plug-in, with it linked, and with its tab as well. They alternate, so that a
busy machine slows all equally. Prints the medians and their ratios.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from facefusion_finetune.home import use_home
from facefusion_finetune.host.link import link
from tests.support import host as support
from tests.support.ui import FaceFusionUi

TARGET = 1.10
"""With the plug-in, the page may take this many times as long."""
WITHOUT, LINKED, WITH_TAB = "without", "linked", "linked, with the tab"


def create_uis(furnished: Path, folder: Path) -> dict[str, FaceFusionUi]:
    """The three instances to compare.

    Args:
        furnished: A furnished FaceFusion that is not linked; left unchanged.
        folder: For the linked copy and everything they write.
    """
    linked = support.furnish_like(furnished, furnished, folder / "linked")
    with use_home(folder / "home"):  # keeps the record of the user's own linked host
        link(linked)
    return {
        WITHOUT: FaceFusionUi(furnished, folder / "1"),
        LINKED: FaceFusionUi(linked, folder / "2"),
        WITH_TAB: FaceFusionUi(linked, folder / "3", "--ui-layouts", "finetune", "default"),
    }


def time_start(ui: FaceFusionUi) -> float:
    """Seconds from the start until the page is served; then stops it."""
    started = time.perf_counter()
    try:
        ui.start()
        return time.perf_counter() - started
    finally:
        ui.close()


def measure(starts: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Median seconds by name, measured alternately.

    Args:
        starts: By name, a function that starts once and returns the seconds.
        rounds: How many times each is started, after a first start that does not count.
    """
    for start in starts.values():
        start()  # the first start compiles
    times = [[start() for start in starts.values()] for _ in range(rounds)]
    medians = map(statistics.median, zip(*times, strict=True))
    return dict(zip(starts, medians, strict=True))


def describe(medians: Mapping[str, float]) -> list[str]:
    """One line each, with the ratio to the one without the plug-in."""
    return [
        f"{name}: {seconds:.2f} s, ratio {seconds / medians[WITHOUT]:.3f}"
        for name, seconds in medians.items()
    ]


def is_met(medians: Mapping[str, float]) -> bool:
    """Whether none takes longer than the target allows."""
    return max(medians.values()) <= TARGET * medians[WITHOUT]


def main() -> None:
    """Print the figures; exit code 1 if the target is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    reason, checkout = support.explain_missing(), support.find_checkout()
    if reason or checkout is None:
        sys.exit(f"FaceFusion and the bench are needed: {reason}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        uis = create_uis(support.furnish(checkout, folder / "without"), folder)
        medians = measure({name: partial(time_start, ui) for name, ui in uis.items()}, rounds)
    print("\n".join(describe(medians)))
    print(f"medians of {rounds} alternating rounds; target: ratio at most {TARGET:.2f}")
    sys.exit(0 if is_met(medians) else 1)


if __name__ == "__main__":
    main()
