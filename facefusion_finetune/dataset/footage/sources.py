"""Footage as a stream of frames with source, time and shot."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy
from numpy.typing import NDArray

from facefusion_finetune import home
from facefusion_finetune.dataset.footage.videos import (
    VIDEO_SUFFIXES,
    Layout,
    plan_video,
    read_video,
)
from facefusion_finetune.errors import FootageError, UnreadableError
from facefusion_finetune.faces.images import IMAGE_SUFFIXES, read_image
from facefusion_finetune.faces.protocol import VisionFrame

FRAMES_PER_SECOND = 6.0
MAX_FRAMES = 1800
"""Per video: five minutes at six frames per second; longer videos are sampled more sparsely."""

CUT_DIFFERENCE = 28.0
"""Mean grey-level change of a 16 x 16 thumbnail above which a new shot begins, for pictures.

On the bench footage, a head that moves between two samples of one shot stays below 15.
"""

Report = Callable[[str], object]
"""Called with a sentence about footage that is skipped, or used only in part."""


@dataclass(frozen=True)
class Source:
    """One image or video file."""

    path: Path
    kind: Literal["image", "video"]
    sequence: str
    """Images of one folder share a sequence, in name order; each video is a separate one."""
    explicit: bool
    """Whether the user gave this file itself, so that a fault in it is an error."""

    def digest(self) -> str:
        """sha256 of the file's bytes."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @property
    def take(self) -> str:
        """Pictures with the same value may follow each other in time: a video's frames, or files in
        a folder whose names differ only in their numbers."""
        if self.kind == "video":
            return str(self.path)
        return str(self.path.parent / re.sub(r"\d+", "0", self.path.name))


@dataclass(frozen=True)
class Frame:
    """One picture of the footage."""

    number: int
    """Index of the sample within its source, from 0."""
    time: float | None
    """Seconds from the start of a video; None for an image."""
    shot: int | None
    """Index of the shot within a video, from 0; None for an image."""
    pixels: VisionFrame


def show_path(path: Path) -> str:
    r"""A path as text; undecodable bytes are written as `\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def list_sources(paths: list[Path], report: Report = lambda text: None) -> list[Source]:
    """All images and videos in `paths`, with folders searched recursively; each file once.

    Links to folders are followed, and each folder is entered once; hidden files and folders, and
    this package's home, are skipped.

    Args:
        paths: Files and folders.
        report: Called for folders that cannot be read.

    Raises:
        FootageError: A path does not exist or is neither image nor video, or nothing was found.
    """
    sources: dict[Path, Source] = {}
    for path in paths:
        if path.is_dir():
            found = list(_search(path, report))
        elif path.is_file() and _kind(path):
            found = [path]
        elif path.is_file():
            known = " ".join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))
            raise FootageError(
                show_path(path),
                "its suffix is neither that of an image nor of a video.",
                f"Supported suffixes: {known}.",
            )
        else:
            raise FootageError(show_path(path), "no such file or folder.", "Check the path.")
        for file in found:
            kind = _kind(file)
            if kind:
                real = file.resolve()
                sequence = str(real.parent if kind == "image" else real)
                sources.setdefault(real, Source(real, kind, sequence, file == path))
    if not sources:
        raise FootageError(
            ", ".join(map(show_path, paths)),
            "it contains no image and no video.",
            "Give image files, video files, or folders that contain some.",
        )
    return list(sources.values())


def plan_source(
    source: Source, frames_per_second: float = FRAMES_PER_SECOND, most: int = MAX_FRAMES
) -> Layout | None:
    """The sampling plan of a video; None for an image. Errors as in `plan_video`."""
    return plan_video(source.path, frames_per_second, most) if source.kind == "video" else None


def read_frames(
    source: Source,
    frames_per_second: float = FRAMES_PER_SECOND,
    most: int = MAX_FRAMES,
    layout: Layout | None = None,
) -> Iterator[Frame]:
    """The frames of one source; videos are sampled so that every shot is represented.

    Args:
        source: From `list_sources`.
        frames_per_second: Largest number of frames taken per second of a video.
        most: Largest number of frames taken per video.
        layout: The result of `plan_source`, if already known.

    Raises:
        UnreadableError: The file cannot be decoded.
    """
    if source.kind == "image":
        yield Frame(0, None, None, read_image(source.path))
        return
    layout = layout or plan_video(source.path, frames_per_second, most)
    for frame in read_video(source.path, layout):
        yield Frame(frame.number, frame.time, frame.shot, frame.pixels)


class PictureShots:
    """Names the shots of pictures, by the change from one picture to the next in a folder."""

    def __init__(self) -> None:
        self._sequence = ""
        self._shot: str | None = None
        self._thumbnail: NDArray[numpy.float32] | None = None
        self._skipped: Path | None = None

    def name(self, source: Source, pixels: VisionFrame, digest: str) -> str:
        """Name of the shot that the next picture belongs to.

        Args:
            source: The picture's source.
            pixels: The picture.
            digest: The file's digest.
        """
        if source.sequence != self._sequence:
            self.skip(source, None)
        before = self._find_thumbnail()
        thumbnail = _shrink(pixels)
        if (
            self._shot is None
            or before is None
            or float(numpy.abs(thumbnail - before).mean()) > CUT_DIFFERENCE
        ):
            self._shot = f"{digest[:12]}#0"
        self._thumbnail, self._skipped = thumbnail, None
        return self._shot

    def skip(self, source: Source, shot: str | None) -> None:
        """Skip a picture that is already known.

        Args:
            source: The picture's source.
            shot: Its shot, if known.
        """
        self._sequence, self._shot = source.sequence, shot
        self._thumbnail, self._skipped = None, source.path if shot else None

    def _find_thumbnail(self) -> NDArray[numpy.float32] | None:
        if self._skipped is None:
            return self._thumbnail
        try:
            return _shrink(read_image(self._skipped))
        except UnreadableError:
            return None


def _shrink(pixels: VisionFrame) -> NDArray[numpy.float32]:
    thumbnail = cv2.resize(pixels, (16, 16), interpolation=cv2.INTER_AREA)
    return numpy.asarray(thumbnail, dtype=numpy.float32)


def _search(folder: Path, report: Report) -> Iterator[Path]:
    """Images and videos below a folder, sorted; link cycles are entered once."""
    # The package's own crops are not footage.
    own = home.home_directory()
    entered = {_identify(own)} if own.is_dir() else set()

    def on_error(error: OSError) -> None:
        name = show_path(Path(os.fsdecode(error.filename)))
        report(f"{name}: this folder cannot be read ({error.strerror}); its content is skipped.")

    for current, folders, files in os.walk(folder, onerror=on_error, followlinks=True):
        identity = _identify(Path(current))
        if identity in entered:
            folders.clear()
            continue
        entered.add(identity)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(current, name)
            if not name.startswith(".") and _kind(path) and path.is_file():
                yield path


def _identify(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _kind(path: Path) -> Literal["image", "video"] | None:
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return "image"
    return "video" if suffix in VIDEO_SUFFIXES else None
