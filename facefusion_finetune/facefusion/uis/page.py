"""Shared by the sections of the page: texts, components, notices, and event wiring."""

import functools
import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import gradio
from facefusion import logger, state_manager

from facefusion_finetune.errors import FinetuneError
from facefusion_finetune.host import adapter

Made = TypeVar("Made")

PACKAGE = "facefusion_finetune.facefusion.uis"
STYLE_PATH = Path(__file__).parent / "assets" / "finetune.css"

HIDDEN = "finetune-hidden"

OPTIONS = {
    r"--targets\b": "model.target_files",
    r"--others\b": "model.other_files",
    r"--reference FILE\b": "footage.reference_files",
    r"--commercial\b": "model.commercial_checkbox",
    r"--judge FILE\.onnx": "training.judge_option",
    r"facefusion-finetune train \S+ --resume\b": "training.resume_button",
}
"""Options of the command line, with the notation of the page's label for each."""


def render_style() -> None:
    """Add the style of our components to the page; adding it twice is harmless."""
    style = f"<style>{STYLE_PATH.read_text('utf-8')}</style>"
    gradio.HTML(style, padding=False, elem_classes=HIDDEN)


def create_signal() -> gradio.Textbox:
    """A hidden text whose change is an event; an invisible component would trigger none."""
    return gradio.Textbox("", show_label=False, container=False, elem_classes=HIDDEN)


def offer(choices: Any, value: Any, shown: Any, **options: Any) -> gradio.Dropdown:
    """Update the choices of a dropdown, and its value only if it must change.

    The user may have changed the value since the request, which must not be undone.

    Args:
        choices: The choices, as the dropdown takes them.
        value: The value to select.
        shown: The value selected on the page.
        options: Other properties to update.
    """
    if value != shown:
        options["value"] = value
    return gradio.Dropdown(choices=choices, **options)


def create(kind: Callable[..., Made], notation: str, **options: Any) -> Made:
    """Create a component of the tab, with its text, and an id derived from the text's notation.

    Args:
        kind: The component's class, for example `gradio.Dropdown`.
        notation: Notation of its text; `model.base_dropdown` gives the id `finetune_base_dropdown`.
        options: Options of the class.
    """
    text = "value" if kind is gradio.Button else "label"
    name = f"finetune_{notation.rpartition('.')[2]}"
    return kind(**{text: translate(notation), "elem_id": name, **options})


def translate(notation: str, **values: object) -> str:
    """A text of the page.

    Args:
        notation: Keys joined by dots, below `uis`.
        values: Values of its placeholders.
    """
    return adapter.translate(f"uis.{notation}", PACKAGE).format(**values)


def name_on_page(text: str) -> str:
    """Replace options of the command line in a text by the page's labels."""
    for words, notation in OPTIONS.items():
        text = re.sub(words, translate(notation), text)
    return text


def connect(
    trigger: Callable[..., Any],
    callback: Callable[..., Any],
    inputs: Sequence[Any] | Any = None,
    outputs: Sequence[Any] | Any = None,
    **options: Any,
) -> Any:
    """Connect an event to a callback, with errors shown as notices and no public API endpoint.

    Args:
        trigger: Event of a component, for example `BUTTON.click`.
        callback: Returns the values of all `outputs`, of some as `{component: value}`, or
            `gradio.skip()`.
        inputs: Components whose values are passed.
        outputs: Components that may change.
        options: Gradio's options. Polling needs `queue=False`, and then shows no notices: for
            queued events, Gradio keeps statistics forever, and sums them up each time.

    Returns:
        The event, so that another one can follow it.
    """
    options = {"api_name": False, "show_progress": "hidden", **options}
    return trigger(guard(callback), inputs=inputs, outputs=outputs, **options)


def connect_load(
    callback: Callable[..., Any], inputs: Sequence[Any] | Any, outputs: Sequence[Any] | Any
) -> Any:
    """Call back when the page is opened or reloaded."""
    root = gradio.context.Context.root_block
    assert root is not None, "the page is being built"
    return connect(root.load, callback, inputs, outputs)


def digest(value: object) -> str:
    """A hash of any value."""
    return hashlib.sha256(repr(value).encode()).hexdigest()


def guard(callback: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a callback: if it fails, show the error and change nothing."""

    @functools.wraps(callback)
    def call(*values: Any) -> Any:
        try:
            return callback(*values)
        except FinetuneError as error:
            warn(name_on_page(str(error)))
        except OSError as error:
            warn(
                translate("notices.disk", path=error.filename or "", reason=error.strerror or error)
            )
        return gradio.skip()

    return call


def warn(text: str) -> None:
    """Show a warning until it is closed, and log it."""
    logger.error(text, __name__)
    gradio.Warning(text, duration=None)


def inform(text: str) -> None:
    """Show a notice for a while, and log it."""
    logger.info(text, __name__)
    gradio.Info(text)


def launch(ui: gradio.Blocks) -> None:
    """Serve a page as FaceFusion serves its own; returns when it is closed."""
    ui.launch(favicon_path="facefusion.ico", inbrowser=state_manager.get_item("open_browser"))
