"""One video file as a stream of frames, sampled so that every shot is represented."""

import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy

from facefusion_finetune.faces.ffmpeg import Video, decode_frames, probe_video, scan_video
from facefusion_finetune.faces.protocol import VisionFrame

VIDEO_SUFFIXES = frozenset(
    {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mxf", ".webm", ".wmv"}
    | {".3g2", ".3gp", ".asf", ".divx", ".dv", ".f4v", ".flv", ".m1v", ".m2t", ".m2ts", ".m2v"}
    | {".mpe", ".mts", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob", ".wtv"}
)
"""FaceFusion itself opens those in the first row."""

CUT_SCORE = 8.0
"""ffmpeg's scene-change score, 0 to 100, at which a new shot begins. Within the bench's clips it
stays below 3.1; cuts between its clips of one room score 10.9 and more."""

END_TOLERANCE = 1.0
"""Seconds by which a video may end early without counting as damaged: containers round durations,
and sampled frames end before the last picture does."""

HOLE = 3
"""Sampling periods without a new picture that count as a hole in time."""

MAX_INTERLACED_HEIGHT = 1152
"""No standard interlaces larger pictures."""

MOST_RANGES = 600 if os.name == "nt" else 2000
"""Parts of a video between which pictures are skipped: each takes 45 letters of a command, and
Windows allows 32 thousand, Linux 128 thousand for one argument."""


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
class Sample:
    """A picture that is taken, by its place in time."""

    number: int
    """The first multiple of the sampling period at which the picture is shown."""
    shot: int
    """From 0."""


@dataclass(frozen=True)
class Layout:
    """Where a video's shots begin, and which of its pictures are taken."""

    video: Video
    cuts: tuple[float, ...]
    """Seconds at which a new shot begins, excluding 0."""
    duration: float
    """Seconds."""
    frames_per_second: float
    samples: Mapping[int, Sample]
    """By the picture's own time in microseconds, in order."""
    damage: str | None = None
    """A sentence, if the video breaks off before its stated duration, or part of it is left out."""
    deinterlace: tuple[str, ...] = ()
    """ffmpeg filters."""

    @property
    def numbers(self) -> frozenset[int]:
        """Indices of the samples that are taken."""
        return frozenset(sample.number for sample in self.samples.values())


def plan_video(path: Path, frames_per_second: float, most: int) -> Layout:
    """Scan a video once, at a small size, and choose the pictures to take.

    Samples are taken in time, but only of pictures there are: one that is shown for an hour counts
    once.

    Args:
        path: The file.
        frames_per_second: Highest sampling rate.
        most: Largest number of samples; every shot gets an equal share, and what a short shot does
            not need goes to the others.

    Raises:
        UnreadableError: It is no video, or no frame of it can be decoded within the limits.
        FootageError: ffmpeg is not installed.
    """
    video = probe_video(path)
    scan = _Scan()
    left_out = scan_video(video, _create_scan_filters(video), scan.take)
    shots = scan.list_samples(frames_per_second)
    chosen = set(
        choose_samples([[sample.number for sample in shot.values()] for shot in shots], most)
    )
    samples = {
        time: sample for shot in shots for time, sample in shot.items() if sample.number in chosen
    }
    first = scan.times[0]
    return Layout(
        video,
        tuple((scan.times[start] - first) / 1e6 for start in scan.starts[1:]),
        (scan.find_end() - first) / 1e6,
        frames_per_second,
        samples,
        _find_damage(video, (scan.find_end() - first) / 1e6, left_out),
        scan.choose_deinterlacer(),
    )


def choose_samples(shots: Sequence[Sequence[int]], most: int) -> list[int]:
    """The samples to take, evenly spaced within each shot.

    Args:
        shots: Indices of the samples that each shot has; it may have none.
        most: Largest number of samples. If there are more shots, each gets one nevertheless.
    """
    level = _find_level([len(shot) for shot in shots if shot], most)
    chosen: set[int] = set()
    for shot in shots:
        count = min(len(shot), level)
        places = (numpy.arange(count) + 0.5) * len(shot) / max(count, 1)
        chosen.update(shot[int(place)] for place in places)
    return sorted(chosen)


def read_video(path: Path, layout: Layout) -> Iterator[VideoFrame]:
    """The planned samples of a video, in order, as they are decoded.

    A picture that is identical to the previous one is skipped.

    Raises:
        UnreadableError: No frame can be decoded.
        FootageError: ffmpeg is not installed.
    """
    remaining = dict(layout.samples)
    former = None
    choice = _select_times(list(remaining))
    with closing(decode_frames(layout.video, choice, layout.deinterlace)) as frames:
        for time, pixels in frames:
            sample = remaining.pop(time, None)
            if sample is None:
                continue
            # A video can hold the same picture several times.
            if former is None or not numpy.array_equal(pixels, former):
                seconds = sample.number / layout.frames_per_second
                yield VideoFrame(sample.number, seconds, sample.shot, pixels)
            former = pixels
            if not remaining:
                return


class _Scan:
    """What the filters of a scan print: times, cuts and fields of all pictures."""

    def __init__(self) -> None:
        self.times: list[int] = []
        """Microseconds."""
        self.starts: list[int] = []
        """Indices of the first picture of each shot."""
        self._place = (0, 0)
        self._fields: Counter[str] = Counter()

    def take(self, line: str) -> None:
        """Take one line."""
        if found := re.match(r"frame:\s*(\d+)\s+pts:\s*(-?\d+)", line):
            self._place = int(found[1]), int(found[2])
            return
        key, _, value = line.partition("=")
        if key == "lavfi.idet.single.current_frame":
            self._fields[value] += 1
        elif key == "lavfi.scd.score":
            # ffmpeg builds its filters, and counts, anew where the size of the picture changes.
            if not self._place[0]:
                self.starts.append(len(self.times))
            self.times.append(self._place[1])
        elif key == "lavfi.scd.time" and self.times and self.starts[-1] < len(self.times) - 1:
            self.starts.append(len(self.times) - 1)

    def find_end(self) -> int:
        """Time at which the last picture ends, if it is shown as long as the one before it."""
        last, before = (self.times * 2)[-1], (self.times[:1] + self.times)[-2]
        return last + max(last - before, 0)

    def list_samples(self, rate: float) -> list[dict[int, Sample]]:
        """The pictures of each shot that are shown at some multiple of the sampling period.

        Args:
            rate: Samples per second.

        Returns:
            For each shot, samples by the picture's time in microseconds.
        """
        first = self.times[0]
        places = [(time - first) / 1e6 * rate for time in self.times]
        # A ten-thousandth allows for times that are rounded to microseconds. Where no other picture
        # would be taken in its place, more is allowed: some containers round to milliseconds.
        numbers = [
            math.ceil(place - (0.05 if place - before > HOLE else 1e-4))
            for before, place in zip([places[0], *places], places, strict=False)
        ]
        end = math.ceil((self.find_end() - first) / 1e6 * rate - 0.05)
        numbers.append(max(end, 1) if len(self.times) == 1 else end)
        shots: list[dict[int, Sample]] = [{} for _ in self.starts]
        starts = set(self.starts)
        last, shot, taken = -1, -1, 0
        for place, (time, number) in enumerate(zip(self.times, numbers[:-1], strict=True)):
            if place in starts:
                shot, taken = shot + 1, time - 10**9
            # Before a hole, a picture is shown long after its time, which a sample just before it
            # stands for.
            is_hole = numbers[place + 1] - number > HOLE
            is_near = (time - taken) / 1e6 * rate < 0.9
            if last < number < numbers[place + 1] and not (is_hole and is_near):
                last, taken = number, time
                shots[shot][time] = Sample(number, shot)
        return shots

    def choose_deinterlacer(self) -> tuple[str, ...]:
        """ffmpeg filters for the decoder, if the pictures are interlaced, whatever the file says.

        What does not move looks like neither kind, and drawn patterns like both orders of fields.
        """
        (other, _), (parity, count) = sorted(
            ((name, self._fields[name]) for name in ("tff", "bff")), key=lambda field: field[1]
        )
        least = max(2, 0.05 * self._fields.total(), 4 * self._fields[other])
        if count < least or count <= self._fields["progressive"]:
            return ()
        return (f"bwdif=mode=send_frame:parity={parity}:deint=all",)


def _create_scan_filters(video: Video) -> str:
    """Filters that print the time of each picture and whether a shot begins there."""
    # Always one size: a picture of one column would become very tall.
    cuts = f"scale=160:120:flags=fast_bilinear,scdet=threshold={CUT_SCORE}"
    cuts += ",metadata=mode=print:direct=1:file=-"
    if video.size[1] > MAX_INTERLACED_HEIGHT:
        return cuts
    # Looked at for twenty seconds and then for one in ten.
    fields = "select='lt(t,20)+lt(mod(t,10),1)',idet"
    fields += ",metadata=mode=print:key=lavfi.idet.single.current_frame:direct=1:file=-,nullsink"
    return f"split[fields][all];[fields]{fields};[all]{cuts}"


def _select_times(times: Sequence[int]) -> str:
    """An expression of ffmpeg's filter `select` that is true at these times, and few others."""
    step = math.ceil(len(times) / MOST_RANGES)
    parts = [times[start : start + step] for start in range(0, len(times), step)]
    return _nest([(part[0], part[-1]) for part in parts])


def _nest(ranges: Sequence[tuple[int, int]]) -> str:
    if len(ranges) == 1:
        return "between(pts,{},{})".format(*ranges[0])
    middle = len(ranges) // 2
    before, after = _nest(ranges[:middle]), _nest(ranges[middle:])
    return f"if(lt(pts,{ranges[middle][0]}),{before},{after})"


def _find_damage(video: Video, duration: float, left_out: str | None) -> str | None:
    announced = video.duration
    if announced is not None and duration < announced - max(END_TOLERANCE, 0.1 * announced):
        return (
            f"{video.path}: it breaks off after {duration:.1f} of {announced:.1f} s."
            " The part before is used."
        )
    return f"{video.path}: {left_out}." if left_out else None


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
