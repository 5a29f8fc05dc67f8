"""insightface's analyser without its networks: what is looked for, said, and never downloaded."""

import importlib
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy
import pytest
from numpy.typing import NDArray

from facefusion_finetune.cli.shared import choose_analyser
from facefusion_finetune.errors import FootageError, HostError, SwapperError, UsageError
from facefusion_finetune.faces import insightface_pack, outlines
from facefusion_finetune.faces.insightface import (
    DETECTOR_SIDE,
    InsightFaceAnalyser,
    convert_to_five,
    score_agreement,
)
from facefusion_finetune.faces.insightface_pack import PACK_VARIABLE, find_pack
from facefusion_finetune.faces.protocol import Points
from facefusion_finetune.faces.vectors import sample_directions
from facefusion_finetune.faces.warp import TEMPLATES
from facefusion_finetune.runs.run import Run
from facefusion_finetune.swappers.known import MODELS_VARIABLE, get_known_swapper, is_whole

pytest.importorskip("insightface")

FILES = ("det_10g.onnx", "1k3d68.onnx", "w600k_r50.onnx")


class NetworkError(Exception):
    """Somebody asked the network."""


@pytest.fixture(autouse=True)
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user with no pack anywhere, and a network that must not be asked."""

    def refuse(*_: object, **__: object) -> None:
        raise NetworkError

    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for variable in (PACK_VARIABLE, MODELS_VARIABLE, "FACEFUSION_FINETUNE_CONTENT_MODELS"):
        monkeypatch.delenv(variable, raising=False)
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(f"socket.socket.{name}", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)


def create_pack(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_bytes(b"a network")
    return folder


class Detector:
    """Finds what it is told, and remembers what it was shown."""

    def __init__(self, boxes: list[list[float]], points: list[Points]) -> None:
        self.found = numpy.array(boxes, numpy.float32), numpy.array(points, numpy.float32)
        self.shown: list[tuple[int, ...]] = []

    def prepare(self, *_: object, **__: object) -> None:
        pass

    def detect(self, vision_frame: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        self.shown.append(vision_frame.shape)
        return self.found


class Landmarker:
    """The mean face in the box, or what lies `off` beside it."""

    def __init__(self, off: float = 0.0) -> None:
        self.off = off

    def get(self, vision_frame: NDArray[Any], face: Any) -> NDArray[numpy.float32]:
        x1, y1, x2, y2 = face.bbox
        landmarks = create_landmarks() * (x2 - x1, y2 - y1) + (x1 + self.off, y1)
        return numpy.column_stack([landmarks, numpy.zeros(68)]).astype(numpy.float32)


def create_landmarks() -> Points:
    """68 points in the unit square whose five are those of `ffhq_512`."""
    five = numpy.array(TEMPLATES["ffhq_512"])
    landmarks = numpy.tile(five[2], (68, 1))
    landmarks[36:42], landmarks[42:48] = five[0], five[1]
    landmarks[48], landmarks[54] = five[3:]
    return landmarks


def create_analyser(
    monkeypatch: pytest.MonkeyPatch, pack: Path, detector: Detector, landmarker: Landmarker
) -> InsightFaceAnalyser:
    models = {"detection": detector, "landmark_3d_68": landmarker}
    module = "facefusion_finetune.faces.insightface"
    monkeypatch.setattr(f"{module}.open_network", lambda _, task: models[task])
    monkeypatch.setattr(f"{module}.create_session", lambda *_: None)
    monkeypatch.setattr(f"{module}.embed_crops", lambda *_: numpy.ones((1, 512), numpy.float32))
    return InsightFaceAnalyser(pack)


def test_the_pack_is_looked_for_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = create_pack(tmp_path / "home" / ".insightface" / "models" / "buffalo_l")
    assert find_pack().directory == usual
    configured = create_pack(tmp_path / "configured")
    monkeypatch.setenv(PACK_VARIABLE, str(configured))
    assert find_pack().directory == configured
    given = create_pack(tmp_path / "given")
    assert find_pack(given).directory == given
    assert find_pack(given).recogniser == given / "w600k_r50.onnx"


def test_a_missing_pack_is_said_and_not_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(HostError, match=r"there is no folder .*buffalo_l .*is not set") as caught:
        InsightFaceAnalyser()
    assert "buffalo_l" in caught.value.todo
    assert "research only" in caught.value.todo
    monkeypatch.setenv(PACK_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(HostError, match=rf"nowhere \({PACK_VARIABLE} is set\)"):
        InsightFaceAnalyser()
    assert not (tmp_path / "home" / ".insightface").exists()


def test_the_network_is_watched(tmp_path: Path) -> None:
    """insightface's own way to open a pack would ask it."""
    analysis = importlib.import_module("insightface.app").FaceAnalysis
    with pytest.raises(NetworkError):
        analysis("buffalo_l", root=str(tmp_path / "root"))


