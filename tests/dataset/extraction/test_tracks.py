"""Faces that follow each other."""

import numpy
import pytest
from numpy.typing import NDArray

from facefusion_finetune.dataset.extraction.tracks import Tracker, measure_overlap
from facefusion_finetune.faces.protocol import DetectedFace
from tests.support.vectors import draw_direction

LIMIT = 0.4


def _near(first: NDArray[numpy.float64], cosine: float, seed: int = 50) -> NDArray[numpy.float64]:
    other = draw_direction(seed)
    other -= (other @ first) * first
    return cosine * first + numpy.sqrt(1 - cosine**2) * other / numpy.linalg.norm(other)


def _face(x: float, vector: NDArray[numpy.float64]) -> DetectedFace:
    box = numpy.array([x, 10.0, x + 40, 60.0])
    return DetectedFace(box, numpy.zeros((5, 2)), numpy.zeros((68, 2)), 1, 1, vector * 20)


def _follow(tracker: Tracker, frame: int, *faces: DetectedFace, shot: str = "a", film: bool = True):
    ids = [f"{shot}{frame}-{number}" for number in range(len(faces))]
    return tracker.follow(shot, faces, ids, film)


def test_two_people_keep_their_tracks_when_they_change_order() -> None:
    tracker = Tracker(LIMIT)
    ada, bob = draw_direction(1), draw_direction(2)
    assert _follow(tracker, 0, _face(0, ada), _face(100, bob)) == ["a0-0", "a0-1"]
    assert _follow(tracker, 1, _face(95, bob), _face(5, ada)) == ["a0-1", "a0-0"]
    # Nobody takes over the track of whoever moves through the picture before them.
    assert _follow(tracker, 2, _face(5, bob), _face(60, ada)) == ["a2-0", "a2-1"]


def test_a_face_may_be_missed_for_two_samples_but_not_for_more() -> None:
    tracker = Tracker(LIMIT)
    ada = draw_direction(1)
    assert _follow(tracker, 0, _face(0, ada)) == ["a0-0"]
    for frame in (1, 2):
        assert _follow(tracker, frame) == []
    assert _follow(tracker, 3, _face(4, ada)) == ["a0-0"]
    for frame in (4, 5, 6):
        assert _follow(tracker, frame) == []
    assert _follow(tracker, 7, _face(4, ada)) == ["a7-0"]


def test_a_shot_ends_its_tracks() -> None:
    tracker = Tracker(LIMIT)
    ada = draw_direction(1)
    assert _follow(tracker, 0, _face(0, ada)) == ["a0-0"]
    assert _follow(tracker, 1, _face(0, ada), shot="b") == ["b1-0"]


@pytest.mark.parametrize(
    ("cosine", "film", "is_followed"),
    [(0.25, False, True), (0.15, True, True), (0.15, False, False), (0.05, True, False)],
)
def test_a_turning_head_is_followed_and_another_in_its_place_is_not(
    cosine: float, film: bool, is_followed: bool
) -> None:
    tracker = Tracker(LIMIT)
    ada = draw_direction(1)
    _follow(tracker, 0, _face(0, ada), film=film)
    (name,) = _follow(tracker, 1, _face(3, _near(ada, cosine)), film=film)
    assert (name == "a0-0") == is_followed


def test_a_head_that_turns_among_others_needs_more_likeness() -> None:
    tracker = Tracker(LIMIT)
    ada, bob = draw_direction(1), draw_direction(2)
    _follow(tracker, 0, _face(0, ada), _face(100, bob))
    names = _follow(tracker, 1, _face(3, _near(ada, 0.15)), _face(100, bob))
    assert names == ["a1-0", "a0-1"]


def test_overlap() -> None:
    box = numpy.array([0.0, 0.0, 10.0, 10.0])
    assert measure_overlap(box, box) == 1
    assert measure_overlap(box, box + 5) == pytest.approx(25 / 175)
    assert measure_overlap(box, box + 20) == 0
