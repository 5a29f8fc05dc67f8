"""What goes wrong, or happens twice, while somebody works in the finetune tab."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy
import pytest

from facefusion_finetune import home
from tests.support import finetune_steps as steps
from tests.support.page import OpenPage, Page
from tests.support.trouble import STEPS, Trouble
from tests.support.ui import FaceFusionUi

pytestmark = [pytest.mark.browser, pytest.mark.host, pytest.mark.slow]


@pytest.fixture
def full(trouble: Trouble) -> Iterator[Path]:
    """There is no memory left on the graphics card until this file is deleted."""
    with trouble.fill_memory() as path:
        yield path


@pytest.fixture
def slow(trouble: Trouble) -> Iterator[Path]:
    """Trainings are slow until this file is deleted."""
    with trouble.slow_down() as path:
        yield path


@pytest.fixture(scope="module")
def ui(tab_ui: FaceFusionUi) -> FaceFusionUi:
    return tab_ui


@pytest.fixture(scope="module")
def trained_on(ui: FaceFusionUi, browser: object) -> str:
    """A person with crops."""
    page = browser.open(ui)
    steps.add_person(page, "asl_b")
    steps.extract(page, steps.list_clips("asl_b"))
    page.close()
    return "asl_b"


@pytest.fixture
def page(ui: FaceFusionUi, open_page: OpenPage) -> Page:
    """The page, just opened."""
    return open_page(ui)


def test_consent_is_missing(page: Page, ui: FaceFusionUi) -> None:
    page.wait_until(lambda: page.is_enabled("finetune_add_person_button"), what="it is drawn")
    if not page.is_shown("finetune_name_textbox"):
        steps.open_accordion(page, "finetune_consent_accordion")
    page.type_text("finetune_name_textbox", "nobody")
    page.click("finetune_add_person_button")
    page.wait_until(
        lambda: any("exactly one proof of consent" in toast for toast in page.read_toasts()),
        what="it is refused in words",
    )
    assert not (ui.home / "people" / "nobody").exists()
    # what was typed is still there
    assert page.read_value("finetune_name_textbox") == "nobody"


def test_extraction_finds_nobody(page: Page, ui: FaceFusionUi, tmp_path: Path) -> None:
    picture = tmp_path / "wall.png"
    cv2.imwrite(str(picture), numpy.full((480, 640, 3), 200, dtype=numpy.uint8))
    steps.add_person(page, "hermit")
    said = steps.extract(page, [picture])
    assert "Failed" in said
    assert "no face was found" in said
    assert not (ui.home / "people" / "hermit" / "crops.jsonl").exists()


def test_reload_stop_and_resume_with_two_pages(
    page: Page, ui: FaceFusionUi, trained_on: str, open_page: OpenPage, slow: Path
) -> None:
    page.choose("finetune_person_dropdown", trained_on)
    steps.start_training(page)
    first = steps.find_last_job(ui)

    page.load()
    steps.wait_for_steps(page)
    assert page.read_chosen("finetune_person_dropdown") == trained_on
    other = open_page(ui)
    steps.wait_for_steps(other)
    assert steps.find_last_job(ui).id == first.id
    assert first.state.is_active

    # one page stops what the other one started
    other.click("finetune_stop_button")
    page.wait_for_text(steps.TRAINING, "Stopped", steps.PATIENCE)
    with home.use_home(ui.home):
        assert first.state.status == "stopped"
    run = ui.home / "people" / trained_on / "runs" / "1"
    done = len((run / "metrics.jsonl").read_text().splitlines())
    assert (run / "checkpoints" / "last.safetensors").is_file()

    page.click("finetune_resume_button")
    steps.wait_for_steps(page)
    steps.wait_for_steps(other)
    ui.stop()
    assert ui.find_background(), "the training goes on without FaceFusion"
    ui.start()
    page.load()
    steps.wait_for_steps(page)
    slow.unlink()
    assert "Failed" not in steps.wait_for_end(page)
    assert (run / "model.onnx").is_file()
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == STEPS > done > 0


def test_worker_is_killed(page: Page, ui: FaceFusionUi, trained_on: str, slow: Path) -> None:
    page.choose("finetune_person_dropdown", trained_on)
    steps.start_training(page)
    job = steps.find_last_job(ui)
    assert job.state.pid is not None
    os.kill(job.state.pid, signal.SIGKILL)
    said = steps.wait_for_end(page)
    assert "Failed" in said
    assert "killed" in said
    assert "Log" in said
    assert page.is_enabled("finetune_resume_button")


def test_memory_of_the_graphics_card_does_not_suffice(
    page: Page, ui: FaceFusionUi, trained_on: str, full: Path
) -> None:
    page.choose("finetune_person_dropdown", trained_on)
    page.click("finetune_resume_button")
    page.wait_for_text(steps.TRAINING, "not even one sample fits", steps.PATIENCE)
    assert "Failed" in page.read_text(steps.TRAINING)


def test_chosen_person_is_deleted(page: Page, ui: FaceFusionUi) -> None:
    steps.add_person(page, "leaver")
    steps.open_accordion(page, "finetune_delete_accordion")
    page.click("finetune_delete_person_button")
    page.wait_until(
        lambda: any("the name was not typed" in toast for toast in page.read_toasts()),
        what="it is refused in words",
    )
    assert (ui.home / "people" / "leaver").is_dir()
    page.type_text("finetune_delete_person_textbox", "leaver")
    page.click("finetune_delete_person_button")
    page.wait_until(
        lambda: page.read_chosen("finetune_person_dropdown") not in ("", "leaver"),
        what="somebody else is chosen",
    )
    assert not (ui.home / "people" / "leaver").exists()
    assert "leaver" not in page.read_options("finetune_person_dropdown")
