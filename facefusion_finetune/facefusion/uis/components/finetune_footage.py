"""Footage and crops: select files, extract, review the crops, reject and restore."""

from collections.abc import Callable
from typing import Any

import gradio

from facefusion_finetune.dataset.footage.sources import FRAMES_PER_SECOND, MAX_FRAMES
from facefusion_finetune.dataset.review import curation
from facefusion_finetune.errors import UsageError
from facefusion_finetune.facefusion.uis import (
    crops_view,
    following,
    page,
    people_text,
    submitting,
    uploads,
)
from facefusion_finetune.facefusion.uis.components import finetune_person
from facefusion_finetune.facefusion.uis.page import connect, translate
from facefusion_finetune.facefusion.uis.progress import draw_latest_job, fingerprint_jobs, stop_jobs
from facefusion_finetune.jobs import queue, record
from facefusion_finetune.people.profile import Person

FOOTAGE_FILES: gradio.File
FOOTAGE_FOLDER: gradio.File
FOOTAGE_PATH_TEXTBOX: gradio.Textbox
REFERENCE_FILES: gradio.File
FPS_SLIDER: gradio.Slider
MOST_FRAMES_SLIDER: gradio.Slider
OTHERS_CHECKBOX: gradio.Checkbox
EXTRACT_BUTTON: gradio.Button
EXTRACT_STOP_BUTTON: gradio.Button
EXTRACT_HTML: gradio.HTML
CROPS_RADIO: gradio.Radio
CROPS_HTML: gradio.HTML
CROPS_JSON: gradio.JSON
REJECT_BUTTON: gradio.Button
RESTORE_BUTTON: gradio.Button
COVERAGE_HTML: gradio.HTML
SEEN_JOBS_TEXTBOX: gradio.Textbox
SEEN_CROPS_TEXTBOX: gradio.Textbox

KINDS = ("extract",)
COLLECT = """
(person, ids) => [
    person,
    [...document.querySelectorAll("#finetune_crops_html input:checked")].map((box) => box.value),
]
"""
"""JavaScript: the ids of the selected crops. Selecting itself makes no request, so it is fast."""


def render() -> None:
    """Render the section."""
    global EXTRACT_BUTTON, EXTRACT_STOP_BUTTON, EXTRACT_HTML
    global SEEN_JOBS_TEXTBOX, SEEN_CROPS_TEXTBOX

    _render_inputs()
    with gradio.Row():
        EXTRACT_BUTTON = page.create(
            gradio.Button,
            "footage.extract_button",
            variant="primary",
            size="sm",
        )
        EXTRACT_STOP_BUTTON = page.create(
            gradio.Button,
            "footage.extract_stop_button",
            size="sm",
            interactive=False,
        )
    EXTRACT_HTML = gradio.HTML(elem_id="finetune_extract_html", padding=True)
    _render_crops()
    SEEN_JOBS_TEXTBOX = page.create_signal()
    SEEN_CROPS_TEXTBOX = page.create_signal()


def _render_inputs() -> None:
    global FOOTAGE_FILES, FOOTAGE_FOLDER, FOOTAGE_PATH_TEXTBOX
    global REFERENCE_FILES, FPS_SLIDER, MOST_FRAMES_SLIDER, OTHERS_CHECKBOX

    with gradio.Row():
        FOOTAGE_FILES = page.create(
            uploads.create_upload,
            "footage.footage_files",
            file_count="multiple",
            height=128,
        )
        FOOTAGE_FOLDER = page.create(
            uploads.create_upload,
            "footage.footage_folder",
            file_count="directory",
            height=128,
        )
    roots = uploads.list_roots()
    FOOTAGE_PATH_TEXTBOX = page.create(
        gradio.Textbox,
        "footage.footage_path_textbox",
        info=translate("footage.footage_path_info", roots=", ".join(map(str, roots))),
        value="",
        max_lines=1,
        visible=bool(roots),
    )
    with gradio.Accordion(translate("footage.options_accordion"), open=False):
        REFERENCE_FILES = page.create(
            uploads.create_upload,
            "footage.reference_files",
            file_count="multiple",
            height=128,
        )
        FPS_SLIDER = page.create(
            gradio.Slider,
            "footage.fps_slider",
            value=FRAMES_PER_SECOND,
            minimum=0.5,
            maximum=30,
            step=0.5,
        )
        MOST_FRAMES_SLIDER = page.create(
            gradio.Slider,
            "footage.most_frames_slider",
            value=MAX_FRAMES,
            minimum=100,
            maximum=10 * MAX_FRAMES,
            step=100,
        )
        OTHERS_CHECKBOX = page.create(
            gradio.Checkbox,
            "footage.others_checkbox",
        )


def _render_crops() -> None:
    global CROPS_RADIO, CROPS_HTML, CROPS_JSON, REJECT_BUTTON, RESTORE_BUTTON, COVERAGE_HTML

    CROPS_RADIO = page.create(
        gradio.Radio,
        "footage.crops_radio",
        choices=crops_view.label_filters([]),
        value="all",
    )
    CROPS_HTML = gradio.HTML(elem_id="finetune_crops_html", padding=False)
    # Transports the ids of the selected crops; see `COLLECT`.
    CROPS_JSON = gradio.JSON(visible=False, elem_id="finetune_crops_json")
    with gradio.Row():
        REJECT_BUTTON = page.create(gradio.Button, "footage.reject_button", size="sm")
        RESTORE_BUTTON = page.create(gradio.Button, "footage.restore_button", size="sm")
    COVERAGE_HTML = gradio.HTML(elem_id="finetune_coverage_html", padding=False)


