"""The last two sections of the tab: the report, the list of models, exports, comparison."""

import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy
import pytest

from facefusion_finetune import home
from facefusion_finetune.evaluation.report import encode_report
from facefusion_finetune.host.models import find_active, models_directory
from facefusion_finetune.people.profile import Person, add_person, create_consent
from facefusion_finetune.privacy.removal import remove_person
from facefusion_finetune.runs.run import Run
from facefusion_finetune.swappers.files.modelfile import open_model
from facefusion_finetune.swappers.known import get_known_swapper
from tests.support.page import OpenPage, Page
from tests.support.reports import build_report
from tests.support.runs import create_finished_run
from tests.support.ui import FaceFusionUi

pytestmark = [pytest.mark.browser, pytest.mark.host]

PERSON = "finetune_person_dropdown"
TABLE = "finetune_models_html"
MODEL = "finetune_models_model_dropdown"
VERSION = "finetune_proof_version_dropdown"
REPORT = "finetune_proof_html"
SLIDER = "finetune_compare_slider"

OPEN = """
const button = element.querySelector("button.label-wrap");
if (!button.matches(".open")) button.click();
return true;
"""
READ_SOURCES = "return [...element.querySelectorAll('img')].map((image) => image.src);"
READ_LINKS = "return [...element.querySelectorAll('a')].map((link) => link.href);"


@pytest.fixture(scope="module")
def ui(tab_ui: FaceFusionUi) -> FaceFusionUi:
    return tab_ui


@pytest.fixture
def finish(ui: FaceFusionUi) -> Iterator[Callable[..., Run]]:
    """Finishes a version of a person, with its report, while FaceFusion runs."""
    people: dict[str, Person] = {}
    options = get_known_swapper("inswapper_128", ui.host / ".assets" / "models")
    bias = open_model(options.path).read_tensor("Conv_612.bias").astype(numpy.float32)

    def finish(name: str, proven: bool = False) -> Run:
        with home.use_home(ui.home):
            if name not in people:
                people[name] = add_person(name, create_consent(None, f"{name} agreed."))
            weights = {"Conv_612.bias": bias + 0.2}
            run = create_finished_run(people[name], options, proven=proven, weights=weights)
            text = encode_report(build_report("better" if proven else "worse"))
            run.report_json_path.write_text(text)
        return run

    yield finish
    with home.use_home(ui.home):
        for name, person in people.items():
            if person.directory.exists():
                remove_person(name, ui.host).require_complete()


@pytest.fixture
def open_tab(ui: FaceFusionUi, open_page: OpenPage) -> Iterator[Callable[[], Page]]:
    """Opens pages that are whole in the end, with everything unfolded."""
    pages: list[Page] = []

    def open_tab() -> Page:
        page = open_page(ui)
        for accordion in ("finetune_export_accordion", "finetune_compare_accordion"):
            page.wait_until(
                lambda accordion=accordion: page.run(OPEN, accordion), what=f"{accordion} is open"
            )
        pages.append(page)
        return page

    yield open_tab
    for page in pages:
        assert page.read_errors() == []


def list_active(host: Path, name: str) -> list[int]:
    return list(find_active(models_directory(host)).get(name, {}))


def test_from_report_to_roll_back(
    ui: FaceFusionUi, finish: Callable[..., Run], open_tab: Callable[[], Page]
) -> None:
    finish("ada", proven=True)
    page = open_tab()
    page.wait_for_text(REPORT, "comes closer to the real person")
    assert not page.is_shown("finetune_proof_force_checkbox")
    page.click("finetune_proof_activate_button")
    page.wait_for_text(TABLE, "proven, active")
    assert list_active(ui.host, "ada") == [1]

    finish("ada")
    page.wait_for_text(REPORT, "further from the real person")
    assert page.read_chosen(VERSION) == "ada@2 (inswapper_128, unproven)"
    page.click("finetune_proof_activate_button")
    page.wait_until(
        lambda: any("tick ACTIVATE ANYWAY" in toast for toast in page.read_toasts()),
        what="the tick is asked for",
    )
    page.set_checkbox("finetune_proof_force_checkbox")
    page.click("finetune_proof_activate_button")
    page.wait_for_text(TABLE, "unproven, active")
    assert list_active(ui.host, "ada") == [2]

    page.choose(MODEL, "ada@2 (inswapper_128, unproven, active)")
    page.click("finetune_models_roll_back_button")
    page.wait_for_text(TABLE, "proven, active")
    page.wait_until(lambda: list_active(ui.host, "ada") == [1], what="ada@1 is active again")


def test_two_pages_and_deletion(
    ui: FaceFusionUi, finish: Callable[..., Run], open_tab: Callable[[], Page]
) -> None:
    runs = [finish("ada"), finish("ada"), finish("bea")]
    first, second = open_tab(), open_tab()
    first.choose(MODEL, "ada@1 (inswapper_128, unproven)")
    first.click("finetune_models_delete_button")
    first.wait_for_text("finetune_models_confirm_html", "Delete ada@1")
    first.click("finetune_models_cancel_button")
    first.wait_until(
        lambda: not first.is_shown("finetune_models_confirm_button"), what="it is taken back"
    )
    assert runs[0].directory.exists()
    second.choose(MODEL, "ada@1 (inswapper_128, unproven)")
    first.click("finetune_models_delete_button")
    first.click("finetune_models_confirm_button")
    for page in (first, second):
        page.wait_until(lambda page=page: "ada@1" not in page.read_text(TABLE), what="it is gone")
        assert "ada@2" in page.read_text(TABLE)
        assert not any("ada@1" in label for label in page.read_options(MODEL))
    assert not runs[0].directory.exists()
    with home.use_home(ui.home):
        remove_person("ada", ui.host).require_complete()
    for page in (first, second):
        page.wait_until(lambda page=page: "ada" not in page.read_text(TABLE), what="ada is gone")
        assert page.read_options(MODEL) == ["bea@1 (inswapper_128, unproven)"]


