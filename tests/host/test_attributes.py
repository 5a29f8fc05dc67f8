"""Pose, eyes, mouth and gaze of real faces, found and measured through FaceFusion."""

from pathlib import Path

import cv2
import numpy
import pytest
from numpy.typing import NDArray

from facefusion_finetune.faces.facefusion import FaceFusionAnalyser
from facefusion_finetune.faces.protocol import FaceAttributes, VisionFrame
from tests.support import host as support

pytestmark = pytest.mark.host


def read_frame(path: Path) -> VisionFrame:
    image = cv2.imread(str(path))
    assert image is not None
    return numpy.asarray(image, numpy.uint8)


def measure_at_its_place(analyser: FaceFusionAnalyser, frame: VisionFrame) -> FaceAttributes:
    (face,) = analyser.detect_faces(frame)
    found = analyser.measure_attributes(frame, face.landmark_5)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def turning(host_analyser: FaceFusionAnalyser) -> list[tuple[VisionFrame, float, float]]:
    """Every second frame of a head that turns from one side to the other, where the nose lies
    between the outer corners of the eyes (0 to 1), and the yaw."""
    video = cv2.VideoCapture(str(support.find_footage("headpose_f", "headpose_f.mp4")))
    seen = []
    for index in range(23):
        is_read, image = video.read()
        assert is_read
        if index % 2:
            continue
        frame: NDArray[numpy.uint8] = numpy.asarray(image, numpy.uint8)
        (face,) = host_analyser.detect_faces(frame)
        left, right, tip = face.landmark_68[[36, 45, 30], 0]
        yaw = measure_at_its_place(host_analyser, frame).yaw
        seen.append((frame, float((tip - left) / (right - left)), yaw))
    return seen


def test_a_face_is_measured_where_it_is_and_nowhere_else(
    host_analyser: FaceFusionAnalyser, target_image: Path
) -> None:
    frame = read_frame(target_image)
    (face,) = host_analyser.detect_faces(frame)
    found = measure_at_its_place(host_analyser, frame)
    # the person looks at the camera with a closed mouth
    assert abs(found.yaw) < 10
    assert abs(found.pitch) < 15
    assert min(found.eye_opening) > 0.15
    assert max(found.eye_opening) < 0.4
    assert 0 <= found.mouth_opening < 0.1
    assert numpy.abs(found.gaze).max() < 0.2
    eye_distance = numpy.linalg.norm(face.landmark_5[1] - face.landmark_5[0])
    near, far = face.landmark_5 + 0.3 * eye_distance, face.landmark_5 + eye_distance
    assert host_analyser.measure_attributes(frame, near) == found
    assert host_analyser.measure_attributes(frame, far) is None
    assert host_analyser.measure_attributes(numpy.zeros_like(frame), face.landmark_5) is None


def test_of_two_faces_the_expected_one_is_measured(
    host_analyser: FaceFusionAnalyser, target_image: Path, source_image: Path
) -> None:
    both = numpy.zeros((480, 1120, 3), numpy.uint8)
    both[:, :640] = read_frame(target_image)
    both[:270, 640:] = read_frame(source_image)
    closed, laughing = sorted(
        host_analyser.detect_faces(both), key=lambda face: face.landmark_5[0, 0]
    )
    openings = []
    for face in (closed, laughing):
        found = host_analyser.measure_attributes(both, face.landmark_5)
        assert found is not None
        openings.append(found.mouth_opening)
    assert openings[0] < 0.05 < 0.1 < openings[1]


def test_yaw_follows_a_turning_head(turning: list[tuple[VisionFrame, float, float]]) -> None:
    noses, yaws = numpy.array([row[1:] for row in turning]).T
    assert yaws.min() < -40
    assert yaws.max() > 25
    assert numpy.corrcoef(noses, yaws)[0, 1] > 0.95


def test_yaw_of_a_mirrored_head_is_the_opposite(
    host_analyser: FaceFusionAnalyser, turning: list[tuple[VisionFrame, float, float]]
) -> None:
    frame, _, yaw = max(turning, key=lambda row: row[2])
    mirrored = measure_at_its_place(host_analyser, numpy.ascontiguousarray(frame[:, ::-1]))
    assert mirrored.yaw == pytest.approx(-yaw, abs=8)


def test_pitch_follows_a_nod(host_analyser: FaceFusionAnalyser, tmp_path: Path) -> None:
    # 'yes' in sign language: the head is level at first and thrown back after 1.5 seconds
    video = support.find_footage("asl_a", "yes.mkv")
    level, back = (
        read_frame(support.extract_frame(video, seconds, tmp_path / f"{seconds}.png"))
        for seconds in (0.1, 1.5)
    )
    fall = measure_at_its_place(host_analyser, back).pitch
    assert fall < measure_at_its_place(host_analyser, level).pitch - 10
