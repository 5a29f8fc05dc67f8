"""Videos: shots, sampling, damage."""

import functools
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy
import pytest

from facefusion_finetune.dataset.footage import videos
from facefusion_finetune.dataset.footage.videos import choose_samples, plan_video, read_video
from facefusion_finetune.errors import UnreadableError
from facefusion_finetune.faces.protocol import VisionFrame

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


def _run_ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True)


@functools.cache
def _has_filter(name: str) -> bool:
    listed = subprocess.run(["ffmpeg", "-hide_banner", "-filters"], capture_output=True, check=True)
    return f" {name} " in listed.stdout.decode()


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of smooth colours that move by a pixel and a half each frame, 25 a second."""
    path = tmp_path_factory.mktemp("moving") / "moving.mkv"
    red, green = "128+90*sin((X+1.5*N)/9)*cos(Y/17)", "128+90*cos((X+1.5*N)/23+Y/31)"
    picture = f"geq=r='{red}':g='{green}':b='128+60*sin((Y-N)/21)'"
    source = f"color=size=192x144:rate=25:duration=2,format=gbrp,{picture}"
    _run_ffmpeg(*("-f", "lavfi", "-i", source, "-pix_fmt", "yuv444p", "-c:v", "ffv1"), path)
    return path


def _read(path: Path, rate: float = 6) -> list[VisionFrame]:
    return [frame.pixels for frame in read_video(path, plan_video(path, rate, 1000))]


def _measure(first: list[VisionFrame], second: list[VisionFrame]) -> float:
    """Mean difference in grey levels; a picture of another size differs in everything."""
    assert len(first) == len(second)
    return max(
        float(numpy.abs(one.astype(int) - other).mean()) if one.shape == other.shape else 255.0
        for one, other in zip(first, second, strict=True)
    )


def _measure_rows(frames: list[VisionFrame]) -> float:
    """Mean difference of each row from the mean of its neighbours."""
    every = numpy.stack(frames).astype(float)
    return float(numpy.abs(every[:, 1:-1] - (every[:, :-2] + every[:, 2:]) / 2).mean())


@needs_ffmpeg
@pytest.mark.parametrize(
    ("transfer", "name", "codec"),
    [
        ("smpte2084", "a.mkv", ("-c:v", "ffv1", "-pix_fmt", "yuv420p10le")),
        ("arib-std-b67", "a.mov", ("-c:v", "prores_ks", "-pix_fmt", "yuv422p10le")),
        ("arib-std-b67", "untagged.mkv", ("-c:v", "ffv1", "-pix_fmt", "yuv444p12le")),
    ],
)
def test_hdr_has_the_colours_of_the_original(
    moving: Path, tmp_path: Path, transfer: str, name: str, codec: tuple[str, ...]
) -> None:
    if not _has_filter("zscale"):
        pytest.skip("this ffmpeg lacks zscale")
    path = tmp_path / name
    given = "zscale=tin=bt709:pin=bt709:min=170m:rin=tv"
    mapped = f"{given}:t={transfer}:p=bt2020:m=bt2020nc:r=tv:npl=203"
    tags = ["-color_trc", transfer, "-color_primaries", "bt2020", "-colorspace", "bt2020nc"]
    _run_ffmpeg("-i", moving, "-vf", mapped, *codec, *tags[: 2 if "un" in name else 6], path)
    assert _measure(_read(path), _read(moving)) < 3


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "size", "ratio", "codec"),
    [
        ("dvd.mpg", "240:144", "4/5", ("-c:v", "mpeg2video", "-q:v", "1")),
        ("anamorphic.mp4", "96:144", "2/1", ("-c:v", "libx264", "-crf", "8")),
        ("flat.mkv", "192:72", "1/2", ("-c:v", "ffv1")),
    ],
)
def test_pixels_become_square(
    moving: Path, tmp_path: Path, name: str, size: str, ratio: str, codec: tuple[str, ...]
) -> None:
    path = tmp_path / name
    _run_ffmpeg("-i", moving, "-vf", f"scale={size},setsar={ratio},format=yuv420p", *codec, path)
    frames = _read(path)
    width, height = (240, 180) if name == "dvd.mpg" else (192, 144)
    assert {frame.shape for frame in frames} == {(height, width, 3)}
    if width == 192:
        assert _measure(frames, _read(moving)) < 4


@needs_ffmpeg
def test_an_absurd_pixel_ratio_is_ignored(moving: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    _run_ffmpeg("-i", moving, "-vf", "setsar=1000/1", "-c:v", "ffv1", path)
    assert {frame.shape for frame in _read(path)} == {(144, 192, 3)}


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "order", "codec"),
    [
        ("a.mpg", "interleave_top", ("-c:v", "mpeg2video", "-q:v", "1", "-flags", "+ilme+ildct")),
        ("a.mp4", "interleave_bottom", ("-c:v", "libx264", "-crf", "8", "-flags", "+ilme+ildct")),
        ("unmarked.mkv", "interleave_top", ("-c:v", "ffv1")),
    ],
)
def test_fields_are_taken_apart(
    moving: Path, tmp_path: Path, name: str, order: str, codec: tuple[str, ...]
) -> None:
    path, original = tmp_path / name, tmp_path / "progressive.mkv"
    _run_ffmpeg("-i", moving, "-vf", "format=yuv420p", "-c:v", "ffv1", original)
    _run_ffmpeg("-i", moving, "-vf", f"format=yuv420p,tinterlace={order}", *codec, path)
    assert _measure_rows(_read(path)) == pytest.approx(_measure_rows(_read(original)), rel=0.1)


@needs_ffmpeg
@pytest.mark.parametrize("name", ["a.mp4", "a.m4v", "a.mov"])
def test_a_cover_is_no_video(moving: Path, tmp_path: Path, name: str) -> None:
    path, cover = tmp_path / name, tmp_path / "cover.png"
    _run_ffmpeg("-f", "lavfi", "-i", "testsrc=size=300x300", "-frames:v", "1", cover)
    streams = ["-i", cover, "-i", moving, "-map", "0", "-map", "1:v"]
    options = ["-c:v:0", "mjpeg", "-c:v:1", "mpeg4", "-disposition:v:0", "attached_pic"]
    _run_ffmpeg(*streams, *options, "-f", "mp4", path)
    frames = _read(path)
    assert len(frames) == len(_read(moving)) == 12
    assert frames[0].shape == (144, 192, 3)


@needs_ffmpeg
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "cover.mp4"])
def test_sound_holds_no_picture(tmp_path: Path, name: str) -> None:
    path, cover = tmp_path / name, tmp_path / "cover.png"
    _run_ffmpeg("-f", "lavfi", "-i", "testsrc=size=96x96", "-frames:v", "1", cover)
    picture = ["-i", cover, "-map", "0", "-map", "1", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p"]
    picture += ["-disposition:v:0", "attached_pic"]
    sound = ["-f", "lavfi", "-i", "sine=duration=0.2"]
    _run_ffmpeg(*sound, *(picture if name == "cover.mp4" else []), path)
    with pytest.raises(UnreadableError, match="it holds no picture"):
        plan_video(path, 5, 100)


@needs_ffmpeg
@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        ("ts", ("-c:v", "mpeg2video", "-q:v", "2")),
        ("h264", ("-c:v", "libx264", "-preset", "ultrafast")),
        ("ts", ("-c:v", "mpeg4", "-q:v", "2")),
    ],
)
def test_the_size_of_the_picture_changes(
    moving: Path, tmp_path: Path, suffix: str, codec: tuple[str, ...]
) -> None:
    sizes = ("192:144", "96:160", "192:144")
    content = b""
    for number, size in enumerate(sizes):
        part = tmp_path / f"{number}.{suffix}"
        _run_ffmpeg("-i", moving, "-vf", f"scale={size},setsar=1,format=yuv420p", *codec, part)
        content += part.read_bytes()
    path = tmp_path / f"whole.{suffix}"
    path.write_bytes(content)
    layout = plan_video(path, 5, 1000)
    frames = list(read_video(path, layout))
    assert layout.cuts == pytest.approx((2, 4), abs=0.05)
    assert layout.duration == pytest.approx(6, abs=0.05)
    assert layout.damage is None
    assert [frame.number for frame in frames] == list(range(30))
    shapes = [(144, 192, 3)] * 10 + [(160, 96, 3)] * 10 + [(144, 192, 3)] * 10
    assert [frame.pixels.shape for frame in frames] == shapes
    assert [frame.shot for frame in frames] == [0] * 10 + [1] * 10 + [2] * 10
    assert _measure([frame.pixels for frame in frames[:10]], _read(moving, 5)) < 4


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mkv", ("-c:v", "ffv1")),
        ("a.mp4", ("-c:v", "libx264")),
        ("a.webm", ("-c:v", "libvpx", "-deadline", "realtime")),
    ],
)
def test_holes_in_time_hold_no_samples(
    moving: Path, tmp_path: Path, name: str, codec: tuple[str, ...]
) -> None:
    path = tmp_path / name
    times = "setpts='PTS+(gte(N,25)*3600+gte(N,40)*7)/TB'"
    _run_ffmpeg("-i", moving, "-vf", times, "-vsync", "passthrough", *codec, path)
    layout = plan_video(path, 5, 1000)
    frames = list(read_video(path, layout))
    assert len(frames) == 10
    assert [round(frame.time % 3600, 1) for frame in frames][:6] == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert frames[-1].time == pytest.approx(3608.8, abs=0.01)
    # as many, evenly spread, if only some may be taken
    few = [frame.time for frame in read_video(path, plan_video(path, 5, 5))]
    assert sum(time < 1 for time in few) in (2, 3)
    assert len(few) == 5


@needs_ffmpeg
def test_a_variable_rate_is_sampled_in_time(moving: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    times = "setpts='if(lt(N,25),N/25,1+(N-25)*3)/TB'"
    _run_ffmpeg("-i", moving, "-vf", times, "-vsync", "passthrough", "-c:v", "ffv1", path)
    times_seen = [frame.time for frame in read_video(path, plan_video(path, 5, 1000))]
    assert times_seen[:7] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1, 4])
    assert len(times_seen) == 5 + 25


@needs_ffmpeg
@pytest.mark.parametrize(("name", "count"), [("a.gif", 2), ("a.apng", 3), ("a.webm", 4)])
def test_the_last_picture_of_an_animation_counts(
    moving: Path, tmp_path: Path, name: str, count: int
) -> None:
    path = tmp_path / name
    _run_ffmpeg("-i", moving, "-vf", "fps=2", "-frames:v", str(count), path)
    assert [round(frame.time, 2) for frame in read_video(path, plan_video(path, 6, 100))] == [
        number / 2 for number in range(count)
    ]


@needs_ffmpeg
def test_more_samples_than_a_command_can_name(
    moving: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = _read(moving, 25)
    monkeypatch.setattr(videos, "MOST_RANGES", 7)
    assert len(every) == 50
    assert _measure(_read(moving, 25), every) == 0
