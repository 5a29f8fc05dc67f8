"""insightface's analyser beside FaceFusion's: the same crops, vectors, masks and refusals."""

import importlib
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy
import pytest
from numpy.typing import NDArray

from facefusion_finetune.errors import HostError
from facefusion_finetune.faces import insightface_pack, outlines, warp
from facefusion_finetune.faces.content import CLASSIFIERS, ContentCheck, is_video_blocked
from facefusion_finetune.faces.facefusion import FaceFusionAnalyser
from facefusion_finetune.faces.insightface import InsightFaceAnalyser
from facefusion_finetune.faces.protocol import FaceAnalyser, Mask, Matrix, Points, VisionFrame
from facefusion_finetune.host.locate import STAND_INS
from facefusion_finetune.swappers.catalogue import create_options
from facefusion_finetune.swappers.known import KNOWN_SWAPPERS
from tests.support import host as support
from tests.support.insightface_pack import write_pack

pytest.importorskip("insightface")
pytestmark = pytest.mark.host

CLIPS = (
    *(("asl_a", "again.mkv"), ("asl_a", "yes.mkv"), ("asl_b", "learn.mkv"), ("asl_b", "walk.mkv")),
    *(("asl_c", "eat.mkv"), ("asl_d", "hungry.mkv"), ("asl_e", "sorry.mkv")),
    *(("headpose_f", "headpose_f.mp4"), ("headpose_m", "headpose_m.mp4")),
)
FRAMES_PER_CLIP = 5
SIZE = (128, 128)


@pytest.fixture(scope="module")
def models(linked_host: Path) -> Path:
    return linked_host / ".assets" / "models"


@pytest.fixture(scope="module")
def analyser(models: Path, tmp_path_factory: pytest.TempPathFactory) -> InsightFaceAnalyser:
    pack = write_pack(models, tmp_path_factory.mktemp("insightface") / "buffalo_l")
    return InsightFaceAnalyser(pack, content_models=models, models=models)


@pytest.fixture(scope="module")
def frame(target_image: Path) -> VisionFrame:
    return numpy.asarray(cv2.imread(str(target_image)), numpy.uint8)


@pytest.fixture(scope="module")
def face_helper(host_analyser: FaceFusionAnalyser) -> ModuleType:
    return importlib.import_module("facefusion.face_helper")


def read_clip(person: str, name: str, count: int) -> list[VisionFrame]:
    """Frames spread evenly over a clip of the bench."""
    video = cv2.VideoCapture(str(support.find_footage(person, name)))
    frames = []
    while True:
        is_read, image = video.read()
        if not is_read:
            break
        frames.append(numpy.asarray(image, numpy.uint8))
    return [frames[index] for index in numpy.linspace(0, len(frames) - 1, count).astype(int)]


def measure_shift(points: Points, matrix: Matrix, other: Matrix) -> float:
    """How far apart, in pixels of the crop, two crops show what lies at `points` of the first."""
    back = cv2.invertAffineTransform(matrix)
    places = points @ back[:, :2].T + back[:, 2]
    seen = places @ other[:, :2].T + other[:, 2]
    return float(numpy.linalg.norm(seen - points, axis=1).max())


def measure_overlap(first: Mask, second: Mask) -> float:
    return float(numpy.minimum(first, second).sum() / numpy.maximum(first, second).sum())


def test_it_is_an_analyser_and_says_that_it_knows_nobody(analyser: InsightFaceAnalyser) -> None:
    answers: FaceAnalyser = analyser
    version = importlib.import_module("insightface").__version__
    assert answers.name == f"insightface {version} (buffalo_l) with {STAND_INS}"
    assert answers.get_judge() is None
    assert answers.sample_other_pictures(1, 0, "ffhq_512", (256, 256)) is None


