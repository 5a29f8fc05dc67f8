"""Videos: shots, sampling, damage."""

import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy
import pytest

from facefusion_finetune.dataset.footage.videos import choose_samples, plan_video, read_video
from facefusion_finetune.errors import UnreadableError

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def _make_video(path: Path, *lengths: float, codec: tuple[str, ...] = ()) -> Path:
    """Shots of these lengths, each a moving picture of its own; a number of codec options."""
    sources = ("testsrc", "testsrc2")
    inputs: list[str] = []
    for place, length in enumerate(lengths):
        inputs += ["-f", "lavfi", "-t", str(length)]
        inputs += ["-i", f"{sources[place % len(sources)]}=size=96x64:rate=25"]
    streams = "".join(
        f"[{place}:v]format=yuv420p,setsar=1[v{place}];" for place in range(len(lengths))
    )
    joined = "".join(f"[v{place}]" for place in range(len(lengths)))
    graph = f"{streams}{joined}concat=n={len(lengths)}:v=1:a=0"
    command = ["ffmpeg", "-v", "error", "-y", *inputs, "-filter_complex", graph, *codec, str(path)]
    subprocess.run(command, check=True)
    return path


@needs_ffmpeg
def test_shots_are_found_where_the_picture_changes(tmp_path: Path) -> None:
    path = _make_video(tmp_path / "a.mp4", 1.2, 0.8, 2.0)
    layout = plan_video(path, 5, 1000)
    assert layout.cuts == pytest.approx((1.2, 2.0), abs=0.05)
    assert layout.duration == pytest.approx(4.0, abs=0.05)
    shots = [frame.shot for frame in read_video(path, layout)]
    assert shots == [0] * 6 + [1] * 4 + [2] * (len(shots) - 10)


@needs_ffmpeg
def test_every_shot_gets_its_share(tmp_path: Path) -> None:
    path = _make_video(tmp_path / "a.mp4", 6, 0.6, 2)
    layout = plan_video(path, 10, 21)
    frames = list(read_video(path, layout))
    counts = [sum(frame.shot == shot for frame in frames) for shot in range(3)]
    # A third each; what the short one does not need goes to the others.
    assert counts[1] == 6
    assert abs(counts[0] - counts[2]) <= 1
    assert sum(counts) <= 21
    times = [frame.time for frame in frames if frame.shot == 0]
    steps = [later - earlier for earlier, later in pairwise(times)]
    assert min(steps) > 0.5
    assert times[0] < 1
    assert times[-1] > 5


def test_samples_are_spread_and_bounded() -> None:
    assert choose_samples([range(60)], 1000) == list(range(60))
    assert len(choose_samples([range(21600)], 1800)) == 1800
    shots = [range(21600), range(21600, 21630), range(21630, 21660)]
    chosen = choose_samples(shots, 90)
    assert [sum(number in shot for number in chosen) for shot in shots] == [30, 30, 30]
    # More shots than frames: one each all the same, since a shot that is left out is lost.
    assert len(choose_samples([range(6 * shot, 6 * shot + 6) for shot in range(20)], 5)) == 20
    assert choose_samples([[], [0], []], 10) == [0]


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mkv", ("-c:v", "ffv1")),
        ("a.avi", ("-c:v", "mpeg4")),
        ("a.webm", ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8")),
        ("a.mov", ("-c:v", "prores_ks", "-pix_fmt", "yuv422p10le")),
        ("a.mp4", ("-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params", "log-level=0")),
        ("a.ts", ("-c:v", "mpeg2video")),
        ("a.wmv", ("-c:v", "wmv2")),
        ("a.gif", ()),
    ],
)
def test_whatever_ffmpeg_reads(tmp_path: Path, name: str, codec: tuple[str, ...]) -> None:
    path = _make_video(tmp_path / name, 1.0, 1.0, codec=codec)
    frames = list(read_video(path, plan_video(path, 5, 100)))
    assert 9 <= len(frames) <= 11
    assert {frame.shot for frame in frames} == {0, 1}
    assert frames[0].pixels.shape == (64, 96, 3)


@needs_ffmpeg
def test_resolution_may_change_and_sound_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        "testsrc=duration=2:size=64x48:rate=25",
    ]
    command += ["-f", "lavfi"]
    command += ["-i", "sine=duration=6", "-c:v", "ffv1", "-c:a", "pcm_s16le"]
    subprocess.run([*command, str(path)], check=True)
    layout = plan_video(path, 5, 100)
    assert layout.duration == pytest.approx(2, abs=0.05)
    assert len(list(read_video(path, layout))) == 10
    assert layout.damage is None


@needs_ffmpeg
def test_half_a_video_gives_what_is_there_and_says_so(tmp_path: Path) -> None:
    whole = _make_video(tmp_path / "whole.mkv", 8.0, codec=("-c:v", "libx264", "-g", "12"))
    path = tmp_path / "half.mkv"
    content = whole.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    layout = plan_video(path, 5, 100)
    frames = list(read_video(path, layout))
    assert 5 <= len(frames) < 36
    damage = layout.damage
    assert damage is not None
    assert "half.mkv: it breaks off after" in damage
    assert "of 8.0 s" in damage
    assert plan_video(whole, 5, 100).damage is None


@needs_ffmpeg
def test_zeros_in_the_middle_do_not_stop_the_rest(tmp_path: Path) -> None:
    whole = _make_video(tmp_path / "whole.mkv", 6.0, codec=("-c:v", "libx264", "-g", "12"))
    content = bytearray(whole.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    path = tmp_path / "hole.mkv"
    path.write_bytes(content)
    frames = list(read_video(path, plan_video(path, 5, 100)))
    assert len(frames) > 15
    assert frames[-1].time > 4


@needs_ffmpeg
@pytest.mark.parametrize("content", [b"", b"not a video" * 100])
def test_what_is_no_video(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    reason = "it is empty, 0 bytes" if not content else "Invalid data"
    with pytest.raises(UnreadableError, match=f"ffmpeg cannot read it .*{reason}"):
        plan_video(path, 5, 100)


@needs_ffmpeg
def test_reading_can_be_given_up(tmp_path: Path) -> None:
    path = _make_video(tmp_path / "a.mp4", 4.0)
    frames = read_video(path, plan_video(path, 25, 1000))
    first = next(frames)
    frames.close()
    assert first.number == 0
    assert numpy.ptp(first.pixels) > 0
