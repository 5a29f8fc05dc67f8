"""From the picture of a face to its measures, and from those to faults."""

from typing import Any

import cv2
import numpy
import pytest
from numpy.typing import NDArray

from facefusion_finetune.dataset.extraction.measuring import (
    draw_hull,
    measure_face,
    measure_sharpness,
)
from facefusion_finetune.dataset.extraction.quality import (
    ENOUGH_TO_COMPARE,
    MIN_SHARPNESS,
    decide_crops,
    find_alignment_fault,
    find_faults,
)
from facefusion_finetune.dataset.manifest import CropMeasures, CropRecord
from facefusion_finetune.faces.protocol import DetectedFace, FaceMasks
from tests.support.records import make_measures, make_record

SIZE = 200


@pytest.fixture
def picture() -> NDArray[numpy.uint8]:
    """Noise in all finenesses, as in a photograph."""
    generator = numpy.random.default_rng(0)
    layers = [
        cv2.resize(generator.normal(0, 18, (side, side)).astype(numpy.float32), (SIZE, SIZE))
        for side in (6, 12, 25, 50, 100, 200)
    ]
    grey = (120 + sum(layers)).clip(0, 255).astype(numpy.uint8)
    return numpy.dstack([grey, grey, grey])


def _face(**changes: Any) -> DetectedFace:
    """A frontal face in the middle; its 68 points lie on a circle with the eyes in their places."""
    angles = numpy.linspace(0, 2 * numpy.pi, 68, endpoint=False)
    points = numpy.stack([100 + 50 * numpy.cos(angles), 100 + 50 * numpy.sin(angles)], axis=1)
    values: dict[str, Any] = {
        "bounding_box": numpy.array([50.0, 50.0, 150.0, 150.0]),
        "landmark_5": numpy.array([[80, 90], [120, 90], [100, 110], [85, 125], [115, 125]], float),
        "landmark_68": points,
        "detector_score": 0.9,
        "landmarker_score": 0.9,
        "embedding": numpy.ones(512),
    }
    return DetectedFace(**{**values, **changes})


def _measure(pixels: NDArray[numpy.uint8], face: DetectedFace | None = None, **masks: NDArray[Any]):
    whole = numpy.ones((SIZE, SIZE), numpy.float32)
    given = {"face": whole, "visible": whole, "features": whole, **masks}
    matrix = numpy.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    return measure_face(pixels, face or _face(), pixels, matrix, FaceMasks(**given))


