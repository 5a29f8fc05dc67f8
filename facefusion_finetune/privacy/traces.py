"""What identifies a person's data anywhere: face embeddings, cut-outs, footage, the name.

Everything is read leniently, since a damaged file must also be found and removed.
"""

import json
import mmap
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facefusion_finetune import home
from facefusion_finetune.damage import open_regular

_VECTOR = re.compile(rb"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{2731}=(?!=)")
"""(512,) float32 in base64, as in manifests and model cards."""
_DIGEST = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_WEIGHTS = frozenset({".base", ".bin", ".safetensors"})
"""Bases, caches and checkpoints: gigabytes of binary data without base64."""


@dataclass
class Traces:
    """What identifies one person's data."""

    name: str
    vectors: set[bytes] = field(default_factory=set)
    """Face embeddings as base64 of (512,) little-endian float32."""
    cutouts: set[bytes] = field(default_factory=set)
    """sha256 of the cut-out files, in hex."""
    sources: set[str] = field(default_factory=set)
    """sha256 of the footage files, in hex."""
    footage: set[str] = field(default_factory=set)
    """Paths of the footage files."""


def collect_traces(name: str, directory: Path) -> Traces:
    """Collect the traces in a person's folder, as far as they are readable.

    Args:
        name: The person's name.
        directory: The person's folder.
    """
    traces = Traces(name)
    for path in walk_files(directory):
        traces.vectors |= find_vectors(path)
        if path.suffix == ".jsonl" and _is_own(path, directory):
            for record in read_records(path):
                _add(record, traces, is_source=path.name == home.SOURCES_FILE)
    return traces


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file with one per line; other lines are skipped."""
    try:
        with open_regular(path) as file:
            for line in file:
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(record, dict):
                    yield record
    except OSError:
        return


def walk_files(folder: Path, on_error: Callable[[OSError], None] | None = None) -> Iterator[Path]:
    """Everything below a folder that is not a folder, in order; links are not followed.

    Args:
        folder: Where to start.
        on_error: Called for folders that cannot be read.
    """
    for parent, folders, names in os.walk(folder, onerror=on_error):
        links = [name for name in folders if Path(parent, name).is_symlink()]
        folders[:] = sorted(set(folders) - set(links))
        for name in sorted(names + links):
            yield Path(parent, name)


def find_vectors(path: Path) -> set[bytes]:
    """All face embeddings in a file, as base64; empty for weights and unreadable files."""
    if path.suffix in _WEIGHTS:
        return set()
    try:
        with open_content(path) as content:
            return set(_VECTOR.findall(content))
    except OSError:
        return set()


def find_digests(content: mmap.mmap | bytes) -> set[bytes]:
    """All sha256 digests in a text, in hex."""
    return set(_DIGEST.findall(content))


@contextmanager
def open_content(path: Path) -> Iterator[mmap.mmap | bytes]:
    """A regular file's bytes, memory-mapped; links are not followed.

    Raises:
        OSError: It cannot be read, or is not a regular file.
    """
    flags = (getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_BINARY", "O_NONBLOCK"))
    handle = os.open(path, sum(flags, os.O_RDONLY))
    with open(handle, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield content


class NamePattern:
    """Finds a person's name as a whole word."""

    def __init__(self, name: str, others: Iterable[str]) -> None:
        """Distinguish it from the names of others.

        Args:
            name: The person's name.
            others: All other names: `jane-b` does not count as `jane`.
        """
        self._name = name.encode("ascii")
        self._pattern = re.compile(
            rb"(?<![A-Za-z0-9_])" + re.escape(self._name) + rb"(?![A-Za-z0-9_])"
        )
        self._longer = [other.encode("ascii") for other in others if name in other]

    def is_in(self, content: mmap.mmap | bytes) -> bool:
        """Whether the content has the name."""
        return any(
            not self._is_longer(content, match.start()) for match in self._pattern.finditer(content)
        )

    def _is_longer(self, content: mmap.mmap | bytes, place: int) -> bool:
        for other in self._longer:
            offset = other.find(self._name)
            while offset >= 0:
                start = place - offset
                if start >= 0 and content[start : start + len(other)] == other:
                    return True
                offset = other.find(self._name, offset + 1)
        return False


def _is_own(path: Path, directory: Path) -> bool:
    """Whether a file's records are the person's, not those of other people used by a run."""
    return not {"others", "targets"} & set(path.relative_to(directory).parts[:-1])


def _add(record: dict[str, Any], traces: Traces, is_source: bool) -> None:
    faces = record.get("faces")
    if isinstance(faces, list):
        # Faces per frame, from an interrupted extraction.
        for face in faces:
            if isinstance(face, dict):
                _add(face, traces, is_source=False)
    digest, path = record.get("sha256"), record.get("path" if is_source else "source")
    if isinstance(digest, str) and len(digest) == 64 and not is_source:
        traces.cutouts.add(digest.encode("ascii", "replace"))
    source = digest if is_source else record.get("source_sha256")
    if isinstance(source, str):
        traces.sources.add(source)
    if isinstance(path, str):
        traces.footage.add(path)
