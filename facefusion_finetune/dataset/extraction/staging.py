"""The working folder of an extraction: what it has found so far, so that it can be resumed.

`people/NAME/extraction/` holds a journal per source, `SHA256.jsonl`, and the cut-outs that its
lines refer to. A line is written after its cut-outs are on disk, so everything in a journal is
complete. The folder may show people who have not given consent; it is deleted when the extraction
ends, whether it succeeds or is refused.
"""

import hashlib
import json
import os
import queue
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray
from pydantic import BaseModel

from facefusion_finetune import home
from facefusion_finetune.damage import parse_json
from facefusion_finetune.dataset import manifest
from facefusion_finetune.dataset.manifest import Count, CropRecord
from facefusion_finetune.errors import FinetuneError, StoppedError
from facefusion_finetune.faces.images import encode_png
from facefusion_finetune.people.profile import Person

SETTINGS = "settings.json"
MAX_QUEUED = 8
"""Faces waiting to be written; more would fill the memory if the disk is slow."""

PNG_LEVEL = 1
"""Half the time of the default, for files a tenth larger."""


class FrameEntry(BaseModel):
    """The faces found in one frame."""

    number: Count
    shot: str
    faces: list[CropRecord]

    def with_digests(self, digests: dict[str, str]) -> "FrameEntry":
        """A copy with the sha256 of the cut-outs, given by face id."""
        faces = [
            record.model_copy(update={"sha256": digests[record.id]})
            if record.id in digests
            else record
            for record in self.faces
        ]
        return self.model_copy(update={"faces": faces})


CutoutPixels = tuple[NDArray[numpy.uint8], NDArray[numpy.uint8]]
"""Cut-out and masks of a face, (H, W, 3) each."""


@dataclass
class Journal:
    """What is known about one source."""

    is_checked: bool = False
    """Whether it passed the content check."""
    is_complete: bool = False
    """Whether all of it has been processed."""
    frames: dict[int, FrameEntry] = field(default_factory=dict)
    """By frame index."""


class Staging:
    """The working folder of one extraction. Use it as a context manager.

    It is deleted when the block ends normally or with a refusal, and kept if the process was
    interrupted or asked to stop, or something could not be written.
    """

    def __init__(self, person: Person, settings: dict[str, Any]) -> None:
        """Open the folder; an earlier extraction's content is kept only if the settings match.

        Args:
            person: The person.
            settings: Settings that the result depends on.
        """
        self.folder = person.directory / home.EXTRACTION_FOLDER
        self._person = person
        text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
        path = self.folder / SETTINGS
        if self.folder.exists() and not (path.is_file() and path.read_bytes() == text.encode()):
            self._remove()
        home.create_inner_directory(self.folder, person.directory)
        if not path.exists():
            home.write_text(path, text)
        self._writer = _Writer()

    def __enter__(self) -> "Staging":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._writer.stop()
        is_refusal = kind and issubclass(kind, FinetuneError) and kind is not StoppedError
        if kind is None or is_refusal:
            self._remove()

    def recover(self, known: list[CropRecord], digests: set[str]) -> None:
        """Make the folders consistent with the manifest.

        Cut-outs that were moved although their records never reached the manifest are moved back;
        what belongs to no journal of this extraction is deleted.

        Args:
            known: The manifest's records.
            digests: Digests of this extraction's sources.
        """
        for path in self.folder.glob("*.jsonl"):
            if path.stem not in digests:
                for entry in self.read(path.stem).frames.values():
                    self._delete_pictures(entry.faces)
                path.unlink()
        expected = {
            name
            for path in self.folder.glob("*.jsonl")
            for entry in self.read(path.stem).frames.values()
            for record in entry.faces
            if record.sha256
            for name in manifest.file_names(record.id)
        }
        kept = {name for record in known for name in manifest.file_names(record.id)}
        crops = manifest.crops_directory(self._person)
        for path in crops.iterdir() if crops.is_dir() else ():
            if path.name in kept:
                continue
            if path.name in expected:
                path.replace(self.folder / path.name)
            elif path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def read(self, digest: str) -> Journal:
        """What is known about a source; a line only partly written in a crash is lost."""
        return read_journal(self._person, digest)

    def begin(self, digest: str) -> Journal:
        """What is known about a source; its journal can be appended to from now on."""
        path = self._path(digest)
        journal, length = _read_journal(path)
        if path.exists() and path.stat().st_size != length:
            home.write_bytes(path, path.read_bytes()[:length])
        return journal

    def add_content_check(self, digest: str) -> None:
        """Record that a source passed the content check."""
        self._add_line(digest, {"content": "passed"})

    def complete(self, digest: str) -> None:
        """Record that all of a source has been processed."""
        self._add_line(digest, {"complete": True})

    def add_frame(self, digest: str, entry: FrameEntry, pictures: dict[str, CutoutPixels]) -> None:
        """Write the cut-outs, then the line that refers to them; both in the background.

        Args:
            digest: The source's digest.
            entry: The frame's faces; the digests of the cut-outs are filled in.
            pictures: Cut-outs and masks by face id.
        """

        def write() -> None:
            digests = {
                identifier: write_cutout(self.folder, identifier, files)
                for identifier, files in pictures.items()
            }
            line = entry.with_digests(digests).model_dump_json()
            _write_through(self._path(digest), line.encode("utf-8") + b"\n", os.O_APPEND)

        self._writer.put(write)

    def flush(self) -> None:
        """Wait until everything is on disk.

        Raises:
            OSError: Something could not be written.
        """
        self._writer.flush()

    def _remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, digest: str) -> Path:
        return _journal_path(self._person, digest)

    def _add_line(self, digest: str, values: dict[str, Any]) -> None:
        line = json.dumps(values).encode("ascii") + b"\n"
        self._writer.put(lambda: _write_through(self._path(digest), line, os.O_APPEND))

    def _delete_pictures(self, records: list[CropRecord]) -> None:
        for record in records:
            for name in manifest.file_names(record.id):
                (self.folder / name).unlink(missing_ok=True)


