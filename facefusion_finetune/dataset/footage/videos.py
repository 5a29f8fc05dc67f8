"""One video file as a stream of frames, sampled so that every shot is represented."""

import json
import math
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy

from facefusion_finetune.faces.ffmpeg import create_unreadable_error, decode_frames, find_program
from facefusion_finetune.faces.protocol import VisionFrame

VIDEO_SUFFIXES = frozenset(
    {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mxf", ".webm", ".wmv"}
    | {".3gp", ".flv", ".gif", ".m2ts", ".mts", ".ogv", ".ts"}
)
"""FaceFusion itself opens those in the first row."""

CUT_SCORE = 8.0
"""ffmpeg's scene-change score, 0 to 100, at which a new shot begins. Within the bench's clips it
stays below 3.1; cuts between its clips of one room score 10.9 and more."""

END_TOLERANCE = 1.0
"""Seconds by which a video may end early without counting as damaged: containers round durations,
and sampled frames end before the last picture does."""


@dataclass(frozen=True)
class VideoFrame:
    """One sampled picture of a video."""

    number: int
    """Index of the sample, from 0, at the sampling rate."""
    time: float
    """Seconds from the start."""
    shot: int
    """From 0."""
    pixels: VisionFrame


@dataclass(frozen=True)
class Layout:
    """Where a video's shots begin, and which of its samples are taken."""

    cuts: tuple[float, ...]
    """Seconds at which a new shot begins, excluding 0."""
    duration: float
    """Seconds."""
    frames_per_second: float
    numbers: frozenset[int]
    """Indices of the samples that are taken."""
    damage: str | None = None
    """A sentence, if the video breaks off before its stated duration."""

    def find_shot(self, time: float) -> int:
        """Index of the shot at a time, from 0."""
        # A sample shows the picture at its time; half a millisecond allows for rounding.
        return sum(cut <= time + 5e-4 for cut in self.cuts)


def plan_video(path: Path, frames_per_second: float, most: int) -> Layout:
    """Scan a video once, at a small size, and choose the samples.

    Args:
        path: The file.
        frames_per_second: Highest sampling rate.
        most: Largest number of samples; every shot gets an equal share, and what a short shot does
            not need goes to the others.

    Raises:
        UnreadableError: No frame can be decoded.
        FootageError: ffmpeg is not installed.
    """
    filters = "setpts=PTS-STARTPTS,scale=160:-2:flags=fast_bilinear"
    filters += f",scdet=threshold={CUT_SCORE},metadata=mode=print:key=lavfi.scd.time:file=-"
    command = [
        find_program("ffmpeg", path),
        "-v",
        "error",
        "-nostdin",
        "-i",
        str(path),
        "-map",
        "0:v:0",
    ]
    command += ["-vf", filters, "-f", "null", "-nostats", "-progress", "pipe:1", "-"]
    process = subprocess.run(command, capture_output=True, check=False)
    said = process.stdout.decode("utf-8", "replace")
    times = [int(value) for value in re.findall(r"^out_time_us=(\d+)$", said, re.MULTILINE)]
    duration = max(times, default=0) / 1e6
    if duration <= 0:
        raise create_unreadable_error(path, process.stderr)
    cuts = tuple(float(value) for value in re.findall(r"^lavfi\.scd\.time=([\d.]+)$", said, re.M))
    numbers = choose_samples([0.0, *cuts, duration], frames_per_second, most)
    damage = _find_damage(path, duration)
    return Layout(cuts, duration, frames_per_second, frozenset(numbers), damage)


def choose_samples(edges: Sequence[float], frames_per_second: float, most: int) -> list[int]:
    """Indices of the samples to take, evenly spaced within each shot.

    Args:
        edges: Start times of the shots in seconds, and the end of the last one.
        frames_per_second: Sampling rate.
        most: Largest number of samples.
    """
    # The first sample at or after each edge; a thousandth allows for rounding.
    borders = [math.ceil(edge * frames_per_second - 1e-3) for edge in edges]
    shots = [
        range(start, max(end, start + 1))
        for start, end in pairwise(borders)
        if end > start or len(borders) == 2
    ]
    level = _find_level([len(shot) for shot in shots], most)
    chosen: set[int] = set()
    for shot in shots:
        count = min(len(shot), level)
        places = (numpy.arange(count) + 0.5) * len(shot) / count
        chosen.update(shot[int(place)] for place in places)
    return sorted(chosen)


def read_video(path: Path, layout: Layout) -> Iterator[VideoFrame]:
    """The planned samples of a video, in order, as they are decoded.

    A picture that is identical to the previous one is skipped.

    Raises:
        UnreadableError: No frame can be decoded.
        FootageError: ffmpeg is not installed.
    """
    # Rounding up takes the picture shown at each time, not a later one.
    rate = layout.frames_per_second
    last = max(layout.numbers)
    former = None
    with closing(decode_frames(path, f"setpts=PTS-STARTPTS,fps={rate}:round=up")) as frames:
        for number, pixels in enumerate(frames):
            if number in layout.numbers:
                # If the video is slower than the sampling rate, pictures repeat.
                if former is None or not numpy.array_equal(pixels, former):
                    time = number / rate
                    yield VideoFrame(number, time, layout.find_shot(time), pixels)
                former = pixels
            if number == last:
                return


def _find_damage(path: Path, duration: float) -> str | None:
    announced = _read_duration(path)
    if announced is None or duration >= announced - max(END_TOLERANCE, 0.1 * announced):
        return None
    return (
        f"{path}: it breaks off after {duration:.1f} of {announced:.1f} s. The part before is used."
    )


def _read_duration(path: Path) -> float | None:
    """The video's duration in seconds according to the container; None if it has none."""
    program = shutil.which("ffprobe")
    if program is None:
        return None
    entries = "format=duration,nb_streams:stream=duration:stream_tags=DURATION"
    command = [program, "-v", "error", "-select_streams", "v:0", "-show_entries", entries]
    process = subprocess.run([*command, "-of", "json", str(path)], capture_output=True, check=False)
    try:
        said = json.loads(process.stdout)
        (stream,) = said["streams"]
        if "duration" in stream:
            return float(stream["duration"])
        if tag := stream.get("tags", {}).get("DURATION"):
            hours, minutes, seconds = (float(part) for part in tag.split(":"))
            return hours * 3600 + minutes * 60 + seconds
        # The total duration may be that of the sound.
        return float(said["format"]["duration"]) if said["format"]["nb_streams"] == 1 else None
    except (ValueError, KeyError, TypeError):
        return None


def _find_level(lengths: list[int], most: int) -> int:
    """The largest number of samples per shot such that the total is at most `most`."""
    level = max(1, most)
    remaining, shots = most, len(lengths)
    for length in sorted(lengths):
        share = max(1, remaining // shots)
        if length > share:
            return share
        remaining -= length
        shots -= 1
    return level
