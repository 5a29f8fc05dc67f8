"""A gallery of 500 crops can be used as one of five."""

import pytest

from benchmarks.gallery import COUNT, GALLERY, MIN_VISIBLE, add_people, time_paint
from facefusion_finetune.home import use_home
from tests.support.page import OpenPage
from tests.support.ui import CreateUi, FaceFusionUi

pytestmark = [pytest.mark.browser, pytest.mark.host]

CROPS = 500
REJECTED = 50
TICK = 'element.querySelectorAll("input[type=checkbox]")[value].click();'


@pytest.fixture(scope="module")
def ui(create_ui: CreateUi) -> FaceFusionUi:
    """FaceFusion with its tab and a person of many crops."""
    ui = create_ui("--ui-layouts", "finetune", "default")
    ui.launch()
    with use_home(ui.home):
        add_people(CROPS)
    ui.wait()
    return ui


def test_many_crops_are_shown_and_one_is_rejected(ui: FaceFusionUi, open_page: OpenPage) -> None:
    page = open_page(ui)
    _, visible = time_paint(page)
    assert visible >= MIN_VISIBLE
    assert page.run(COUNT, GALLERY) == CROPS

    page.run(TICK, GALLERY, 3)
    page.click("finetune_reject_button")
    filters = page.wait_for_text("finetune_crops_radio", f"rejected ({REJECTED + 1})")
    assert f"kept ({CROPS - REJECTED - 1})" in filters
    page.tick(f"rejected ({REJECTED + 1})", "finetune_crops_radio")
    page.wait_until(
        lambda: page.run(COUNT, GALLERY) == REJECTED + 1, what="only rejected crops are shown"
    )
    assert page.read_errors() == []
    assert len(page.read_toasts()) == 1
