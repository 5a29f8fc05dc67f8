"""Training: start, stop, resume; progress, curves, held-out pictures, log."""

import os
from pathlib import Path
from typing import Any

import gradio

from facefusion_finetune.errors import UsageError
from facefusion_finetune.facefusion.uis import (
    embed,
    following,
    page,
    people_text,
    recipe_text,
    submitting,
    uploads,
)
from facefusion_finetune.facefusion.uis.components import finetune_person, finetune_recipe
from facefusion_finetune.facefusion.uis.page import connect, translate
from facefusion_finetune.facefusion.uis.progress import (
    draw_latest_job,
    find_latest_job,
    fingerprint_jobs,
    stop_jobs,
)
from facefusion_finetune.facefusion.uis.run_view import (
    can_resume,
    create_curves,
    find_grid,
    find_shown_run,
    fingerprint_run,
)
from facefusion_finetune.jobs import record
from facefusion_finetune.training.request import (
    CACHE_VARIABLE,
    DEFAULT_CACHE,
    JUDGE_VARIABLE,
    TrainRequest,
)

START_BUTTON: gradio.Button
STOP_BUTTON: gradio.Button
RESUME_BUTTON: gradio.Button
TRAINING_HTML: gradio.HTML
LOSS_PLOT: gradio.LinePlot
SCORE_PLOT: gradio.LinePlot
GRID_HTML: gradio.HTML
LOG_TEXTBOX: gradio.Textbox
SEEN_JOBS_TEXTBOX: gradio.Textbox
SEEN_RUN_TEXTBOX: gradio.Textbox

KINDS = ("train",)
OPTIONS = {"precision", "commercial", "cache", "cache_size", "trackers"}
"""Fields of a request that may differ when a training is resumed."""
COLOURS = {
    translate("training.loss"): "#dc2626",
    translate("training.base"): "#737373",
    translate("training.tuned"): "#dc2626",
}
"""Colours of the curves; the host's theme has no line colours."""


def render() -> None:
    """Render the section."""
    global START_BUTTON, STOP_BUTTON, RESUME_BUTTON, TRAINING_HTML, GRID_HTML, LOG_TEXTBOX
    global LOSS_PLOT, SCORE_PLOT, SEEN_JOBS_TEXTBOX, SEEN_RUN_TEXTBOX

    judge = os.environ.get(JUDGE_VARIABLE)
    text = translate("training.judge", judge=judge) if judge else translate("training.no_judge")
    gradio.HTML(embed.paragraph(text), elem_id="finetune_judge_html", padding=True)
    with gradio.Row():
        START_BUTTON = page.create(
            gradio.Button,
            "training.start_button",
            variant="primary",
            size="sm",
            min_width=96,
        )
        STOP_BUTTON = page.create(
            gradio.Button,
            "training.stop_button",
            size="sm",
            min_width=96,
            interactive=False,
        )
        RESUME_BUTTON = page.create(
            gradio.Button,
            "training.resume_button",
            size="sm",
            min_width=96,
            interactive=False,
        )
    TRAINING_HTML = gradio.HTML(elem_id="finetune_training_html", padding=True)
    with gradio.Row():
        LOSS_PLOT = _render_plot("loss")
        SCORE_PLOT = _render_plot("score")
    GRID_HTML = gradio.HTML(elem_id="finetune_grid_html", padding=False)
    with gradio.Accordion(translate("training.log_accordion"), open=False):
        LOG_TEXTBOX = page.create(
            gradio.Textbox,
            "training.log_textbox",
            lines=8,
            max_lines=8,
            interactive=False,
        )
    SEEN_JOBS_TEXTBOX = page.create_signal()
    SEEN_RUN_TEXTBOX = page.create_signal()


def _render_plot(name: str) -> gradio.LinePlot:
    return gradio.LinePlot(
        x="step",
        y=name,
        color="curve",
        color_map=COLOURS,
        title=translate(f"training.{name}_plot"),
        x_title=translate("training.step"),
        y_title=translate(f"training.{name}"),
        color_title=translate("training.curve") if name == "score" else " ",
        height=220,
        visible=False,
        elem_id=f"finetune_{name}_plot",
    )


def listen() -> None:
    """Connect the section's events."""
    person = finetune_person.PERSON_DROPDOWN
    options = [
        finetune_recipe.BASE_DROPDOWN,
        finetune_recipe.PRESET_DROPDOWN,
        finetune_recipe.SEED_NUMBER,
        finetune_recipe.PRECISION_DROPDOWN,
        finetune_recipe.COMMERCIAL_CHECKBOX,
        finetune_recipe.CACHE_SIZE_TEXTBOX,
        finetune_recipe.TRACKER_CHECKBOX_GROUP,
    ]
    files = [finetune_recipe.TARGET_FILES, finetune_recipe.OTHER_FILES]
    job = [TRAINING_HTML, START_BUTTON, STOP_BUTTON, RESUME_BUTTON, LOG_TEXTBOX]
    curves = [LOSS_PLOT, SCORE_PLOT, GRID_HTML]
    connect(START_BUTTON.click, start, [person, *options, *files], [*job, *files])
    connect(STOP_BUTTON.click, stop, [person], job)
    connect(RESUME_BUTTON.click, resume, [person, *options[3:]], job)
    followed = [finetune_person.CHOSEN_TEXTBOX]
    following.follow(SEEN_JOBS_TEXTBOX, fingerprint_job, show_job, followed, job)
    following.follow(SEEN_RUN_TEXTBOX, fingerprint_run, show_run, followed, curves)


