"""The demo's analyser answers as the protocol asks, and only for its own world."""

from pathlib import Path

import cv2
import numpy
import onnxruntime
import pytest

from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.demo.geometry import LIMITS
from facefusion_finetune.demo.people import FIRST_UNSEEN_SEED, SCENE, draw_person
from facefusion_finetune.demo.world import hash_frame, render_truth, write_footage
from facefusion_finetune.errors import FootageError, SwapperError
from facefusion_finetune.faces.protocol import FaceAnalyser, VisionFrame

SIZE = (64, 64)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    made = []
    for index in range(2):
        folder = tmp_path_factory.mktemp("footage")
        write_footage(folder, FIRST_UNSEEN_SEED + index, shots=2, frames_per_shot=2, seed=index)
        made.append(folder)
    return made


@pytest.fixture(scope="module")
def analyser(folders: list[Path]) -> DemoAnalyser:
    return DemoAnalyser(folders)


@pytest.fixture(scope="module")
def frame(folders: list[Path]) -> VisionFrame:
    return cv2.imread(str(folders[0] / "shot-001" / "frame-0001.png"))


def test_it_is_a_face_analyser(analyser: DemoAnalyser) -> None:
    answers: FaceAnalyser = analyser  # mypy checks the signatures, this line the names
    assert answers.name.startswith("demo ")


def test_it_finds_the_face_where_it_was_painted(analyser: DemoAnalyser, frame: VisionFrame) -> None:
    (face,) = analyser.detect_faces(frame)
    five, many = analyser.find_face(frame).locate()
    assert numpy.array_equal(face.landmark_5, five)
    assert numpy.array_equal(face.landmark_68, many)
    assert face.bounding_box.shape == (4,)
    assert face.embedding.shape == (512,)
    assert face.detector_score == face.landmarker_score == 1.0


def test_vectors_of_a_person_are_nearer_than_of_two(
    analyser: DemoAnalyser, folders: list[Path]
) -> None:
    vectors = []
    for folder in folders:
        frames = [cv2.imread(str(path)) for path in sorted(folder.rglob("*.png"))]
        rows = numpy.stack([analyser.detect_faces(frame)[0].embedding for frame in frames])
        vectors.append(rows / numpy.linalg.norm(rows, axis=1, keepdims=True))
    own = min((rows @ rows.T).min() for rows in vectors)
    assert own > (vectors[0] @ vectors[1].T).max()


def test_a_frame_of_another_world_is_refused(analyser: DemoAnalyser, frame: VisionFrame) -> None:
    changed = frame.copy()
    changed[0, 0] ^= 1
    with pytest.raises(FootageError, match="is not from the demo world"):
        analyser.detect_faces(changed)
    with pytest.raises(FootageError, match="10 x 10 x 3"):
        analyser.detect_faces(numpy.zeros((10, 10, 3), numpy.uint8))


def test_only_its_own_frames_pass_the_content_check(
    analyser: DemoAnalyser, folders: list[Path]
) -> None:
    for folder in folders:
        for path in folder.rglob("*.png"):
            frame = numpy.asarray(cv2.imread(str(path)), numpy.uint8)
            assert analyser.is_frame_blocked(frame) is False
    with pytest.raises(FootageError, match="is not from the demo world"):
        analyser.is_frame_blocked(numpy.zeros((48, 64, 3), numpy.uint8))


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FootageError, match="is not demo footage"):
        DemoAnalyser([tmp_path])


def test_warp_and_paste_back_return_to_the_same_place(
    analyser: DemoAnalyser, frame: VisionFrame
) -> None:
    landmarks = analyser.detect_faces(frame)[0].landmark_5
    crop, matrix = analyser.warp_face(frame, landmarks, "demo_64", SIZE)
    assert crop.shape == (64, 64, 3)
    assert crop.dtype == numpy.uint8
    assert matrix.shape == (2, 3)
    before = frame.copy()
    pasted = analyser.paste_back(frame, crop, analyser.create_paste_mask(crop), matrix)
    assert numpy.array_equal(frame, before)
    assert numpy.abs(pasted.astype(int) - frame).mean() < 1.0
    grey = numpy.full((64, 64, 3), 128, numpy.uint8)
    painted = analyser.paste_back(frame, grey, analyser.create_paste_mask(crop), matrix)
    x, y = landmarks[2].round().astype(int)
    assert numpy.array_equal(painted[y, x], [128, 128, 128])
    assert numpy.array_equal(painted[0, 0], frame[0, 0])


def test_an_empty_mask_pastes_nothing(analyser: DemoAnalyser, frame: VisionFrame) -> None:
    landmarks = analyser.detect_faces(frame)[0].landmark_5
    crop, matrix = analyser.warp_face(frame, landmarks, "demo_64", SIZE)
    nothing = numpy.zeros((64, 64), numpy.float32)
    assert numpy.array_equal(analyser.paste_back(frame, crop, nothing, matrix), frame)


@pytest.mark.parametrize("size", [(64, 64), (48, 80)])
def test_masks_fit_the_crop(analyser: DemoAnalyser, size: tuple[int, int]) -> None:
    crop = numpy.zeros((size[1], size[0], 3), numpy.uint8)
    masks = analyser.create_masks(crop)
    for mask in (analyser.create_paste_mask(crop), masks.face, masks.visible, masks.features):
        assert mask.shape == crop.shape[:2]
        assert mask.dtype == numpy.float32
        assert 0 <= mask.min() <= mask.max() <= 1
    assert masks.visible.min() == 1
    assert masks.features.sum() < masks.face.sum() < masks.visible.sum()


