"""Frames of a video for the content check: one of each second, through ffmpeg."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from facefusion_finetune.errors import UnreadableError
from facefusion_finetune.faces.ffmpeg import create_unreadable, decode_frames, find_program
from facefusion_finetune.faces.protocol import VisionFrame

STEADY = 0.9
"""Mean frame rate over the nominal one from which on a video counts as evenly timed."""


def read_every_second(path: Path) -> Iterator[VisionFrame]:
    """The first frame and then one for each second, BGR, turned upright.

    FaceFusion counts frames by the nominal rate, rounded down. So does this, but a video that holds
    fewer frames than that, as a phone's may, is read by its clock, or too little of it would be
    seen; and one that does not say its rate is read whole.

    Raises:
        FootageError: ffmpeg or ffprobe is not installed.
        UnreadableError: The file is no video that can be decoded.
    """
    try:
        # frames are numbered anew, so that none is doubled or dropped to keep a rate
        chosen = f"select='{_choose_frames(path)}',settb=1/25,setpts=N"
        yield from decode_frames(path, chosen, "-r", "25")
    except UnreadableError as error:
        raise UnreadableError(
            error.given, f"{error.why} So its content is unchecked.", error.todo
        ) from error


def _choose_frames(path: Path) -> str:
    """Which frames are taken, as an expression of ffmpeg.

    Raises:
        FootageError: ffprobe is not installed.
        UnreadableError: The file has no video in it.
    """
    command = [find_program("ffprobe", path), "-v", "error", "-select_streams", "v:0"]
    command += ["-show_entries", "stream=r_frame_rate,avg_frame_rate", "-of", "json", str(path)]
    done = subprocess.run(command, capture_output=True, check=False)
    streams = json.loads(done.stdout or b"{}").get("streams")
    if not streams:
        raise create_unreadable(path, done.stderr)
    nominal, mean = (_divide(streams[0].get(key, "")) for key in ("r_frame_rate", "avg_frame_rate"))
    if mean < STEADY * nominal:
        return "isnan(prev_selected_t)+gte(t-prev_selected_t,1)"
    return f"not(mod(n,{max(int(nominal), 1)}))"


def _divide(fraction: str) -> float:
    match = re.fullmatch(r"(\d+)/(\d+)", fraction)
    return int(match[1]) / int(match[2]) if match and int(match[2]) else 0.0
