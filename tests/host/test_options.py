"""The dropdown of persons in FaceFusion's own layouts: what it offers, does and says."""

import base64
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import gradio
import numpy
import pytest

from facefusion_finetune.host.models import models_directory
from facefusion_finetune.swappers.catalogue import FAMILIES
from tests.support import host as support
from tests.support.built_pages import BuiltPage, build_pages

pytestmark = [
    pytest.mark.host,
    # the choices are those a page has already
    pytest.mark.filterwarnings("ignore:The value passed into gr.Dropdown"),
]

TICKED = ["face_swapper", "finetuned_swapper"]
UIS = "facefusion_finetune.facefusion.uis"
PROCESSOR = "facefusion_finetune.facefusion.processors.modules.finetuned_swapper"
OPTIONS = f"{UIS}.components.finetuned_swapper_options"
NO_OPTIONS = "the options of the finetuned_swapper cannot be shown: "


@pytest.fixture
def options(
    processor: ModuleType, state: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModuleType]:
    """The options inside this process; `jane` is chosen in the UI, and nothing else."""
    processor.ACTIVE_MODELS.clear()
    monkeypatch.setattr(importlib.import_module("facefusion.uis.core"), "UI_COMPONENTS", {})
    module = importlib.import_module(OPTIONS)
    monkeypatch.setattr(module, "GIVEN_MODEL", None)
    state.STATE_SET["cli"]["finetuned_swapper_model"] = "the other context"
    yield module
    assert state.STATE_SET["cli"]["finetuned_swapper_model"] == "the other context"
    processor.ACTIVE_MODELS.clear()


@pytest.fixture
def shown(options: ModuleType) -> Any:
    """What a page shows that was just loaded."""
    return options.load(TICKED)[3]


@pytest.fixture
def bob(linked_host: Path) -> Iterator[Path]:
    """The active model of another person; a swapper of twice the size, by its card."""
    yield support.register_model(linked_host, "bob", size=(256, 256), judge_result={"proven": True})
    remove(linked_host, "bob")


@pytest.fixture
def pia(linked_host: Path) -> Iterator[Path]:
    """A model that is driven by a picture."""
    picture = FAMILIES["blendswap"].picture
    assert picture is not None
    width, height = picture.size
    image = cv2.imencode(".png", numpy.zeros((height, width, 3), numpy.uint8))[1]
    yield support.register_model(
        linked_host,
        "pia",
        type="blendswap",
        person_picture=base64.b64encode(image.tobytes()).decode(),
    )
    remove(linked_host, "pia")


def remove(host: Path, name: str) -> None:
    """Take away a person's models, as `models deactivate` does."""
    for file in models_directory(host).glob(f"{name}-*"):
        file.unlink()


def read(update: Any) -> dict[str, Any]:
    """The properties a page is told of a component."""
    arguments: dict[str, Any] = update if isinstance(update, dict) else update.constructor_args
    return arguments


def test_persons_are_offered_and_who_is_unproven_is_marked(options: ModuleType, bob: Path) -> None:
    model, pixel_boost, weight, _, _ = options.load(TICKED)
    assert read(model) == {
        "choices": [("bob", "bob"), ("jane (unproven)", "jane")],
        "value": "jane",
        "info": None,
        "visible": True,
    }
    assert read(pixel_boost)["choices"][:2] == ["128x128", "256x256"]
    assert read(pixel_boost)["value"] == "128x128"
    assert read(weight) == {"value": 0.5, "visible": True}


def test_they_are_seen_where_the_processor_is_ticked(options: ModuleType, pia: Path) -> None:
    for processors in (TICKED, ["face_swapper"]):
        is_ticked = "finetuned_swapper" in processors
        updates = options.remote_update(processors)
        assert [read(update)["visible"] for update in updates] == [is_ticked] * 3
        assert read(options.load(processors)[0])["visible"] == is_ticked


def test_another_person_is_used(options: ModuleType, state: ModuleType, bob: Path) -> None:
    shown = options.load(TICKED)[3]
    model, pixel_boost, weight, after, drawn = options.update_model("bob", TICKED, shown)
    assert state.STATE_SET["ui"]["finetuned_swapper_model"] == "bob"
    assert options.core.ACTIVE_MODELS["ui"].path == bob
    # the same list once more would close in on the choice while the user looks at it
    assert read(model) == {"value": "bob"}
    assert read(pixel_boost)["value"] == "256x256"
    assert read(pixel_boost)["choices"] == ["256x256", "512x512", "768x768", "1024x1024"]
    assert state.STATE_SET["ui"]["finetuned_swapper_pixel_boost"] == "256x256"
    assert read(weight) == {}
    assert drawn != options.describe_drawn(shown)
    assert options.update_changes(TICKED, after) == gradio.skip()