@pytest.mark.parametrize("factor", [0.4, 0.7, 1.0, 2.0])
def test_sharpness_falls_with_blur_and_hardly_with_size(
    picture: NDArray[numpy.uint8], factor: float
) -> None:
    grey = picture[..., 0].astype(numpy.float32)
    sized = cv2.resize(grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    side = min(sized.shape)
    sharpness = measure_sharpness(sized)
    assert sharpness > MIN_SHARPNESS
    former = sharpness
    for share in (0.01, 0.02, 0.08):
        blurred = measure_sharpness(cv2.GaussianBlur(sized, (0, 0), share * side))
        assert blurred < former
        former = blurred
    assert former < MIN_SHARPNESS


def test_brightness_contrast_and_what_shows_nothing(picture: NDArray[numpy.uint8]) -> None:
    good = _measure(picture)
    assert find_faults(good) == []
    assert good.brightness == pytest.approx(picture[60:140, 60:140].mean(), abs=8)
    dark = _measure((picture * 0.1).astype(numpy.uint8))
    assert dark.dark > 0.6
    assert find_faults(dark) == ["too dark"]
    burnt = _measure((picture.astype(int) + 160).clip(0, 255).astype(numpy.uint8))
    assert burnt.bright > 0.5
    assert find_faults(burnt) == ["too bright"]
    washed = _measure((200 + picture * 0.05).astype(numpy.uint8))
    assert "too bright" in find_faults(washed)


def test_light_comes_from_where_it_is_brighter() -> None:
    ramp = numpy.linspace(60, 180, SIZE)[None].repeat(SIZE, axis=0).astype(numpy.uint8)
    right = numpy.dstack([ramp] * 3)
    assert _measure(right).light[0] > 0.15
    assert abs(_measure(right).light[1]) < 0.02
    assert _measure(right[:, ::-1].copy()).light[0] < -0.15
    below = right.transpose(1, 0, 2).copy()
    assert _measure(below).light[1] > 0.15


def test_what_is_covered_and_behind_glasses(picture: NDArray[numpy.uint8]) -> None:
    half = numpy.ones((SIZE, SIZE), numpy.float32)
    half[100:] = 0
    covered = _measure(picture, visible=half)
    assert covered.visible == pytest.approx(0.5, abs=0.03)
    assert find_faults(covered) == ["covered"]
    assert _measure(picture).glasses is None
    assert _measure(picture, glasses=1 - half).glasses == pytest.approx(0.5, abs=0.03)
    # What is covered beside the face does not count.
    beside = numpy.zeros((SIZE, SIZE), numpy.float32)
    beside[45:155, 45:155] = 1
    assert _measure(picture, visible=beside).visible == 1


def _cut_off(picture: NDArray[numpy.uint8], side: str, cut: int, down: int = 0) -> CropMeasures:
    """Measures of a frame whose crop lacks so many of its 200 rows or columns on one side.

    Args:
        picture: The whole frame, and the whole crop.
        side: Of the frame.
        cut: Rows or columns.
        down: How much lower than in the middle the face is.
    """
    left, top = (cut if side == name else 0 for name in ("left", "top"))
    right, bottom = (SIZE - cut if side == name else SIZE for name in ("right", "bottom"))
    frame = picture[top:bottom, left:right]
    matrix = numpy.array([[1.0, 0.0, left], [0.0, 1.0, top]])
    crop = cv2.warpAffine(frame, matrix, (SIZE, SIZE), borderMode=cv2.BORDER_REPLICATE)
    face, moved = _face(), numpy.array([-left, down - top])
    face = _face(
        bounding_box=face.bounding_box + numpy.tile(moved, 2),
        landmark_5=face.landmark_5 + moved,
        landmark_68=face.landmark_68 + moved,
    )
    whole = numpy.ones((SIZE, SIZE), numpy.float32)
    return measure_face(frame, face, crop, matrix, FaceMasks(whole, whole, whole))


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
def test_what_the_border_cuts_off(picture: NDArray[numpy.uint8], side: str) -> None:
    for cut, share, faults in (
        (0, 0, []),
        (10, 0, []),
        (50, 0, []),
        (54, 0.012, ["cut off by the border"]),
        # 20 of the circle's 100 pixels in height: 14 % of its area.
        (70, 0.145, ["cut off by the border"]),
    ):
        measures = _cut_off(picture, side, cut)
        assert measures.outside == cut / SIZE
        assert measures.face_outside == pytest.approx(share, abs=0.01)
        assert measures.visible == pytest.approx(1 - share, abs=0.01)
        assert find_faults(measures) == faults


def test_a_chin_that_the_border_cuts_off(picture: NDArray[numpy.uint8]) -> None:
    for cut, faults in ((18, []), (32, ["cut off by the border"])):
        measures = _cut_off(picture, "bottom", cut, down=30)
        assert measures.outside == cut / SIZE
        assert find_faults(measures) == faults
    assert measures.face_outside == pytest.approx(0.07, abs=0.01)


def test_a_crop_of_an_older_version_has_no_share_outside() -> None:
    measures = make_measures()
    assert (measures.outside, measures.face_outside) == (None, None)
    assert find_faults(measures) == []


@pytest.mark.parametrize(("angle", "is_fault"), [(0, False), (40, False), (50, True), (180, True)])
def test_a_face_that_lies(picture: NDArray[numpy.uint8], angle: float, is_fault: bool) -> None:
    face = _face()
    turn = numpy.radians(angle)
    matrix = numpy.array([[numpy.cos(turn), numpy.sin(turn)], [-numpy.sin(turn), numpy.cos(turn)]])
    turned = _face(landmark_5=(face.landmark_5 - 100) @ matrix + 100)
    measures = _measure(picture, turned)
    assert abs(measures.roll) == pytest.approx(angle, abs=0.1)
    assert (find_faults(measures) == ["not upright"]) == is_fault


def test_hull_of_points_outside_the_crop_is_never_empty() -> None:
    matrix = numpy.array([[1.0, 0.0, 5000.0], [0.0, 1.0, 0.0]])
    assert draw_hull(_face(), matrix, (50, 50)).all()


def test_faces_that_cannot_be_aligned() -> None:
    assert find_alignment_fault(31.9, 0.9) == "too small"
    assert find_alignment_fault(32.0, 0.49) == "landmarks uncertain"
    assert find_alignment_fault(32.0, 0.5) is None


def _crop(number: int, score: float = 0.93, yaw: float = 0.0, **changes: Any) -> CropRecord:
    fingerprint = numpy.random.default_rng(number).integers(0, 256, (32, 32), dtype=numpy.uint8)
    values = {"measures": make_measures(yaw=yaw), "landmarker_score": score}
    return make_record(number, **{**values, "fingerprint": fingerprint, **changes})


def _reasons(own: list[CropRecord], kept: list[CropRecord] | None = None) -> dict[int, str]:
    decided = decide_crops(own, kept or [], {})
    return {record.frame: record.reason for record in decided if not record.kept}


def test_landmarks_far_below_the_person_s_usual_are_uncertain() -> None:
    own = [_crop(number) for number in range(20)]
    own += [_crop(20, 0.80), _crop(21, 0.85), _crop(22, 0.80, yaw=50.0), _crop(23, 0.65, yaw=50.0)]
    assert _reasons(own) == {20: "landmarks uncertain", 23: "landmarks uncertain"}


def test_nothing_is_usual_among_a_few_but_earlier_crops_count() -> None:
    few = [_crop(number) for number in range(ENOUGH_TO_COMPARE - 2)] + [_crop(50, 0.7)]
    assert _reasons(few) == {}
    earlier = [_crop(100 + number) for number in range(20)]
    assert _reasons(few, earlier) == {50: "landmarks uncertain"}


def _copy_of(record: CropRecord, number: int, noise: float, **changes: Any) -> CropRecord:
    assert record.fingerprint is not None
    generator = numpy.random.default_rng(number)
    pixels = record.fingerprint + generator.normal(0, noise, (32, 32))
    return _crop(number, fingerprint=pixels.clip(0, 255).astype(numpy.uint8), **changes)


def test_a_copy_in_another_file_is_dropped_and_the_smaller_of_the_two() -> None:
    large = _crop(0, shot="a", source="/a.mp4")
    small = _copy_of(large, 1, 2, shot="b", source="/b.mp4", measures=make_measures(size=60.0))
    assert _reasons([large, small]) == {1: "near-duplicate"}
    assert _reasons([small, large]) == {1: "near-duplicate"}
    # What is there already stays, whatever its size.
    assert _reasons([large], [small]) == {0: "near-duplicate"}
    other_vector = small.model_copy(update={"embedding": numpy.eye(512, dtype=numpy.float32)[0]})
    assert _reasons([large, other_vector]) == {}


def test_brightness_and_contrast_make_no_other_picture() -> None:
    one = _crop(0, shot="a", source="/a.mp4")
    assert one.fingerprint is not None
    pixels = (one.fingerprint * 0.6 + 50).astype(numpy.uint8)
    assert _reasons([one, _crop(1, fingerprint=pixels, shot="b", source="/b.mp4")]) == {
        1: "near-duplicate"
    }


def test_frames_of_one_take_are_copies_only_where_nothing_moves() -> None:
    first = _crop(0, shot="a", source="/a.mp4")
    still = _copy_of(first, 1, 0, shot="a", source="/a.mp4")
    moved = _copy_of(first, 2, 3, shot="a", source="/a.mp4")
    assert _reasons([first, still, moved]) == {1: "near-duplicate"}


def test_a_copy_of_one_frame_does_not_cost_the_frames_around_it() -> None:
    first = _crop(0, shot="a", source="/a.mp4")
    take = [first] + [_copy_of(first, number, 3, shot="a", source="/a.mp4") for number in (1, 2, 3)]
    copy = _copy_of(first, 9, 2, shot="b", source="/b.jpg")
    assert len(_reasons([*take, copy])) == 1
    assert len(_reasons([copy, *take])) == 1


def test_faults_are_joined_and_a_copy_of_a_faulty_one_is_kept() -> None:
    blurred = _crop(0, shot="a", source="/a.mp4").decide(["blurred", "covered"], None)
    copy = _copy_of(blurred, 1, 2, shot="b", source="/b.mp4")
    assert _reasons([blurred, copy]) == {0: "blurred, covered"}