def listen() -> None:
    """Connect the section's events."""
    person = finetune_person.PERSON_DROPDOWN
    inputs = [
        FOOTAGE_FILES,
        FOOTAGE_FOLDER,
        FOOTAGE_PATH_TEXTBOX,
        REFERENCE_FILES,
        FPS_SLIDER,
        MOST_FRAMES_SLIDER,
        OTHERS_CHECKBOX,
    ]
    job = [EXTRACT_HTML, EXTRACT_BUTTON, EXTRACT_STOP_BUTTON]
    crops = [CROPS_HTML, CROPS_RADIO, COVERAGE_HTML]
    ticked = [person, CROPS_JSON]
    connect(EXTRACT_BUTTON.click, extract, [person, *inputs], [*inputs, *job])
    connect(EXTRACT_STOP_BUTTON.click, stop, [person], job)
    followed = finetune_person.CHOSEN_TEXTBOX
    following.follow(SEEN_JOBS_TEXTBOX, fingerprint_job, show_job, [followed], job)
    following.follow(
        SEEN_CROPS_TEXTBOX, fingerprint_crops, show_crops, [followed, CROPS_RADIO], crops
    )
    connect(REJECT_BUTTON.click, reject, ticked, js=COLLECT)
    connect(RESTORE_BUTTON.click, restore, ticked, js=COLLECT)


def extract(
    name: str | None,
    files: list[str] | None,
    folder: list[str] | None,
    path: str | None,
    references: list[str] | None,
    frames_per_second: float,
    most_frames: float,
    keep_others: bool,
) -> dict[Any, Any]:
    """Queue the extraction of the selected footage; uploaded files are moved to the job."""
    person = people_text.require_person(name)
    typed = [str(uploads.resolve_folder(path))] if path and path.strip() else []
    uploaded = uploads.list_uploads(files, folder)
    if not typed and not uploaded:
        raise UsageError(
            translate("footage.no_footage_given"),
            translate("footage.no_footage_why"),
            translate("footage.no_footage_todo"),
        )
    with submitting.Draft(person, "extract") as draft:
        footage = draft.take_folder(uploaded, record.FOOTAGE_FOLDER)
        looks = draft.take_files(uploads.list_uploads(references), record.REFERENCES_FOLDER)
        draft.submit(
            {
                "paths": typed + footage,
                "references": looks,
                "frames_per_second": frames_per_second,
                "most_frames": most_frames,
                "keep_others": keep_others,
            }
        )
    return {
        FOOTAGE_FILES: None,
        FOOTAGE_FOLDER: None,
        FOOTAGE_PATH_TEXTBOX: "",
        REFERENCE_FILES: None,
        **show_job(name),
    }


def stop(name: str | None) -> dict[Any, Any]:
    """Request a stop of the extraction; processed footage is kept for the next one."""
    stop_jobs(people_text.require_name(name), KINDS)
    return show_job(name)


def fingerprint_job(name: str | None) -> object:
    """Changes with the extraction; also ensures that queued jobs have a runner."""
    queue.ensure_runner()
    return fingerprint_jobs(name, KINDS)


def show_job(name: str | None) -> dict[Any, Any]:
    """Show the progress of the extraction, or its result."""
    drawn = draw_latest_job(name, KINDS)
    return {
        EXTRACT_HTML: drawn.html,
        EXTRACT_BUTTON: gradio.Button(interactive=not drawn.is_open),
        EXTRACT_STOP_BUTTON: gradio.Button(interactive=drawn.is_open),
    }


def fingerprint_crops(name: str | None, shown: str) -> object:
    """Changes with the crops."""
    return shown, crops_view.fingerprint_crops(name)


def show_crops(name: str | None, shown: str) -> dict[Any, Any]:
    """Show the person's crops in the gallery.

    Args:
        name: Name of the person.
        shown: `all`, `kept` or `rejected`.
    """
    view = crops_view.create_view(name, shown)
    return {
        CROPS_HTML: view.html,
        CROPS_RADIO: gradio.Radio(choices=crops_view.label_filters(view.records)),
        COVERAGE_HTML: crops_view.draw_coverage(name),
    }


def reject(name: str | None, ids: list[str] | None) -> None:
    """Reject the selected crops; the gallery updates itself."""
    _decide(name, ids, curation.reject, "footage.rejected")


def restore(name: str | None, ids: list[str] | None) -> None:
    """Restore the selected crops, regardless of the checks; the gallery updates itself."""
    _decide(name, ids, curation.restore, "footage.restored")


def _decide(
    name: str | None,
    ids: list[str] | None,
    decide: Callable[[Person, list[str]], curation.CurationResult],
    text: str,
) -> None:
    person = people_text.require_person(name)
    if not ids or not all(isinstance(identifier, str) for identifier in ids):
        raise UsageError(
            translate("footage.no_crops_given"),
            translate("footage.no_crops_why"),
            translate("footage.no_crops_todo"),
        )
    result = decide(person, ids)
    crops_view.update_coverage(person)
    page.inform(translate(text, count=len(result.changed), kept=result.kept))