def test_the_face_mask_covers_what_a_true_swap_changes(
    analyser: DemoAnalyser, folders: list[Path]
) -> None:
    source = draw_person(FIRST_UNSEEN_SEED + 50)
    for path in folders[0].rglob("*.png"):
        frame = cv2.imread(str(path))
        face = analyser.find_face(frame)
        truth = render_truth(face, source)
        points = face.locate()[0]
        crops = [
            analyser.warp_face(picture, points, "demo_64", SIZE)[0] for picture in (frame, truth)
        ]
        change = numpy.abs(crops[0].astype(float) - crops[1]).mean(axis=2)
        mask = analyser.create_masks(crops[0]).face
        assert (change * mask).sum() > 0.95 * change.sum()


def test_swapper_recogniser_and_judge_are_described_as_they_are(analyser: DemoAnalyser) -> None:
    swapper, judge = analyser.get_swapper("demo"), analyser.get_judge()
    assert (swapper.type, swapper.licence) == ("inswapper", "Apache-2.0")
    assert swapper.template in analyser.warp_templates()
    for options in (analyser.get_recogniser(), judge):
        session = onnxruntime.InferenceSession(
            str(options.path), providers=["CPUExecutionProvider"]
        )
        assert session.get_inputs()[0].shape == [1, 3, options.size[1], options.size[0]]
        assert session.get_outputs()[0].shape == [1, 512]
        assert options.template in analyser.warp_templates()
    assert judge.path != analyser.get_recogniser().path


def test_attributes_follow_the_scene(analyser: DemoAnalyser, folders: list[Path]) -> None:
    rows = []
    for path in sorted(path for folder in folders for path in folder.rglob("*.png")):
        frame = cv2.imread(str(path))
        face = analyser.find_face(frame)
        read = analyser.measure_attributes(frame, face.locate()[0])
        scene = dict(zip(SCENE, face.scene, strict=True))
        rows.append((read.yaw, LIMITS["yaw"] * scene["yaw"]))
        rows.append((read.pitch, LIMITS["pitch"] * scene["pitch"]))
        assert 0 <= read.eye_opening[0] == read.eye_opening[1] < 1
        assert 0 <= read.mouth_opening < 1
    gaps = numpy.abs(numpy.diff(numpy.array(rows), axis=1))
    assert gaps.mean() < 4  # degrees
    assert gaps.max() < 12


def test_attributes_are_read_off_pictures_of_other_worlds_too(
    analyser: DemoAnalyser, frame: VisionFrame
) -> None:
    points = analyser.detect_faces(frame)[0].landmark_5
    before = analyser.measure_attributes(frame, points)
    truth = render_truth(analyser.find_face(frame), draw_person(FIRST_UNSEEN_SEED + 60))
    after = analyser.measure_attributes(truth, points)
    assert abs(before.yaw - after.yaw) < 8
    mirrored = numpy.ascontiguousarray(frame[:, ::-1])
    points = points[[1, 0, 2, 4, 3]] * [-1, 1] + [frame.shape[1] - 1, 0]
    turned = analyser.measure_attributes(mirrored, points)
    assert abs(turned.yaw + before.yaw) < 8


def test_other_swappers_are_refused(analyser: DemoAnalyser) -> None:
    with pytest.raises(SwapperError, match="inswapper_128"):
        analyser.get_swapper("inswapper_128")


def test_missing_weights_are_named(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(SwapperError, match=r"facefusion_finetune\.demo\.networks\.train"):
        DemoAnalyser(folders, weights=tmp_path).get_swapper("demo")


def test_other_vectors_are_unit_vectors_by_seed(analyser: DemoAnalyser) -> None:
    first = analyser.sample_other_vectors(20, seed=1)
    assert first.shape == (20, 512)
    assert numpy.allclose(numpy.linalg.norm(first, axis=1), 1)
    assert len(numpy.unique(first.round(6), axis=0)) == 20
    assert numpy.array_equal(first, analyser.sample_other_vectors(20, seed=1))
    assert not numpy.array_equal(first, analyser.sample_other_vectors(20, seed=2))
    assert analyser.sample_other_vectors(100, seed=1).shape == (100, 512)


def test_frames_are_told_apart_by_shape_too() -> None:
    flat = numpy.zeros((2, 8, 3), numpy.uint8)
    assert hash_frame(flat) != hash_frame(flat.reshape(4, 4, 3))


def test_other_people_are_drawn_for_bases_driven_by_a_picture(analyser: DemoAnalyser) -> None:
    pictures = analyser.sample_other_pictures(6, 1, "demo_64", (48, 48))
    assert pictures.shape == (6, 48, 48, 3)
    assert pictures.dtype == numpy.uint8
    assert len({picture.tobytes() for picture in pictures}) == 6
    # faces, aligned: the nose is no background
    assert pictures[:, 24, 24].std() > 5
    assert numpy.array_equal(pictures, analyser.sample_other_pictures(6, 1, "demo_64", (48, 48)))
    assert not numpy.array_equal(
        pictures, analyser.sample_other_pictures(6, 2, "demo_64", (48, 48))
    )


def test_its_one_swapper_is_listed_and_can_be_replaced_by_a_derived_file(
    analyser: DemoAnalyser, tmp_path: Path
) -> None:
    assert analyser.list_swappers() == ["demo"]
    assert analyser.get_swapper("demo", tmp_path / "mine.onnx").path == tmp_path / "mine.onnx"
