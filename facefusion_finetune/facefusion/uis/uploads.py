"""Uploaded files: only these are read, and none of them is left behind.

FaceFusion replaces Gradio's path check by one that accepts everything, so a forged request could
name any file on this machine.
"""

import contextlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio
from facefusion import state_manager
from gradio import utils
from gradio.exceptions import InvalidPathError

from facefusion_finetune import home
from facefusion_finetune.errors import UsageError
from facefusion_finetune.facefusion.uis.page import translate


def create_upload(**options: Any) -> gradio.File:
    """Gradio's file input, restricted to uploaded files.

    Only update its value, never its properties: Gradio would replace it by a component of its own.

    Args:
        options: Options of `gradio.File`.
    """
    component = gradio.File(**options)

    def take(path: str | Path | None) -> str | None:
        if path is None:
            return None
        resolved = Path(path).resolve()
        if not utils.is_in_or_equal(resolved, component.GRADIO_CACHE) or not resolved.is_file():
            raise InvalidPathError(f"{path} was not uploaded here.")
        return str(resolved)

    async def take_soon(path: str | Path | None) -> str | None:
        return take(path)

    # Gradio calls these to copy a given file to where a component may read it.
    vars(component).update(
        move_resource_to_block_cache=take, async_move_resource_to_block_cache=take_soon
    )
    return component


def list_uploads(*values: str | Sequence[str] | None) -> list[Path]:
    """The values of file inputs as one list."""
    paths: list[Path] = []
    for value in values:
        paths += [Path(value)] if isinstance(value, str) else map(Path, value or [])
    return paths


def move_uploads(paths: Sequence[Path], folder: Path) -> list[Path]:
    """Move uploaded files to a job's folder; equal names get a number.

    Files that FaceFusion also uses are copied, since Gradio stores equal uploads only once.

    Raises:
        OSError: A file is missing, or the disk is full.
    """
    moved: list[Path] = []
    if paths:
        home.create_inner_directory(folder, folder.parent)
    for path in paths:
        goal, number = folder / path.name, 1
        while goal.exists():
            number += 1
            goal = folder / f"{path.stem}-{number}{path.suffix}"
        if _is_used(path):
            shutil.copyfile(path, goal)
        else:
            shutil.move(path, goal)
            _remove_folder(path.parent)
        moved.append(goal)
    return moved


def discard_uploads(paths: Sequence[Path]) -> None:
    """Delete uploaded files that are no longer needed."""
    for path in paths:
        if not _is_used(path):
            path.unlink(missing_ok=True)
            _remove_folder(path.parent)


def _is_used(path: Path) -> bool:
    used = [state_manager.get_item("target_path"), *(state_manager.get_item("source_paths") or [])]
    return str(path) in used


def _remove_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


FOOTAGE_VARIABLE = "FACEFUSION_FINETUNE_FOOTAGE"
"""Folders with footage that may be used without uploading it, separated as in PATH. The default is
none, since the page may be accessible to others than the owner of the machine."""


def list_roots() -> list[Path]:
    """The folders that the page may read."""
    parts = os.environ.get(FOOTAGE_VARIABLE, "").split(os.pathsep)
    return [home.resolve_path(part) for part in parts if part.strip()]


def resolve_folder(text: str) -> Path:
    """Resolve a typed path, following links.

    Raises:
        UsageError: It does not exist, or is outside the folders that the page may read.
    """
    roots = list_roots()
    path = home.expand_path(text.strip())
    resolved = home.resolve_path(
        next((root / path for root in roots if (root / path).exists()), path)
    )
    if not resolved.exists() or not any(resolved.is_relative_to(root) for root in roots):
        raise UsageError(
            translate("footage.path_given", path=text),
            translate("footage.path_why", roots=", ".join(map(str, roots)) or "-"),
            translate("footage.path_todo"),
        )
    return resolved
