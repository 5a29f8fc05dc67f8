"""From an empty home to a swapped picture, all in the browser, as a user goes."""

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy
import pytest

from facefusion_finetune.host.link import link
from tests.support import finetune_steps as steps
from tests.support import host as support
from tests.support.page import OpenPage, Page
from tests.support.ui import FaceFusionUi

pytestmark = [pytest.mark.browser, pytest.mark.host, pytest.mark.slow]

SCREENSHOTS_VARIABLE = "FACEFUSION_FINETUNE_SCREENSHOTS"
"""A folder that keeps a picture of each step."""
MODEL = "finetuned_swapper_model_dropdown"
START_OF_HOST = """
[...document.querySelectorAll("button")].find(
    (button) => isShown(button) && button.innerText.trim() === "START"
).click();
"""
TOASTS = "return document.querySelectorAll('.toast-body').length;"
COUNT_THUMBNAILS = """
return [...element.querySelectorAll("img")].filter((image) => image.naturalWidth > 0).length;
"""


@pytest.fixture(
    params=[None, *support.find_other_checkouts()],
    ids=lambda path: path.name if path else "main",
)
def ui(
    request: pytest.FixtureRequest, furnished_host: Path, tmp_path: Path
) -> Iterator[FaceFusionUi]:
    """FaceFusion with the tab, not started: the main checkout, then those of other versions."""
    host = tmp_path / "facefusion-copy"
    support.furnish_like(request.param or furnished_host, furnished_host, host)
    link(host)
    ui = FaceFusionUi(host, tmp_path / "instance", "--ui-layouts", "finetune", "default")
    yield ui
    ui.close()


class Camera:
    """Takes a numbered picture of each step."""

    def __init__(self, page: Page, folder: Path) -> None:
        self._page = page
        self._folder = folder
        self._number = 0

    def shoot(self, name: str) -> None:
        self._page.run("document.querySelectorAll('.toast-close').forEach((x) => x.click())")
        self._page.wait_until(lambda: not self._page.run(TOASTS), what="no notice is in the way")
        self._number += 1
        self._page.screenshot(self._folder / f"{self._number:02}-{name}.png")


def test_from_footage_to_a_swapped_picture(
    ui: FaceFusionUi, open_page: OpenPage, target_image: Path, tmp_path: Path
) -> None:
    configured = os.environ.get(SCREENSHOTS_VARIABLE)
    folder = Path(configured) if configured else tmp_path / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    ui.start()
    page = open_page(ui)
    camera = Camera(page, folder)

    # who
    assert "No persons are on record" in page.wait_for_text("finetune_person_html", "No persons")
    camera.shoot("empty")
    steps.add_person(page, "asl_b")
    page.wait_for_text("finetune_person_html", steps.NOTE)
    camera.shoot("person")

    # footage
    clips = steps.list_clips("asl_b")
    assert len(clips) > 1
    said = steps.extract(page, clips)
    kept = int(said.split()[0])
    assert kept > 40, said
    page.wait_until(
        lambda: page.run(COUNT_THUMBNAILS, "finetune_crops_html"), what="crops are shown"
    )
    page.wait_until(
        lambda: page.read_picture("finetune_coverage_html") is not None, what="coverage is shown"
    )
    page.wait_for_text("finetune_person_html", f"{kept} usable crops from {len(clips)} shots")
    assert not list((ui.home / "people" / "asl_b" / "jobs").glob("*/footage")), "uploads are gone"
    camera.shoot("crops")

    # training
    page.wait_for_text("finetune_base_html", "no commercial use")
    steps.start_training(page)
    page.wait_until(
        lambda: page.is_shown("finetune_loss_plot"), steps.PATIENCE, "the loss is drawn"
    )
    page.wait_until(
        lambda: page.read_picture("finetune_grid_html") is not None,
        steps.PATIENCE,
        "held-out pictures are shown",
    )
    assert page.is_shown("finetune_score_plot")
    camera.shoot("training")
    said = steps.wait_for_end(page)
    assert page.read_errors() == []

    # proof: without an independent judge nothing is proven
    assert said
    assert said.splitlines()[0] in page.wait_for_text("finetune_proof_html", said.splitlines()[0])
    camera.shoot("trained")
    page.click("finetune_proof_activate_button")
    page.wait_until(
        lambda: any("asl_b@1" in toast for toast in page.read_toasts()),
        what="an unproven model is refused in words",
    )
    assert not list(ui.host.glob(".assets/models/finetuned/asl_b-*.onnx"))
    page.set_checkbox("finetune_proof_force_checkbox")
    page.click("finetune_proof_activate_button")
    page.wait_until(
        lambda: list(ui.host.glob(".assets/models/finetuned/asl_b-1.onnx")), what="it is active"
    )
    page.wait_for_text("finetune_models_html", "active")
    camera.shoot("active")

    # use
    page.select_tab("default")
    page.upload("TARGET", target_image)
    before = page.wait_for_picture("PREVIEW")
    page.tick("face_swapper", on=False)
    page.wait_until(lambda: not page.is_shown("FACE SWAPPER MODEL"), what="FaceFusion has answered")
    page.tick("finetuned_swapper")
    page.wait_until(lambda: page.is_shown(MODEL), what="the persons are shown")
    page.choose(MODEL, "asl_b (unproven)")
    preview = page.wait_for_picture("PREVIEW", unlike=before)
    page.wait_idle()
    camera.shoot("preview")
    output = tmp_path / "output"
    output.mkdir()
    page.wait_idle()
    page.type_text("OUTPUT PATH", str(output))
    page.wait_idle()
    page.run(START_OF_HOST)
    page.wait_until(lambda: list(output.glob("*.png")), steps.PATIENCE, "the output is written")
    page.wait_idle()
    camera.shoot("output")

    written = cv2.imread(str(next(output.glob("*.png"))))
    target = cv2.imread(str(target_image))
    changed = numpy.abs(written.astype(int) - target).max(axis=2) > 8
    assert 0.002 < changed.mean() < 0.1, "the face, and not the whole picture"
    # the preview shows what is written
    shown = cv2.cvtColor(preview[..., :3], cv2.COLOR_RGB2BGR).astype(int)
    # Gradio shows it compressed
    distance = numpy.abs(shown - written)[changed].mean()
    assert distance < numpy.abs(shown - target)[changed].mean() / 3
    assert page.read_errors() == []
    assert "Traceback" not in ui.read_log()
