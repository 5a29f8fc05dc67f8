"""Adds the options of tuned models below those of the host's face swapper, in every layout."""

import functools
from collections.abc import Callable, Set
from importlib import import_module
from typing import Any

from facefusion.uis.components import face_swapper_options

from facefusion_finetune.facefusion.uis import undo

Report = Callable[[Exception], None]

OPTIONS = "facefusion_finetune.facefusion.uis.components.finetuned_swapper_options"

IS_ATTACHED = False
RENDERED: Set[int] = frozenset()
"""Our components of the layout being built; empty if rendering failed."""


def attach(report: Report) -> None:
    """Hook our options into the host's, which the layouts call through their module; only once.

    Args:
        report: Called with the error if ours cannot be shown.
    """
    global IS_ATTACHED

    if not IS_ATTACHED:
        IS_ATTACHED = True
        face_swapper_options.render = follow(face_swapper_options.render, render, report)
        face_swapper_options.listen = follow(face_swapper_options.listen, listen, report)


def follow(
    function: Callable[..., Any], follower: Callable[[], None], report: Report
) -> Callable[..., Any]:
    """The host's function followed by ours, whose errors do not break the page."""

    @functools.wraps(function)
    def call(*values: Any, **options: Any) -> Any:
        result = function(*values, **options)
        try:
            follower()
        except Exception as error:
            report(error)
        return result

    return call


def render() -> None:
    """Render our options, or none of them if that fails."""
    global RENDERED

    RENDERED = frozenset()
    before = undo.take_snapshot()
    try:
        import_module(OPTIONS).render()
    except Exception:
        before.restore()
        raise
    RENDERED = before.list_added()


def listen() -> None:
    """Connect our options, or remove them from the page if that fails."""
    if RENDERED:
        before = undo.take_snapshot()
        try:
            import_module(OPTIONS).listen()
        except Exception:
            before.restore()
            undo.remove_components(RENDERED)
            raise
