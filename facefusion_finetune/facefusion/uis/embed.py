"""Pictures and texts as HTML: what is embedded is held nowhere but in the page.

Gradio copies every picture a component shows into a folder that nobody empties; of a person,
nothing may stay there.
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
"""Folders that Gradio knows; it would take the same one again and again."""


def serve_shown(person: Person) -> None:
    """Let the page show the files of a person's `shown` folder from where they lie."""
    serve_folder(thumbnails_directory(person))


def serve_folder(folder: Path) -> None:
    """Let the page show the files of a folder from where they lie, without a copy."""
    folder = folder.resolve()
    if folder not in SERVED:
        SERVED.add(folder)
        gradio.set_static_paths([folder])


def link(path: Path) -> str:
    """Address of a file in a folder that is served, relative to the page, as an HTML attribute."""
    return html.escape(f"{API_PREFIX.lstrip('/')}/file={quote(str(path))}", quote=True)


def embed_picture(path: Path | None, alternative: str) -> str:
    """HTML of a PNG as wide as its place; empty where there is none.

    Args:
        path: The file; may be missing.
        alternative: What it shows, in words, for who cannot see it.
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
    """HTML of a text, with its line breaks."""
    return f"<p style='white-space:pre-line'>{html.escape(text)}</p>" if text else ""


def bullets(texts: list[str]) -> str:
    """HTML of a list."""
    entries = "".join(f"<li>{html.escape(text)}</li>" for text in texts)
    return f"<ul style='padding-left:1.25rem;list-style:disc'>{entries}</ul>" if entries else ""