@pytest.mark.parametrize("name", FILES)
def test_each_missing_file_is_said(tmp_path: Path, name: str) -> None:
    pack = create_pack(tmp_path / "pack")
    (pack / name).unlink()
    with pytest.raises(HostError, match="this package does not download") as caught:
        InsightFaceAnalyser(pack)
    assert ("a detector" if name.startswith("det") else name) in caught.value.why


def test_a_pack_with_another_recogniser_is_refused(tmp_path: Path) -> None:
    pack = create_pack(tmp_path / "antelopev2")
    shutil.move(pack / "w600k_r50.onnx", pack / "glintr100.onnx")
    with pytest.raises(HostError, match="no other recogniser works"):
        InsightFaceAnalyser(pack)


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"det_10g\.onnx: insightface cannot open it"):
        InsightFaceAnalyser(create_pack(tmp_path / "pack"))


def test_a_missing_library_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(insightface_pack.importlib, "import_module", refuse)
    with pytest.raises(HostError, match=r"cannot be imported .*\[standalone\]"):
        InsightFaceAnalyser(create_pack(tmp_path / "pack"))


def test_faces_come_best_first_and_small_frames_are_not_enlarged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    five = numpy.array(TEMPLATES["ffhq_512"])
    boxes = [[10, 10, 110, 110, 0.6], [200, 10, 300, 110, 0.9]]
    detector = Detector(boxes, [five * 100 + 10, five * 100 + (200, 10)])
    analyser = create_analyser(monkeypatch, create_pack(tmp_path / "p"), detector, Landmarker())
    frame = numpy.zeros((270, 480, 3), numpy.uint8)
    first, second = analyser.detect_faces(frame)
    assert (first.detector_score, second.detector_score) == pytest.approx((0.9, 0.6))
    assert first.landmark_5 == pytest.approx(five * 100 + (200, 10), abs=1e-3)
    assert first.landmarker_score == pytest.approx(1, abs=1e-4)
    assert first.landmark_68.shape == (68, 2)
    assert first.landmark_68.dtype == first.landmark_5.dtype == numpy.float64
    assert second.bounding_box == pytest.approx([10, 10, 110, 110])
    assert detector.shown == [(DETECTOR_SIDE, DETECTOR_SIDE, 3)]
    for shape in ((480, 640, 3), (1080, 1920, 3)):
        analyser.detect_faces(numpy.zeros(shape, numpy.uint8))
        assert detector.shown[-1] == shape


def test_the_detectors_points_count_where_the_landmarks_are_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    five = numpy.array(TEMPLATES["ffhq_512"]) * 100
    detector, landmarker = Detector([[0, 0, 100, 100, 0.9]], [five]), Landmarker()
    analyser = create_analyser(monkeypatch, create_pack(tmp_path / "p"), detector, landmarker)
    frame = numpy.zeros((200, 200, 3), numpy.uint8)
    scale = numpy.linalg.norm(five[3:].mean(axis=0) - five[:2].mean(axis=0))
    landmarker.off = 0.4 * scale
    (face,) = analyser.detect_faces(frame)
    assert face.landmarker_score == pytest.approx(0.6, abs=1e-3)
    assert face.landmark_5 == pytest.approx(five + numpy.array((0.4 * scale, 0)), abs=1e-3)
    landmarker.off = 0.6 * scale
    (face,) = analyser.detect_faces(frame)
    assert face.landmarker_score == pytest.approx(0.4, abs=1e-3)
    assert face.landmark_5 == pytest.approx(five, abs=1e-3)


def test_agreement_is_measured_by_the_face() -> None:
    five = convert_to_five(create_landmarks())
    assert five == pytest.approx(numpy.array(TEMPLATES["ffhq_512"]))
    assert score_agreement(five, five) == 1
    near = score_agreement(five + 0.1, five)
    assert 0.4 < near < 0.5
    assert score_agreement(10 * five + 1, 10 * five) == pytest.approx(near)
    assert score_agreement(five + 10, five) == 0
    # the eyes of a turned head are near each other
    turned = five * numpy.array((0.05, 1))
    assert score_agreement(turned + numpy.array((0.05, 0)), turned) > 0.7
    assert score_agreement(five, numpy.zeros((5, 2))) == 0


