"""Reads video files with ffmpeg: closed lists of formats and protocols, limits, true colours.

Whatever ffmpeg is given here was made by somebody else. So it opens that one file and no other, as
one of a few formats that cannot refer to others, in bounded memory and computing time.
"""

import io
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy

from facefusion_finetune.errors import FootageError, UnreadableError
from facefusion_finetune.faces.child import start_child
from facefusion_finetune.faces.frames import pad_narrow
from facefusion_finetune.faces.protocol import VisionFrame

FORMATS = (
    *("mov", "matroska", "avi", "mpegts", "mpeg", "asf", "flv", "gif", "apng", "mxf", "ogg", "dv"),
    *("rm", "nut", "ivf", "wtv", "gxf", "yuv4mpegpipe"),
    *("h264", "hevc", "m4v", "mpegvideo", "vc1", "obu"),
)
"""ffmpeg's names of the formats that are read, by content, whatever a file is called. None of them
opens another file: the one that could, mov, is told so by an option that is off by default."""

REFERRING_FORMATS = frozenset(
    {"concat", "dash", "hls", "image2", "imf", "rtp", "rtsp", "sap", "sdp", "tedcaptions"}
    | {"avisynth", "lavfi", "vapoursynth", "vobsub", "webm_dash_manifest"}
)
"""Formats that only name other files or addresses, or are programs."""

MAX_PIXELS = 40_000_000
"""Largest picture that is decoded; 8K has 33 or 35 million pixels."""

MAX_FRAME_PIXELS = 4096 * 2304
"""Larger pictures, with square pixels, are scaled down to this: some ten frames are in memory."""

MAX_MEMORY = 880 * 2**20
"""Bytes ffmpeg may use."""

BASE_SECONDS = 6
BYTES_PER_SECOND = 256 * 1024
"""ffmpeg may compute for `BASE_SECONDS`, and a second longer for so many bytes of the file: 10
minutes of 4K took 70 s, for which 220 kbit/s are enough."""

MAX_THREADS = 4
"""Each decoder thread holds frames of its own."""

MAX_MESSAGES = 20
MAX_LINE = 2**16
MAX_REASON = 200
"""Letters of a message of ffmpeg that are shown."""

HDR_TRANSFERS = frozenset({"smpte2084", "arib-std-b67"})
"""PQ and HLG, the transfer functions that FaceFusion maps to SDR."""

REFERENCE_WHITE = 203
"""Nits of white in HDR that become white in SDR (ITU-R BT.2408); what is brighter is cut off."""


@dataclass(frozen=True)
class Video:
    """A file's first video stream that is not a cover picture, as ffprobe describes it."""

    path: Path
    stream: int
    """Index among all streams of the file."""
    size: tuple[int, int]
    """Width and height in pixels of the file, at the start."""
    duration: float | None
    """Seconds, as the file says; None if it does not say it of this stream."""
    nominal_rate: float
    mean_rate: float
    """Frames per second; 0 if unknown."""
    transfer: str
    primaries: str
    matrix: str
    """ffmpeg's names; empty if unknown."""


def find_program(name: str, path: Path) -> str:
    """Path of ffmpeg or ffprobe.

    Raises:
        FootageError: It is not installed, so `path` cannot be read.
    """
    program = shutil.which(name)
    if program is None:
        raise FootageError(
            str(path),
            f"reading a video needs {name}, which is not installed.",
            "Install ffmpeg, which includes it.",
        )
    return program


