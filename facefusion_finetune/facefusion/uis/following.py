"""Polling: the page checks for changes every second, and redraws what has changed.

One event polls for all sections and changes only hidden texts. Gradio marks everything an event may
change as pending, each time, which costs the browser more than the poll itself.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio

from facefusion_finetune.facefusion.uis.page import (
    HIDDEN,
    connect,
    connect_load,
    digest,
    guard,
)

SECONDS = 1.0
"""Polling interval; a page shows only what it has read from disk."""

CLOCK: gradio.Timer


@dataclass(frozen=True)
class Follower:
    """The poll of one section."""

    look: Callable[..., Any]
    """Maps the values of `inputs` to that of `signal`, or to `gradio.skip()`."""
    inputs: list[Any]
    signal: gradio.Textbox


FOLLOWERS: list[Follower] = []
"""Followers of the page, or of the part of it, being built."""


def render(seconds: float = SECONDS) -> None:
    """Add the timer to the page, or to the part of it being built.

    Args:
        seconds: Polling interval.
    """
    global CLOCK
    FOLLOWERS.clear()
    CLOCK = gradio.Timer(seconds)


def listen(on_load: bool = True) -> None:
    """Start polling for all followers: at each tick, and when the page is opened.

    Args:
        on_load: Whether to poll when the page is opened; False if another event updates it then.
    """
    followers = list(FOLLOWERS)
    inputs = list(dict.fromkeys(part for follower in followers for part in follower.inputs))

    def look(*values: Any) -> Any:
        held = dict(zip(inputs, values, strict=True))
        answers = {
            follower.signal: guard(follower.look)(*(held[part] for part in follower.inputs))
            for follower in followers
        }
        changes = {signal: answer for signal, answer in answers.items() if answer != gradio.skip()}
        return changes or gradio.skip()

    signals = [follower.signal for follower in followers]
    connect(CLOCK.tick, look, inputs, signals, queue=False)
    if on_load:
        connect_load(look, inputs, signals)


def attend(
    signal: gradio.Textbox,
    look: Callable[..., Any],
    looked_at: Sequence[Any],
    show: Callable[..., Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any] | Any,
    **options: Any,
) -> None:
    """Poll every second, and update components whenever the result of the poll changes.

    Args:
        signal: From `create_signal`; holds the last result.
        look: The poll: maps the values of `looked_at` to a new text, or `gradio.skip()`; fast.
        looked_at: Inputs of the poll.
        show: Maps the values of `inputs` to those of `outputs`.
        inputs: Components that determine what is shown.
        outputs: Components to update.
        options: Gradio's options of the update.
    """
    FOLLOWERS.append(Follower(look, list(looked_at), signal))
    connect_once(signal, show, inputs, outputs, **options)


def connect_once(
    text: gradio.Textbox,
    callback: Callable[..., Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any] | Any,
    **options: Any,
) -> None:
    """Call back when a hidden text has changed, once for each change.

    Gradio says so when it first draws the text, too, and often twice; an answer given twice would,
    the second time, undo what the user has selected since the first.

    Args:
        text: From `create_signal` or `mirror`.
        callback: As `connect` takes it.
        inputs: Components whose values are passed.
        outputs: Components that may change.
        options: Gradio's options.
    """
    listed = list(outputs) if isinstance(outputs, Sequence) else [outputs]
    answered = gradio.State("")

    def answer(*values: Any) -> Any:
        value = values[-2] or ""
        if value == values[-1]:
            return gradio.skip()
        result = callback(*values[:-2])
        if result == gradio.skip():
            return {answered: value}
        if not isinstance(result, dict):
            parts = result if len(listed) > 1 else [result]
            result = dict(zip(listed, parts, strict=True))
        return {**result, answered: value}

    connect(text.change, answer, [*inputs, text, answered], [*listed, answered], **options)


def follow(
    seen: gradio.Textbox,
    fingerprint: Callable[..., object],
    show: Callable[..., Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any] | Any,
) -> None:
    """Update components whenever what they show has changed, from whatever side.

    Args:
        seen: From `create_signal`; holds the fingerprint of what this page shows.
        fingerprint: Maps the values of `inputs` to a value that changes with what is shown; fast.
        show: Maps the values of `inputs` to those of `outputs`.
        inputs: Components that determine what is shown.
        outputs: Components to update.
    """

    def look(*values: Any) -> Any:
        signature = digest((values[:-1], fingerprint(*values[:-1])))
        return gradio.skip() if signature == values[-1] else signature

    attend(seen, look, [*inputs, seen], show, inputs, outputs)
    for component in inputs:
        connect(component.change, look, [*inputs, seen], seen, queue=False)


def watch(
    signal: gradio.Textbox,
    refresh: Callable[..., Any],
    inputs: Sequence[Any],
    outputs: Any,
    **options: Any,
) -> None:
    """Like `follow`, for components that buttons update as well, so `inputs` include what is shown.

    Args:
        signal: From `create_signal`.
        refresh: Maps the values of `inputs` to those of `outputs`, or `gradio.skip()` if nothing
            has changed. It may be called without need.
        inputs: Components, including those that hold what is shown.
        outputs: Components to update.
        options: Gradio's options of the update.
    """

    def look(*values: Any) -> Any:
        # Never the same text twice, as a late answer may have undone the last update.
        return gradio.skip() if refresh(*values) == gradio.skip() else str(time.time_ns())

    attend(signal, look, inputs, refresh, inputs, outputs, **options)


def mirror(dropdown: gradio.Dropdown) -> gradio.Textbox:
    """A hidden text with a dropdown's value, for polling.

    Gradio rejects a value that the dropdown no longer offers, and shows a notice. A polling page
    would send such a value while the update that removes it is still on its way.
    """
    text = gradio.Textbox(
        dropdown.value or "", show_label=False, container=False, elem_classes=HIDDEN
    )
    options: dict[str, Any] = {"api_name": False, "show_progress": "hidden"}
    dropdown.change(None, dropdown, text, js="(value) => value", **options)
    return text
