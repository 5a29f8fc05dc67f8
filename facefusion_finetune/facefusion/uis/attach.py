"""Show the options of the tuned models below those of the host's face swapper, in every layout."""

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
"""Our components of the layout that is being built; none where they failed."""


def attach(report: Report) -> None:
    """Let our options follow the host's, which the layouts call by their module; once is enough.

    Args:
        report: Told why ours cannot be shown.
    """
    global IS_ATTACHED

    if not IS_ATTACHED:
        IS_ATTACHED = True
        face_swapper_options.render = follow(face_swapper_options.render, render, report)
        face_swapper_options.listen = follow(face_swapper_options.listen, listen, report)


def follow(
    function: Callable[..., Any], follower: Callable[[], None], report: Report
) -> Callable[..., Any]:
    """The host's function, and ours after it; ours cannot take the page down."""

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
    """Draw our options; where that fails, none of them."""
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
    """Connect our options; where that fails, take them off the page."""
    if RENDERED:
        before = undo.take_snapshot()
        try:
            import_module(OPTIONS).listen()
        except Exception:
            before.restore()
            undo.remove_components(RENDERED)
            raise
