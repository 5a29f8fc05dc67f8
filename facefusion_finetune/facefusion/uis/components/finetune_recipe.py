"""Training settings: the base with its licence, the preset with its time and gain, options."""

from typing import Any

import gradio

from facefusion_finetune.facefusion.uis import (
    embed,
    following,
    page,
    people_text,
    recipe_text,
    submitting,
)
from facefusion_finetune.facefusion.uis.components import finetune_person
from facefusion_finetune.facefusion.uis.page import connect, translate
from facefusion_finetune.facefusion.uis.progress import draw_latest_job, fingerprint_jobs
from facefusion_finetune.facefusion.uis.uploads import create_upload
from facefusion_finetune.jobs.times import find_time
from facefusion_finetune.presets.preset import list_presets
from facefusion_finetune.training.request import DEFAULT_CACHE, PRECISIONS, TRACKERS

BASE_DROPDOWN: gradio.Dropdown
BASE_TEXTBOX: gradio.Textbox
BASE_HTML: gradio.HTML
PRESET_DROPDOWN: gradio.Dropdown
PRESET_HTML: gradio.HTML
MEASURE_TIME_BUTTON: gradio.Button
MEASURE_TIME_HTML: gradio.HTML
SEED_NUMBER: gradio.Number
PRECISION_DROPDOWN: gradio.Dropdown
COMMERCIAL_CHECKBOX: gradio.Checkbox
CACHE_SIZE_TEXTBOX: gradio.Textbox
TRACKER_CHECKBOX_GROUP: gradio.CheckboxGroup
TARGET_FILES: gradio.File
OTHER_FILES: gradio.File
SEEN_TEXTBOX: gradio.Textbox

DEFAULT_PRESET = "balanced"
KINDS = ("estimate",)


def render() -> None:
    """Render the section."""
    global BASE_DROPDOWN, BASE_TEXTBOX, BASE_HTML, PRESET_DROPDOWN, PRESET_HTML
    global MEASURE_TIME_BUTTON, MEASURE_TIME_HTML, SEEN_TEXTBOX

    BASE_DROPDOWN = page.create(
        gradio.Dropdown,
        "model.base_dropdown",
        choices=[recipe_text.DEFAULT_BASE],
        value=recipe_text.DEFAULT_BASE,
    )
    BASE_TEXTBOX = following.mirror(BASE_DROPDOWN)
    BASE_HTML = gradio.HTML(elem_id="finetune_base_html", padding=True)
    PRESET_DROPDOWN = page.create(
        gradio.Dropdown,
        "model.preset_dropdown",
        choices=list_presets(),
        value=DEFAULT_PRESET,
    )
    PRESET_HTML = gradio.HTML(elem_id="finetune_preset_html", padding=True)
    MEASURE_TIME_BUTTON = page.create(gradio.Button, "model.measure_time_button", size="sm")
    MEASURE_TIME_HTML = gradio.HTML(elem_id="finetune_measure_time_html", padding=True)
    with gradio.Accordion(translate("model.options_accordion"), open=False):
        _render_options()
    SEEN_TEXTBOX = page.create_signal()


def _render_options() -> None:
    global SEED_NUMBER, PRECISION_DROPDOWN, COMMERCIAL_CHECKBOX, TARGET_FILES, OTHER_FILES
    global CACHE_SIZE_TEXTBOX, TRACKER_CHECKBOX_GROUP

    TARGET_FILES = page.create(
        create_upload,
        "model.target_files",
        file_count="multiple",
        height=128,
    )
    OTHER_FILES = page.create(
        create_upload,
        "model.other_files",
        file_count="multiple",
        height=128,
    )
    with gradio.Row():
        SEED_NUMBER = page.create(
            gradio.Number,
            "model.seed_number",
            value=0,
            minimum=0,
            precision=0,
        )
        PRECISION_DROPDOWN = page.create(
            gradio.Dropdown,
            "model.precision_dropdown",
            choices=list(PRECISIONS),
            value=PRECISIONS[0],
        )
    with gradio.Row():
        CACHE_SIZE_TEXTBOX = page.create(
            gradio.Textbox,
            "model.cache_size_textbox",
            value=DEFAULT_CACHE,
            max_lines=1,
        )
        TRACKER_CHECKBOX_GROUP = page.create(
            gradio.CheckboxGroup,
            "model.tracker_checkbox_group",
            choices=list(TRACKERS),
        )
    COMMERCIAL_CHECKBOX = page.create(
        gradio.Checkbox,
        "model.commercial_checkbox",
    )


def listen() -> None:
    """Connect the section's events."""
    chosen = [finetune_person.PERSON_DROPDOWN, BASE_DROPDOWN, PRESET_DROPDOWN]
    followed = [finetune_person.CHOSEN_TEXTBOX, BASE_TEXTBOX, PRESET_DROPDOWN]
    shown = [BASE_HTML, PRESET_HTML, MEASURE_TIME_HTML, MEASURE_TIME_BUTTON]
    page.connect_load(open_page, BASE_TEXTBOX, BASE_DROPDOWN)
    following.follow(SEEN_TEXTBOX, fingerprint, show, followed, shown)
    connect(MEASURE_TIME_BUTTON.click, measure_time, chosen, shown)


def open_page(base: str) -> Any:
    """Offer this FaceFusion's bases; listing them would slow down the start."""
    choices = recipe_text.label_bases()
    names = [value for _, value in choices]
    return page.offer(choices, base if base in names else names[0], base)


def fingerprint(name: str | None, base: str, preset: str) -> object:
    """Changes with the estimation job, and with the known times."""
    return fingerprint_jobs(name, KINDS), find_time(base, preset)


def show(name: str | None, base: str, preset: str) -> dict[Any, Any]:
    """Describe the selected base and preset."""
    drawn = draw_latest_job(name, KINDS)
    return {
        BASE_HTML: embed.paragraph(recipe_text.describe_base(base)),
        PRESET_HTML: embed.paragraph(recipe_text.describe_preset(base, preset)),
        MEASURE_TIME_HTML: drawn.html,
        MEASURE_TIME_BUTTON: gradio.Button(interactive=not drawn.is_open),
    }


def measure_time(name: str | None, base: str, preset: str) -> dict[Any, Any]:
    """Queue a dry run of this training, which estimates its duration."""
    person = people_text.require_person(name)
    recipe_text.require_offered(base, preset)
    with submitting.Draft(person, "estimate") as draft:
        draft.submit({"base": base, "preset": preset})
    return show(name, base, preset)
