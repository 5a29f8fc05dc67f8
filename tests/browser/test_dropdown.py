"""The dropdown of persons in the default tab, and the preview that follows it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy
import pytest
from numpy.typing import NDArray

from facefusion_finetune.host.models import models_directory
from tests.support import host as support
from tests.support.page import OpenPage, Page
from tests.support.pictures import FACE
from tests.support.ui import CreateUi, FaceFusionUi

pytestmark = [pytest.mark.browser, pytest.mark.host]

Picture = NDArray[numpy.uint8]

PROCESSOR = "finetuned_swapper"
MODEL = "finetuned_swapper_model_dropdown"
PIXEL_BOOST = "finetuned_swapper_pixel_boost_dropdown"
WEIGHT = "finetuned_swapper_weight_slider"
PREVIEW = "PREVIEW"


@pytest.fixture(scope="module")
def ui(ui_host: Path, create_ui: CreateUi, target_image: Path) -> FaceFusionUi:
    """FaceFusion with a target, `jane`, who is proven, and `joan`, who is not."""
    proven = {"verdict": "better", "proven": True, "judge": None}
    support.register_model(ui_host, "jane", 1, judge_result=proven)
    support.register_model(ui_host, "joan", 1, turned=True)
    ui = create_ui("--target-path", target_image)
    ui.start()
    return ui


@pytest.fixture
def page(ui: FaceFusionUi, open_page: OpenPage) -> Iterator[Page]:
    """A page with the processor ticked, which is whole afterwards."""
    page = open_page(ui)
    page.tick(PROCESSOR)
    page.wait_until(lambda: page.is_shown(MODEL), what="the dropdown is shown")
    page.wait_idle()
    yield page
    assert page.read_errors() == []


@pytest.fixture
def ruth(ui_host: Path) -> Iterator[Callable[[], Path]]:
    """Registers a third person while FaceFusion runs."""

    def register() -> Path:
        return support.register_model(ui_host, "ruth", 1, turned=True)

    yield register
    remove_model(ui_host, "ruth")


def remove_model(host: Path, person: str) -> None:
    for path in models_directory(host).glob(f"{person}-1.*"):
        path.unlink()


def choose(page: Page, label: str) -> Picture:
    """Choose a person; the preview that follows."""
    before = page.wait_for_picture(PREVIEW)
    if page.read_chosen(MODEL) == label:
        return before
    page.choose(MODEL, label)
    return page.wait_for_picture(PREVIEW, unlike=before)


def measure_change(one: Picture, other: Picture) -> tuple[float, float]:
    """Mean absolute difference of 8-bit values, in the face and outside of it."""
    difference = numpy.abs(one.astype(numpy.float32) - other).mean(axis=2)
    inside = float(difference[FACE].mean())
    difference[FACE] = 0
    return inside, float(difference.mean())


def test_preview_follows_person_and_processor(ui: FaceFusionUi, page: Page) -> None:
    assert page.read_options(MODEL) == ["jane", "joan (unproven)"]
    jane = choose(page, "jane")
    joan = choose(page, "joan (unproven)")
    inside, outside = measure_change(jane, joan)
    assert inside > 2
    assert outside < inside / 10
    assert numpy.array_equal(choose(page, "jane"), jane)

    page.tick(PROCESSOR, on=False)
    page.wait_until(lambda: not page.is_shown(MODEL), what="the dropdown is hidden")
    assert not page.is_shown(PIXEL_BOOST)
    assert not page.is_shown(WEIGHT)
    untouched = page.wait_for_picture(PREVIEW, unlike=jane)
    assert measure_change(untouched, joan)[0] > 2
    assert page.read_toasts() == []


def test_preview_follows_pixel_boost_and_weight(page: Page) -> None:
    before = page.wait_for_picture(PREVIEW)
    page.choose(PIXEL_BOOST, "256x256")
    boosted = page.wait_for_picture(PREVIEW, unlike=before)
    page.set_slider(WEIGHT, 1)
    page.wait_for_picture(PREVIEW, unlike=boosted)
    page.load()
    page.tick(PROCESSOR)
    page.wait_until(lambda: page.is_shown(MODEL), what="the dropdown is shown")
    assert page.read_chosen(PIXEL_BOOST) == "256x256"
    assert page.read_value(WEIGHT) == "1"
    page.set_slider(WEIGHT, 0.5)
    page.choose(PIXEL_BOOST, "128x128")


def test_new_model_appears_and_a_removed_one_goes(
    ui: FaceFusionUi, ui_host: Path, page: Page, ruth: Callable[[], Path]
) -> None:
    ruth()
    page.wait_until(
        lambda: "ruth (unproven)" in page.read_options(MODEL), what="the new person is offered"
    )
    of_ruth = choose(page, "ruth (unproven)")
    remove_model(ui_host, "ruth")
    page.wait_until(lambda: page.read_chosen(MODEL) == "", what="nobody is chosen any more")
    page.wait_until(lambda: any("ruth" in toast for toast in page.read_toasts()), what="words")
    assert page.read_options(MODEL) == ["jane", "joan (unproven)"]
    page.wait_for_picture(PREVIEW, unlike=of_ruth)
    choose(page, "jane")
    assert "Traceback" not in ui.read_log()


def test_two_pages_share_the_choice(ui: FaceFusionUi, page: Page, open_page: OpenPage) -> None:
    page.choose(MODEL, "joan (unproven)")
    page.wait_idle()
    other = open_page(ui)
    other.tick(PROCESSOR)
    other.wait_until(
        lambda: other.read_chosen(MODEL) == "joan (unproven)", what="a new page shows the choice"
    )
    page.choose(MODEL, "jane")
    other.wait_until(
        lambda: other.read_chosen(MODEL) == "jane", what="the other page follows the choice"
    )
