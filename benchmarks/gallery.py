"""How long a person's crops take to appear in the tab, in Chromium.

    python -m benchmarks.gallery [--crops 500] [--rounds 5]

Alternately selects a person with many crops and one with none; measures the time from the selection
until every visible thumbnail is painted.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from facefusion_finetune.home import use_home
from facefusion_finetune.host.link import link
from facefusion_finetune.people.profile import add_person, create_consent
from tests.support import host as support
from tests.support.browser import explain_missing_browser
from tests.support.crops import add_person_with_crops
from tests.support.page import Page
from tests.support.ui import FaceFusionUi

TARGET = 2.0
"""Seconds until the first paint."""
MIN_VISIBLE = 8
"""Thumbnails; with fewer, the benchmark would not measure a full gallery."""
MANY, NONE = "many", "none"
PERSON, ABOUT_PERSON = "finetune_person_dropdown", "finetune_person_html"
GALLERY = "finetune_crops_html"

WATCH = """
const isVisible = (image, frame) => {
    const box = image.getBoundingClientRect();
    return box.bottom > frame.top && box.top < frame.bottom && box.top < innerHeight;
};
window.painted = null;
const watch = (event) => {
    if (!event.target.closest("[role=option]")) return;
    document.removeEventListener("mousedown", watch, true);
    const started = performance.now();
    const look = () => {
        const gallery = find(name);
        const frame = gallery.getBoundingClientRect();
        const all = [...gallery.querySelectorAll("img")];
        const images = all.filter((image) => isVisible(image, frame));
        const complete = images.every((image) => image.complete && image.naturalWidth);
        if (!images.length || !complete) { requestAnimationFrame(look); return; }
        // what is drawn now is on the screen when the next frame is requested
        requestAnimationFrame(() => {
            window.painted = [(performance.now() - started) / 1000, images.length];
        });
    };
    look();
};
document.addEventListener("mousedown", watch, true);
element.scrollIntoView({block: "end"});
"""
"""Times the next selection in a dropdown; the gallery is empty before it."""
COUNT = 'return element.querySelectorAll("img").length;'


def add_people(crops: int) -> None:
    """Add both persons to the current home; the page starts with the latest, who has no crops.

    Args:
        crops: Number of crops of the other one.
    """
    add_person_with_crops(MANY, crops)
    add_person(NONE, create_consent(None, "A stand-in for benchmarks."))


def create_ui(checkout: Path, folder: Path, crops: int) -> FaceFusionUi:
    """A furnished, linked FaceFusion with its tab and both persons, not yet started.

    Args:
        checkout: A FaceFusion folder; only read.
        folder: Where everything is written.
        crops: Number of crops of the first person.
    """
    host = support.furnish(checkout, folder / "facefusion-copy")
    ui = FaceFusionUi(host, folder / "ui", "--ui-layouts", "finetune", "default")
    with use_home(ui.home):
        link(host)
        add_people(crops)
    return ui


def time_paint(page: Page) -> tuple[float, int]:
    """Seconds until the visible thumbnails are painted, and their number."""
    page.choose(PERSON, NONE)
    page.wait_for_text(ABOUT_PERSON, "0 usable crops")
    page.wait_until(lambda: not page.run(COUNT, GALLERY), what="the gallery is empty")
    page.run(WATCH, GALLERY)
    page.choose(PERSON, MANY)
    seconds, count = page.wait_until(
        lambda: page.run("return window.painted;"), 120, "the visible thumbnails are painted"
    )
    return float(seconds), int(count)


def main() -> None:
    """Print the figures; exit code 1 if the target is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--crops", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    reason = support.explain_missing() or explain_missing_browser()
    checkout = support.find_checkout()
    if reason or checkout is None:
        sys.exit(f"FaceFusion, the bench and a browser are needed: {reason}")
    from tests.support.chromium import Browser

    with (
        tempfile.TemporaryDirectory() as folder,
        create_ui(checkout, Path(folder), arguments.crops) as ui,
        Browser(Path(folder)) as browser,
    ):
        page = browser.open(ui)
        paints = [time_paint(page) for _ in range(arguments.rounds)]
        total = page.run(COUNT, GALLERY)
    seconds = statistics.median(seconds for seconds, _ in paints)
    visible = min(count for _, count in paints)
    print(
        f"{total} thumbnails, {visible} visible: painted after {seconds:.2f} s, median of"
        f" {arguments.rounds}, slowest {max(paints)[0]:.2f} s (target: below {TARGET:.1f} s)"
    )
    sys.exit(0 if seconds < TARGET and visible >= MIN_VISIBLE else 1)


if __name__ == "__main__":
    main()
