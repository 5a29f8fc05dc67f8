"""What of a person lies outside the person's folder, remembered in it.

Nobody could show or remove what was forgotten: a path is put down before anything is written there.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter

from facefusion_finetune import home
from facefusion_finetune.damage import DamageError, read_file
from facefusion_finetune.errors import RegistryError

Kind = Literal["export", "cache", "tracker"]
T = TypeVar("T")

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


class Elsewhere(BaseModel):
    """One thing that lies outside the person's folder."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    path: str
    """Absolute; of a tracker, its address."""
    kind: Kind
    about: str
    """`NAME@VERSION`, the model or the run; empty where that is not legible any more."""
    recorded: datetime


@dataclass(frozen=True)
class Memory:
    """What is remembered of a person."""

    hosts: list[Path]
    """FaceFusion folders that a model of the person was ever activated in."""
    elsewhere: list[Elsewhere]
    damaged: list[RegistryError]
    """One for each of the two files that cannot be read; what is legible is in the lists."""


_HOSTS = TypeAdapter(list[Path])
_ENTRIES = TypeAdapter(list[Elsewhere])


def list_hosts(directory: Path) -> list[Path]:
    """FaceFusion folders that a model of the person was ever activated in.

    Args:
        directory: The person's folder.

    Raises:
        RegistryError: The file that remembers them is damaged.
    """
    return _read(directory / home.HOSTS_FILE, _HOSTS)


def remember_host(directory: Path, host: Path) -> None:
    """Put a FaceFusion folder down. Errors as in `list_hosts`, and OSError."""
    hosts = sorted({str(path) for path in list_hosts(directory)} | {str(host.resolve())})
    home.write_text(directory / home.HOSTS_FILE, json.dumps(hosts, indent=2) + "\n")


def list_elsewhere(directory: Path) -> list[Elsewhere]:
    """What lies elsewhere, in the order it was put down. Args and errors as in `list_hosts`."""
    return _read(directory / home.ELSEWHERE_FILE, _ENTRIES)


def remember(directory: Path, path: Path | str, kind: Kind, about: str) -> None:
    """Put something down that is about to be written elsewhere.

    Args:
        directory: The person's folder; it has to be there.
        path: Absolute, or a tracker's address. What lies in the person's folder is passed over.
        kind: What it is.
        about: `NAME@VERSION`.

    Raises:
        RegistryError: The file that remembers is damaged.
        OSError: It cannot be written, for example because the person was removed.
    """
    if isinstance(path, Path) and directory.resolve() in path.parents:
        return
    entries = [entry for entry in list_elsewhere(directory) if entry.path != str(path)]
    made = Elsewhere(path=str(path), kind=kind, about=about, recorded=datetime.now(UTC))
    _write(directory, [*entries, made])


@contextmanager
def remembered(directory: Path, file: Path, kind: Kind, about: str) -> Iterator[None]:
    """Put a file down while it is written; struck out where nothing came of it.

    Args and errors as in `remember`.
    """
    # Without the last link resolved: a link in the file's place is replaced, not followed.
    path = file.parent.resolve() / file.name
    remember(directory, path, kind, about)
    try:
        yield
    except BaseException:
        if not os.path.lexists(path):
            forget(directory, path)
        raise


def forget(directory: Path, path: Path | str) -> None:
    """Strike out what is not there any more. Errors as in `remember`."""
    entries = list_elsewhere(directory)
    left = [entry for entry in entries if entry.path != str(path)]
    if left != entries:
        _write(directory, left)


def recall(directory: Path) -> Memory:
    """Everything that is remembered, as far as it is legible."""
    hosts: list[Path] = []
    entries: list[Elsewhere] = []
    damaged = []
    try:
        hosts = list_hosts(directory)
    except RegistryError as error:
        damaged.append(error)
        hosts = _salvage(directory / home.HOSTS_FILE)
    try:
        entries = list_elsewhere(directory)
    except RegistryError as error:
        damaged.append(error)
        entries = [_guess(path) for path in _salvage(directory / home.ELSEWHERE_FILE)]
    return Memory(hosts, entries, damaged)


def _read(path: Path, adapter: TypeAdapter[list[T]]) -> list[T]:
    try:
        return read_file(path, adapter.validate_json)
    except FileNotFoundError:
        return []
    except DamageError as error:
        raise RegistryError(
            str(path),
            f"it is damaged ({error}), so that it cannot say where else something of the person"
            " lies.",
            "Repair it, or remove the person.",
        ) from error


def _write(directory: Path, entries: list[Elsewhere]) -> None:
    content = _ENTRIES.dump_json(entries, indent=2).decode("utf-8")
    home.write_text(directory / home.ELSEWHERE_FILE, content + "\n")


def _salvage(path: Path) -> list[Path]:
    """The absolute paths in a damaged file."""
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError:
        return []
    found = []
    for match in _STRING.finditer(text):
        try:
            value = Path(json.loads(match[0]))
        except ValueError:
            continue
        if value.is_absolute():
            found.append(value)
    return found


def _guess(path: Path) -> Elsewhere:
    kind: Kind = "cache" if path.is_dir() else "export"
    return Elsewhere(path=str(path), kind=kind, about="", recorded=datetime.fromtimestamp(0, UTC))
