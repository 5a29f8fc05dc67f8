"""Footage as frames."""

import os
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy
import pytest

from facefusion_finetune.dataset.footage.sources import (
    PictureShots,
    Source,
    find_kind,
    list_sources,
    read_frames,
    show_path,
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


def test_files_that_are_passed_over_are_named(tmp_path: Path) -> None:
    _write_image(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "a.xmp").write_text("<x/>")
    notes: list[str] = []
    list_sources([tmp_path], notes.append)
    assert notes == []
    for number in range(7):
        (tmp_path / f"drawing-{number}.psd").write_text("8BPS")
    list_sources([tmp_path], notes.append)
    assert "7 files are neither images nor videos" in notes[0]
    assert "drawing-0.psd" in notes[0]
    assert notes[0].endswith("drawing-4.psd and 2 more.")
    for number in range(1, 7):
        (tmp_path / f"drawing-{number}.psd").unlink()
    list_sources([tmp_path], notes.append)
    assert notes[1].endswith("drawing-0.psd is neither an image nor a video.")


@pytest.mark.parametrize("name", ["a.jfif", "a.jpe", "a.JPG (1)", "a", "a.jpg.download", "a.mp4"])
def test_picture_is_known_by_its_content(tmp_path: Path, name: str) -> None:
    path = _write_image(tmp_path / "plain.jpg").rename(tmp_path / name)
    (source,) = list_sources([tmp_path])
    assert (source.path, source.kind) == (path, "image")
    (frame,) = read_frames(source)
    assert frame.pixels.shape == (20, 30, 3)


VIDEOS = {
    "mp4": [],
    "mov": [],
    "3gp": ["-s", "176x144"],
    "mkv": [],
    "webm": ["-c:v", "libvpx", "-deadline", "realtime"],
    "avi": [],
    "flv": [],
    "wmv": [],
    "mpg": [],
    "vob": [],
    "ts": [],
    "m2ts": [],
    "mxf": ["-c:v", "mpeg2video"],
    "ogv": ["-c:v", "libtheora"],
    "m1v": [],
    "h264": [],
    "y4m": [],
}
"""By ffmpeg's name, how a small one is made."""


@needs_ffmpeg
@pytest.mark.parametrize("format_name", sorted(VIDEOS))
def test_video_is_known_by_its_content(tmp_path: Path, format_name: str) -> None:
    made = tmp_path / f"plain.{format_name}"
    source = ["-f", "lavfi", "-i", "testsrc=duration=1:rate=25:size=64x48", "-pix_fmt", "yuv420p"]
    _run_ffmpeg(*source, *VIDEOS[format_name], made)
    for name in ("g", "g.mp4 (1)", "g.jpg"):
        made = made.rename(tmp_path / name)
        assert find_kind(made) == "video"


@needs_ffmpeg
@pytest.mark.parametrize("suffix", [".wav", ".mp3", ".m4a", ".ogg", ".flac", ".opus"])
def test_sound_is_no_video(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    _run_ffmpeg("-f", "lavfi", "-i", "sine=duration=1", path)
    assert find_kind(path) is None


@pytest.mark.parametrize("name", ["a.jpg", "a.heic", "a.mp4", "a.ts"])
def test_footage_of_unknown_content_is_named_when_it_is_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"no known beginning" * 20)
    (source,) = list_sources([tmp_path])
    assert source.path == path
    assert source.kind == ("image" if name in ("a.jpg", "a.heic") else "video")


def test_picture_too_large_to_read_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.truncate(10**12)
    (source,) = list_sources([path])
    with pytest.raises(UnreadableError, match=r"1,000,000 MB, more than the 500 MB"):
        source.digest()


def test_what_was_never_written_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "unfinished.mp4"
    path.write_bytes(b"\0\0\0\x18ftypisom\0\0\2\0isommp41" + b"\1" * 8192)
    (source,) = list_sources([path])
    assert len(source.digest()) == 64
    os.truncate(path, 10**12)
    with pytest.raises(UnreadableError, match=r"of its 1,000\.0 GB, only 0\.0 GB were"):
        source.digest()


def test_same_file_counts_once(tmp_path: Path) -> None:
    path = _write_image(tmp_path / "a.png")
    (tmp_path / "link.png").symlink_to(path)
    assert len(list_sources([path, tmp_path, path])) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "no such file"),
        ("notes.txt", "neither an image nor a video"),
        ("", "no image"),
    ],
)
def test_nothing_to_read(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(FootageError, match=message):
        list_sources([tmp_path / name])


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


def _picture(folder: Path, name: str) -> Source:
    return Source(folder / name, "image", str(folder), False)


def test_shot_begins_where_the_picture_changes(tmp_path: Path) -> None:
    generator = numpy.random.default_rng(0)
    scene = generator.integers(0, 256, (40, 40, 3), dtype=numpy.uint8)
    scene = cv2.resize(scene[:5, :5], (40, 40))
    other = 255 - scene
    shots = PictureShots()
    nudged = numpy.roll(scene, 1, axis=1)
    frames = (scene, nudged, other, other, scene)
    names = [
        shots.name(_picture(tmp_path, f"{place}.png"), frame, f"digest{place:06d}")
        for place, frame in enumerate(frames)
    ]
    first, third, fifth = "digest000000#0", "digest000002#0", "digest000004#0"
    assert names == [first, first, third, third, fifth]
    # Another folder is another shot, whatever it shows.
    elsewhere = Source(tmp_path / "b" / "0.png", "image", str(tmp_path / "b"), False)
    assert shots.name(elsewhere, scene, "digest000009") == "digest000009#0"


def test_shot_goes_on_behind_a_picture_that_is_known(tmp_path: Path) -> None:
    generator = numpy.random.default_rng(1)
    scene = generator.integers(0, 256, (40, 40, 3), dtype=numpy.uint8)
    cv2.imwrite(str(tmp_path / "0.png"), scene)
    shots = PictureShots()
    shots.skip(_picture(tmp_path, "0.png"), "known#0")
    assert shots.name(_picture(tmp_path, "1.png"), scene, "digest000001") == "known#0"
    shots.skip(_picture(tmp_path, "0.png"), "known#0")
    other = 255 - scene
    assert shots.name(_picture(tmp_path, "2.png"), other, "digest000002") == "digest000002#0"
    shots.skip(_picture(tmp_path, "0.png"), None)
    assert shots.name(_picture(tmp_path, "3.png"), scene, "digest000003") == "digest000003#0"


@pytest.mark.parametrize(
    ("first", "second", "is_take"),
    [
        ("IMG_0001.JPG", "IMG_0002.JPG", True),
        ("frame-09.png", "frame-10.png", True),
        ("a.png", "a (1).png", False),
        ("a.png", "a copy.png", False),
        ("photo.jpg", "photo_small.jpg", False),
    ],
)
def test_pictures_of_one_take_differ_in_their_numbers(
    tmp_path: Path, first: str, second: str, is_take: bool
) -> None:
    takes = {_picture(tmp_path, name).take for name in (first, second)}
    assert (len(takes) == 1) == is_take


def test_loop_of_links_ends(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    _write_image(inner / "face.png")
    (inner / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing.png")
    assert [source.path for source in list_sources([tmp_path])] == [inner / "face.png"]


def test_crops_that_were_made_are_no_footage(home_folder: Path, tmp_path: Path) -> None:
    assert home_folder.is_relative_to(tmp_path)
    crop = _write_image(home_folder / "people" / "ada" / "crops" / "a.png")
    footage = _write_image(tmp_path / "footage" / "b.png")
    assert [source.path for source in list_sources([tmp_path])] == [footage]
    assert [source.path for source in list_sources([crop.parent])] == [crop]


NAMES = [
    "жена.png",
    "妈妈 的 照片.png",
    "صورة.png",
    "e\u0301t\u00e9 🙂.png",
    "-rf *.png",
    "a\nb.png",
    "%d.png",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_in_any_script(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(_write_image(tmp_path / "plain.png").read_bytes())
    (source,) = list_sources([path])
    (frame,) = read_frames(source)
    assert frame.pixels.shape == (20, 30, 3)
    assert show_path(path).encode("utf-8")


def test_name_that_is_no_text(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    path.write_bytes(_write_image(tmp_path / "plain.png").read_bytes())
    assert [show_path(source.path) for source in list_sources([tmp_path])] == [
        f"{tmp_path}/caf\\xe9.png",
        f"{tmp_path}/plain.png",
    ]


@needs_ffmpeg
@pytest.mark.parametrize("name", ["-i $(x).mp4", "видео.mp4", "a'b:c.mp4", "%03d.mp4"])
def test_video_names_are_no_options(tmp_path: Path, name: str) -> None:
    path = _write_video(tmp_path / "plain.mp4").rename(tmp_path / name)
    assert len(list(read_frames(list_sources([path])[0], 5))) == 10


def test_folder_without_rights_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    _write_image(tmp_path / "closed" / "a.png")
    _write_image(tmp_path / "b.png")
    scan = os.scandir

    def refuse(path: str) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    # The superuser, as which tests may run, is let in everywhere.
    monkeypatch.setattr(os, "scandir", refuse)
    notes: list[str] = []
    sources = list_sources([tmp_path], notes.append)
    assert [source.path.name for source in sources] == ["b.png"]
    assert len(notes) == 1
    assert "closed: this folder cannot be read (Permission denied)" in notes[0]
