"""The plug-in in each layout of the host: the page is whole, and so is the log."""

from collections.abc import Mapping
from pathlib import Path

import numpy
import pytest

from tests.support import host as support
from tests.support.page import OpenPage
from tests.support.ui import CreateUi, FaceFusionUi

pytestmark = [pytest.mark.browser, pytest.mark.host]

LAYOUTS = ("default", "finetune default", "benchmark", "webcam", "jobs")
WITH_PROCESSORS = LAYOUTS[:4]
OPTIONS = (
    "finetuned_swapper_model_dropdown",
    "finetuned_swapper_pixel_boost_dropdown",
    "finetuned_swapper_weight_slider",
)


@pytest.fixture(scope="module")
def uis(ui_host: Path, create_ui: CreateUi) -> Mapping[str, FaceFusionUi]:
    """A FaceFusion with each layout and the model `jane`, all started side by side."""
    support.register_model(ui_host, "jane", 1)
    uis = {layouts: create_ui("--ui-layouts", *layouts.split()) for layouts in LAYOUTS}
    for ui in uis.values():
        ui.launch()
    for ui in uis.values():
        ui.wait()
    return uis


@pytest.mark.parametrize("layouts", LAYOUTS)
def test_page_opens(uis: Mapping[str, FaceFusionUi], open_page: OpenPage, layouts: str) -> None:
    page = open_page(uis[layouts])
    page.wait_idle()
    tabs = layouts.split()
    for tab in tabs if len(tabs) > 1 else ():
        page.select_tab(tab)
        page.wait_idle()
    assert page.read_errors() == []
    assert page.read_toasts() == []
    assert uis[layouts].read_complaints() == []


@pytest.mark.parametrize("layouts", WITH_PROCESSORS)
def test_options_follow_the_processor(
    uis: Mapping[str, FaceFusionUi], open_page: OpenPage, layouts: str
) -> None:
    page = open_page(uis[layouts])
    if "default" in layouts.split()[1:]:
        page.select_tab("default")
    page.wait_until(lambda: page.is_shown("PROCESSORS"))
    assert not any(map(page.is_shown, OPTIONS))
    page.tick("finetuned_swapper")
    page.wait_until(lambda: all(map(page.is_shown, OPTIONS)), what="the options are shown")
    page.tick("finetuned_swapper", on=False)
    page.wait_until(lambda: not any(map(page.is_shown, OPTIONS)), what="the options are hidden")
    assert page.read_errors() == []
    assert uis[layouts].read_complaints() == []


def test_preview_follows_target_and_processors(
    uis: Mapping[str, FaceFusionUi], open_page: OpenPage, target_image: Path
) -> None:
    page = open_page(uis["default"])
    assert page.read_picture("PREVIEW") is None
    page.upload("TARGET", target_image)
    before = page.wait_for_picture("PREVIEW")
    assert before.shape == (480, 640, 3)

    page.tick("face_debugger")
    page.wait_for_picture("PREVIEW", unlike=before)
    page.tick("face_debugger", on=False)
    page.wait_until(
        lambda: numpy.array_equal(page.read_picture("PREVIEW"), before),
        what="the preview is as it was",
    )
    assert page.read_errors() == []
    assert page.read_toasts() == []
    assert uis["default"].read_complaints() == []
