"""Versions of all persons: list, activate, roll back, delete; below, export and compare."""

from typing import Any

import gradio

from facefusion_finetune.errors import UsageError
from facefusion_finetune.facefusion.uis import embed, following, page, versions_text
from facefusion_finetune.facefusion.uis.components import (
    finetune_compare,
    finetune_export,
    finetune_person,
)
from facefusion_finetune.facefusion.uis.components.finetune_report import (
    activate_version,
    require_force,
    tell_active,
)
from facefusion_finetune.facefusion.uis.page import connect, translate
from facefusion_finetune.host import adapter
from facefusion_finetune.jobs import queue
from facefusion_finetune.registry import store
from facefusion_finetune.registry.versions import (
    ListedVersion,
    Listing,
    find_previous,
    fingerprint_versions,
    list_versions,
    remove_version,
    require_version,
    roll_back,
)

MODELS_HTML: gradio.HTML
MODELS_MODEL_DROPDOWN: gradio.Dropdown
MODELS_FORCE_CHECKBOX: gradio.Checkbox
MODELS_ACTIVATE_BUTTON: gradio.Button
MODELS_ROLL_BACK_BUTTON: gradio.Button
MODELS_DEACTIVATE_BUTTON: gradio.Button
MODELS_DELETE_BUTTON: gradio.Button
MODELS_CONFIRM_COLUMN: gradio.Column
MODELS_CONFIRM_HTML: gradio.HTML
MODELS_CONFIRM_BUTTON: gradio.Button
MODELS_CANCEL_BUTTON: gradio.Button
MODELS_ASKED_STATE: gradio.State
"""The version whose deletion awaits confirmation."""
CHOSEN_TEXTBOX: gradio.Textbox
SEEN_TEXTBOX: gradio.Textbox
"""A digest of what the page shows."""
CHANGES_TEXTBOX: gradio.Textbox


def render() -> None:
    """Render the section."""
    global MODELS_HTML, MODELS_MODEL_DROPDOWN, MODELS_FORCE_CHECKBOX
    global CHOSEN_TEXTBOX, SEEN_TEXTBOX, CHANGES_TEXTBOX

    MODELS_HTML = gradio.HTML(elem_id="finetune_models_html", padding=True)
    MODELS_MODEL_DROPDOWN = gradio.Dropdown(
        label=translate("models.model_dropdown"),
        choices=[],
        visible=False,
        elem_id="finetune_models_model_dropdown",
    )
    MODELS_FORCE_CHECKBOX = gradio.Checkbox(
        label=translate("proof.force_checkbox"),
        visible=False,
        elem_id="finetune_models_force_checkbox",
    )
    _render_buttons()
    CHOSEN_TEXTBOX = following.mirror(MODELS_MODEL_DROPDOWN)
    SEEN_TEXTBOX = page.create_signal()
    CHANGES_TEXTBOX = page.create_signal()
    finetune_export.render()
    finetune_compare.render()


def _render_buttons() -> None:
    global MODELS_ACTIVATE_BUTTON, MODELS_ROLL_BACK_BUTTON, MODELS_DEACTIVATE_BUTTON
    global MODELS_DELETE_BUTTON, MODELS_CONFIRM_COLUMN, MODELS_CONFIRM_HTML
    global MODELS_CONFIRM_BUTTON, MODELS_CANCEL_BUTTON, MODELS_ASKED_STATE

    with gradio.Row():
        MODELS_ACTIVATE_BUTTON = _create_button("activate", "primary")
        MODELS_ROLL_BACK_BUTTON = _create_button("roll_back")
    with gradio.Row():
        MODELS_DEACTIVATE_BUTTON = _create_button("deactivate")
        MODELS_DELETE_BUTTON = _create_button("delete", "stop")
    with gradio.Column(
        visible=False, elem_id="finetune_models_confirm_column"
    ) as MODELS_CONFIRM_COLUMN:
        MODELS_CONFIRM_HTML = gradio.HTML(elem_id="finetune_models_confirm_html", padding=True)
        with gradio.Row():
            MODELS_CONFIRM_BUTTON = _create_button("confirm", "stop")
            MODELS_CANCEL_BUTTON = _create_button("cancel")
    MODELS_ASKED_STATE = gradio.State(None)