def probe_video(path: Path) -> Video:
    """What is said about a video, after checking its format and size.

    Raises:
        FootageError: ffmpeg or ffprobe is not installed.
        UnreadableError: It is no video, of no format that is read, or its pictures are too large.
    """
    find_program("ffmpeg", path)
    entries = "stream=index,width,height,duration,r_frame_rate,avg_frame_rate"
    entries += ",color_transfer,color_primaries,color_space"
    entries += ":stream_disposition=attached_pic,timed_thumbnails:stream_tags=DURATION"
    entries += ":format=duration,nb_streams"
    options = ["-show_entries", entries, "-select_streams", "v", "-of", "json"]
    with _run("ffprobe", path, [*options, *_confine(path)]) as run:
        said = run.stdout.read()
    try:
        described = json.loads(said or b"{}")
    except ValueError:
        described = {}
    if "format" not in described:
        raise run.explain()
    streams = [stream for stream in described.get("streams", []) if not _is_cover(stream)]
    if not streams:
        raise _refuse(path, "it holds no picture.")
    stream = streams[0]
    size = int(stream.get("width", 0)), int(stream.get("height", 0))
    if size[0] * size[1] > MAX_PIXELS:
        raise _refuse_size(path, f" ({size[0]} x {size[1]})")
    if not all(size):
        raise run.explain()
    return Video(
        path=path,
        stream=stream["index"],
        size=size,
        duration=_read_duration(stream, described["format"]),
        nominal_rate=_divide(stream.get("r_frame_rate", "")),
        mean_rate=_divide(stream.get("avg_frame_rate", "")),
        **{
            name: "" if (value := stream.get(key, "")) in ("unknown", "reserved") else value
            for name, key in (
                ("transfer", "color_transfer"),
                ("primaries", "color_primaries"),
                ("matrix", "color_space"),
            )
        },
    )


def scan_video(video: Video, filters: str, take: Callable[[str], object]) -> str | None:
    """Pass all pictures of a video through filters that print lines to `pipe:1`.

    Args:
        video: From `probe_video`.
        filters: ffmpeg filters; times are in microseconds.
        take: Called for each line.

    Returns:
        What was left out, as a clause, or None.

    Raises:
        UnreadableError: Nothing was printed, or the limits do not suffice.
    """
    options = ["-vf", f"settb=1/1000000,{filters}", "-f", "null", "-"]
    count = 0
    with _run("ffmpeg", video.path, [*_select(video), *options]) as run:
        for line in run.stdout:
            count += 1
            take(line.decode("ascii", "replace").rstrip())
    if not count or run.is_killed:
        raise run.explain()
    return run.left_out


def decode_frames(
    video: Video, choice: str, before: Sequence[str] = ()
) -> Generator[tuple[int, VisionFrame], None, None]:
    """The chosen pictures of a video: upright, with square pixels, in SDR, BGR.

    Args:
        video: From `probe_video`.
        choice: An expression of ffmpeg's filter `select`; times are in microseconds.
        before: Filters that come first.

    Yields:
        The time in microseconds, from the file's own start, and the picture.

    Raises:
        FootageError: This ffmpeg cannot map the video's colours.
        UnreadableError: No frame can be decoded, or the limits do not suffice.
    """
    filters = [*before, "settb=1/1000000", f"select='{choice}'", *_square(), *_map_colours(video)]
    filters += ["format=bgr24", "showinfo=checksum=0"]
    passthrough = _choose_passthrough(find_program("ffmpeg", video.path))
    options = ["-vf", ",".join(filters), *passthrough, "-noautoscale"]
    options += ["-f", "rawvideo", "-c:v", "rawvideo", "-"]
    count = 0
    with _run("ffmpeg", video.path, [*_select(video), *options]) as run:
        while (picture := run.take_picture()) is not None:
            count += 1
            yield picture
    if not count or run.is_killed:
        raise run.explain()


def _confine(path: Path, threads: int = 1) -> list[str]:
    """The input, with all that keeps ffmpeg from opening or allocating anything else."""
    return [
        *("-protocol_whitelist", "file", "-format_whitelist", ",".join(FORMATS)),
        *("-threads", str(threads), "-max_pixels", str(MAX_PIXELS)),
        *("-i", f"file:{path.absolute()}"),
    ]


def _select(video: Video) -> list[str]:
    width, height = video.size
    is_large = width * height > MAX_FRAME_PIXELS
    threads = 1 if is_large else min(MAX_THREADS, os.cpu_count() or 1)
    options = ["-nostdin", "-nostats", "-filter_threads", "1" if is_large else "2"]
    return [*options, *_confine(video.path, threads), "-map", f"0:{video.stream}"]


def _square() -> list[str]:
    """Make pixels square by enlarging, except of absurd ratios, and limit the size."""
    ratio = "if(between(sar,0.2,5),sar,1)"
    area = f"iw*ih*max({ratio},1/({ratio}))"
    share = f"min(1,sqrt({MAX_FRAME_PIXELS}/({area})))"
    sides = (
        f"max(1,trunc({side}*max(1,{factor})*{share}+0.5))"
        for side, factor in (("iw", ratio), ("ih", f"1/({ratio})"))
    )
    return ["scale=w='{}':h='{}'".format(*sides), "setsar=1"]