def read_journal(person: Person, digest: str) -> Journal:
    """What an extraction, which may have been interrupted, knows about a source."""
    return _read_journal(_journal_path(person, digest))[0]


def write_cutout(folder: Path, identifier: str, pictures: CutoutPixels) -> str:
    """Write a face's cut-out and masks; returns the sha256 of the cut-out's file."""
    contents = [encode_png(pixels, PNG_LEVEL) for pixels in pictures]
    for name, content in zip(manifest.file_names(identifier), contents, strict=True):
        _write_through(folder / name, content, os.O_TRUNC)
    return hashlib.sha256(contents[0]).hexdigest()


class _Writer:
    """Runs jobs in order, in a separate thread."""

    def __init__(self) -> None:
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue(MAX_QUEUED)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def put(self, job: Callable[[], None]) -> None:
        self._raise_error()
        self._jobs.put(job)

    def flush(self) -> None:
        self._jobs.join()
        self._raise_error()

    def stop(self) -> None:
        self._jobs.put(None)
        self._thread.join()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                # After a failure, nothing more is written, so that journals have no gaps.
                if self._error is None:
                    job()
            except BaseException as error:
                self._error = error
            finally:
                self._jobs.task_done()


def _journal_path(person: Person, digest: str) -> Path:
    return person.directory / home.EXTRACTION_FOLDER / f"{digest}.jsonl"


def _read_journal(path: Path) -> tuple[Journal, int]:
    """The content up to the first damaged line, and its length in bytes."""
    journal, length = Journal(), 0
    content = path.read_bytes() if path.exists() else b""
    for line in content.splitlines(keepends=True):
        try:
            if not line.endswith(b"\n"):
                break
            values = parse_json(line)
            if not isinstance(values, dict):
                break
            if "number" in values:
                entry = FrameEntry.model_validate(values)
                journal.frames[entry.number] = entry
        except ValueError:
            break
        journal.is_checked |= values.get("content") == "passed"
        journal.is_complete |= values.get("complete") is True
        length += len(line)
    return journal, length


def _write_through(path: Path, content: bytes, flag: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | flag | getattr(os, "O_BINARY", 0), 0o600)
    with home.naming(path), os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
