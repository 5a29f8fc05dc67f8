"""How a page follows what happens elsewhere: looks every second, and draws what has changed.

All sections are looked at by one event, which changes hidden texts only. Gradio marks whatever an
event may change as being at work, each time, and that costs the browser more than the look itself.
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
"""Between two looks at what goes on; a page shows nothing that it has not read from disk."""

CLOCK: gradio.Timer


@dataclass(frozen=True)
class Follower:
    """What is looked at for one section."""

    look: Callable[..., Any]
    """Values of `inputs` to that of `signal`, or `gradio.skip()`."""
    inputs: list[Any]
    signal: gradio.Textbox


FOLLOWERS: list[Follower] = []
"""Of the page, or the part of it, that is being built."""


def render(seconds: float = SECONDS) -> None:
    """Put the timer on the page, or on the part of it that is built now.

    Args:
        seconds: Between two looks.
    """
    global CLOCK
    FOLLOWERS.clear()
    CLOCK = gradio.Timer(seconds)


def listen(on_load: bool = True) -> None:
    """Look at everything that is followed: every second, and when the page is opened.

    Args:
        on_load: Whether also then; not where the page is told everything by an event of its own.
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
) -> None:
    """Look every second, and show something whenever the look says another thing than before.

    Args:
        signal: From `create_signal`; holds what the last look said.
        look: Values of `looked_at` to another text, or `gradio.skip()`; quick.
        looked_at: Components.
        show: Values of `inputs` to those of `outputs`.
        inputs: Components that decide what is shown.
        outputs: Components that show it.
    """
    FOLLOWERS.append(Follower(look, list(looked_at), signal))
    connect(signal.change, show, inputs, outputs)


def follow(
    seen: gradio.Textbox,
    sign: Callable[..., object],
    show: Callable[..., Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any] | Any,
) -> None:
    """Show something again whenever it has changed, whoever changed it.

    Args:
        seen: From `create_signal`; remembers for this page what was shown.
        sign: Values of `inputs` to what changes whenever something else would be shown; quick.
        show: Values of `inputs` to those of `outputs`.
        inputs: Components that decide what is shown.
        outputs: Components that show it.
    """

    def look(*values: Any) -> Any:
        signature = digest((values[:-1], sign(*values[:-1])))
        return gradio.skip() if signature == values[-1] else signature

    attend(seen, look, [*inputs, seen], show, inputs, outputs)
    for component in inputs:
        connect(component.change, look, [*inputs, seen], seen, queue=False)


def watch(
    signal: gradio.Textbox, refresh: Callable[..., Any], inputs: Sequence[Any], outputs: Any
) -> None:
    """Like `follow`, where buttons show the same things, too, and the page tells what it shows.

    Args:
        signal: From `create_signal`.
        refresh: Values of `inputs` to those of `outputs`; `gradio.skip()` where nothing has
            changed. It may be called for nothing.
        inputs: Components, those that hold what is shown among them.
        outputs: Components that show it.
    """

    def look(*values: Any) -> Any:
        # Never the same text twice: a late answer may have undone what the last one said.
        return gradio.skip() if refresh(*values) == gradio.skip() else str(time.time_ns())

    attend(signal, look, inputs, refresh, inputs, outputs)


def mirror(dropdown: gradio.Dropdown) -> gradio.Textbox:
    """A hidden text that holds what a dropdown holds, for what the page asks by itself.

    Gradio refuses, with a notice of its own, a choice that is not offered any more. A page that
    asks every second would send one while the news that it is gone is still on its way.
    """
    text = gradio.Textbox(dropdown.value, show_label=False, container=False, elem_classes=HIDDEN)
    options: dict[str, Any] = {"api_name": False, "show_progress": "hidden"}
    dropdown.change(None, dropdown, text, js="(value) => value", **options)
    return text
