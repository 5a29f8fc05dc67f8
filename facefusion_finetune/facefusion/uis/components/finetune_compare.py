"""Compares two models on one frame."""

import math
from pathlib import Path
from typing import Any

import gradio

from facefusion_finetune.errors import UsageError
from facefusion_finetune.facefusion.processors.modules.finetuned_swapper import compare
from facefusion_finetune.facefusion.uis import embed, following, page, uploads, versions_text
from facefusion_finetune.facefusion.uis.components import finetune_person
from facefusion_finetune.facefusion.uis.page import connect, translate
from facefusion_finetune.host import adapter
from facefusion_finetune.registry.versions import (
    Listing,
    fingerprint_versions,
    list_versions,
    require_version,
)

Sides = tuple[str | None, str | None]
"""Left and right side: references, or `BASE` on the right."""

BASE = "base"
"""Stands for the base of the left model."""

MAX_FRAME = 1 << 31
"""More than any video has."""

COMPARE_LEFT_DROPDOWN: gradio.Dropdown
COMPARE_RIGHT_DROPDOWN: gradio.Dropdown
COMPARE_FRAME_FILE: gradio.File
COMPARE_FRAME_HTML: gradio.HTML
COMPARE_FRAME_SLIDER: gradio.Slider
COMPARE_BUTTON: gradio.Button
COMPARE_SLIDER: gradio.ImageSlider
LEFT_TEXTBOX: gradio.Textbox
RIGHT_TEXTBOX: gradio.Textbox
SEEN_TEXTBOX: gradio.Textbox
COMPARE_FRAME_STATE: gradio.State


def render() -> None:
    """Render the section."""
    global COMPARE_LEFT_DROPDOWN, COMPARE_RIGHT_DROPDOWN, COMPARE_FRAME_FILE, COMPARE_FRAME_HTML
    global COMPARE_FRAME_SLIDER, COMPARE_BUTTON, COMPARE_SLIDER
    global LEFT_TEXTBOX, RIGHT_TEXTBOX, SEEN_TEXTBOX, COMPARE_FRAME_STATE

    with gradio.Accordion(
        translate("compare.accordion"), open=False, elem_id="finetune_compare_accordion"
    ):
        COMPARE_LEFT_DROPDOWN = _create_dropdown("left")
        COMPARE_RIGHT_DROPDOWN = _create_dropdown("right")
        COMPARE_FRAME_FILE = uploads.create_upload(
            label=translate("compare.frame_file"),
            file_types=["image", "video"],
            height=128,
            elem_id="finetune_compare_frame_file",
        )
        COMPARE_FRAME_HTML = gradio.HTML(elem_id="finetune_compare_frame_html", padding=True)
        COMPARE_FRAME_SLIDER = gradio.Slider(
            label=translate("compare.frame_slider"),
            minimum=0,
            maximum=1,
            step=1,
            visible=False,
            elem_id="finetune_compare_frame_slider",
        )
        COMPARE_BUTTON = gradio.Button(
            translate("compare.compare_button"),
            variant="primary",
            size="sm",
            elem_id="finetune_compare_button",
        )
        COMPARE_SLIDER = gradio.ImageSlider(
            type="filepath",
            interactive=False,
            visible=False,
            max_height=720,
            elem_id="finetune_compare_slider",
        )
    LEFT_TEXTBOX = following.mirror(COMPARE_LEFT_DROPDOWN)
    RIGHT_TEXTBOX = following.mirror(COMPARE_RIGHT_DROPDOWN)
    SEEN_TEXTBOX = page.create_signal()
    COMPARE_FRAME_STATE = gradio.State(None, delete_callback=forget_upload)


def _create_dropdown(side: str) -> gradio.Dropdown:
    return gradio.Dropdown(
        label=translate(f"compare.{side}_dropdown"),
        choices=[],
        elem_id=f"finetune_compare_{side}_dropdown",
    )


def list_inputs() -> list[Any]:
    """Inputs of `refresh` and `refresh_frame`."""
    return [LEFT_TEXTBOX, RIGHT_TEXTBOX, SEEN_TEXTBOX, COMPARE_FRAME_STATE]


def list_shown() -> list[Any]:
    """Outputs of `refresh` and `refresh_frame`."""
    return [*_list_sides(), SEEN_TEXTBOX, *_list_frame()]


def _list_sides() -> list[Any]:
    return [COMPARE_LEFT_DROPDOWN, COMPARE_RIGHT_DROPDOWN]


def _list_frame() -> list[Any]:
    return [COMPARE_FRAME_HTML, COMPARE_FRAME_SLIDER, COMPARE_FRAME_STATE]


