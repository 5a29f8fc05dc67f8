"""Decodes video frames with ffmpeg."""

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO

import numpy

from facefusion_finetune.errors import FootageError, UnreadableError
from facefusion_finetune.faces.protocol import VisionFrame


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


def decode_frames(path: Path, filters: str, *options: str) -> Generator[VisionFrame, None, None]:
    """The frames of a video after some filters, rotated upright.

    Args:
        path: The file.
        filters: ffmpeg filters.
        options: Output options.

    Raises:
        FootageError: ffmpeg is not installed.
        UnreadableError: No frame can be decoded.
    """
    # PPM includes width and height with every frame. Without the conversion, more than eight bits
    # would give another format.
    command = [find_program("ffmpeg", path), "-v", "error", "-nostdin", "-i", str(path)]
    command += ["-map", "0:v:0", "-vf", f"{filters},format=rgb24", *options]
    command += ["-f", "image2pipe", "-c:v", "ppm", "-"]
    count = 0
    # A damaged video can cause more messages than a pipe holds; a file cannot block ffmpeg.
    with tempfile.TemporaryFile() as messages:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=messages) as process:
            assert process.stdout is not None
            try:
                while (pixels := _read_ppm(process.stdout)) is not None:
                    count += 1
                    yield pixels
            finally:
                process.kill()
        messages.seek(0)
        said = messages.read()
    if not count:
        raise create_unreadable_error(path, said)


def create_unreadable_error(path: Path, said: bytes) -> UnreadableError:
    """The error for an unreadable video, from ffmpeg's messages."""
    lines = said.decode("utf-8", "replace").strip().splitlines()
    reason = lines[-1] if lines else "it contains no picture"
    if path.exists() and not path.stat().st_size:
        reason = "it is empty, 0 bytes"
    return UnreadableError(
        str(path),
        f"ffmpeg cannot read it ({reason}).",
        "Check that the video plays, convert it to H.264, or leave it out.",
    )


def _read_ppm(stream: IO[bytes]) -> VisionFrame | None:
    """The next frame; None at the end or if it is incomplete."""
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


STEADY_RATE = 0.9
"""Ratio of mean to nominal frame rate from which a video counts as constant rate."""


def read_every_second(path: Path) -> Iterator[VisionFrame]:
    """The first frame, then one per second, BGR, rotated upright.

    FaceFusion counts frames by the nominal rate, rounded down. So does this function, but a video
    with fewer frames than that, such as a phone's, is sampled by timestamps, since otherwise too
    little of it would be checked; and one without a stated rate is read completely.

    Raises:
        FootageError: ffmpeg or ffprobe is not installed.
        UnreadableError: The file cannot be decoded as a video.
    """
    try:
        # frames are renumbered, so that none is duplicated or dropped to keep a rate
        chosen = f"select='{_choose_frames(path)}',settb=1/25,setpts=N"
        yield from decode_frames(path, chosen, "-r", "25")
    except UnreadableError as error:
        raise UnreadableError(
            error.given, f"{error.why} So its content is unchecked.", error.todo
        ) from error


def _choose_frames(path: Path) -> str:
    """The frames to take, as an ffmpeg expression.

    Raises:
        FootageError: ffprobe is not installed.
        UnreadableError: The file contains no video.
    """
    command = [find_program("ffprobe", path), "-v", "error", "-select_streams", "v:0"]
    command += ["-show_entries", "stream=r_frame_rate,avg_frame_rate", "-of", "json", str(path)]
    done = subprocess.run(command, capture_output=True, check=False)
    streams = json.loads(done.stdout or b"{}").get("streams")
    if not streams:
        raise create_unreadable_error(path, done.stderr)
    nominal, mean = (_divide(streams[0].get(key, "")) for key in ("r_frame_rate", "avg_frame_rate"))
    if mean < STEADY_RATE * nominal:
        return "isnan(prev_selected_t)+gte(t-prev_selected_t,1)"
    return f"not(mod(n,{max(int(nominal), 1)}))"


def _divide(fraction: str) -> float:
    match = re.fullmatch(r"(\d+)/(\d+)", fraction)
    return int(match[1]) / int(match[2]) if match and int(match[2]) else 0.0
