"""Factors of the scene become angles and proportions as the renderer draws them."""

import math

import numpy
import pytest

from facefusion_finetune.demo.analyser import convert_factors
from facefusion_finetune.demo.geometry import READER_FACTORS
from facefusion_finetune.demo.landmarks import locate_landmarks
from facefusion_finetune.demo.people import COARSE, DETAIL, OUTER, SCENE, RenderBatch
from facefusion_finetune.faces.protocol import FaceAttributes


def convert(**factors: float) -> FaceAttributes:
    return convert_factors(numpy.array([factors.get(name, 0.0) for name in READER_FACTORS]))


def draw_points(**factors: float) -> numpy.ndarray:
    """(68, 2) of the average face, as drawn with these factors of the scene."""
    scene = numpy.zeros((1, len(SCENE)))
    for name, value in factors.items():
        scene[0, SCENE.index(name)] = value
    nobody = (numpy.zeros((1, len(names))) for names in (COARSE, DETAIL, OUTER))
    points: numpy.ndarray = locate_landmarks(RenderBatch.of(*nobody, scene))[1][0]
    return points


def test_an_average_face_looks_ahead_with_open_eyes_and_a_closed_mouth() -> None:
    still = convert()
    assert (still.yaw, still.pitch, still.mouth_opening) == (0, 0, 0)
    assert still.gaze == (0, 0)
    assert still.eye_opening[0] == still.eye_opening[1] > 0.4


@pytest.mark.parametrize("opening", [0.3, 1.0])
def test_the_mouth_opens_as_far_as_it_is_drawn(opening: float) -> None:
    points = draw_points(mouth_open=opening)
    # lips of the 20 mouth points: the inner edges' middle points, the outer corners
    distance = points[66, 1] - points[62, 1]
    width = points[54, 0] - points[48, 0]
    measured = convert(mouth_open=opening).mouth_opening
    assert measured == pytest.approx(distance / width, rel=0.05)


def test_closing_eyes_hides_the_gaze() -> None:
    awake = convert(gaze_x=1.0, gaze_y=-1.0)
    asleep = convert(gaze_x=1.0, eye_close=1.0)
    assert awake.gaze[0] > 0 > awake.gaze[1]
    assert all(math.isnan(part) for part in asleep.gaze)
    assert 0 <= asleep.eye_opening[0] < 0.3 * awake.eye_opening[0]


def test_what_is_out_of_range_is_as_far_as_it_goes() -> None:
    assert convert(mouth_open=-0.2).mouth_opening == 0
    assert convert(eye_close=1.3).eye_opening == convert(eye_close=1.0).eye_opening
    assert convert(yaw=0.5).yaw == 0.5 * convert(yaw=1.0).yaw > 0
