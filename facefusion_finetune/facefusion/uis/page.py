"""What the sections of the page share: texts, the clock, notices, and how events are wired."""

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
"""By the words of the commands: what stands for them on the page."""


def render_style() -> None:
    """Put the style of our components on the page; twice does no harm."""
    style = f"<style>{STYLE_PATH.read_text('utf-8')}</style>"
    gradio.HTML(style, padding=False, elem_classes=HIDDEN)


def create_signal() -> gradio.Textbox:
    """A hidden text whose change is an event: what is not on the page at all changes unheard."""
    return gradio.Textbox("", show_label=False, container=False, elem_classes=HIDDEN)


def offer(choices: Any, value: Any, shown: Any, **options: Any) -> gradio.Dropdown:
    """Change what a dropdown offers, and its choice only if that has to be another one.

    Something else may have been chosen since the page asked, which must not be taken back.

    Args:
        choices: As the dropdown takes them.
        value: What is to be chosen.
        shown: What the page said was chosen.
        options: Other changes of the dropdown.
    """
    if value != shown:
        options["value"] = value
    return gradio.Dropdown(choices=choices, **options)


def create(kind: Callable[..., Made], notation: str, **options: Any) -> Made:
    """A component of the tab, with its text, and its id of the text's notation.

    Args:
        kind: For example `gradio.Dropdown`.
        notation: Of its text: `model.base_dropdown` makes `finetune_base_dropdown`.
        options: As the kind takes them.
    """
    text = "value" if kind is gradio.Button else "label"
    name = f"finetune_{notation.rpartition('.')[2]}"
    return kind(**{text: translate(notation), "elem_id": name, **options})


def translate(notation: str, **values: object) -> str:
    """A text of the page.

    Args:
        notation: Keys joined by dots, below `uis`.
        values: What its placeholders stand for.
    """
    return adapter.translate(f"uis.{notation}", PACKAGE).format(**values)


def name_on_page(text: str) -> str:
    """An error or a line of a report as the page says it: options of commands by their labels."""
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
    """Let an event call back, with errors shown in words, and without becoming a public endpoint.

    Args:
        trigger: Of a component, for example `BUTTON.click`.
        callback: Its result goes to `outputs`: all of them, some as `{component: value}`, or
            `gradio.skip()`.
        inputs: Components whose values are handed over.
        outputs: Components that may change.
        options: As Gradio takes them. What happens every second needs `queue=False`, and shows no
            notices: of what goes through its queue Gradio keeps statistics for ever, and sums all
            of them up each time.

    Returns:
        The event, so that another one can follow it.
    """
    options = {"api_name": False, "show_progress": "hidden", **options}
    return trigger(guard(callback), inputs=inputs, outputs=outputs, **options)


def connect_load(
    callback: Callable[..., Any], inputs: Sequence[Any] | Any, outputs: Sequence[Any] | Any
) -> Any:
    """Let the opening of the page, or its reload, call back."""
    root = gradio.context.Context.root_block
    assert root is not None, "the page is being built"
    return connect(root.load, callback, inputs, outputs)


def digest(value: object) -> str:
    """A short text that tells one value from another."""
    return hashlib.sha256(repr(value).encode()).hexdigest()


def guard(callback: Callable[..., Any]) -> Callable[..., Any]:
    """Let a callback that fails change nothing, and say why."""

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
    """Show a text until it is closed, and log it."""
    logger.error(text, __name__)
    gradio.Warning(text, duration=None)


def inform(text: str) -> None:
    """Show a text for a while, and log it."""
    logger.info(text, __name__)
    gradio.Info(text)


def launch(ui: gradio.Blocks) -> None:
    """Serve a page as FaceFusion serves its own; returns when it is closed."""
    ui.launch(favicon_path="facefusion.ico", inbrowser=state_manager.get_item("open_browser"))