def test_crops_are_facefusions_within_half_a_pixel(
    analyser: InsightFaceAnalyser, host_analyser: FaceFusionAnalyser
) -> None:
    """On frames of all seven persons. What is left is insightface's smaller view of a face: 192
    pixels where FaceFusion takes 256, for the same landmarker."""
    template = analyser.warp_templates()["arcface_128"] * SIZE
    corners = numpy.array([(0, 0), (128, 0), (128, 128), (0, 128)], numpy.float64)
    shifts, corner_shifts, frame_shifts, likeness = [], [], [], []
    for clip in CLIPS:
        for image in read_clip(*clip, FRAMES_PER_CLIP):
            faces = [who.detect_faces(image) for who in (host_analyser, analyser)]
            assert len(faces[0]) == len(faces[1]) > 0, clip
            theirs, ours = (found[0] for found in faces)
            assert theirs.bounding_box == pytest.approx(ours.bounding_box, abs=0.01)
            assert theirs.detector_score == pytest.approx(ours.detector_score, abs=1e-3)
            assert ours.landmarker_score > 0.5
            _, matrix = host_analyser.warp_face(image, theirs.landmark_5, "arcface_128", SIZE)
            _, other = analyser.warp_face(image, ours.landmark_5, "arcface_128", SIZE)
            shifts.append(measure_shift(template, matrix, other))
            corner_shifts.append(measure_shift(corners, matrix, other))
            frame_shifts.append(shifts[-1] / numpy.linalg.norm(matrix[:, 0]))
            product = theirs.embedding @ ours.embedding
            likeness.append(
                product / numpy.linalg.norm(theirs.embedding) / numpy.linalg.norm(ours.embedding)
            )
    assert len(shifts) == len(CLIPS) * FRAMES_PER_CLIP
    assert max(shifts) <= 0.5
    assert max(frame_shifts) <= 0.5
    assert numpy.median(shifts) <= 0.1
    # far from the face a turn counts for more: where the landmarker changes its mind about a cell
    assert numpy.percentile(corner_shifts, 95) <= 0.5
    assert max(corner_shifts) <= 1
    assert min(likeness) > 0.99


def test_templates_and_crops_are_the_hosts(
    host_analyser: FaceFusionAnalyser, frame: VisionFrame
) -> None:
    theirs, ours = host_analyser.warp_templates(), warp.warp_templates()
    assert set(theirs) == set(ours)
    (face,) = host_analyser.detect_faces(frame)
    for name, points in theirs.items():
        assert (points == ours[name]).all()
        for size in ((128, 128), (512, 512)):
            crop, matrix = warp.warp_face(frame, face.landmark_5, name, size)
            expected, expected_matrix = host_analyser.warp_face(frame, face.landmark_5, name, size)
            assert (crop == expected).all()
            assert (matrix == expected_matrix).all()


def test_one_point_far_off_is_left_out_as_the_host_does(
    host_analyser: FaceFusionAnalyser, frame: VisionFrame
) -> None:
    (face,) = host_analyser.detect_faces(frame)
    points = face.landmark_5.copy()
    points[3] += 300
    _, matrix = warp.warp_face(frame, points, "ffhq_512", (512, 512))
    _, expected = host_analyser.warp_face(frame, points, "ffhq_512", (512, 512))
    assert (matrix == expected).all()


def test_paste_back_is_the_hosts(face_helper: ModuleType, frame: VisionFrame) -> None:
    generator = numpy.random.default_rng(4)
    pasted = 0
    for number in range(40):
        angle, scale = generator.uniform(-3, 3), generator.uniform(0.3, 4)
        turn = scale * numpy.array(
            [(numpy.cos(angle), -numpy.sin(angle)), (numpy.sin(angle), numpy.cos(angle))]
        )
        # at the rims of the frame, and now and then beyond
        centre = generator.uniform((-100, -100), (740, 580))
        matrix = numpy.column_stack([turn, 64 - turn @ centre])
        crop = generator.uniform(0, 255, (128, 128, 3))
        if number % 2:
            crop = crop.astype(numpy.uint8)
        mask = generator.uniform(-0.1, 1.1, (128, 128)).astype(numpy.float32)
        ours = warp.paste_back(frame, crop, mask, matrix)
        left, top, right, bottom = face_helper.calculate_paste_area(frame, crop, matrix)[0]
        if left == right or top == bottom:
            # the host fails where nothing of the crop lies in the frame
            assert (ours == frame).all()
            continue
        pasted += 1
        assert (ours == face_helper.paste_back(frame, crop, mask, matrix)).all()
        assert not (ours == frame).all()
    assert 20 < pasted < 40