def _map_colours(video: Video) -> list[str]:
    """Filters from PQ or HLG to SDR.

    Raises:
        FootageError: ffmpeg has none.
    """
    if video.transfer not in HDR_TRANSFERS:
        return []
    program = find_program("ffmpeg", video.path)
    if "zscale" in _ask(program, "-filters"):
        # Phones write all three, but not everybody does.
        primaries = video.primaries if video.primaries in _PRIMARIES else "bt2020"
        matrix = video.matrix if video.matrix in _MATRICES else "bt2020nc"
        given = f"tin={video.transfer}:pin={primaries}:min={matrix}"
        return [f"zscale={given}:t=bt709:p=bt709:m=gbr:npl={REFERENCE_WHITE}", "format=gbrp"]
    if "out_transfer" in _ask(program, "-h", "filter=scale"):
        # The white of swscale is the same.
        return ["scale=out_primaries=bt709:out_transfer=bt709:intent=relative_colorimetric"]
    raise FootageError(
        str(video.path),
        f"it is HDR ({video.transfer}), and this ffmpeg cannot map its colours to SDR.",
        "Install an ffmpeg with the filter zscale, or convert the video to SDR.",
    )


_PRIMARIES = frozenset({"bt709", "bt2020", "smpte432"})
_MATRICES = frozenset({"bt709", "bt2020nc", "bt2020c", "ictcp"})


class _Run:
    """One run of ffmpeg or ffprobe.

    Args:
        path: The file that it reads.
        seconds: The computing time it has.
        process: The process, with both outputs as pipes.
    """

    def __init__(self, path: Path, seconds: int, process: subprocess.Popen[bytes]) -> None:
        assert isinstance(process.stdout, io.BufferedReader)
        self.stdout = process.stdout
        self._path = path
        self._seconds = seconds
        self._process = process
        self._messages: deque[str] = deque(maxlen=MAX_MESSAGES)
        self._faults: dict[str, str] = {}
        self._shown: queue.SimpleQueue[tuple[int, int, int] | None] = queue.SimpleQueue()
        # A damaged video can cause more messages than a pipe holds.
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def is_killed(self) -> bool:
        """Whether it was ended from outside, as the kernel does at the limit of time."""
        return os.name == "posix" and self._process.returncode == -signal.SIGKILL

    @property
    def left_out(self) -> str | None:
        """What it could not decode within the limits, as a clause; None if there was nothing."""
        if "pixels" in self._faults:
            return f"pictures of more than {MAX_PIXELS // 1_000_000} million pixels are left out"
        if "memory" in self._faults:
            return f"what needs more than {MAX_MEMORY // 2**20} MB to decode is left out"
        return None

    def take_picture(self) -> tuple[int, VisionFrame] | None:
        """Time and pixels of the next picture that was decoded; None if there is none."""
        # The size can change: only `showinfo` says it, before the pixels come.
        shown = self._shown.get()
        if shown is None:
            return None
        time, width, height = shown
        content = bytearray(height * width * 3)
        if self.stdout.readinto(content) < len(content):
            return None
        pixels = numpy.frombuffer(content, numpy.uint8).reshape(height, width, 3)
        return time, pad_narrow(pixels)

    def finish(self) -> None:
        """Wait for the end of a process whose output has ended."""
        self.stdout.close()
        self._process.wait()
        self._listener.join()

    def kill(self) -> None:
        """End the process, whose output is no longer needed."""
        self._process.kill()
        self.finish()

    def explain(self) -> UnreadableError:
        """The error for a file that could not be read."""
        if self._path.exists() and not self._path.stat().st_size:
            return _refuse(self._path, "ffmpeg cannot read it (it is empty, 0 bytes).")
        if "format" in self._faults:
            return _refuse_format(self._path, self._faults["format"])
        if "pixels" in self._faults:
            return _refuse_size(self._path, "")
        if "memory" in self._faults:
            limit = f"{MAX_MEMORY // 2**20} MB of memory"
            return _refuse(self._path, f"decoding it needs more than {limit}.")
        if self.is_killed:
            return UnreadableError(
                str(self._path),
                f"ffmpeg was ended: reading it takes more than {self._seconds} s of computing time,"
                " too much for a file of its size.",
                "Cut it to what shows the person, or scale it down.",
            )
        reason = self._messages[-1] if self._messages else "it holds no picture"
        reason = reason.removeprefix(f"file:{self._path.absolute()}: ")
        return _refuse(self._path, f"ffmpeg cannot read it ({reason}).")

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as messages:
            while line := messages.readline(MAX_LINE):
                text = line.decode("utf-8", "replace")
                # Several threads write, so messages can share a line.
                for found in _SHOWN.finditer(text):
                    time, width, height = map(int, found.groups())
                    self._shown.put((time, width, height))
                for name, mark in _FAULTS.items():
                    if mark in text:
                        self._faults.setdefault(name, text)
                if error := re.search(r"\[(?:error|fatal)\] (.*\S)", text):
                    letters = error[1][:MAX_REASON]
                    clean = "".join(letter if letter.isprintable() else "?" for letter in letters)
                    self._messages.append(clean)
        self._shown.put(None)


