"""Exports the selected version, and offers its exports as downloads."""

from pathlib import Path
from typing import Any

import gradio

from facefusion_finetune.errors import FinetuneError
from facefusion_finetune.facefusion.uis import embed, page, versions_text
from facefusion_finetune.facefusion.uis.page import connect, translate
from facefusion_finetune.facefusion.uis.people_text import fingerprint_file
from facefusion_finetune.host import adapter
from facefusion_finetune.people.profile import load_person, split_reference
from facefusion_finetune.registry.transfer import export_privately, exports_directory, list_exports
from facefusion_finetune.registry.versions import require_version

EXPORT_STANDALONE_CHECKBOX: gradio.Checkbox
EXPORT_HALF_CHECKBOX: gradio.Checkbox
EXPORT_STRENGTH_SLIDER: gradio.Slider
EXPORT_BUTTON: gradio.Button
EXPORT_HTML: gradio.HTML
EXPORT_LINKS_HTML: gradio.HTML
EXPORT_DELETE_BUTTON: gradio.Button
SEEN_TEXTBOX: gradio.Textbox


def render() -> None:
    """Render the section."""
    global EXPORT_STANDALONE_CHECKBOX, EXPORT_HALF_CHECKBOX, EXPORT_STRENGTH_SLIDER
    global EXPORT_BUTTON, EXPORT_HTML, EXPORT_LINKS_HTML, EXPORT_DELETE_BUTTON, SEEN_TEXTBOX

    with gradio.Accordion(
        translate("export.accordion"), open=False, elem_id="finetune_export_accordion"
    ):
        EXPORT_STANDALONE_CHECKBOX = gradio.Checkbox(
            label=translate("export.standalone_checkbox"),
            elem_id="finetune_export_standalone_checkbox",
        )
        EXPORT_HALF_CHECKBOX = gradio.Checkbox(
            label=translate("export.half_checkbox"), elem_id="finetune_export_half_checkbox"
        )
        EXPORT_STRENGTH_SLIDER = gradio.Slider(
            label=translate("export.strength_slider"),
            minimum=0,
            maximum=1,
            step=0.05,
            value=1,
            elem_id="finetune_export_strength_slider",
        )
        EXPORT_BUTTON = gradio.Button(
            translate("export.export_button"), size="sm", elem_id="finetune_export_button"
        )
        EXPORT_HTML = gradio.HTML(elem_id="finetune_export_html", padding=True)
        EXPORT_LINKS_HTML = gradio.HTML(elem_id="finetune_export_links_html", padding=True)
        EXPORT_DELETE_BUTTON = gradio.Button(
            translate("export.delete_button"),
            variant="stop",
            size="sm",
            visible=False,
            elem_id="finetune_export_delete_button",
        )
    SEEN_TEXTBOX = page.create_signal()


def list_shown() -> list[Any]:
    """Outputs of `refresh`."""
    return [EXPORT_HTML, EXPORT_LINKS_HTML, EXPORT_DELETE_BUTTON, SEEN_TEXTBOX]


def listen(chosen: gradio.Dropdown) -> None:
    """Connect the section's events.

    Args:
        chosen: The dropdown of the version to export.
    """
    options = [EXPORT_STANDALONE_CHECKBOX, EXPORT_HALF_CHECKBOX, EXPORT_STRENGTH_SLIDER]
    connect(
        EXPORT_BUTTON.click,
        export,
        [chosen, *options],
        list_shown(),
        show_progress="minimal",
    )
    connect(EXPORT_DELETE_BUTTON.click, delete, chosen, list_shown())


def refresh(reference: str | None, seen: str) -> dict[Any, Any]:
    """Update the exports of the selected version; empty if nothing has changed."""
    is_shown = _fingerprint(reference, _list_exports(reference)) == seen
    return {} if is_shown else _show(reference, "")


def export(reference: str | None, standalone: bool, half: bool, strength: float) -> Any:
    """Export the selected version to a file in the person's folder."""
    version = require_version(adapter.HOST_PATH, reference)
    exported = export_privately(version.person, version.run, standalone, half, strength)
    text = translate(
        "export.exported",
        reference=version.reference,
        path=exported.path,
        size=f"{exported.size / 1e6:.1f}",
    )
    if exported.base is not None:
        text += "\n" + translate("export.needs_base", base=exported.base)
    return _show(version.reference, text)


def delete(reference: str | None) -> dict[Any, Any]:
    """Delete the exports of the selected version."""
    version = require_version(adapter.HOST_PATH, reference)
    for path in list_exports(version.person, version.number):
        path.unlink(missing_ok=True)
    return _show(version.reference, "")


def _show(reference: str | None, text: str) -> dict[Any, Any]:
    exports = _list_exports(reference)
    return {
        EXPORT_HTML: embed.paragraph(text),
        EXPORT_LINKS_HTML: versions_text.draw_links(exports),
        EXPORT_DELETE_BUTTON: gradio.Button(visible=bool(exports)),
        SEEN_TEXTBOX: _fingerprint(reference, exports),
    }


def _list_exports(reference: str | None) -> list[Path]:
    """The exports of a version, which are served in place."""
    if not reference:
        return []
    try:
        name, number = split_reference(reference)
        person = load_person(name)
    except FinetuneError:
        # Removed, or damaged, which the list of models reports.
        return []
    if number is None:
        return []
    embed.serve_folder(exports_directory(person))
    return list_exports(person, number)


def _fingerprint(reference: str | None, paths: list[Path]) -> str:
    return page.digest([reference, *((str(path), *fingerprint_file(path)) for path in paths)])
