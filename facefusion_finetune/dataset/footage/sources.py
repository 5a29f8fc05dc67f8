"""Footage as a stream of frames with source, time and shot."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy
from numpy.typing import NDArray

from facefusion_finetune import home
from facefusion_finetune.dataset.footage.animations import (
    AnimationLayout,
    is_cut,
    plan_animation,
    read_pictures,
    shrink,
)
from facefusion_finetune.dataset.footage.videos import (
    VIDEO_SUFFIXES,
    Layout,
    plan_video,
    read_video,
)
from facefusion_finetune.errors import FootageError, UnreadableError
from facefusion_finetune.faces.images import read_image
from facefusion_finetune.faces.pictures.formats import (
    HEAD_LENGTH,
    IMAGE_SUFFIXES,
    detect_picture,
    is_animated,
    read_brands,
)
from facefusion_finetune.faces.pictures.limits import MAX_BYTES
from facefusion_finetune.faces.protocol import VisionFrame

FRAMES_PER_SECOND = 6.0
MAX_FRAMES = 1800
"""Per video: five minutes at six frames per second; longer videos are sampled more sparsely."""

MIN_SPARSE = 1_000_000_000
"""Bytes from which a file is checked for never having been written: all of it would be read."""

BLOCK = 512
"""Bytes of the blocks that the system counts."""

AUDIO_SUFFIXES = frozenset({".aac", ".m4a", ".m4b", ".mka", ".oga", ".ogg", ".opus", ".wma"})
"""Their containers are those of videos."""

COMPANION_SUFFIXES = frozenset(
    {".aae", ".csv", ".db", ".htm", ".html", ".ini", ".json", ".jsonl", ".log", ".md", ".srt"}
    | {".toml", ".txt", ".url", ".vtt", ".xml", ".xmp", ".yaml", ".yml"}
)
"""Of files that lie beside footage and are passed over without a word."""

AUDIO_BRANDS = frozenset({b"M4A ", b"M4B ", b"M4P "})
"""Of an MP4 without pictures."""

_VIDEO_STARTS = (
    b"\x1a\x45\xdf\xa3",  # Matroska, WebM
    b"FLV\x01",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF, WMV
    b"\0\0\x01\xba",  # MPEG program stream, VOB
    b"\0\0\x01\xb3",  # MPEG video
    b"\0\0\0\x01\x67",  # H.264
    b"\0\0\x01\x67",
    b"\0\0\0\x01\x40\x01",  # H.265
    b"\x06\x0e\x2b\x34\x02\x05\x01\x01",  # MXF
    b"\xb7\xd8\x00\x20\x37\x49\xda\x11",  # WTV
    b"\x1f\x07\x00",  # DV
    b".RMF",  # RealMedia
    b"YUV4MPEG2 ",
    b"DKIF",  # IVF
    b"nut/multimedia container",
)
_QUICKTIME_ATOMS = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_OGG_VIDEO = (b"\x80theora", b"BBCD\0", b"OVP80", b"\x01video")
_PACKET_START = 0x47

MAX_NAMES = 5
"""Names of passed over files in a note."""

Kind = Literal["image", "animation", "video"]
Plan = Layout | AnimationLayout

NoteCallback = Callable[[str], object]
"""Called with a sentence about footage that is skipped, or used only in part."""


def ignore(text: str) -> None:
    """A `NoteCallback` that nobody reads."""


@dataclass(frozen=True)
class Source:
    """One image or video file."""

    path: Path
    kind: Kind
    sequence: str
    """Images of one folder share a sequence, in name order; anything else is a separate one."""
    explicit: bool
    """Whether the user gave this file itself, so that a fault in it is an error."""

    def digest(self) -> str:
        """sha256 of the file's bytes.

        Raises:
            UnreadableError: It is a picture larger than those that are decoded, or a large video
                that was mostly never written.
        """
        status = self.path.stat()
        size = status.st_size
        if self.kind != "video" and size > MAX_BYTES:
            raise UnreadableError(
                show_path(self.path),
                f"it has {size / 1e6:,.0f} MB, more than the {MAX_BYTES / 1e6:.0f} MB that are"
                " decoded of a picture.",
                "Save it as JPEG, or leave it out.",
            )
        # Some network file systems state no blocks at all, and Windows never does.
        written = getattr(status, "st_blocks", 0) * BLOCK
        if size > MIN_SPARSE and 0 < written < size / 2:
            raise UnreadableError(
                show_path(self.path),
                f"of its {size / 1e9:,.1f} GB, only {written / 1e9:,.1f} GB were ever written.",
                "Let the download or copy finish, or leave it out.",
            )
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @property
    def take(self) -> str:
        """Pictures with the same value may follow each other in time: a video's frames, or files in
        a folder whose names differ only in their numbers."""
        if self.kind != "image":
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


def list_sources(paths: list[Path], on_note: NoteCallback = ignore) -> list[Source]:
    """All images and videos in `paths`, with folders searched recursively; each file once.

    What a file is, is decided by its content, or where that tells nothing, by its suffix. Links to
    folders are followed, and each folder is entered once; hidden files and folders, and this
    package's home, are skipped.

    Args:
        paths: Files and folders.
        on_note: Called for folders that cannot be read, and once for all files in folders that are
            neither image nor video, those excepted that usually lie beside them.

    Raises:
        FootageError: A path does not exist or is neither image nor video, or nothing was found.
    """
    sources: dict[Path, Source] = {}
    passed: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = [(file, find_kind(file)) for file in _search(path, on_note)]
        elif path.is_file():
            found = [(path, find_kind(path))]
            if found[0][1] is None:
                known = " ".join(sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))
                raise FootageError(
                    show_path(path),
                    "it is neither an image nor a video, by its content and by its name.",
                    f"Files of these kinds are read: {known}.",
                )
        else:
            raise FootageError(show_path(path), "no such file or folder.", "Check the path.")
        for file, kind in found:
            if kind is None:
                if file.suffix.lower() not in COMPANION_SUFFIXES | AUDIO_SUFFIXES:
                    passed.append(file)
                continue
            real = file.resolve()
            sequence = str(real.parent if kind == "image" else real)
            sources.setdefault(real, Source(real, kind, sequence, file == path))
    if passed:
        on_note(_describe_passed(passed))
    if not sources:
        raise FootageError(
            ", ".join(map(show_path, paths)),
            "it contains no image and no video.",
            "Give image files, video files, or folders that contain some.",
        )
    return list(sources.values())


def find_kind(path: Path) -> Kind | None:
    """What a file is, by its content, or where that tells nothing, by its suffix.

    Args:
        path: An existing file.

    Returns:
        None if it is neither an image nor a video.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_LENGTH)
            if detect_picture(head):
                return "animation" if is_animated(file) else "image"
    except OSError:
        head = b""
    suffix = path.suffix.lower()
    if suffix in AUDIO_SUFFIXES:
        return None
    if is_video(head):
        return "video"
    if suffix in IMAGE_SUFFIXES:
        return "image"
    return "video" if suffix in VIDEO_SUFFIXES else None