def start(
    name: str | None,
    base: str,
    preset: str,
    seed: float,
    precision: str,
    commercial: bool,
    cache_size: str,
    trackers: list[str],
    targets: list[str] | None,
    others: list[str] | None,
) -> dict[Any, Any]:
    """Queue a training with the selected settings; uploaded files are moved to the job."""
    person = people_text.require_person(name)
    recipe_text.require_offered(base, preset)
    _require_no_job(person.name)
    with submitting.Draft(person, "train") as draft:
        draft.submit(
            {
                "base": base,
                "preset": preset,
                "seed": seed,
                **_read_options(precision, commercial, cache_size, trackers),
                "judge": os.environ.get(JUDGE_VARIABLE) or None,
                "targets": draft.take_folder(uploads.list_uploads(targets), record.TARGETS_FOLDER),
                "others": draft.take_folder(uploads.list_uploads(others), record.FOOTAGE_FOLDER),
            }
        )
    return {
        finetune_recipe.TARGET_FILES: None,
        finetune_recipe.OTHER_FILES: None,
        **show_job(name),
    }


def resume(
    name: str | None, precision: str, commercial: bool, cache_size: str, trackers: list[str]
) -> dict[Any, Any]:
    """Queue the resumption of the last training, with its original settings."""
    person = people_text.require_person(name)
    _require_no_job(person.name)
    former = find_latest_job(name, KINDS)
    earlier = former.request.read_arguments() if former else TrainRequest()
    assert isinstance(earlier, TrainRequest)
    arguments = earlier.model_dump(mode="json")
    # Uploads are in the former job's folder until the training succeeds.
    targets = [str(path) for path in earlier.targets if path.exists()]
    with submitting.Draft(person, "train") as draft:
        draft.submit(
            {
                **arguments,
                "resume": True,
                **_read_options(precision, commercial, cache_size, trackers),
                "targets": targets,
                "others": [],
            }
        )
    return show_job(name)


def stop(name: str | None) -> dict[Any, Any]:
    """Request a stop of the training, which can be resumed later."""
    stop_jobs(people_text.require_name(name), KINDS)
    return show_job(name)


def fingerprint_job(name: str | None) -> object:
    """Changes with the training."""
    return fingerprint_jobs(name, KINDS), can_resume(name)


def show_job(name: str | None) -> dict[Any, Any]:
    """Show the progress of the training, or its result."""
    drawn = draw_latest_job(name, KINDS)
    job = find_latest_job(name, KINDS)
    return {
        TRAINING_HTML: drawn.html,
        START_BUTTON: gradio.Button(interactive=not drawn.is_open),
        STOP_BUTTON: gradio.Button(interactive=drawn.is_open),
        RESUME_BUTTON: gradio.Button(interactive=not drawn.is_open and can_resume(name)),
        LOG_TEXTBOX: job.read_log() if job else "",
    }


def show_run(name: str | None) -> dict[Any, Any]:
    """Show the curves and the held-out pictures."""
    run = find_shown_run(name)
    curves = create_curves(run)
    return {
        LOSS_PLOT: gradio.LinePlot(value=curves.loss, visible=not curves.loss.empty),
        SCORE_PLOT: gradio.LinePlot(value=curves.score, visible=not curves.score.empty),
        GRID_HTML: _draw_grid(find_grid(run)),
    }


def _draw_grid(path: Path | None) -> str:
    picture = embed.embed_picture(path, translate("training.grid"))
    if not picture or path is None:
        return ""
    step = path.stem.removeprefix("step_")
    is_step = step.isdecimal()
    title = translate("training.grid_title", step=int(step)) if is_step else ""
    return embed.paragraph(title or translate("training.grid_final")) + picture


def _read_options(
    precision: str, commercial: bool, cache_size: str, trackers: list[str]
) -> dict[str, Any]:
    """How to carry out a training; the cache folder comes from FaceFusion's environment."""
    request = TrainRequest.parse(
        precision=precision,
        commercial=commercial,
        cache=os.environ.get(CACHE_VARIABLE) or None,
        cache_size=cache_size.strip() or DEFAULT_CACHE,
        trackers=trackers,
    )
    request.check()
    return request.model_dump(mode="json", include=OPTIONS)


def _require_no_job(name: str) -> None:
    job = find_latest_job(name, KINDS)
    if job is not None and not job.state.is_ended:
        raise UsageError(
            translate("training.busy_given", name=name),
            translate("training.busy_why"),
            translate("training.busy_todo"),
        )
