"""Shows the report of a finished version, and activates it."""

from typing import Any

import gradio

from facefusion_finetune.errors import UsageError
from facefusion_finetune.facefusion.uis import embed, following, page, versions_text
from facefusion_finetune.facefusion.uis.components import finetune_person
from facefusion_finetune.facefusion.uis.page import connect, translate
from facefusion_finetune.host import adapter
from facefusion_finetune.registry import store
from facefusion_finetune.registry.versions import (
    ListedVersion,
    fingerprint_versions,
    list_versions,
    require_version,
)

PROOF_VERSION_DROPDOWN: gradio.Dropdown
PROOF_HTML: gradio.HTML
PROOF_PICTURES_ACCORDION: gradio.Accordion
PROOF_PICTURES_HTML: gradio.HTML
PROOF_FORCE_CHECKBOX: gradio.Checkbox
PROOF_ACTIVATE_BUTTON: gradio.Button
CHOSEN_TEXTBOX: gradio.Textbox
NEWEST_TEXTBOX: gradio.Textbox
"""The newest version at the last update of the page."""
SEEN_TEXTBOX: gradio.Textbox
"""A digest of what is shown. Like the two above, it is stored in the page, so that it matches the
page even if responses arrive late or out of order."""
CHANGES_TEXTBOX: gradio.Textbox


def render() -> None:
    """Render the section."""
    global PROOF_VERSION_DROPDOWN, PROOF_HTML, PROOF_PICTURES_ACCORDION, PROOF_PICTURES_HTML
    global PROOF_FORCE_CHECKBOX, PROOF_ACTIVATE_BUTTON
    global CHOSEN_TEXTBOX, NEWEST_TEXTBOX, SEEN_TEXTBOX, CHANGES_TEXTBOX

    PROOF_VERSION_DROPDOWN = gradio.Dropdown(
        label=translate("proof.version_dropdown"),
        choices=[],
        visible=False,
        elem_id="finetune_proof_version_dropdown",
    )
    PROOF_HTML = gradio.HTML(elem_id="finetune_proof_html", padding=True)
    with gradio.Accordion(
        translate("proof.pictures_accordion"),
        open=False,
        visible=False,
        elem_id="finetune_proof_pictures_accordion",
    ) as PROOF_PICTURES_ACCORDION:
        PROOF_PICTURES_HTML = gradio.HTML(elem_id="finetune_proof_pictures_html", padding=True)
    PROOF_FORCE_CHECKBOX = gradio.Checkbox(
        label=translate("proof.force_checkbox"),
        visible=False,
        elem_id="finetune_proof_force_checkbox",
    )
    PROOF_ACTIVATE_BUTTON = gradio.Button(
        translate("proof.activate_button"),
        variant="primary",
        size="sm",
        visible=False,
        elem_id="finetune_proof_activate_button",
    )
    CHOSEN_TEXTBOX = following.mirror(PROOF_VERSION_DROPDOWN)
    NEWEST_TEXTBOX = page.create_signal()
    SEEN_TEXTBOX = page.create_signal()
    CHANGES_TEXTBOX = page.create_signal()


def listen() -> None:
    """Connect the section's events."""
    person = finetune_person.PERSON_DROPDOWN
    shown = [
        PROOF_VERSION_DROPDOWN,
        PROOF_HTML,
        PROOF_PICTURES_ACCORDION,
        PROOF_PICTURES_HTML,
        PROOF_FORCE_CHECKBOX,
        PROOF_ACTIVATE_BUTTON,
        NEWEST_TEXTBOX,
        SEEN_TEXTBOX,
    ]
    followed = [finetune_person.CHOSEN_TEXTBOX, CHOSEN_TEXTBOX, NEWEST_TEXTBOX, SEEN_TEXTBOX]
    following.watch(CHANGES_TEXTBOX, refresh, followed, shown)
    following.connect_once(finetune_person.CHOSEN_TEXTBOX, refresh, followed, shown)
    connect(PROOF_VERSION_DROPDOWN.input, choose, [person, PROOF_VERSION_DROPDOWN], shown)
    connect(
        PROOF_ACTIVATE_BUTTON.click,
        activate,
        [person, PROOF_VERSION_DROPDOWN, PROOF_FORCE_CHECKBOX],
        shown,
    )