def _create_button(action: str, variant: Any = "secondary") -> gradio.Button:
    return gradio.Button(
        translate(f"models.{action}_button", reference=""),
        variant=variant,
        size="sm",
        elem_id=f"finetune_models_{action}_button",
    )


def listen() -> None:
    """Connect the section's events."""
    person = finetune_person.CHOSEN_TEXTBOX
    chosen, force = MODELS_MODEL_DROPDOWN, MODELS_FORCE_CHECKBOX
    asked = [
        MODELS_CONFIRM_COLUMN,
        MODELS_CONFIRM_HTML,
        MODELS_CONFIRM_BUTTON,
        MODELS_ASKED_STATE,
    ]
    shown = [MODELS_HTML, chosen, force, *asked, SEEN_TEXTBOX]
    followed = [
        CHOSEN_TEXTBOX,
        MODELS_ASKED_STATE,
        SEEN_TEXTBOX,
        finetune_export.SEEN_TEXTBOX,
        *finetune_compare.list_inputs(),
    ]
    all_shown = [*shown, *finetune_export.list_shown(), *finetune_compare.list_shown()]
    asked_of = MODELS_ASKED_STATE
    # One after the other, as these select or ask: the answer to what happened last comes last.
    in_order = {"concurrency_id": "finetune_models", "concurrency_limit": 1}
    following.watch(CHANGES_TEXTBOX, refresh, followed, all_shown, **in_order)
    named = [person, CHOSEN_TEXTBOX, asked_of]
    following.connect_once(person, follow_person, named, shown, **in_order)
    connect(chosen.input, choose, [chosen, asked_of], shown, **in_order)
    connect(MODELS_ACTIVATE_BUTTON.click, activate, [chosen, force, asked_of], shown)
    connect(MODELS_ROLL_BACK_BUTTON.click, go_back, [chosen, force, asked_of], shown)
    connect(MODELS_DEACTIVATE_BUTTON.click, deactivate, [chosen, asked_of], shown)
    connect(MODELS_DELETE_BUTTON.click, ask, chosen, asked, **in_order)
    connect(MODELS_CANCEL_BUTTON.click, cancel, None, asked, **in_order)
    connect(MODELS_CONFIRM_BUTTON.click, delete, [asked_of, CHOSEN_TEXTBOX], shown)
    finetune_export.listen(chosen)
    finetune_compare.listen()


def refresh(
    reference: str | None,
    asked: str | None,
    seen: str,
    exports: str,
    left: str | None,
    right: str | None,
    sides: str,
    frame: Any,
) -> Any:
    """Follow changes, in this section and those below it.

    Args:
        reference: The selected version.
        asked: The version whose deletion awaits confirmation.
        seen: Digest of what this section shows.
        exports: Digest of what `finetune_export` shows.
        left: Left side selected in `finetune_compare`.
        right: Right side selected in `finetune_compare`.
        sides: Digest of what `finetune_compare` offers.
        frame: The frame used by `finetune_compare`.
    """
    fingerprint = fingerprint_versions(adapter.HOST_PATH)
    is_shown = page.digest([fingerprint, reference or None]) == seen
    changes = {} if is_shown else _show(reference, asked, keeps_force=True)
    changes |= finetune_export.refresh(reference, exports)
    changes |= finetune_compare.refresh(fingerprint, left, right, sides)
    changes |= finetune_compare.refresh_frame(frame)
    return changes or gradio.skip()


def follow_person(name: str | None, reference: str | None, asked: str | None) -> Any:
    """Select the newest version of the selected person."""
    versions = list_versions(adapter.HOST_PATH, name).versions if name else []
    return _select(versions[-1].reference, reference, asked) if versions else gradio.skip()


def choose(reference: str | None, asked: str | None) -> dict[Any, Any]:
    """Select another version."""
    return _select(reference, reference, asked)


def activate(reference: str | None, force: bool, asked: str | None) -> dict[Any, Any]:
    """Activate the selected version."""
    activate_version(require_version(adapter.HOST_PATH, reference), force)
    return _show(reference, asked)


def go_back(reference: str | None, force: bool, asked: str | None) -> dict[Any, Any]:
    """Activate the version before the active one of the selected version's person."""
    name = require_version(adapter.HOST_PATH, reference).person.name
    previous = find_previous(adapter.HOST_PATH, name)
    if previous is not None:
        require_force(previous, force)
    version = roll_back(adapter.HOST_PATH, name, force)
    tell_active(version)
    if asked is None:
        # Without a word on the question: it may have been asked since the request.
        return _show(reference, asked, version.reference)
    return _select(version.reference, reference, asked)


