"""Where a person's data is outside the person's folder, recorded inside it.

Unrecorded data could be neither shown nor removed, so a path is recorded before it is written to.
Records are changed with the person's lock held, so that none is lost.
"""

import errno
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter

from facefusion_finetune import home
from facefusion_finetune.damage import DamageError, read_content, read_file
from facefusion_finetune.errors import RegistryError
from facefusion_finetune.people import lock

Kind = Literal["export", "cache", "tracker"]
T = TypeVar("T")

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def _check_folder(path: Path) -> Path:
    if not path.is_absolute() or "\0" in str(path):
        raise ValueError("it is not the path of a folder")
    return path


def _check_path(path: str) -> str:
    if "\0" in path:
        raise ValueError("it is not a path")
    return path


class Location(BaseModel):
    """One place outside the person's folder that holds the person's data."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    path: Annotated[str, AfterValidator(_check_path)]
    """An absolute path; for a tracker, its address."""
    kind: Kind
    about: str
    """`NAME@VERSION` of the model or run; empty if it is no longer readable."""
    recorded: datetime


@dataclass(frozen=True)
class Locations:
    """All recorded places outside a person's folder."""

    hosts: list[Path]
    """FaceFusion folders in which a model of the person was ever activated."""
    elsewhere: list[Location]
    damaged: list[RegistryError]
    """One error per unreadable record file; what could be salvaged is in the lists."""


_HOSTS = TypeAdapter(list[Annotated[Path, AfterValidator(_check_folder)]])
_ENTRIES = TypeAdapter(list[Location])


def list_hosts(directory: Path) -> list[Path]:
    """FaceFusion folders in which a model of the person was ever activated.

    Args:
        directory: The person's folder.

    Raises:
        RegistryError: The record file is damaged.
    """
    return _read(directory / home.HOSTS_FILE, _HOSTS)


def remember_host(directory: Path, host: Path) -> None:
    """Record a FaceFusion folder. Errors as in `remember`."""
    with _lock(directory):
        hosts = sorted({str(path) for path in list_hosts(directory)} | {str(host.resolve())})
        home.write_text(directory / home.HOSTS_FILE, json.dumps(hosts, indent=2) + "\n")


def list_locations(directory: Path) -> list[Location]:
    """The recorded places, in the order of recording. Args and errors as in `list_hosts`."""
    return _read(directory / home.ELSEWHERE_FILE, _ENTRIES)


def remember(directory: Path, path: Path | str, kind: Kind, about: str) -> None:
    """Record a place that is about to be written to.

    Args:
        directory: The person's folder; it must exist.
        path: An absolute path, or a tracker's address. Paths in the person's folder are ignored.
        kind: What is written.
        about: `NAME@VERSION`.

    Raises:
        RegistryError: The record file is damaged.
        BusyError: Another command is changing what is held about the person.
        ConsentError: The person is being removed.
        OSError: The record cannot be written, for example because the person was removed.
    """
    if isinstance(path, Path) and directory.resolve() in path.parents:
        return
    with _lock(directory):
        entries = [entry for entry in list_locations(directory) if entry.path != str(path)]
        made = Location(path=str(path), kind=kind, about=about, recorded=datetime.now(UTC))
        _write(directory, [*entries, made])


@contextmanager
def remembered(directory: Path, file: Path, kind: Kind, about: str) -> Iterator[None]:
    """Record a file while it is written; the record is deleted if no file was made.

    Args and errors as in `remember`.
    """
    # The last component is not resolved: a link at the file's path is replaced, not followed.
    path = file.parent.resolve() / file.name
    remember(directory, path, kind, about)
    try:
        yield
    except BaseException:
        if not os.path.lexists(path):
            forget(directory, path)
        raise


def forget(directory: Path, path: Path | str) -> None:
    """Delete the record of a place that no longer exists. Errors as in `remember`."""
    if not any(entry.path == str(path) for entry in list_locations(directory)):
        return
    with _lock(directory):
        entries = list_locations(directory)
        _write(directory, [entry for entry in entries if entry.path != str(path)])


def recall(directory: Path) -> Locations:
    """Everything recorded, as far as it is readable."""
    hosts: list[Path] = []
    entries: list[Location] = []
    damaged = []
    try:
        hosts = list_hosts(directory)
    except RegistryError as error:
        damaged.append(error)
        hosts = _salvage(directory / home.HOSTS_FILE)
    try:
        entries = list_locations(directory)
    except RegistryError as error:
        damaged.append(error)
        entries = [_guess(path) for path in _salvage(directory / home.ELSEWHERE_FILE)]
    return Locations(hosts, entries, damaged)


def _read(path: Path, adapter: TypeAdapter[list[T]]) -> list[T]:
    try:
        return read_file(path, adapter.validate_json)
    except FileNotFoundError:
        return []
    except DamageError as error:
        raise RegistryError(
            str(path),
            f"it is damaged ({error}), so other places that hold the person's data are unknown.",
            "Repair it, or remove the person.",
        ) from error


@contextmanager
def _lock(directory: Path) -> Iterator[None]:
    if not directory.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(directory))
    with lock.hold_name(directory.name):
        yield


def _write(directory: Path, entries: list[Location]) -> None:
    content = _ENTRIES.dump_json(entries, indent=2).decode("utf-8")
    home.write_text(directory / home.ELSEWHERE_FILE, content + "\n")


def _salvage(path: Path) -> list[Path]:
    """The absolute paths in a damaged file."""
    try:
        text = read_content(path).decode("utf-8", errors="replace")
    except (OSError, DamageError):
        return []
    found = []
    for match in _STRING.finditer(text):
        try:
            value = Path(json.loads(match[0]))
        except ValueError:
            continue
        if value.is_absolute() and "\0" not in str(value):
            found.append(value)
    return found


def _guess(path: Path) -> Location:
    kind: Kind = "cache" if path.is_dir() else "export"
    return Location(path=str(path), kind=kind, about="", recorded=datetime.fromtimestamp(0, UTC))
