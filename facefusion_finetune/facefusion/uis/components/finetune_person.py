"""Persons: select one, add one with their consent, renew consent, delete everything."""

from datetime import date
from typing import Any

import gradio

from facefusion_finetune.errors import UsageError
from facefusion_finetune.facefusion.uis import embed, following, page, people_text, uploads
from facefusion_finetune.facefusion.uis.page import connect, translate
from facefusion_finetune.host import adapter
from facefusion_finetune.people import profile
from facefusion_finetune.privacy.removal import remove_person
from facefusion_finetune.privacy.text import describe_removal

PERSON_DROPDOWN: gradio.Dropdown
PERSON_HTML: gradio.HTML
CONSENT_ACCORDION: gradio.Accordion
NAME_TEXTBOX: gradio.Textbox
CONSENT_NOTE_TEXTBOX: gradio.Textbox
CONSENT_FILE: gradio.File
CONSENT_SCOPE_TEXTBOX: gradio.Textbox
CONSENT_EXPIRES_TEXTBOX: gradio.Textbox
ADD_PERSON_BUTTON: gradio.Button
RENEW_CONSENT_BUTTON: gradio.Button
DELETE_PERSON_TEXTBOX: gradio.Textbox
DELETE_PERSON_BUTTON: gradio.Button
CHOSEN_TEXTBOX: gradio.Textbox
"""What other sections follow; their buttons use the dropdown's value itself."""
SEEN_TEXTBOX: gradio.Textbox


def render() -> None:
    """Render the section."""
    global PERSON_DROPDOWN, PERSON_HTML, CONSENT_ACCORDION, CHOSEN_TEXTBOX, SEEN_TEXTBOX
    global DELETE_PERSON_TEXTBOX, DELETE_PERSON_BUTTON

    # Empty until the page is open: the only answer that selects anyone then comes with the choices,
    # and none later can take back what the user selects from them.
    PERSON_DROPDOWN = page.create(gradio.Dropdown, "person.person_dropdown", choices=[])
    PERSON_HTML = gradio.HTML(elem_id="finetune_person_html", padding=True)
    CONSENT_ACCORDION = page.create(
        gradio.Accordion,
        "person.consent_accordion",
        open=not profile.list_names(),
    )
    with CONSENT_ACCORDION:
        _render_consent()
    with gradio.Accordion(
        translate("person.delete_accordion"), open=False, elem_id="finetune_delete_accordion"
    ):
        DELETE_PERSON_TEXTBOX = page.create(
            gradio.Textbox,
            "person.delete_person_textbox",
            info=translate("person.delete_person_info"),
            max_lines=1,
        )
        DELETE_PERSON_BUTTON = page.create(
            gradio.Button,
            "person.delete_person_button",
            variant="stop",
            size="sm",
        )
    CHOSEN_TEXTBOX = following.mirror(PERSON_DROPDOWN)
    SEEN_TEXTBOX = page.create_signal()


def _render_consent() -> None:
    global NAME_TEXTBOX, CONSENT_NOTE_TEXTBOX, CONSENT_FILE, CONSENT_SCOPE_TEXTBOX
    global CONSENT_EXPIRES_TEXTBOX, ADD_PERSON_BUTTON, RENEW_CONSENT_BUTTON

    NAME_TEXTBOX = page.create(
        gradio.Textbox,
        "person.name_textbox",
        placeholder=translate("person.name_placeholder"),
        max_lines=1,
    )
    CONSENT_NOTE_TEXTBOX = page.create(
        gradio.Textbox,
        "person.consent_note_textbox",
        placeholder=translate("person.consent_note_placeholder"),
        lines=2,
    )
    CONSENT_FILE = page.create(uploads.create_upload, "person.consent_file", height=128)
    CONSENT_SCOPE_TEXTBOX = page.create(
        gradio.Textbox,
        "person.consent_scope_textbox",
        value=profile.DEFAULT_SCOPE,
        max_lines=2,
    )
    CONSENT_EXPIRES_TEXTBOX = page.create(
        gradio.Textbox,
        "person.consent_expires_textbox",
        placeholder=translate("person.consent_expires_placeholder"),
        max_lines=1,
    )
    with gradio.Row():
        ADD_PERSON_BUTTON = page.create(
            gradio.Button,
            "person.add_person_button",
            variant="primary",
            size="sm",
        )
        RENEW_CONSENT_BUTTON = page.create(
            gradio.Button,
            "person.renew_consent_button",
            size="sm",
        )


