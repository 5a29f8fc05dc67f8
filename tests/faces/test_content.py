"""The content check by tiny classifiers: two of three, a tenth of a video, and never unchecked."""

import shutil
import subprocess
import zlib
from pathlib import Path

import numpy
import onnx
import pytest
from onnx import TensorProto, helper

from facefusion_finetune.errors import FootageError, UnreadableError
from facefusion_finetune.faces.content import (
    CLASSIFIERS,
    CONTENT_VARIABLE,
    ContentCheck,
    find_content_directory,
    is_video_blocked,
    read_every_second,
)
from facefusion_finetune.faces.protocol import VisionFrame

NEUTRAL = (90, 90, 90)

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def write_classifier(folder: Path, name: str, channel: int) -> Path:
    """One that flags a picture whose mean of an RGB channel lies above half of what is possible."""
    known = CLASSIFIERS[name]
    shape = {"nsfw_1": [1, 5, 1], "nsfw_2": [1, 2], "nsfw_3": [1, 4]}[name]
    weights = numpy.zeros((1, shape[1] if name != "nsfw_1" else 5), numpy.float32)
    weights[0, {"nsfw_1": 4, "nsfw_2": 0, "nsfw_3": 2}[name]] = 100
    chosen = numpy.zeros((1, 3, 1, 1), numpy.float32)
    chosen[0, channel] = 1
    half = numpy.float32((0.5 - known.mean[channel]) / known.standard_deviation[channel])
    constants = {
        "weights": weights,
        "chosen": chosen,
        "half": numpy.array(half),
        "limit": numpy.array(known.limit / 100, numpy.float32),
        "shape": numpy.array(shape, numpy.int64),
    }
    nodes = [
        helper.make_node("Mul", ["input", "chosen"], ["only"]),
        helper.make_node("ReduceSum", ["only"], ["sum"], axes=[1], keepdims=1),
        helper.make_node("ReduceMean", ["sum"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Sub", ["mean", "half"], ["over"]),
        helper.make_node("Add", ["over", "limit"], ["score"]),
        helper.make_node("Mul", ["score", "weights"], ["row"]),
        helper.make_node("Reshape", ["row", "shape"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, known.side, known.side])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
        [onnx.numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)])
    model.ir_version = 6
    path = folder / f"{name}.onnx"
    onnx.save(model, path)
    path.with_suffix(".hash").write_text(f"{zlib.crc32(path.read_bytes()):08x}")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """nsfw_1 flags red, nsfw_2 green, nsfw_3 blue."""
    made = tmp_path / "content"
    made.mkdir()
    for channel, name in enumerate(CLASSIFIERS):
        write_classifier(made, name, channel)
    return made


def paint(colour: tuple[int, int, int]) -> VisionFrame:
    """BGR; square, so that nothing black is added."""
    return numpy.full((64, 64, 3), colour, numpy.uint8)


def write_video(path: Path, flagged: list[bool], rate: int, *options: str) -> Path:
    frames = numpy.stack([paint((250, 250, 250) if flag else NEUTRAL) for flag in flagged])
    command = ["ffmpeg", "-v", "error", "-f", "rawvideo", "-pix_fmt", "bgr24", "-s", "64x64"]
    command += ["-r", str(rate), "-i", "-", *options, str(path)]
    subprocess.run(command, input=frames.tobytes(), check=True)
    return path


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        (NEUTRAL, False),
        ((250, 0, 0), False),
        ((0, 250, 0), False),
        ((0, 0, 250), False),
        ((0, 250, 250), True),
        ((250, 0, 250), True),
        ((250, 250, 0), True),
        ((250, 250, 250), True),
    ],
)
def test_two_of_three_refuse(folder: Path, colour: tuple[int, int, int], expected: bool) -> None:
    check = ContentCheck(folder)
    assert check.is_frame_blocked(paint(colour)) is expected


@pytest.mark.parametrize("name", list(CLASSIFIERS))
def test_a_score_at_the_limit_passes(name: str) -> None:
    known = CLASSIFIERS[name]
    answer = {
        "nsfw_1": numpy.zeros((1, 6, 3), numpy.float32),
        "nsfw_2": numpy.zeros((1, 2), numpy.float32),
        "nsfw_3": numpy.zeros((1, 4), numpy.float32),
    }[name]
    place = {"nsfw_1": (0, 5, 2), "nsfw_2": (0, 0), "nsfw_3": (0, 3)}[name]
    answer[place] = numpy.float32(known.limit) * numpy.float32(0.999)
    assert not known.flags(answer)
    answer[place] = numpy.float32(known.limit) * numpy.float32(1.001)
    assert known.flags(answer)


