"""The finetune tab's page, built in this process: what its events are, and what its inputs take."""

import ast
import asyncio
import importlib
import pkgutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from facefusion_finetune.errors import UsageError
from tests.support import host as support

pytestmark = pytest.mark.host

REPORT_AT_LAUNCH = """
import sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "facefusion.uis.core":
            sys.meta_path.remove(self)
            import os
            import gradio

            def report(self, *arguments, **options):
                print("LOADED", *(name for name in ("torch", "onnx2torch") if name in sys.modules))
                print("FUNCTIONS", len(self.fns))
                sys.stdout.flush()
                os._exit(0)

            gradio.Blocks.launch = report

sys.meta_path.insert(0, Finder())
"""


class ReachedError(Exception):
    """A callback was entered."""


@pytest.fixture(scope="module")
def gradio() -> ModuleType:
    """Gradio, which only the host brings."""
    return importlib.import_module("gradio")


@pytest.fixture
def page(processor: ModuleType, gradio: ModuleType) -> Iterator[Any]:
    """The page with the tab and, as in the default tab, the dropdown of persons."""
    from facefusion_finetune.facefusion.uis.components import finetuned_swapper_options
    from facefusion_finetune.facefusion.uis.layouts import finetune

    with gradio.Blocks() as page:
        finetune.render()
        finetune.listen()
        finetuned_swapper_options.render()
        finetuned_swapper_options.listen()
    yield page
    page.close(verbose=False)


