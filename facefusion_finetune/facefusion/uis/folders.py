"""Folders of this machine that whoever started FaceFusion opened to the page."""

import os
from pathlib import Path

from facefusion_finetune.errors import UsageError
from facefusion_finetune.facefusion.uis.page import translate

FOOTAGE_VARIABLE = "FACEFUSION_FINETUNE_FOOTAGE"
"""Folders that footage may be taken from without uploading it, separated as in PATH. Without it
there are none: the page may be open to others than the owner of the machine."""


def list_roots() -> list[Path]:
    """The folders that were opened."""
    parts = os.environ.get(FOOTAGE_VARIABLE, "").split(os.pathsep)
    return [Path(part).expanduser().resolve() for part in parts if part.strip()]


def resolve_folder(text: str) -> Path:
    """What was typed, links followed.

    Raises:
        UsageError: It is not there, or lies outside the folders that were opened.
    """
    roots = list_roots()
    path = Path(text.strip()).expanduser()
    resolved = next((root / path for root in roots if (root / path).exists()), path).resolve()
    if not resolved.exists() or not any(resolved.is_relative_to(root) for root in roots):
        raise UsageError(
            translate("footage.path_given", path=text),
            translate("footage.path_why", roots=", ".join(map(str, roots)) or "-"),
            translate("footage.path_todo"),
        )
    return resolved