def test_a_picture_lies_whole_in_the_middle() -> None:
    known = CLASSIFIERS["nsfw_1"]
    tall = known.prepare(numpy.full((100, 50, 3), 255, numpy.uint8))[0]
    assert tall.shape == (3, 640, 640)
    assert (tall[:, :, 160:480] == 1).all()
    assert tall[:, :, :160].max() == tall[:, :, 480:].max() == 0
    assert known.prepare(numpy.full((1, 2000, 3), 255, numpy.uint8)).max() == 1


@needs_ffmpeg
@pytest.mark.parametrize(("count", "expected"), [(0, False), (1, False), (2, True)])
def test_a_video_is_refused_above_a_tenth(
    folder: Path, tmp_path: Path, count: int, expected: bool
) -> None:
    flagged = [number in [20, 50][:count] for number in range(100)]
    video = write_video(tmp_path / "clip.mkv", flagged, 10, "-c:v", "ffv1")
    assert is_video_blocked(video, ContentCheck(folder).is_frame_blocked) is expected


@needs_ffmpeg
def test_one_frame_of_each_second_is_seen_with_the_rate_as_it_is(tmp_path: Path) -> None:
    pictures = [number % 25 == 0 for number in range(75)]
    video = write_video(tmp_path / "even.mkv", pictures, 25, "-c:v", "ffv1")
    assert [int(frame.max()) for frame in read_every_second(video)] == [250, 250, 250]


@needs_ffmpeg
def test_an_uneven_video_is_seen_by_its_clock(folder: Path, tmp_path: Path) -> None:
    """30 frames in a quarter of a second, then 30 in six: by FaceFusion's count one frame of it."""
    flagged = [number >= 30 for number in range(60)]
    times = "settb=1/120,setpts='if(lt(N,30),N,30+24*(N-30))'"
    options = ("-vf", times, "-vsync", "0", "-enc_time_base", "1:120", "-c:v", "libx264")
    video = write_video(tmp_path / "uneven.mp4", flagged, 10, *options, "-bf", "0")
    probe = ["ffprobe", "-v", "error", "-show_entries", "stream=r_frame_rate", str(video)]
    rate = subprocess.run(probe, capture_output=True, text=True, check=True).stdout
    assert "r_frame_rate=120/1" in rate
    seen = [frame.max() > 200 for frame in read_every_second(video)]
    assert seen == [False, *[True] * 5]
    assert is_video_blocked(video, ContentCheck(folder).is_frame_blocked) is True


@needs_ffmpeg
@pytest.mark.parametrize("name", ["broken.mp4", "text.txt", "no.mkv"])
def test_what_cannot_be_read_does_not_pass(folder: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name != "no.mkv":
        path.write_bytes(b"no picture")
    with pytest.raises(UnreadableError, match="its content is unchecked"):
        is_video_blocked(path, ContentCheck(folder).is_frame_blocked)


@needs_ffmpeg
def test_a_sound_without_a_picture_does_not_pass(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=duration=1", str(path)]
    subprocess.run(command, check=True)
    with pytest.raises(UnreadableError, match=r"it holds no picture\. So its content is unchecked"):
        is_video_blocked(path, ContentCheck(folder).is_frame_blocked)


@needs_ffmpeg
def test_a_video_needs_ffmpeg(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = write_video(tmp_path / "clip.mkv", [False] * 10, 10, "-c:v", "ffv1")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FootageError, match="needs ffmpeg, which is not installed"):
        is_video_blocked(video, ContentCheck(folder).is_frame_blocked)


def test_nothing_passes_without_all_three(folder: Path, tmp_path: Path) -> None:
    picture = paint(NEUTRAL)
    with pytest.raises(FootageError, match="unchecked footage is not used") as caught:
        ContentCheck(tmp_path / "nowhere").is_frame_blocked(picture)
    assert "nsfw_1.onnx is missing, nsfw_2.onnx is missing" in caught.value.why
    assert ".assets/models" in caught.value.todo
    assert CONTENT_VARIABLE in caught.value.todo

    (folder / "nsfw_3.hash").unlink()
    assert ContentCheck(folder).is_frame_blocked(picture) is False
    (folder / "nsfw_2.hash").write_text("00000000")
    with pytest.raises(FootageError, match=r"nsfw_2\.onnx is damaged"):
        ContentCheck(folder).is_frame_blocked(picture)
    (folder / "nsfw_2.onnx").unlink()
    with pytest.raises(FootageError, match=r": nsfw_2\.onnx is missing in"):
        ContentCheck(folder).is_frame_blocked(picture)


def test_the_models_are_looked_for_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(CONTENT_VARIABLE, raising=False)
    pack, given, configured = tmp_path / "pack", tmp_path / "given", tmp_path / "configured"
    assert find_content_directory(pack) == pack
    monkeypatch.setenv(CONTENT_VARIABLE, str(configured))
    assert find_content_directory(pack) == configured
    assert find_content_directory(pack, given) == given
