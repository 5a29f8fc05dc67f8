"""Footage as a stream of frames with their source, time and shot."""

import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import cv2
import numpy
from numpy.typing import NDArray

from facefusion_finetune.errors import FootageError, UnreadableError
from facefusion_finetune.faces.protocol import VisionFrame

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
VIDEO_SUFFIXES = frozenset(
    {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mxf", ".webm", ".wmv"}
)

CUT_DIFFERENCE = 28.0
"""Mean grey-level change of a 16 x 16 thumbnail above which a new shot begins.

A head that moves between two samples of one shot stays below 15 on the bench footage.
"""


@dataclass(frozen=True)
class Source:
    """One image or video file."""

    path: Path
    kind: Literal["image", "video"]
    sequence: str
    """Images of one folder share a sequence, in name order; a video is one by itself."""
    explicit: bool
    """Whether the user named this very file (then a fault in it is an error)."""

    def digest(self) -> str:
        """sha256 of the file's bytes."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Frame:
    """One picture out of the footage."""

    number: int
    """Of the sample within its source, from 0."""
    time: float | None
    """Seconds from the start of a video; None for an image."""
    pixels: VisionFrame


def list_sources(paths: list[Path]) -> list[Source]:
    """All images and videos that `paths` name, folders searched through; each file once.

    Raises:
        FootageError: A path does not exist, is neither image nor video, or nothing is found.
    """
    sources: dict[Path, Source] = {}
    for path in paths:
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.is_file())
            found = [file for file in files if _kind(file) and not file.name.startswith(".")]
        elif path.is_file() and _kind(path):
            found = [path]
        elif path.is_file():
            known = " ".join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))
            raise FootageError(
                str(path), "it is neither an image nor a video by its name.", f"Known are: {known}."
            )
        else:
            raise FootageError(str(path), "there is no such file or folder.", "Check the path.")
        for file in found:
            kind = _kind(file)
            if kind:
                real = file.resolve()
                sequence = str(real.parent if kind == "image" else real)
                sources.setdefault(real, Source(real, kind, sequence, file == path))
    if not sources:
        raise FootageError(
            ", ".join(map(str, paths)),
            "there is no image and no video in it.",
            "Give image files, video files or folders that hold some.",
        )
    return list(sources.values())


def read_frames(source: Source, frames_per_second: float) -> Iterator[Frame]:
    """The frames of one source, videos sampled evenly.

    Args:
        source: From `list_sources`.
        frames_per_second: How many frames of each second of a video are taken.

    Raises:
        UnreadableError: The file cannot be decoded.
    """
    if source.kind == "image":
        yield Frame(0, None, read_image(source.path))
    else:
        yield from _read_video(source.path, frames_per_second)


def read_image(path: Path) -> VisionFrame:
    """Decode an image as BGR, turned upright.

    Raises:
        UnreadableError: The file cannot be read or decoded.
    """
    try:
        content = numpy.fromfile(path, dtype=numpy.uint8)
        pixels = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    except (OSError, cv2.error) as error:
        raise UnreadableError(
            str(path), f"it cannot be read ({error}).", "Check the file, or leave it out."
        ) from error
    if pixels is None:
        raise UnreadableError(
            str(path), "it is no image that can be decoded.", "Convert it to PNG, or leave it out."
        )
    return numpy.asarray(pixels, dtype=numpy.uint8)


class ShotCounter:
    """Numbers the shots of one sequence by the change between frames that follow each other."""

    def __init__(self) -> None:
        self._shot = 0
        self._thumbnail: NDArray[numpy.float32] | None = None

    def count(self, pixels: VisionFrame) -> int:
        """Shot number of the next frame, from 0."""
        thumbnail = cv2.resize(pixels, (16, 16), interpolation=cv2.INTER_AREA)
        thumbnail = thumbnail.astype(numpy.float32)
        if (
            self._thumbnail is not None
            and float(numpy.abs(thumbnail - self._thumbnail).mean()) > CUT_DIFFERENCE
        ):
            self._shot += 1
        self._thumbnail = thumbnail
        return self._shot


def _kind(path: Path) -> Literal["image", "video"] | None:
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return "image"
    return "video" if suffix in VIDEO_SUFFIXES else None


def _read_video(path: Path, frames_per_second: float) -> Iterator[Frame]:
    program = shutil.which("ffmpeg")
    if program is None:
        raise FootageError(
            str(path), "reading a video needs ffmpeg, which is not installed.", "Install ffmpeg."
        )
    # Rounding up takes the picture shown at each instant, not a later one. PPM carries width and
    # height with every picture, after ffmpeg has turned it upright.
    command = [program, "-v", "error", "-nostdin", "-i", str(path)]
    command += ["-vf", f"fps={frames_per_second}:round=up", "-f", "image2pipe", "-c:v", "ppm", "-"]
    number = 0
    # A damaged video can say more than a pipe holds; a file cannot block ffmpeg.
    with tempfile.TemporaryFile() as messages:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=messages) as process:
            assert process.stdout is not None
            try:
                former = None
                while (pixels := _read_ppm(process.stdout)) is not None:
                    # A video slower than the sampling shows each picture several times.
                    if former is None or not numpy.array_equal(pixels, former):
                        yield Frame(number, number / frames_per_second, pixels)
                    former = pixels
                    number += 1
            finally:
                process.kill()
        messages.seek(0)
        message = messages.read().decode("utf-8", "replace").strip()
    if number == 0:
        reason = message.splitlines()[-1] if message else "it holds no picture"
        raise UnreadableError(
            str(path),
            f"ffmpeg cannot read it ({reason}).",
            "Check that the video plays, convert it to H.264, or leave it out.",
        )


def _read_ppm(stream: IO[bytes]) -> VisionFrame | None:
    header = b"".join(stream.readline() for _ in range(3))
    match = re.fullmatch(rb"P6\n(\d+) (\d+)\n255\n", header)
    if match is None:
        return None
    width, height = int(match[1]), int(match[2])
    content = stream.read(width * height * 3)
    if len(content) < width * height * 3:
        return None
    rgb = numpy.frombuffer(content, dtype=numpy.uint8).reshape(height, width, 3)
    return numpy.ascontiguousarray(rgb[:, :, ::-1])