_SHOWN = re.compile(r"n:\s*\d+ pts:\s*(-?\d+) .*? s:(\d+)x(\d+) i:")
_FAULTS = {
    "format": "Format not on whitelist",
    "memory": "Cannot allocate memory",
    "pixels": "exceeds specified max pixel count",
}
"""What ffmpeg says if a limit stops it."""


@contextmanager
def _run(name: str, path: Path, arguments: Sequence[str]) -> Iterator[_Run]:
    """Run ffmpeg or ffprobe; it ends with the block."""
    command = [find_program(name, path), "-hide_banner", "-v", "level+info", *arguments]
    seconds = BASE_SECONDS
    with suppress(OSError):
        seconds += path.stat().st_size // BYTES_PER_SECOND
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    run = _Run(path, seconds, start_child(command, seconds, MAX_MEMORY, **pipes))
    try:
        yield run
    except BaseException:
        run.kill()
        raise
    run.finish()


def _refuse(path: Path, why: str) -> UnreadableError:
    todo = "Check that the video plays, convert it to H.264, or leave it out."
    return UnreadableError(str(path), why, todo)


def _refuse_size(path: Path, size: str) -> UnreadableError:
    return UnreadableError(
        str(path),
        f"its pictures have more than {MAX_PIXELS // 1_000_000} million pixels{size}, too many to"
        " decode safely.",
        "Scale it down, or crop it to the face.",
    )


def _refuse_format(path: Path, message: str) -> UnreadableError:
    """The error for a file of a format that is not in `FORMATS`."""
    found = re.search(r"\[(\w+)[\w,]* @", message)
    name = found[1] if found else "unknown"
    if name in REFERRING_FORMATS:
        why = f"it only refers to other files or addresses ({name}); none of them was opened."
        return UnreadableError(str(path), why, "Give the video itself.")
    return _refuse(path, f"its content has a format that is not read as a video ({name}).")


def _is_cover(stream: Mapping[str, Any]) -> bool:
    disposition = stream.get("disposition", {})
    return any(disposition.get(key) for key in ("attached_pic", "timed_thumbnails"))


def _read_duration(stream: Mapping[str, Any], container: Mapping[str, Any]) -> float | None:
    """Seconds of a video stream as the file says."""
    try:
        if "duration" in stream:
            return float(stream["duration"])
        if tag := stream.get("tags", {}).get("DURATION"):
            hours, minutes, seconds = (float(part) for part in tag.split(":"))
            return hours * 3600 + minutes * 60 + seconds
        # The total duration may be that of the sound.
        return float(container["duration"]) if container["nb_streams"] == 1 else None
    except (ValueError, KeyError, TypeError):
        return None


def _divide(fraction: str) -> float:
    match = re.fullmatch(r"(\d+)/(\d+)", fraction)
    return int(match[1]) / int(match[2]) if match and int(match[2]) else 0.0


def _choose_passthrough(program: str) -> tuple[str, str]:
    """The option by which every chosen picture is written once, whatever its time."""
    # ffmpeg before 5.1 knows only the older name, and version 8 gave it up.
    known = _ask(program, "-h", "long")
    return "-fps_mode" if "-fps_mode" in known else "-vsync", "passthrough"


@cache
def _ask(program: str, *options: str) -> str:
    """What ffmpeg says of itself."""
    command = [program, "-hide_banner", *options]
    done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    return done.stdout.decode("utf-8", "replace")