def refresh(name: str | None, reference: str | None, newest: str, seen: str) -> Any:
    """Follow changes; if the newest version is selected, a newly finished one replaces it.

    Args:
        name: Name of the person.
        reference: The selected version.
        newest: The newest version at the last update.
        seen: Digest of what the page shows.
    """
    if page.digest([name, reference or None, _fingerprint(name)]) == seen:
        return gradio.skip()
    return _show(name, reference, None if reference == newest else reference)


def choose(name: str | None, reference: str | None) -> dict[Any, Any]:
    """Show another version."""
    return _show(name, reference, reference)


def activate(name: str | None, reference: str | None, force: bool) -> dict[Any, Any]:
    """Activate the shown version."""
    activate_version(require_version(adapter.HOST_PATH, reference), force)
    return _show(name, reference, reference)


def activate_version(version: ListedVersion, force: bool) -> None:
    """Activate a version, and show a notice.

    Raises:
        UsageError: It is unproven, and `force` is not set.
        ConsentError: No valid consent is on record.
        RegistryError: It is not finished, damaged, or cannot be written.
    """
    require_force(version, force)
    store.activate(version.person, version.run, adapter.HOST_PATH, force)
    tell_active(version)


def require_force(version: ListedVersion, force: bool) -> None:
    """Check that an unproven version is activated deliberately.

    Raises:
        UsageError: It is unproven, and `force` is not set.
    """
    if version.card and not version.is_proven and not force:
        raise UsageError(
            translate("proof.unproven_given", reference=version.reference),
            translate("proof.unproven_why"),
            translate("proof.unproven_todo"),
        )


def tell_active(version: ListedVersion) -> None:
    """Show a notice that a version is active, and how to use it."""
    notation = "proof.activated" if version.is_proven else "proof.activated_unproven"
    page.inform(translate(notation, reference=version.reference, name=version.person.name))


def _fingerprint(name: str | None) -> Any:
    return fingerprint_versions(adapter.HOST_PATH, name) if name else None


def _show(name: str | None, chosen: str | None, wanted: str | None) -> dict[Any, Any]:
    # Taken first, so that changes during the rest are found at the next poll.
    fingerprint = _fingerprint(name)
    listing = list_versions(adapter.HOST_PATH, name) if name else None
    versions = listing.versions if listing else []
    finished = [version for version in versions if version.run.is_finished]
    newest = finished[-1] if finished else None
    version = next((other for other in finished if other.reference == wanted), newest)
    reference = version.reference if version else None
    return {
        PROOF_VERSION_DROPDOWN: page.offer(
            versions_text.label_versions(finished), reference, chosen, visible=version is not None
        ),
        PROOF_HTML: _draw(name, version) + embed.bullets(listing.problems if listing else []),
        **_show_actions(version),
        NEWEST_TEXTBOX: newest.reference if newest else "",
        SEEN_TEXTBOX: page.digest([name, reference, fingerprint]),
    }


def _draw(name: str | None, version: ListedVersion | None) -> str:
    if version is not None:
        return versions_text.draw_proof(version)
    notation = "proof.none_of_person" if name else "proof.none"
    return embed.paragraph(translate(notation, name=name))


def _show_actions(version: ListedVersion | None) -> dict[Any, Any]:
    pictures = versions_text.draw_pictures(version.run) if version else ""
    needs_force = version is not None and version.card is not None and not version.is_proven
    return {
        PROOF_PICTURES_ACCORDION: gradio.Accordion(visible=bool(pictures)),
        PROOF_PICTURES_HTML: pictures,
        PROOF_FORCE_CHECKBOX: gradio.Checkbox(value=False, visible=needs_force),
        PROOF_ACTIVATE_BUTTON: gradio.Button(visible=version is not None),
    }
