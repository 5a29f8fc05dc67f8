"""Exports that stay in the person's own folder, from which the page offers them."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from facefusion_finetune.people.profile import Person, confirm_consent
from facefusion_finetune.runs.run import Run

if TYPE_CHECKING:
    from facefusion_finetune.registry.transfer import Exported


def exports_directory(person: Person) -> Path:
    """Folder of these exports; it goes with the person."""
    return person.directory / "exports"


def name_export(run: Run, standalone: bool, half: bool, strength: float) -> str:
    """File name that says what the file is, for example `jane-2-standalone.onnx`."""
    marks = [
        *(["standalone"] if standalone and not half and strength == 1 else []),
        *(["fp16"] if half else []),
        *([f"strength-{strength:g}"] if strength != 1 else []),
    ]
    return "-".join([run.record.person, str(run.record.version), *marks]) + ".onnx"


def export_privately(
    person: Person, run: Run, standalone: bool = False, half: bool = False, strength: float = 1.0
) -> "Exported":
    """Export a finished run into the person's folder.

    A file of the same version with the same options is replaced: it is the same export.

    Args and errors as in `transfer.export_model`; also OSError, where the folder cannot be made.
    """
    from facefusion_finetune.registry.transfer import export_model

    confirm_consent(person.name)
    folder = exports_directory(person)
    # Without parents: a person who is being removed must not come back.
    folder.mkdir(mode=0o700, exist_ok=True)
    output = folder / name_export(run, standalone, half, strength)
    return export_model(person, run, output, standalone, half, overwrite=True, strength=strength)


def list_exports(person: Person, version: int) -> list[Path]:
    """What was exported of a version into the person's folder."""
    name = re.compile(rf"{re.escape(person.name)}-{version}(-[a-z0-9.-]+)?\.onnx")
    files = exports_directory(person).glob("*.onnx")
    return sorted(path for path in files if name.fullmatch(path.name))