def test_a_pixel_boost_that_fits_stays(options: ModuleType, state: ModuleType, bob: Path) -> None:
    shown = options.load(TICKED)[3]
    *_, after, drawn = options.update_pixel_boost("512x512", TICKED, shown)
    assert state.STATE_SET["ui"]["finetuned_swapper_pixel_boost"] == "512x512"
    assert drawn != options.describe_drawn(shown)
    options.update_model("bob", TICKED, after)
    assert state.STATE_SET["ui"]["finetuned_swapper_pixel_boost"] == "512x512"


def test_a_model_driven_by_a_picture_has_no_weight(options: ModuleType, pia: Path) -> None:
    shown = options.load(TICKED)[3]
    _, _, weight, after, _ = options.update_model("pia", TICKED, shown)
    assert read(weight) == {"visible": False}
    assert read(options.remote_update(TICKED)[2]) == {"visible": False}
    _, _, weight, _, _ = options.update_model("jane", TICKED, after)
    assert read(weight) == {"visible": True}


@pytest.mark.parametrize(("given", "expected"), [(None, 0.5), (1.5, 0.5), (0, 0.0), (0.7, 0.7)])
def test_the_weight_is_one_that_can_be_used(
    options: ModuleType, state: ModuleType, given: float | None, expected: float
) -> None:
    state.STATE_SET["ui"]["finetuned_swapper_weight"] = given
    assert read(options.load(TICKED)[2])["value"] == expected
    options.update_weight(0.3)
    assert state.STATE_SET["ui"]["finetuned_swapper_weight"] == 0.3
    assert state.STATE_SET["cli"]["finetuned_swapper_weight"] is None


