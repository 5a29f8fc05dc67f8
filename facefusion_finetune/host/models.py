"""Paths and names of tuned models in a FaceFusion folder."""

import re
from pathlib import Path

_STEM = re.compile(r"(?P<person>.+)-(?P<version>[1-9][0-9]*)")


def models_directory(host: Path) -> Path:
    """The folder of active models inside the FaceFusion folder `host`."""
    return host / ".assets" / "models" / "finetuned"


def find_active(directory: Path) -> dict[str, dict[int, Path]]:
    """Active models by person and version; empty if there is no folder.

    A model is active if its `.onnx`, `.hash` and `.json` all exist.
    """
    active: dict[str, dict[int, Path]] = {}
    for name, versions in find_models(directory).items():
        for version, path in versions.items():
            if hash_path(path).is_file() and card_path(path).is_file():
                active.setdefault(name, {})[version] = path
    return active


def find_models(directory: Path) -> dict[str, dict[int, Path]]:
    """Like `find_active`, but including models whose `.hash` or `.json` is missing."""
    found: dict[str, dict[int, Path]] = {}
    for path in sorted(directory.glob("*.onnx")):
        match = _STEM.fullmatch(path.stem)
        if match:
            found.setdefault(match["person"], {})[int(match["version"])] = path
    return found


def find_versions(directory: Path, person: str) -> list[int]:
    """Versions of a person of which any file is there, complete or not, in order."""
    pattern = own_files(person)
    found = filter(None, (pattern.fullmatch(path.name) for path in directory.glob("*")))
    return sorted({int(match["version"]) for match in found})


def own_files(person: str) -> re.Pattern[str]:
    """Matches the file names of a person's models; the group `version` is the version."""
    return re.compile(rf"{re.escape(person)}-(?P<version>[1-9][0-9]*)\.(?:onnx|hash|json)")


def model_path(directory: Path, person: str, version: int) -> Path:
    """The model file of a person's version."""
    return directory / f"{person}-{version}.onnx"


def hash_path(path: Path) -> Path:
    """The crc32 file next to a model, which the host checks."""
    return path.parent / f"{path.stem}.hash"


def card_path(path: Path) -> Path:
    """The card file next to a model."""
    return path.parent / f"{path.stem}.json"
