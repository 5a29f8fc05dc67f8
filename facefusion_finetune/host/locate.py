"""Finds the FaceFusion folder and its version."""

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from facefusion_finetune import temporary
from facefusion_finetune.damage import parse_json, read_file
from facefusion_finetune.errors import HostError, UsageError
from facefusion_finetune.home import (
    create_private_directory,
    home_directory,
    resolve_path,
    write_text,
)

PATH_VARIABLE = "FACEFUSION_PATH"
MIN_VERSION = (3, 4)
UNNUMBERED_VERSION = (999,)
"""Stands for a development version without a number: newer than any release."""

BENCH_MARKER = ".bench"
"""Marks a copy of FaceFusion whose networks are stand-ins, for tests."""
STAND_INS = "stand-in networks"

_VERSION_ENTRY = re.compile(r"""['"]version['"]\s*:\s*['"]([^'"]+)['"]""")


@dataclass(frozen=True)
class Host:
    """A FaceFusion folder and its version, for example `(3, 8, 1)`."""

    path: Path
    version: tuple[int, ...]

    @property
    def name(self) -> str:
        """`facefusion 3.8.1`; says so if its networks are stand-ins."""
        name = "facefusion (development version)"
        if self.version != UNNUMBERED_VERSION:
            name = "facefusion " + ".".join(map(str, self.version))
        return f"{name} with {STAND_INS}" if (self.path / BENCH_MARKER).exists() else name


def locate(given: Path | None = None) -> Host:
    """Find FaceFusion: `given`, FACEFUSION_PATH, the linked one, the current folder, ~/facefusion.

    Args:
        given: A folder given by the user; nothing else is tried then.

    Raises:
        HostError: None was found, the given folder is not a FaceFusion, or it is too old.
    """
    if given is not None:
        return read_host(_resolve(given, str(given)), str(given))
    configured = os.environ.get(PATH_VARIABLE)
    if configured:
        origin = f"{PATH_VARIABLE}={configured}"
        return read_host(_resolve(configured, origin), origin)

    looked_at = []
    for origin, path in _list_usual_places():
        if is_facefusion(path):
            return read_host(path, str(path))
        looked_at.append(f"{path} ({origin})")
    raise HostError(
        "FaceFusion",
        f"no FaceFusion folder was found. Searched: {PATH_VARIABLE} (not set), "
        + ", ".join(looked_at)
        + ".",
        "Give its folder: `facefusion-finetune link PATH`, or set FACEFUSION_PATH. Without a"
        " FaceFusion, extract, train and evaluate with --faces insightface.",
    )


def is_facefusion(path: Path) -> bool:
    """Whether the folder looks like a FaceFusion checkout of any version."""
    return (path / "facefusion.py").is_file() and _metadata_path(path).is_file()


def read_host(path: Path, given: str) -> Host:
    """Read the FaceFusion in `path`.

    Args:
        path: An absolute folder.
        given: What the user gave, for the error message.

    Raises:
        HostError: The folder is not a FaceFusion, or it is older than 3.4.
    """
    if not is_facefusion(path):
        why = "is not a FaceFusion folder (facefusion.py and facefusion/metadata.py are missing)."
        if not path.is_dir():
            why = "is not a folder."
        raise HostError(given, why, "Give the folder that contains facefusion.py.")
    version, text = _read_version(path)
    if version < MIN_VERSION:
        raise HostError(
            given,
            f"FaceFusion {text} loads its processors in a way that is not supported.",
            "Use FaceFusion 3.5 or newer (3.4 works with limitations).",
        )
    return Host(path, version)


def remember(host: Host) -> None:
    """Make `host` the linked one.

    Raises:
        HostError: The file that records it cannot be written.
    """
    path = _record_path()
    try:
        create_private_directory(path.parent)
        write_text(path, json.dumps({"path": str(host.path)}) + "\n")
    except OSError as error:
        raise HostError(
            str(path),
            f"the linked FaceFusion cannot be recorded ({error.strerror}).",
            "Make the folder writable, or set FACEFUSION_FINETUNE_HOME.",
        ) from error


def forget(host: Host) -> None:
    """Forget the linked host if it is `host`."""
    temporary.sweep(_record_path())
    if recall() == host.path:
        _record_path().unlink(missing_ok=True)


def recall() -> Path | None:
    """Folder of the host linked last; None if there is none or the record is damaged."""
    try:
        return Path(read_file(_record_path(), parse_json)["path"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _resolve(path: str | Path, given: str) -> Path:
    try:
        return resolve_path(path, given)
    except UsageError as error:
        raise HostError(error.given, error.why, error.todo) from error


def _list_usual_places() -> Iterator[tuple[str, Path]]:
    linked = recall()
    if linked is not None:
        yield "linked last", linked
    yield "the current folder", Path.cwd()
    # A service's user may have no home folder.
    with contextlib.suppress(RuntimeError):
        yield "the home folder", Path.home() / "facefusion"


def _record_path() -> Path:
    return home_directory() / "host.json"


def _metadata_path(path: Path) -> Path:
    return path / "facefusion" / "metadata.py"


def _read_version(path: Path) -> tuple[tuple[int, ...], str]:
    match = _VERSION_ENTRY.search(_metadata_path(path).read_text("utf-8", errors="replace"))
    text = match[1] if match else ""
    numbers = re.match(r"\d{1,9}(?:\.\d{1,9})*", text, re.ASCII)
    if not numbers:
        return UNNUMBERED_VERSION, text
    return tuple(map(int, numbers[0].split("."))), text