def _find_context(callback: Callable[..., Any]) -> str:
    """What the host takes a callback for, called in a thread of its own as Gradio does."""
    from facefusion.app_context import detect_app_context

    seen: list[str] = []

    def look(frame: Any, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code is callback.__code__:
            sys.setprofile(None)
            seen.append(detect_app_context())
            raise ReachedError

    def call() -> None:
        sys.setprofile(look)
        try:
            callback()
        except ReachedError:
            pass
        finally:
            sys.setprofile(None)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    (context,) = seen
    return context


def test_all_callbacks_see_the_state_of_the_ui(page: Any) -> None:
    callbacks = [event.fn for event in page.fns.values() if event.fn is not None]
    assert len(callbacks) > 40
    assert {_find_context(callback) for callback in callbacks} == {"ui"}
    # this very check tells a callback of another place
    assert _find_context(lambda: None) == "cli"


def test_no_event_is_a_public_endpoint(page: Any) -> None:
    assert page.fns
    assert [event.name for event in page.fns.values() if event.api_name is not False] == []
    assert page.get_api_info()["named_endpoints"] == {}


def test_what_is_asked_every_second(page: Any, gradio: ModuleType) -> None:
    clocks = [
        event for event in page.fns.values() if any(name == "tick" for _, name in event.targets)
    ]
    assert len(clocks) == 2, "one for the tab, one for the dropdown of persons"
    outputs = [block for event in clocks for block in event.outputs]
    assert {tuple(block.elem_classes) for block in outputs} == {("finetune-hidden",)}
    # of what a dropdown holds, a page may ask only where the choices never change
    inputs = [block for event in clocks for block in event.inputs]
    dropdowns = [block.elem_id for block in inputs if isinstance(block, gradio.Dropdown)]
    assert dropdowns == ["finetune_preset_dropdown"]


def test_a_change_is_answered_once(page: Any, gradio: ModuleType) -> None:
    """Gradio tells of a change of a hidden text twice, and of one when it is drawn first, empty."""
    signalled = [
        event
        for event in page.fns.values()
        if len(event.inputs) > 1
        and isinstance(event.inputs[-1], gradio.State)
        and isinstance(event.inputs[-2], gradio.Textbox)
        and (event.inputs[-2]._id, "change") in event.targets
    ]
    assert len(signalled) > 10
    for event in signalled:
        given = [None] * (len(event.inputs) - 2)
        assert event.outputs[-1] is event.inputs[-1]
        for value in ("", "ada"):
            assert event.fn(*given, value, value) == gradio.skip()
        assert event.fn(*given, None, "") == gradio.skip()


def test_the_answer_to_a_change_says_that_it_was_given(gradio: ModuleType) -> None:
    from facefusion_finetune.facefusion.uis import following, page

    answers = iter([{"some": "of them"}, ("first", "second"), gradio.skip()])
    with gradio.Blocks() as blocks:
        text, first, second = page.create_signal(), gradio.HTML(), gradio.HTML()
        following.connect_once(text, lambda *values: next(answers), [first], [first, second])
        following.connect_once(text, lambda value: value + "!", [first], first)
    several, single = blocks.fns.values()
    state = several.outputs[-1]
    assert several.fn("of first", "a", "") == {"some": "of them", state: "a"}
    assert several.fn("of first", "b", "a") == {first: "first", second: "second", state: "b"}
    assert several.fn("of first", "c", "b") == {state: "c"}
    assert single.fn("of first", "d", "c") == {first: "of first!", single.outputs[-1]: "d"}


def test_every_component_has_a_label_that_is_a_text(page: Any) -> None:
    labels = [
        text
        for block in page.blocks.values()
        for text in (getattr(block, "label", None), getattr(block, "value", None))
        if isinstance(text, str)
    ]
    assert len(labels) > 30
    # an unknown text comes back as its notation
    assert [label for label in labels if label.startswith("uis.")] == []


def test_every_text_that_is_asked_for_is_there() -> None:
    """An unknown one would be shown as its notation; those put together are seen elsewhere."""
    from facefusion_finetune.facefusion import uis
    from facefusion_finetune.facefusion.uis.locales import LOCALES

    asked = set()
    for path in Path(uis.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                place = {"translate": 0, "create": 1}.get(name, len(node.args))
                for argument in node.args[place : place + 1]:
                    asked.update(text for text in _find_texts(argument) if "." in text)
    assert len(asked) > 100
    assert [text for text in sorted(asked) if not _is_text(LOCALES["en"], text)] == []


def _find_texts(node: ast.AST) -> list[str]:
    """The texts an argument can be: one, or either of a condition."""
    if isinstance(node, ast.IfExp):
        return [*_find_texts(node.body), *_find_texts(node.orelse)]
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return [node.value] if is_text else []  # type: ignore[attr-defined]


def _is_text(texts: Any, notation: str) -> bool:
    for key in ("uis", *notation.split(".")):
        texts = texts.get(key) if isinstance(texts, dict) else None
    return isinstance(texts, str)


def test_every_section_is_on_the_page(page: Any, gradio: ModuleType) -> None:
    from facefusion_finetune.facefusion.uis import components

    names = [module.name for module in pkgutil.iter_modules(components.__path__)]
    assert len(names) > 5
    for name in names:
        section = importlib.import_module(f"{components.__name__}.{name}")
        parts = [part for part in vars(section).values() if isinstance(part, gradio.blocks.Block)]
        assert parts, f"{name} is not rendered"
        assert {part._id for part in parts} <= set(page.blocks), name


def test_events_name_components_of_the_page(page: Any) -> None:
    for event in page.fns.values():
        for block in (*event.inputs, *event.outputs):
            assert block._id in page.blocks


@pytest.mark.parametrize("layouts", [("finetune",), ("finetune", "default"), ("default",)])
def test_the_page_is_built_without_torch(linked_host: Path, tmp_path: Path, layouts: Any) -> None:
    variables = support.create_startup_folder(tmp_path / "startup", REPORT_AT_LAUNCH)
    done = support.run_host(
        linked_host,
        *("run", "--ui-layouts", *layouts, "--face-swapper-model", "inswapper_128"),
        *support.BENCH_OPTIONS,
        **variables,
    )
    assert "LOADED\n" in done.output, done.output
    assert int(done.output.partition("FUNCTIONS ")[2].split()[0]) > 20


def test_a_file_that_was_not_uploaded_is_not_read(
    gradio: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from gradio import processing_utils
    from gradio.exceptions import InvalidPathError

    from facefusion_finetune.facefusion.uis.uploads import create_upload

    # as the host does
    monkeypatch.setattr(processing_utils, "_check_allowed", lambda *_values, **_options: None)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    forged = {"path": str(secret), "meta": {"_type": "gradio.FileData"}}

    def receive(component: Any) -> Any:
        return asyncio.run(
            processing_utils.async_move_files_to_cache(
                forged, component, check_in_upload_folder=True
            )
        )

    with gradio.Blocks():
        plain, ours = gradio.File(), create_upload()
    assert Path(receive(plain)["path"]).read_bytes() == b"secret", "Gradio's own would copy it"
    with pytest.raises(InvalidPathError, match="was not uploaded"):
        receive(ours)
    uploaded = tmp_path / "uploads" / "0123" / "clip.mp4"
    uploaded.parent.mkdir()
    uploaded.write_bytes(b"clip")
    forged["path"] = str(uploaded)
    assert receive(ours)["path"] == str(uploaded)
    # out of the folder again by a link
    link = uploaded.with_name("link.png")
    link.symlink_to(secret)
    forged["path"] = str(link)
    with pytest.raises(InvalidPathError):
        receive(ours)


def test_uploads_move_to_the_job_and_leave_nothing_behind(
    gradio: ModuleType, state: ModuleType, tmp_path: Path
) -> None:
    from facefusion_finetune.facefusion.uis.uploads import (
        discard_uploads,
        list_uploads,
        move_uploads,
    )

    for number in ("1", "2", "3"):
        (tmp_path / number).mkdir()
        (tmp_path / number / "clip.mp4").write_text(number)
    paths = list_uploads(str(tmp_path / "1" / "clip.mp4"), [str(tmp_path / "2" / "clip.mp4")], None)
    (tmp_path / "job").mkdir()
    moved = move_uploads(paths, tmp_path / "job" / "footage")
    assert [path.name for path in moved] == ["clip.mp4", "clip-2.mp4"]
    assert [path.read_text() for path in moved] == ["1", "2"]
    discard_uploads([tmp_path / "3" / "clip.mp4"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job"]


def test_upload_that_facefusion_uses_as_well_stays(
    gradio: ModuleType, state: ModuleType, tmp_path: Path
) -> None:
    from facefusion_finetune.facefusion.uis.uploads import discard_uploads, move_uploads

    target, source = tmp_path / "target.mp4", tmp_path / "source.png"
    for path in (target, source):
        path.write_text(path.name)
    state.init_item("target_path", str(target))
    state.init_item("source_paths", [str(source)])
    moved = move_uploads([target, source], tmp_path / "job")
    assert [path.read_text() for path in moved] == ["target.mp4", "source.png"]
    discard_uploads([target, source])
    assert target.is_file()
    assert source.is_file()


def test_typed_folders_stay_inside_what_was_opened(
    processor: ModuleType, gradio: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facefusion_finetune.facefusion.uis import uploads

    inside, outside = tmp_path / "open" / "clips", tmp_path / "closed"
    inside.mkdir(parents=True)
    outside.mkdir()
    monkeypatch.delenv(uploads.FOOTAGE_VARIABLE, raising=False)
    with pytest.raises(UsageError):
        uploads.resolve_folder(str(inside))
    monkeypatch.setenv(uploads.FOOTAGE_VARIABLE, str(tmp_path / "open"))
    assert uploads.resolve_folder(str(inside)) == inside
    assert uploads.resolve_folder("clips") == inside
    (inside / "way-out").symlink_to(outside)
    for typed in (str(outside), "clips/way-out", "../closed", "missing", "/"):
        with pytest.raises(UsageError, match="not inside"):
            uploads.resolve_folder(typed)
