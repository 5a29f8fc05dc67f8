"""Pictures and texts as HTML: embedded pictures are stored only in the page.

Gradio copies every picture a component shows to a folder that is never emptied, where nothing of a
person may remain.
"""

import base64
import html
from pathlib import Path
from urllib.parse import quote

import gradio
from gradio.route_utils import API_PREFIX

from facefusion_finetune.dataset.review.thumbnails import thumbnails_directory
from facefusion_finetune.people.profile import Person

SERVED: set[Path] = set()
"""Folders already passed to Gradio, which would add the same one repeatedly."""


def serve_shown(person: Person) -> None:
    """Serve the files of a person's `shown` folder in place."""
    serve_folder(thumbnails_directory(person))


def serve_folder(folder: Path) -> None:
    """Serve the files of a folder in place, without copying them."""
    folder = folder.resolve()
    if folder not in SERVED:
        SERVED.add(folder)
        gradio.set_static_paths([folder])


def link(path: Path) -> str:
    """URL of a file in a served folder, relative to the page, escaped as an HTML attribute."""
    return html.escape(f"{API_PREFIX.lstrip('/')}/file={quote(str(path))}", quote=True)


def embed_picture(path: Path | None, alternative: str) -> str:
    """HTML of a full-width PNG; empty if the file is missing.

    Args:
        path: The file; may be missing.
        alternative: Alternative text.
    """
    try:
        content = path.read_bytes() if path else b""
    except OSError:
        content = b""
    if not content:
        return ""
    data = base64.b64encode(content).decode("ascii")
    text = html.escape(alternative, quote=True)
    return f'<img src="data:image/png;base64,{data}" alt="{text}" style="width:100%">'


def paragraph(text: str) -> str:
    """HTML of a text, preserving line breaks."""
    return f"<p style='white-space:pre-line'>{html.escape(text)}</p>" if text else ""


def bullets(texts: list[str]) -> str:
    """HTML of a bullet list; a long one is scrolled."""
    entries = "".join(f"<li>{html.escape(text)}</li>" for text in texts)
    style = "padding-left:1.25rem;list-style:disc;max-height:20rem;overflow-y:auto"
    return f"<ul style='{style}'>{entries}</ul>" if entries else ""