def deactivate(reference: str | None, asked: str | None) -> dict[Any, Any]:
    """Deactivate the selected version."""
    version = require_version(adapter.HOST_PATH, reference)
    removed = store.deactivate(version.person, adapter.HOST_PATH, version.number)
    notation = "models.deactivated" if removed else "models.not_active"
    page.inform(translate(notation, reference=version.reference))
    return _show(reference, asked)


def ask(reference: str | None) -> dict[Any, Any]:
    """Ask for confirmation to delete the selected version."""
    version = require_version(adapter.HOST_PATH, reference)
    _require_no_job(version)
    return _show_question(version.reference)


def cancel() -> dict[Any, Any]:
    """Cancel the deletion."""
    return _show_question(None)


def delete(asked: str | None, reference: str | None) -> dict[Any, Any]:
    """Delete the confirmed version.

    Args:
        asked: The version to delete.
        reference: The selected version.
    """
    version = require_version(adapter.HOST_PATH, asked)
    _require_no_job(version)
    removed = remove_version(version.person, version.run, adapter.HOST_PATH)
    page.inform(translate("models.deleted", reference=version.reference, count=len(removed)))
    return _show(reference, asked)


def _require_no_job(version: ListedVersion) -> None:
    job = queue.find_active()
    if (
        job is not None
        and job.request.person == version.person.name
        and job.state.version == version.number
    ):
        raise UsageError(
            translate("models.at_work_given", reference=version.reference),
            translate("models.at_work_why"),
            translate("models.at_work_todo"),
        )


def _select(reference: str | None, chosen: str | None, asked: str | None) -> dict[Any, Any]:
    """Select a version; the question about another one goes."""
    question = {} if reference == asked else _show_question(None)
    return {**_show(chosen, asked, reference), **question}


def _show(
    chosen: str | None, asked: str | None, wanted: str | None = None, keeps_force: bool = False
) -> dict[Any, Any]:
    """The current state of the section.

    The question stays while the version it is about does, as it may be newer than the request.

    Args:
        chosen: The version selected on the page.
        asked: The version whose deletion awaits confirmation.
        wanted: The version to select instead.
        keeps_force: Whether the checkbox stays as it is if `chosen` remains selected.
    """
    # Taken first, so that changes during the rest are found at the next poll.
    fingerprint = fingerprint_versions(adapter.HOST_PATH)
    listing = list_versions(adapter.HOST_PATH)
    version = listing.find(wanted or chosen) or _find_latest(listing)
    reference = version.reference if version else None
    force: dict[str, Any] = {} if keeps_force and reference == chosen else {"value": False}
    return {
        MODELS_HTML: versions_text.draw_models(listing.versions, listing.problems),
        MODELS_MODEL_DROPDOWN: page.offer(
            versions_text.label_versions(listing.versions),
            reference,
            chosen,
            visible=version is not None,
        ),
        MODELS_FORCE_CHECKBOX: gradio.Checkbox(visible=_needs_force(version), **force),
        **(_show_question(None) if asked and listing.find(asked) is None else {}),
        SEEN_TEXTBOX: page.digest([fingerprint, reference]),
    }


def _show_question(reference: str | None) -> dict[Any, Any]:
    question = translate("models.confirm", reference=reference) if reference else ""
    return {
        MODELS_CONFIRM_COLUMN: gradio.Column(visible=reference is not None),
        MODELS_CONFIRM_HTML: embed.paragraph(question),
        MODELS_CONFIRM_BUTTON: translate("models.confirm_button", reference=reference),
        MODELS_ASKED_STATE: reference,
    }


def _find_latest(listing: Listing) -> ListedVersion | None:
    return max(listing.versions, key=lambda version: version.run.record.created, default=None)


def _needs_force(version: ListedVersion | None) -> bool:
    """Whether activating the version, or rolling back, needs the checkbox."""
    if version is None:
        return False
    previous = find_previous(adapter.HOST_PATH, version.person.name)
    return any(
        other is not None and other.card is not None and not other.is_proven
        for other in (version, previous)
    )