def listen() -> None:
    """Connect the section's events."""
    sides = _list_sides()
    following.connect_once(
        finetune_person.CHOSEN_TEXTBOX,
        follow_person,
        [finetune_person.CHOSEN_TEXTBOX, LEFT_TEXTBOX, RIGHT_TEXTBOX],
        [*sides, SEEN_TEXTBOX],
    )
    uploaded = [COMPARE_FRAME_FILE, COMPARE_FRAME_STATE]
    connect(COMPARE_FRAME_FILE.change, take_upload, uploaded, _list_frame())
    connect(
        COMPARE_BUTTON.click,
        show_both,
        [*sides, COMPARE_FRAME_FILE, COMPARE_FRAME_SLIDER],
        COMPARE_SLIDER,
        show_progress="minimal",
    )


def refresh(fingerprint: Any, left: str | None, right: str | None, seen: str) -> dict[Any, Any]:
    """Update the offered versions; empty if nothing has changed.

    Args:
        fingerprint: Current fingerprint of all versions.
        left: Selected left side.
        right: Selected right side.
        seen: Digest of what is offered.
    """
    return {} if page.digest(fingerprint) == seen else _show((left, right), (left, right))


def refresh_frame(seen: Any) -> dict[Any, Any]:
    """Follow FaceFusion's target unless a file is uploaded; empty if nothing has changed."""
    upload = seen["upload"] if seen else None
    path = upload or compare.find_target()
    return {} if seen and path == seen["path"] else _show_frame(path, upload)


def follow_person(name: str | None, left: str | None, right: str | None) -> Any:
    """Compare the newest version of the selected person with its base."""
    finished = _list_finished(name).versions if name else []
    if not finished:
        return gradio.skip()
    return _show((left, right), (finished[-1].reference, BASE))


def take_upload(file: str | None, seen: dict[str, Any] | None) -> dict[Any, Any]:
    """Use an uploaded file; an earlier upload is deleted."""
    if seen and seen["upload"] != file:
        forget_upload(seen)
    return _show_frame(file or compare.find_target(), file)


def forget_upload(seen: dict[str, Any] | None) -> None:
    """Delete the uploaded file; also called when the page is closed.

    Gradio stores equal files only once, so it may also be FaceFusion's target.
    """
    if seen and seen["upload"] and seen["upload"] != compare.find_target():
        uploads.discard_uploads([Path(seen["upload"])])


def show_both(
    left: str | None, right: str | None, file: str | None, number: float
) -> gradio.ImageSlider:
    """Swap the frame with both sides, and show them in a slider."""
    path = file or compare.find_target()
    if not path:
        raise UsageError(
            translate("compare.nothing_given"),
            translate("compare.nothing_why"),
            translate("compare.nothing_todo"),
        )
    first = compare.Side(require_version(adapter.HOST_PATH, left).run)
    second = (
        compare.Side(first.run, is_base=True)
        if right == BASE
        else compare.Side(require_version(adapter.HOST_PATH, right).run)
    )
    sides = [first, second]
    pictures = compare.draw_comparison(
        first, second, compare.read_frame(path, _read_number(number))
    )
    for side in sides:
        embed.serve_shown(side.load_person())
    names = [_name(side) for side in sides]
    return gradio.ImageSlider(
        value=(str(pictures[0]), str(pictures[1])),
        label=translate("compare.slider", left=names[0], right=names[1]),
        visible=True,
    )


def _read_number(number: float | None) -> int:
    """Index of the chosen frame."""
    return round(min(max(number, 0), MAX_FRAME)) if number and not math.isnan(number) else 0


def _name(side: compare.Side) -> str:
    if not side.is_base:
        return side.run.reference
    return translate(
        "compare.base_of", reference=side.run.reference, base=side.run.record.base_name
    )


def _list_finished(name: str | None = None) -> Listing:
    listing = list_versions(adapter.HOST_PATH, name)
    return Listing([version for version in listing.versions if version.card], [])


def _show(chosen: Sides, wanted: Sides) -> dict[Any, Any]:
    fingerprint = fingerprint_versions(adapter.HOST_PATH)
    listing = _list_finished()
    labels = versions_text.label_versions(listing.versions)
    newest = max(listing.versions, key=lambda version: version.run.record.created, default=None)
    first = listing.find(wanted[0]) or newest
    left = first.reference if first else None
    right = wanted[1] if listing.find(wanted[1]) else BASE
    others = [(translate("compare.base"), BASE), *labels]
    return {
        COMPARE_LEFT_DROPDOWN: page.offer(labels, left, chosen[0]),
        COMPARE_RIGHT_DROPDOWN: page.offer(others, right, chosen[1]),
        SEEN_TEXTBOX: page.digest(fingerprint),
    }


def _show_frame(path: str | None, upload: str | None) -> dict[Any, Any]:
    total = compare.count_frames(path)
    notation = "from_upload" if upload else "from_target" if path else "from_nothing"
    name = Path(path).name if path else ""
    return {
        COMPARE_FRAME_HTML: embed.paragraph(translate(f"compare.{notation}", name=name)),
        COMPARE_FRAME_SLIDER: gradio.Slider(maximum=max(total - 1, 1), value=0, visible=total > 1),
        COMPARE_FRAME_STATE: {"path": path, "upload": upload},
    }
