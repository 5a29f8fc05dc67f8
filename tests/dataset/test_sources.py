"""Footage as frames."""

import shutil
import subprocess
from pathlib import Path

import cv2
import numpy
import pytest

from facefusion_finetune.dataset.sources import (
    ShotCounter,
    list_sources,
    read_frames,
    read_image,
)
from facefusion_finetune.errors import FootageError, UnreadableError

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def _write_image(path: Path, value: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), numpy.full((20, 30, 3), value, dtype=numpy.uint8))
    return path


def _run_ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True)


def _write_video(path: Path, seconds: float = 2, rate: int = 25, size: str = "64x48") -> Path:
    _run_ffmpeg("-f", "lavfi", "-i", f"testsrc=duration={seconds}:rate={rate}:size={size}", path)
    return path


def test_folder_is_searched_and_other_files_are_left(tmp_path: Path) -> None:
    _write_image(tmp_path / "b" / "2.png")
    _write_image(tmp_path / "a.JPG")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "._a.jpg").write_bytes(b"junk of another system")
    sources = list_sources([tmp_path])
    assert [source.path.name for source in sources] == ["a.JPG", "2.png"]
    assert {source.explicit for source in sources} == {False}
    assert len({source.sequence for source in sources}) == 2


def test_same_file_counts_once(tmp_path: Path) -> None:
    path = _write_image(tmp_path / "a.png")
    (tmp_path / "link.png").symlink_to(path)
    assert len(list_sources([path, tmp_path, path])) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [("missing", "no such file"), ("notes.txt", "neither an image nor a video"), ("", "no image")],
)
def test_nothing_to_read(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(FootageError, match=message):
        list_sources([tmp_path / name])


def test_broken_image(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG but no more")
    with pytest.raises(UnreadableError, match="no image that can be decoded"):
        read_image(path)
    path.write_bytes(b"")
    with pytest.raises(UnreadableError, match="no image that can be decoded"):
        read_image(path)


@needs_ffmpeg
def test_video_is_sampled_evenly(tmp_path: Path) -> None:
    path = _write_video(tmp_path / "a.mp4")
    frames = list(read_frames(list_sources([path])[0], frames_per_second=5))
    assert [frame.number for frame in frames] == list(range(10))
    assert frames[5].time == pytest.approx(1.0)
    assert frames[0].pixels.shape == (48, 64, 3)
    # Red stands first in the test picture's bars of ffmpeg's RGB, last in BGR.
    everything = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "bgr24", "-"],
        capture_output=True,
        check=True,
    ).stdout
    first = numpy.frombuffer(everything[: 48 * 64 * 3], dtype=numpy.uint8).reshape(48, 64, 3)
    assert numpy.abs(first.astype(int) - frames[0].pixels).max() <= 2


@needs_ffmpeg
def test_slow_video_gives_each_picture_once(tmp_path: Path) -> None:
    path = _write_video(tmp_path / "a.mp4", rate=2)
    frames = list(read_frames(list_sources([path])[0], frames_per_second=10))
    assert len(frames) == 4
    assert [frame.time for frame in frames] == pytest.approx([0, 0.5, 1.0, 1.5], abs=0.11)


@needs_ffmpeg
def test_rotated_video_is_turned_upright(tmp_path: Path) -> None:
    plain = _write_video(tmp_path / "a.mp4")
    turned = tmp_path / "b.mp4"
    _run_ffmpeg("-i", plain, "-c", "copy", "-metadata:s:v", "rotate=90", turned)
    frame = next(iter(read_frames(list_sources([turned])[0], 5)))
    assert frame.pixels.shape == (64, 48, 3)


@needs_ffmpeg
def test_video_that_ffmpeg_cannot_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"not a video" * 100)
    with pytest.raises(UnreadableError, match="ffmpeg cannot read it"):
        list(read_frames(list_sources([path])[0], 5))


def test_missing_ffmpeg_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"x")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FootageError, match="needs ffmpeg"):
        list(read_frames(list_sources([path])[0], 5))


def test_shot_begins_where_the_picture_changes() -> None:
    generator = numpy.random.default_rng(0)
    scene = generator.integers(0, 256, (40, 40, 3), dtype=numpy.uint8)
    scene = cv2.resize(scene[:5, :5], (40, 40))
    other = 255 - scene
    counter = ShotCounter()
    nudged = numpy.roll(scene, 1, axis=1)
    assert [counter.count(frame) for frame in (scene, nudged, other, other, scene)] == [
        0,
        0,
        1,
        1,
        2,
    ]
