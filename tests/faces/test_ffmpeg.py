"""Hostile videos: those that refer to other files, are too large or take too long are refused."""

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from facefusion_finetune.errors import FootageError, UnreadableError
from facefusion_finetune.faces import ffmpeg
from facefusion_finetune.faces.ffmpeg import decode_frames, probe_video, scan_video
from tests.support.playlists import DASH

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")

ALL = "1"
SCAN = "metadata=mode=add:key=seen:value=1,metadata=mode=print:direct=1:file=-"


def run_ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True)


def write_video(path: Path, *options: str, size: str = "64x48", seconds: float = 0.4) -> Path:
    source = f"testsrc2=duration={seconds}:rate=10:size={size}"
    run_ffmpeg("-f", "lavfi", "-i", source, *options, path)
    return path


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video that nobody gave."""
    return write_video(tmp_path_factory.mktemp("private") / "private.mkv", "-c:v", "ffv1")


HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"
SDP = "v=0\no=- 0 0 IN IP4 {0}\ns=x\nc=IN IP4 {0}\nt=0 0\nm=video 5004 RTP/AVP 96\n"


@pytest.mark.parametrize(
    ("name", "format", "text"),
    [
        ("holiday.mp4", "hls", HLS),
        ("holiday.mkv", "hls", HLS.replace("{}", "file://{}")),
        ("holiday.mov", "hls", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1280000\n{}\n"),
        ("holiday.ts", "hls", HLS + "\0" * 600),
        ("holiday.webm", "concat", "ffconcat version 1.0\nfile '{}'\n"),
        ("holiday.avi", "dash", DASH),
        ("holiday.wmv", "sdp", SDP),
    ],
)
def test_no_other_file_is_read(
    tmp_path: Path, private: Path, name: str, format: str, text: str
) -> None:
    path = tmp_path / name
    path.write_text(text.format(private))
    with pytest.raises(UnreadableError) as caught:
        probe_video(path)
    assert caught.value.given == str(path)
    assert f"it only refers to other files or addresses ({format})" in caught.value.why
    assert "none of them was opened" in caught.value.why


def test_no_address_is_called(tmp_path: Path) -> None:
    path = tmp_path / "holiday.mp4"
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        path.write_text(HLS.format(f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"))
        with pytest.raises(UnreadableError, match="none of them was opened"):
            probe_video(path)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_name_is_no_pattern(tmp_path: Path) -> None:
    for number in (1, 2):
        run_ffmpeg("-f", "lavfi", "-i", "testsrc2", "-frames:v", "1", tmp_path / f"{number}.png")
    path = shutil.copy(tmp_path / "1.png", tmp_path / "%d.png")
    with pytest.raises(UnreadableError, match=r"refers to other files or addresses \(image2\)"):
        probe_video(Path(path))


def test_the_decoder_checks_too(tmp_path: Path, private: Path) -> None:
    """A file can be replaced after it was looked at."""
    path = Path(shutil.copy(private, tmp_path / "holiday.mp4"))
    video = probe_video(path)
    path.write_text(HLS.format(private))
    with pytest.raises(UnreadableError, match="none of them was opened"):
        list(decode_frames(video, ALL))
    with pytest.raises(UnreadableError, match="none of them was opened"):
        scan_video(video, SCAN, lambda line: None)


def test_other_formats_are_named(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", "-f", "mp3", path)
    with pytest.raises(UnreadableError, match=r"a format that is not read as a video \(mp3\)"):
        probe_video(path)


def test_too_many_pixels_are_not_decoded(tmp_path: Path) -> None:
    source = "color=size=6400x6400:duration=0.1:rate=10"
    path = tmp_path / "large.avi"
    run_ffmpeg("-f", "lavfi", "-i", source, "-c:v", "mjpeg", path)
    with pytest.raises(UnreadableError, match="more than 40 million pixels") as caught:
        probe_video(path)
    assert len(str(caught.value)) < 400


def test_pictures_that_grow_later_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ffmpeg, "MAX_PIXELS", 200_000)
    parts = [
        write_video(tmp_path / f"{size}.ts", "-c:v", "mpeg2video", size=size)
        for size in ("64x48", "640x480", "96x64")
    ]
    path = tmp_path / "grows.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    video = probe_video(path)
    assert {pixels.shape for _, pixels in decode_frames(video, ALL)} == {(48, 64, 3), (64, 96, 3)}
    assert scan_video(video, SCAN, lambda line: None) == (
        "pictures of more than 0 million pixels are left out"
    )


def test_large_pictures_are_scaled_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "large.mkv", "-c:v", "ffv1", size="320x240")
    monkeypatch.setattr(ffmpeg, "MAX_FRAME_PIXELS", 160 * 120)
    assert {pixels.shape for _, pixels in decode_frames(probe_video(path), ALL)} == {(120, 160, 3)}


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("while :; do :; done", "it takes more than 1 s of computing time"),
        ("echo '[error] Cannot allocate memory' >&2; exit 1", "more than 880 MB of memory"),
        ("printf '[h264 @ 0x1] [error] %0300d\\n\\033[1m' 7 >&2; exit 1", "0000"),
    ],
)
def test_limits_are_said(
    tmp_path: Path, private: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    for name in ("ffmpeg", "ffprobe"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(ffmpeg, "BASE_SECONDS", 1)
    with pytest.raises(UnreadableError) as caught:
        probe_video(private)
    assert why.removeprefix("it ") in caught.value.why
    assert len(caught.value.why) < 300
    assert caught.value.why.isprintable()


def test_hdr_needs_a_filter(tmp_path: Path, private: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "hdr.mkv", "-c:v", "ffv1", "-color_trc", "arib-std-b67")
    monkeypatch.setattr(ffmpeg, "_ask", lambda program, *options: "")
    with pytest.raises(FootageError, match="cannot map its colours to SDR"):
        list(decode_frames(probe_video(path), ALL))
    assert len(list(decode_frames(probe_video(private), ALL))) == 4