def test_a_question_outlasts_the_selection_before_it(
    ui: FaceFusionUi, finish: Callable[..., Run], open_tab: Callable[[], Page]
) -> None:
    finish("ada"), finish("ada")
    page = open_tab()
    page.wait_for_text(TABLE, "ada@2")
    for version in ("ada@1", "ada@2", "ada@1"):
        page.wait_idle()
        with ui.pause():
            page.choose(MODEL, f"{version} (inswapper_128, unproven)")
            page.click("finetune_models_delete_button")
        page.wait_for_text("finetune_models_confirm_html", f"Delete {version}")
        page.wait_idle()
        page.wait_for_text("finetune_models_confirm_html", f"Delete {version}", seconds=1)


def test_late_answers(
    ui: FaceFusionUi, finish: Callable[..., Run], open_tab: Callable[[], Page]
) -> None:
    runs = [finish("ada"), finish("ada"), finish("bea")]
    page = open_tab()
    page.choose(PERSON, "ada")
    page.wait_until(
        lambda: page.read_chosen(MODEL) == "ada@2 (inswapper_128, unproven)", what="it follows"
    )
    page.delay_answers(0.7)
    # An answer about one version comes after another one was chosen.
    page.click("finetune_models_deactivate_button")
    page.choose(MODEL, "ada@1 (inswapper_128, unproven)")
    page.wait_until(lambda: "ada@2 is not active." in page.read_toasts(), what="it is answered")
    page.click("finetune_models_delete_button")
    page.wait_for_text("finetune_models_confirm_html", "Delete ada@1")
    # The page sends what it shows every second, also what was deleted just now.
    page.click("finetune_models_confirm_button")
    page.wait_until(lambda: "ada@1" not in page.read_text(TABLE), what="it is gone")
    assert not runs[0].directory.exists()
    assert runs[1].directory.exists()
    with home.use_home(ui.home):
        remove_person("ada", ui.host).require_complete()
    page.wait_until(lambda: "ada" not in page.read_text(TABLE), what="ada is gone")
    page.wait_until(lambda: page.read_chosen(PERSON) == "bea", what="bea is chosen")
    page.wait_for_text("finetune_proof_html", "bea@1")
    toasts = page.read_toasts()
    assert len(toasts) == 2, toasts


def test_export_is_downloaded(
    ui: FaceFusionUi, finish: Callable[..., Run], open_tab: Callable[[], Page]
) -> None:
    run = finish("ada")
    page = open_tab()
    page.wait_for_text(TABLE, "ada@1")
    page.set_checkbox("finetune_export_standalone_checkbox")
    page.click("finetune_export_button")
    page.wait_for_text("finetune_export_links_html", "ada-1-standalone.onnx")
    path = ui.home / "people" / "ada" / "exports" / "ada-1-standalone.onnx"
    (link,) = page.run(READ_LINKS, "finetune_export_links_html")
    with urllib.request.urlopen(link) as answer:
        assert answer.read() == path.read_bytes()
    for other in (run.model_path, ui.home / "people" / "ada" / "person.toml"):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(link.replace(str(path), str(other)))
    cache = ui.folder / "temporary" / "gradio"
    assert not list(cache.rglob("*.onnx")), "it is not copied"
    page.click("finetune_export_delete_button")
    page.wait_until(lambda: not path.exists(), what="the export is deleted")


def test_comparison(
    ui: FaceFusionUi, finish: Callable[..., Run], open_tab: Callable[[], Page], target_video: Path
) -> None:
    finish("ada", proven=True)
    page = open_tab()
    page.wait_for_text("finetune_compare_frame_html", "select a target")
    page.click("finetune_compare_button")
    page.wait_until(
        lambda: any("no frame to swap" in toast for toast in page.read_toasts()),
        what="a frame is asked for",
    )
    page.upload("finetune_compare_frame_file", target_video)
    page.wait_for_text("finetune_compare_frame_html", target_video.name)
    page.set_slider("finetune_compare_frame_slider", 15)
    page.click("finetune_compare_button")
    page.wait_until(lambda: page.is_shown(SLIDER), what="both are shown")
    assert "left: ada@1 | right: base of ada@1" in page.read_text(SLIDER)
    sources = page.wait_until(
        lambda: [source for source in page.run(READ_SOURCES, SLIDER) if "compare-" in source]
    )
    pictures = {path.name: path for path in (ui.home / "people" / "ada" / "shown").iterdir()}
    assert {Path(source).name for source in sources} == set(pictures)
    contents = []
    for source in sources:
        with urllib.request.urlopen(source) as answer:
            contents.append(answer.read())
        assert contents[-1] == pictures[Path(source).name].read_bytes()
    assert contents[0] != contents[1]
    cache = ui.folder / "temporary" / "gradio"
    assert not list(cache.rglob("compare-*")), "they are not copied"
    assert list(cache.rglob(target_video.name))
    page.run(
        "element.querySelector('button[aria-label=Clear]').click()", "finetune_compare_frame_file"
    )
    page.wait_until(
        lambda: not list(cache.rglob(target_video.name)), what="the uploaded copy is deleted"
    )