def test_of_a_damaged_model_the_page_says_why(
    options: ModuleType, state: ModuleType, shown: Any, bob: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bob.write_bytes(bob.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="model 'bob-1': the file is damaged"):
        model, *_, after, drawn = options.update_model("bob", TICKED, shown)
    assert "model 'bob-1': the file is damaged" in caplog.text
    assert state.STATE_SET["ui"]["finetuned_swapper_model"] == "jane"
    assert read(model)["value"] == "jane"
    assert after.model == "jane"
    assert drawn == options.describe_drawn(shown)


def test_nothing_is_said_while_nothing_changes(options: ModuleType, shown: Any) -> None:
    assert options.update_changes(TICKED, shown) == gradio.skip()


def test_a_model_activated_meanwhile_appears(
    options: ModuleType, linked_host: Path, shown: Any
) -> None:
    support.register_model(linked_host, "zoe")
    try:
        model, pixel_boost, weight, after, drawn = options.update_changes(TICKED, shown)
    finally:
        remove(linked_host, "zoe")
    assert read(model) == {"choices": [("jane (unproven)", "jane"), ("zoe (unproven)", "zoe")]}
    assert (read(pixel_boost), read(weight)) == ({}, {})
    assert drawn == options.describe_drawn(shown)
    assert after != shown


def test_a_chosen_model_that_is_gone_is_chosen_no_more(
    options: ModuleType,
    state: ModuleType,
    linked_host: Path,
    bob: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    *_, before, _ = options.update_model("bob", TICKED, options.load(TICKED)[3])
    remove(linked_host, "bob")
    with pytest.warns(UserWarning, match="'bob' is no longer active"):
        model, pixel_boost, weight, after, drawn = options.update_changes(TICKED, before)
    assert caplog.text.count("model 'bob': no such model is active in this FaceFusion") == 1
    assert state.STATE_SET["ui"]["finetuned_swapper_model"] is None
    assert read(model)["choices"] == [("jane (unproven)", "jane")]
    assert read(model)["value"] is None
    assert "No model is selected" in read(model)["info"]
    assert read(pixel_boost)["visible"] is False
    assert read(weight) == {"visible": False}
    assert drawn != options.describe_drawn(before)
    # the preview that follows is refused in words, and a page where it is not ticked says nothing
    assert options.core.pre_process("preview") is False
    assert options.update_changes([], after._replace(model="bob")) != gradio.skip()
    model, *_ = options.update_model("jane", TICKED, after)
    assert read(model) == {"value": "jane", "info": None}


def test_other_weights_under_the_same_name_are_drawn_anew(
    options: ModuleType, linked_host: Path, bob: Path
) -> None:
    *_, before, drawn = options.update_model("bob", TICKED, options.load(TICKED)[3])
    support.register_model(linked_host, "bob", turned=True, size=(256, 256))
    *_, after, drawn_anew = options.update_changes(TICKED, before)
    assert drawn_anew != drawn
    second = support.register_model(linked_host, "bob", 2)
    model, pixel_boost, _, after, drawn_again = options.update_changes(TICKED, after)
    assert drawn_again[0][0] == str(second)
    assert (after.model, read(model)) == ("bob", {})
    assert read(pixel_boost)["choices"][0] == "128x128"


def test_of_damaged_new_weights_the_page_says_why(
    options: ModuleType, linked_host: Path, bob: Path
) -> None:
    *_, before, _ = options.update_model("bob", TICKED, options.load(TICKED)[3])
    bob.write_bytes(bob.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="model 'bob-1': the file is damaged"):
        *_, after, _ = options.update_changes(TICKED, before)
    assert after.model == "bob"
    assert options.update_changes(TICKED, after) == gradio.skip()


def test_another_page_is_followed(options: ModuleType, bob: Path) -> None:
    shown = options.load(TICKED)[3]
    *_, drawn = options.update_model("bob", TICKED, shown)
    model, *_, drawn_here = options.update_changes(TICKED, shown)
    assert read(model) == {"value": "bob"}
    assert drawn_here == drawn
    # its preview is none of its business where the processor is not ticked
    assert options.update_changes([], shown)[-1] == gradio.skip()


def test_a_given_version_stays_a_choice(
    options: ModuleType, state: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.STATE_SET["ui"]["finetuned_swapper_model"] = "jane@1"
    monkeypatch.setattr(options, "GIVEN_MODEL", "jane@1")
    model, *_, shown, _ = options.load(TICKED)
    choices = [("jane (unproven)", "jane"), ("jane@1 (unproven)", "jane@1")]
    assert (read(model)["choices"], read(model)["value"]) == (choices, "jane@1")
    model, *_ = options.update_model("jane", TICKED, shown)
    assert read(model) == {"value": "jane"}
    monkeypatch.setattr(options, "GIVEN_MODEL", "jane@9")
    assert read(options.load(TICKED)[0])["choices"] == choices[:1]


def build_below_the_hosts(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A page of processors and the face swapper's options, ours attached; undone afterwards."""
    attach = importlib.import_module(f"{UIS}.attach")
    core = importlib.import_module(f"{PROCESSOR}.core")
    host_options = importlib.import_module("facefusion.uis.components.face_swapper_options")
    processors = importlib.import_module("facefusion.uis.components.processors")
    for name in ("render", "listen"):
        monkeypatch.setattr(host_options, name, getattr(host_options, name))
    monkeypatch.setattr(attach, "IS_ATTACHED", False)
    attach.attach(core.report_missing_options)
    attach.attach(core.report_missing_options)
    with gradio.Blocks() as page:
        for module in (processors, host_options):
            with gradio.Blocks():
                module.render()
        for module in (processors, host_options):
            module.listen()
    return page


def list_ours(page: Any) -> list[str]:
    return [
        block.elem_id
        for block in page.blocks.values()
        if str(getattr(block, "elem_id", "")).startswith("finetuned_swapper")
    ]


@pytest.mark.usefixtures("options")
def test_every_callback_sees_the_ui_and_is_no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    page = build_below_the_hosts(monkeypatch)
    assert len(list_ours(page)) == 3
    ours = [event for event in page.fns.values() if UIS in event.fn.__module__]
    assert len(ours) == 8
    for event in ours:
        assert "facefusion/uis" in Path(event.fn.__code__.co_filename).as_posix()
        assert event.api_name is False


@pytest.mark.parametrize("step", ["render", "listen"])
def test_options_that_fail_half_way_leave_nothing(
    options: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    step: str,
) -> None:
    complete = getattr(options, step)

    def fail() -> None:
        complete()
        raise RuntimeError("half way")

    without = len(build_without(monkeypatch).fns)
    monkeypatch.setattr(options, step, fail)
    page = build_below_the_hosts(monkeypatch)
    assert list_ours(page) == []
    assert len(page.fns) == without
    assert NO_OPTIONS + "RuntimeError: half way" in caplog.text
    config = page.get_config_file()
    known = {component["id"] for component in config["components"]}
    assert set(list_numbers(config["layout"])) <= known


def build_without(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The same page without ours."""
    with monkeypatch.context() as context:
        attach = importlib.import_module(f"{UIS}.attach")
        context.setattr(attach, "render", lambda: None)
        context.setattr(attach, "listen", lambda: None)
        return build_below_the_hosts(context)


def list_numbers(layout: dict[str, Any]) -> Iterator[int]:
    for child in layout.get("children", []):
        yield child["id"]
        yield from list_numbers(child)


@pytest.fixture(scope="module")
def pages(linked_host: Path) -> tuple[list[BuiltPage], str]:
    """The default layout as FaceFusion builds it, for several command lines."""
    layout = "--ui-layouts default"
    return build_pages(
        linked_host,
        layout,
        f"{layout} --processors finetuned_swapper",
        f"{layout} --processors finetuned_swapper --finetuned-swapper-model bob",
        f"{layout} --processors finetuned_swapper --finetuned-swapper-model jane@1"
        " --finetuned-swapper-pixel-boost 7x7 --finetuned-swapper-weight 2",
    )


def test_pages_are_whole(pages: tuple[list[BuiltPage], str]) -> None:
    for page in pages[0]:
        assert page.list_dangling() == []
        assert page.modules == ["gradio"]


def test_the_page_shows_what_the_command_line_chose(pages: tuple[list[BuiltPage], str]) -> None:
    plain, ticked, unknown, versioned = (
        page.find("finetuned_swapper_model_dropdown") for page in pages[0]
    )
    assert (plain["visible"], plain["value"]) == (False, "jane")
    assert (ticked["visible"], ticked["value"]) == (True, "jane")
    assert ticked["choices"] == [["jane (unproven)", "jane"]]
    assert versioned["value"] == "jane@1"
    assert ["jane@1 (unproven)", "jane@1"] in versioned["choices"]
    assert pages[0][3].find("finetuned_swapper_pixel_boost_dropdown")["value"] == "128x128"
    assert pages[0][3].find("finetuned_swapper_weight_slider")["value"] == 0.5
    # the page is where another person can be chosen, so that FaceFusion starts
    assert (unknown["visible"], unknown.get("value")) == (True, None)
    assert "No model is selected" in unknown["info"]
    assert pages[0][2].find("finetuned_swapper_pixel_boost_dropdown")["visible"] is False
    assert "model 'bob': no such model is active" in pages[1]


def test_the_page_looks_at_what_has_changed_every_two_seconds(
    pages: tuple[list[BuiltPage], str],
) -> None:
    for page in pages[0]:
        clocks = [one["props"] for one in page.components.values() if one["type"] == "timer"]
        # the host has one of its own
        assert (2.0, True) in [(clock["value"], clock["active"]) for clock in clocks]


def test_the_preview_follows(pages: tuple[list[BuiltPage], str]) -> None:
    page = pages[0][1]
    (preview,) = (
        int(number)
        for number, component in page.components.items()
        if component["type"] == "image" and component["props"].get("label") == "PREVIEW"
    )
    model = page.find_number("finetuned_swapper_model_dropdown")
    (chosen,) = (event for event in page.events if [model, "input"] in event["targets"])
    drawn = chosen["outputs"][-1]
    assert page.components[str(drawn)]["type"] == "state"
    (follows,) = (event for event in page.events if [drawn, "change"] in event["targets"])
    assert follows["outputs"] == [preview]
    assert len(follows["inputs"]) == 3
    assert follows["api_name"] is False


def test_options_that_cannot_be_imported_leave_the_page_whole(
    linked_host: Path, tmp_path: Path
) -> None:
    code = support.BLOCKER.replace(
        'name.partition(".")[0] == "facefusion_finetune"', f'name == "{OPTIONS}"'
    )
    variables = support.create_startup_folder(tmp_path / "startup", code)
    (page,), said = build_pages(linked_host, "--processors finetuned_swapper", **variables)
    assert page.find_all("finetuned_swapper_model_dropdown") == []
    assert page.list_dangling() == []
    assert NO_OPTIONS + "ModuleNotFoundError" in said


def test_a_host_without_such_options_starts(linked_host: Path, tmp_path: Path) -> None:
    code = support.BLOCKER.replace(
        'name.partition(".")[0] == "facefusion_finetune"',
        'name == "facefusion.uis.components.face_swapper_options"',
    )
    variables = support.create_startup_folder(tmp_path / "startup", code)
    (page,), said = build_pages(linked_host, "--ui-layouts jobs", **variables)
    assert page.list_dangling() == []
    assert NO_OPTIONS + "ModuleNotFoundError" in said
