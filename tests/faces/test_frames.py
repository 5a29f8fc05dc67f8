"""Frames of any shape can be given to networks, which scale them to their input's size."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy
import pytest

from facefusion_finetune.dataset.footage.sources import list_sources, read_frames
from facefusion_finetune.faces.frames import pad_narrow


def write_picture(path: Path, width: int, height: int) -> None:
    cv2.imwrite(str(path), numpy.full((height, width, 3), 90, numpy.uint8))


def write_clip(path: Path, width: int, height: int) -> None:
    source = f"color=gray:size={width}x{height}:duration=0.2:rate=10"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, "-c:v", "mjpeg", str(path)]
    subprocess.run(command, check=True)


NEEDS_FFMPEG = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
FILES = [
    pytest.param("narrow.png", write_picture, id="picture"),
    pytest.param("narrow.avi", write_clip, id="video", marks=NEEDS_FFMPEG),
]
Write = Callable[[Path, int, int], None]


@pytest.mark.parametrize(("name", "write"), FILES)
@pytest.mark.parametrize(
    ("size", "padded"), [((2, 3200), (32, 3200)), ((3210, 4), (3210, 33)), ((20, 1900), (20, 1900))]
)
def test_narrow_frames_are_padded(
    tmp_path: Path, name: str, write: Write, size: tuple[int, int], padded: tuple[int, int]
) -> None:
    path = tmp_path / name
    write(path, *size)
    (source,) = list_sources([path])
    frame = next(read_frames(source)).pixels
    assert frame.shape[1::-1] == padded
    shown = frame[: size[1], : size[0]]
    assert shown.min() > 80
    assert frame.sum() == shown.sum(), "what was added is black"


def test_other_frames_are_the_same_array() -> None:
    frame = numpy.zeros((100, 10_000, 3), numpy.uint8)
    assert pad_narrow(frame) is frame