def is_video(head: bytes) -> bool:
    """Whether a file is a video, by its first bytes.

    Args:
        head: The first `HEAD_LENGTH` bytes, or the whole file. Sound alone is told apart only where
            the beginning says so.
    """
    if brands := read_brands(head):
        return detect_picture(head) is None and brands[0] not in AUDIO_BRANDS
    if head.startswith(b"OggS"):
        return any(codec in head for codec in _OGG_VIDEO)
    if head.startswith(b"RIFF"):
        return head[8:12] in (b"AVI ", b"CDXA")
    return (
        head.startswith(_VIDEO_STARTS)
        or head[4:8] in _QUICKTIME_ATOMS
        or _is_transport_stream(head)
    )


def _is_transport_stream(head: bytes) -> bool:
    """MPEG-TS: packets of 188 bytes, in some files with four bytes before or sixteen behind each,
    each beginning with the same byte."""
    return any(
        len(head) > start + 4 * length
        and set(head[start : start + 5 * length : length]) == {_PACKET_START}
        for start, length in ((0, 188), (4, 192), (0, 204))
    )


def plan_source(
    source: Source, frames_per_second: float = FRAMES_PER_SECOND, most: int = MAX_FRAMES
) -> Plan | None:
    """The sampling plan of a video or animation; None for an image. Errors as in `plan_video`."""
    if source.kind == "image":
        return None
    plan = plan_animation if source.kind == "animation" else plan_video
    return plan(source.path, frames_per_second, most)


def read_frames(
    source: Source,
    frames_per_second: float = FRAMES_PER_SECOND,
    most: int = MAX_FRAMES,
    layout: Plan | None = None,
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
    layout = layout or plan_source(source, frames_per_second, most)
    if isinstance(layout, AnimationLayout):
        frames = read_pictures(source.path, layout)
    else:
        assert layout is not None
        frames = read_video(source.path, layout)
    for frame in frames:
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
        thumbnail = shrink(pixels)
        if self._shot is None or before is None or is_cut(before, thumbnail):
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
            return shrink(read_image(self._skipped))
        except UnreadableError:
            return None


def _search(folder: Path, on_note: NoteCallback) -> Iterator[Path]:
    """Files below a folder, sorted; link cycles are entered once."""
    # The package's own crops are not footage.
    own = home.home_directory()
    entered = {_identify(own)} if own.is_dir() else set()

    def on_error(error: OSError) -> None:
        name = show_path(Path(os.fsdecode(error.filename)))
        on_note(f"{name}: this folder cannot be read ({error.strerror}); its content is skipped.")

    for current, folders, files in os.walk(folder, onerror=on_error, followlinks=True):
        identity = _identify(Path(current))
        if identity in entered:
            folders.clear()
            continue
        entered.add(identity)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(current, name)
            if not name.startswith(".") and path.is_file():
                yield path


def _identify(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _describe_passed(files: list[Path]) -> str:
    names = ", ".join(show_path(file) for file in files[:MAX_NAMES])
    more = f" and {len(files) - MAX_NAMES} more" if len(files) > MAX_NAMES else ""
    if len(files) == 1:
        return f"passed over: {names} is neither an image nor a video."
    return f"passed over: {len(files)} files are neither images nor videos: {names}{more}."