def test_a_face_beyond_the_frame_has_no_mask_there() -> None:
    masks = outlines.draw_masks(create_landmarks() * 128 + 500, (128, 64))
    assert masks.face.shape == masks.features.shape == masks.visible.shape == (64, 128)
    assert masks.face.max() == masks.features.max() == 0


def test_footage_is_refused_without_the_content_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = Detector([], [])
    analyser = create_analyser(monkeypatch, create_pack(tmp_path / "p"), detector, Landmarker())
    with pytest.raises(
        FootageError, match=r"nsfw_1\.onnx is missing, .*unchecked footage is not used"
    ):
        analyser.is_frame_blocked(numpy.zeros((64, 64, 3), numpy.uint8))


def test_swappers_are_looked_for_and_not_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analyser = create_analyser(
        monkeypatch, create_pack(tmp_path / "p"), Detector([], []), Landmarker()
    )
    with pytest.raises(SwapperError, match=r"models.simswap_256\.onnx is missing"):
        analyser.get_swapper("simswap_256")
    with pytest.raises(SwapperError, match="not one of FaceFusion's face swappers") as caught:
        analyser.get_swapper("simswap")
    assert "simswap_256" in caught.value.todo

    monkeypatch.setenv(MODELS_VARIABLE, str(tmp_path))
    analyser = create_analyser(monkeypatch, tmp_path / "p", Detector([], []), Landmarker())
    (tmp_path / "simswap_256.onnx").write_bytes(b"123456789")
    with pytest.raises(SwapperError, match=r"crossface_simswap\.onnx is missing"):
        analyser.get_swapper("simswap_256")
    (tmp_path / "crossface_simswap.onnx").write_bytes(b"a converter")
    assert analyser.get_swapper("simswap_256").path == tmp_path / "simswap_256.onnx"

    hash_file = tmp_path / "simswap_256.hash"
    hash_file.write_text("cbf43926")
    assert is_whole(tmp_path / "simswap_256.onnx")
    assert analyser.get_swapper("simswap_256").licence == "Non-Commercial"
    hash_file.write_text("00000000")
    with pytest.raises(SwapperError, match="is damaged"):
        analyser.get_swapper("simswap_256")
    derived = tmp_path / "simswap_256_mine.onnx"
    assert get_known_swapper("simswap_256", tmp_path, derived).path == derived


def test_other_people_are_seeded_and_kept_apart() -> None:
    others = sample_directions(30, seed=3)
    assert others.shape == (30, 512)
    assert numpy.linalg.norm(others, axis=1) == pytest.approx(numpy.ones(30))
    assert (others == sample_directions(30, seed=3)).all()
    judging = sample_directions(30, seed=3, for_judging=True)
    assert numpy.abs(others @ judging.T).max() < 0.3


@pytest.mark.parametrize(
    ("host", "settings"), [(None, ["face_detector_model=yunet"]), (Path("here"), None)]
)
def test_settings_of_facefusion_are_refused(host: Path | None, settings: list[str] | None) -> None:
    with pytest.raises(UsageError, match=r"it applies to FaceFusion.*--faces facefusion"):
        choose_analyser(host, settings, "insightface")


def test_who_finds_faces_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="unknown analyser"):
        choose_analyser(None, None, "dlib")
    with pytest.raises(HostError, match="insightface's model pack"):
        choose_analyser(None, None, "insightface")
    monkeypatch.delenv("FACEFUSION_PATH", raising=False)
    monkeypatch.setenv("FACEFUSION_FINETUNE_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    for faces in (None, "facefusion"):
        with pytest.raises(HostError, match=r"no FaceFusion folder.*--faces insightface"):
            choose_analyser(None, None, faces)


def test_a_run_is_reopened_as_it_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FACEFUSION_PATH", raising=False)
    monkeypatch.setenv("FACEFUSION_FINETUNE_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    for analyser, faces, sought in (
        ("insightface 2.1 (buffalo_l)", None, "model pack"),
        ("insightface 2.1 (buffalo_l)", "facefusion", "no FaceFusion"),
        ("facefusion 3.8.1", None, "no FaceFusion"),
        ("facefusion 3.8.1", "insightface", "model pack"),
    ):
        run = create_run(analyser)
        with pytest.raises(HostError, match=sought):
            choose_analyser(None, None, faces, run=run)
    assert choose_analyser(None, None, None, run=create_run("demo 0.1")).name.startswith("demo ")


def create_run(analyser: str) -> Run:
    """What of a run says who found its faces."""
    return cast(Run, SimpleNamespace(config=SimpleNamespace(analyser=analyser)))
