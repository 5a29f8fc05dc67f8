"""What tests of the finetune tab do again and again, in words of the page."""

from pathlib import Path

from facefusion_finetune import home
from facefusion_finetune.jobs import queue
from facefusion_finetune.jobs.record import Job
from tests.support import host as support
from tests.support.page import Page
from tests.support.ui import FaceFusionUi
from tests.support.waiting import HANGS

NOTE = "Bench footage under CC BY 4.0."
TRAINING = "finetune_training_html"
PATIENCE = 2 * HANGS
"""Seconds that a job may take on a machine that does other work as well."""


def add_person(page: Page, name: str, note: str = NOTE) -> None:
    """Record somebody by the form."""
    if not page.is_shown("finetune_name_textbox"):
        open_accordion(page, "finetune_consent_accordion")
    page.type_text("finetune_name_textbox", name)
    page.type_text("finetune_consent_note_textbox", note)
    page.click("finetune_add_person_button")
    page.wait_until(
        lambda: page.read_chosen("finetune_person_dropdown") == name, what=f"{name} is chosen"
    )


def extract(page: Page, footage: list[Path]) -> str:
    """Extract footage and wait for what the page says of it."""
    page.upload("finetune_footage_files", footage)
    page.click("finetune_extract_button")
    page.wait_until(
        lambda: any(
            words in page.read_text("finetune_extract_html") for words in ("in total", "Failed")
        ),
        PATIENCE,
        "the extraction has ended",
    )
    return page.read_text("finetune_extract_html")


def start_training(page: Page) -> None:
    """Start a short training and wait until it makes steps."""
    page.choose("finetune_preset_dropdown", "fast")
    page.click("finetune_start_button")
    wait_for_steps(page)


def wait_for_steps(page: Page) -> None:
    """Wait until the page shows steps of a training."""

    def makes_steps() -> bool:
        text = page.read_text(TRAINING)
        assert "Failed" not in text, text
        return text.startswith("Training, ")

    page.wait_until(makes_steps, PATIENCE, "it makes steps")


def wait_for_end(page: Page) -> str:
    """Wait until a training has ended in whichever way, for what the page says of it."""
    page.wait_until(lambda: page.is_enabled("finetune_start_button"), PATIENCE, "it has ended")
    return page.read_text(TRAINING)


def open_accordion(page: Page, name: str) -> None:
    """Unfold a part of the page."""
    page.run("element.querySelector('button').click()", name)


def find_last_job(ui: FaceFusionUi) -> Job:
    """The newest job in the home of a FaceFusion."""
    with home.use_home(ui.home):
        return queue.list_jobs()[-1]


def list_clips(person: str) -> list[Path]:
    """All clips of one person of the bench."""
    bench = support.find_bench()
    assert bench is not None
    folder = bench / "footage" / person
    return sorted(path for path in folder.iterdir() if path.suffix in (".mkv", ".mp4"))