def test_box_mask_is_the_hosts(host_analyser: FaceFusionAnalyser) -> None:
    for side in (64, 112, 128, 256, 512):
        crop = numpy.zeros((side, side, 3), numpy.uint8)
        assert (warp.create_box_mask(crop) == host_analyser.create_paste_mask(crop)).all()


def test_the_vector_of_a_crop_is_the_hosts(
    analyser: InsightFaceAnalyser, host_analyser: FaceFusionAnalyser, frame: VisionFrame
) -> None:
    (ours,) = analyser.detect_faces(frame)
    recogniser = importlib.import_module("facefusion.face_recognizer")
    expected, _ = recogniser.calculate_face_embedding(frame, ours.landmark_5)
    assert ours.embedding.shape == (512,)
    assert numpy.abs(ours.embedding - expected).max() < 1e-4
    assert numpy.linalg.norm(ours.embedding) == pytest.approx(20, abs=1e-3)
    assert analyser.same_person_cosine == pytest.approx(host_analyser.same_person_cosine)
    assert analyser.get_recogniser().size == host_analyser.get_recogniser().size
    assert analyser.get_recogniser().template == host_analyser.get_recogniser().template


def test_points_that_nobody_agrees_on_are_the_detectors(
    analyser: InsightFaceAnalyser, frame: VisionFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    (face,) = analyser.detect_faces(frame)
    find = analyser._find_landmarks

    def look_above(vision_frame: VisionFrame, box: NDArray[Any]) -> Points:
        return find(vision_frame, box - numpy.array([0, 0.75, 0, 0.75]) * (box[3] - box[1]))

    monkeypatch.setattr(analyser, "_find_landmarks", look_above)
    (lost,) = analyser.detect_faces(frame)
    ((_, points),) = analyser._find_boxes(frame)
    assert lost.landmarker_score < 0.5 < face.landmarker_score
    assert (lost.landmark_5 == points).all()
    assert not (face.landmark_5 == points).all()


def test_masks_lie_where_the_landmarks_are(
    analyser: InsightFaceAnalyser, frame: VisionFrame
) -> None:
    (face,) = analyser.detect_faces(frame)
    for template, side in (("ffhq_512", 512), ("arcface_112_v2", 256), ("arcface_128", 128)):
        crop, matrix = analyser.warp_face(frame, face.landmark_5, template, (side, side))
        masks = analyser.create_masks(crop)
        for mask in (masks.face, masks.features, masks.visible):
            assert mask.shape == (side, side)
            assert mask.dtype == numpy.float32
            assert 0 <= mask.min() <= mask.max() <= 1
        assert masks.glasses is None
        assert (masks.visible == 1).all()
        placed = face.landmark_68 @ matrix[:, :2].T + matrix[:, 2]
        expected = outlines.draw_masks(placed, (side, side))
        assert measure_overlap(masks.face, expected.face) > 0.9
        assert measure_overlap(masks.features, expected.features) > 0.7
        eye, mouth = placed[36:42].mean(axis=0).astype(int), placed[48:60].mean(axis=0).astype(int)
        nose = placed[30].astype(int)
        assert masks.features[eye[1], eye[0]] > 0.3
        assert masks.features[mouth[1], mouth[0]] > 0.9
        assert masks.features[nose[1], nose[0]] == 0
        assert masks.face[nose[1], nose[0]] == 1
        assert masks.face[0, 0] == 0
    blank = analyser.create_masks(numpy.zeros((512, 512, 3), numpy.uint8))
    assert blank.face.shape == (512, 512)


def test_attributes_are_measured_where_the_face_is(
    analyser: InsightFaceAnalyser, host_analyser: FaceFusionAnalyser, frame: VisionFrame
) -> None:
    (face,) = analyser.detect_faces(frame)
    ours = analyser.measure_attributes(frame, face.landmark_5)
    theirs = host_analyser.measure_attributes(frame, face.landmark_5)
    assert ours is not None
    assert theirs is not None
    assert (ours.yaw, ours.pitch) == pytest.approx((theirs.yaw, theirs.pitch), abs=1)
    assert ours.eye_opening == pytest.approx(theirs.eye_opening, abs=0.02)
    assert analyser.measure_attributes(frame, face.landmark_5 + 300) is None


def create_pictures(frame: VisionFrame) -> list[VisionFrame]:
    """Of several shapes, with a growing share of skin colour, which the bench's networks flag."""
    pictures = [frame, frame[:, :101], frame[:33], cv2.resize(frame, (1333, 777))]
    for share in (0.3, 0.45, 0.49, 0.495, 0.505, 0.51, 0.55, 0.7):
        picture = numpy.full((480, 640, 3), 120, numpy.uint8)
        picture[:, : int(640 * share)] = (90, 120, 200)
        pictures.append(picture)
    return pictures


def test_content_is_prepared_and_judged_as_by_the_host(
    analyser: InsightFaceAnalyser, host_analyser: FaceFusionAnalyser, frame: VisionFrame
) -> None:
    content_analyser = importlib.import_module("facefusion.content_analyser")
    answers = []
    for picture in create_pictures(frame):
        for name, classifier in CLASSIFIERS.items():
            ours = classifier.prepare(picture)
            theirs = content_analyser.prepare_detect_frame(picture, name)
            assert ours.dtype == theirs.dtype
            assert (ours == theirs).all()
        answers.append(analyser.is_frame_blocked(picture))
        assert answers[-1] == host_analyser.is_frame_blocked(picture)
    assert 2 < sum(answers) < len(answers) - 2


def test_each_classifiers_answer_is_read_as_by_the_host(
    host_analyser: FaceFusionAnalyser, frame: VisionFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    content_analyser = importlib.import_module("facefusion.content_analyser")
    generator = numpy.random.default_rng(3)
    shapes = {"nsfw_1": (1, 9, 50), "nsfw_2": (1, 2), "nsfw_3": (1, 4)}
    scales = {"nsfw_1": 0.07, "nsfw_2": 0.5, "nsfw_3": 8.0}
    for name, classifier in CLASSIFIERS.items():
        detect = getattr(content_analyser, f"detect_with_{name}")
        flags = []
        for _ in range(60):
            answer = (generator.standard_normal(shapes[name]) * scales[name]).astype(numpy.float32)
            if name == "nsfw_1":
                answer[:, :4] += 100
            given = answer if name == "nsfw_1" else answer[0]
            monkeypatch.setattr(content_analyser, "forward_nsfw", lambda *_, given=given: given)
            flags.append(classifier.flags(answer))
            assert flags[-1] == detect(frame), name
        assert 0 < sum(flags) < len(flags), name


def write_video(path: Path, flagged: list[bool], rate: str) -> Path:
    """A video, one frame for each entry, skin-coloured where it says so."""
    frames = numpy.full((len(flagged), 48, 64, 3), 60, numpy.uint8)
    frames[flagged] = (90, 120, 200)
    command = ["ffmpeg", "-v", "error", "-f", "rawvideo", "-pix_fmt", "bgr24", "-s", "64x48"]
    command += ["-r", rate, "-i", "-", "-c:v", "libx264", "-crf", "1", str(path)]
    subprocess.run(command, input=frames.tobytes(), check=True)
    return path


def test_videos_are_refused_as_by_the_host(
    analyser: InsightFaceAnalyser, host_analyser: FaceFusionAnalyser, tmp_path: Path
) -> None:
    sampled = [number % 10 == 0 for number in range(50)]
    few = [number == 110 for number in range(120)]
    odd = [number % 29 == 0 for number in range(90)]
    videos = {
        write_video(tmp_path / "sampled.mp4", sampled, "10"): True,
        write_video(tmp_path / "between.mp4", [not flag for flag in sampled], "10"): False,
        # one of five is 20 %, one of twelve is 8 %
        write_video(tmp_path / "one.mp4", [n == 30 for n in range(50)], "10"): True,
        write_video(tmp_path / "few.mkv", few, "10"): False,
        write_video(tmp_path / "odd.mkv", odd, "30000/1001"): True,
        support.find_footage("asl_a", "yes.mkv"): False,
        support.find_footage("headpose_m", "headpose_m.mp4"): False,
    }
    content_analyser = importlib.import_module("facefusion.content_analyser")
    vision = importlib.import_module("facefusion.vision")
    for video, expected in videos.items():
        total = vision.count_video_frame_total(str(video))
        assert content_analyser.analyse_video(str(video), 0, total) is expected, video.name
        for check in (analyser.is_frame_blocked, host_analyser.is_frame_blocked):
            assert is_video_blocked(video, check) is expected, video.name


def test_images_are_refused_as_by_the_host(
    analyser: InsightFaceAnalyser, host_analyser: FaceFusionAnalyser
) -> None:
    for colour, expected in (((90, 120, 200), True), ((90, 90, 90), False)):
        picture = numpy.full((240, 320, 3), colour, numpy.uint8)
        assert host_analyser.is_frame_blocked(picture) is expected
        assert analyser.is_frame_blocked(picture) is expected


def test_damaged_content_models_refuse_footage(
    models: Path, frame: VisionFrame, tmp_path: Path
) -> None:
    for name in CLASSIFIERS:
        for ending in (".onnx", ".hash"):
            content = (models / name).with_suffix(ending).read_bytes()
            (tmp_path / name).with_suffix(ending).write_bytes(content)
    assert ContentCheck(tmp_path).is_frame_blocked(frame) is False
    (tmp_path / "nsfw_2.hash").write_text("00000000")
    with pytest.raises(Exception, match=r"nsfw_2\.onnx is damaged"):
        ContentCheck(tmp_path).is_frame_blocked(frame)


def test_the_table_of_swappers_is_the_hosts(
    host_analyser: FaceFusionAnalyser, models: Path
) -> None:
    adapter = importlib.import_module("facefusion_finetune.host.adapter")
    theirs = {
        name: create_options(name, entry) for name, entry in adapter.get_face_swapper_set().items()
    }
    ours = {name: known.create_options(models) for name, known in KNOWN_SWAPPERS.items()}
    assert ours == theirs
    assert len(ours) == 13


def test_swappers_are_opened_without_the_host(
    analyser: InsightFaceAnalyser, host_analyser: FaceFusionAnalyser
) -> None:
    assert analyser.list_swappers() == host_analyser.list_swappers()
    assert analyser.get_swapper("inswapper_128") == host_analyser.get_swapper("inswapper_128")


def test_another_network_in_a_files_place_is_refused(models: Path, tmp_path: Path) -> None:
    pack = write_pack(models, tmp_path / "buffalo_l")
    (pack / "1k3d68.onnx").write_bytes((pack / "w600k_r50.onnx").read_bytes())
    with pytest.raises(HostError, match="does not recognise it as a landmark_3d_68"):
        InsightFaceAnalyser(pack)
    (pack / "1k3d68.onnx").write_bytes(b"half a network")
    with pytest.raises(HostError, match="insightface cannot open it"):
        InsightFaceAnalyser(pack)


def test_a_content_model_beside_is_not_taken_for_the_recogniser(
    models: Path, frame: VisionFrame, tmp_path: Path
) -> None:
    pack = write_pack(models, tmp_path / "buffalo_l")
    for name in CLASSIFIERS:
        (pack / f"{name}.onnx").write_bytes((models / f"{name}.onnx").read_bytes())
    analyser = InsightFaceAnalyser(pack)
    assert analyser.get_recogniser().path.name == insightface_pack.RECOGNISER
    assert analyser.is_frame_blocked(frame) is False
    (face,) = analyser.detect_faces(frame)
    assert face.embedding.shape == (512,)