def listen() -> None:
    """Connect the section's events."""
    form = [
        CONSENT_NOTE_TEXTBOX,
        CONSENT_FILE,
        CONSENT_SCOPE_TEXTBOX,
        CONSENT_EXPIRES_TEXTBOX,
    ]
    shown = [PERSON_DROPDOWN, PERSON_HTML]
    filled = [NAME_TEXTBOX, *form]
    recorded = [*shown, *filled, CONSENT_ACCORDION]
    following.follow(SEEN_TEXTBOX, fingerprint, show, [CHOSEN_TEXTBOX], shown)
    connect(ADD_PERSON_BUTTON.click, add_person, filled, recorded)
    connect(RENEW_CONSENT_BUTTON.click, renew_consent, [PERSON_DROPDOWN, *form], recorded)
    connect(
        DELETE_PERSON_BUTTON.click,
        delete_person,
        [PERSON_DROPDOWN, DELETE_PERSON_TEXTBOX],
        [*shown, DELETE_PERSON_TEXTBOX],
    )


def fingerprint(name: str | None) -> object:
    """Changes with the list of persons and the description of the selected one."""
    return profile.list_names(), people_text.fingerprint_person(name)


def show(name: str | None) -> dict[Any, Any]:
    """Update the list of persons, and describe the selected one.

    On a page that was just opened or reloaded, and after a removal, that is the one worked on last.
    """
    names = profile.list_names()
    if name not in names:
        return choose(people_text.find_latest(names))
    # Without a value, as another person may have been selected since the request.
    return {
        PERSON_DROPDOWN: gradio.Dropdown(choices=names),
        PERSON_HTML: embed.paragraph(people_text.describe_person(name)),
    }


def choose(name: str | None) -> dict[Any, Any]:
    """Select a person, and describe them."""
    return {
        PERSON_DROPDOWN: gradio.Dropdown(choices=profile.list_names(), value=name),
        PERSON_HTML: embed.paragraph(people_text.describe_person(name)),
    }


def add_person(name: str, note: str, file: str | None, scope: str, expires: str) -> dict[Any, Any]:
    """Add a person with the consent in the form."""
    return _record(name.strip(), note, file, scope, expires, renew=False)


def renew_consent(
    name: str | None, note: str, file: str | None, scope: str, expires: str
) -> dict[Any, Any]:
    """Replace the consent of the selected person."""
    return _record(people_text.require_name(name), note, file, scope, expires, renew=True)


def delete_person(name: str | None, typed: str) -> dict[Any, Any]:
    """Delete everything held about the selected person; the name must be typed to confirm."""
    name = people_text.require_name(name)
    if typed.strip() != name:
        raise UsageError(
            translate("person.delete_given", name=name),
            translate("person.delete_why"),
            translate("person.delete_todo", name=name),
        )
    done = remove_person(name, adapter.HOST_PATH)
    done.require_complete()
    page.inform("\n".join(describe_removal(done)))
    return {**choose(people_text.find_latest(profile.list_names())), DELETE_PERSON_TEXTBOX: ""}


def _record(
    name: str, note: str, file: str | None, scope: str, expires: str, renew: bool
) -> dict[Any, Any]:
    uploaded = uploads.list_uploads(file)
    if bool(uploaded) == bool(note.strip()):
        raise UsageError(
            translate("person.proof_given"),
            translate("person.proof_why"),
            translate("person.proof_todo"),
        )
    consent = profile.create_consent(
        uploaded[0] if uploaded else None,
        note.strip() or None,
        scope.strip() or profile.DEFAULT_SCOPE,
        _parse_day(expires),
    )
    person = profile.add_person(name, consent, renew)
    # Its digest is on record; the page keeps no copy of the file.
    uploads.discard_uploads(uploaded)
    page.inform(translate("person.recorded", name=person.name))
    return {
        **choose(person.name),
        NAME_TEXTBOX: "",
        CONSENT_NOTE_TEXTBOX: "",
        CONSENT_FILE: None,
        CONSENT_SCOPE_TEXTBOX: profile.DEFAULT_SCOPE,
        CONSENT_EXPIRES_TEXTBOX: "",
        CONSENT_ACCORDION: gradio.Accordion(open=False),
    }


def _parse_day(text: str) -> date | None:
    try:
        return date.fromisoformat(text.strip()) if text.strip() else None
    except ValueError as error:
        raise UsageError(
            translate("person.day_given", text=text),
            translate("person.day_why"),
            translate("person.day_todo"),
        ) from error
