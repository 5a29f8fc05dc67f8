"""Which faces are the person."""

from collections.abc import Sequence

import numpy
import pytest
from numpy.typing import NDArray

from facefusion_finetune.dataset.extraction import identity
from facefusion_finetune.dataset.extraction.identity import choose_person
from facefusion_finetune.dataset.manifest import CropRecord
from facefusion_finetune.errors import FootageError
from tests.support.records import make_measures, make_record
from tests.support.vectors import draw_direction

LIMIT = 0.4
NOBODY = numpy.empty((0, 512))


def _mix(first: NDArray[numpy.float64], second: NDArray[numpy.float64], cosine: float):
    """A direction at this cosine to the first, on the side of the second."""
    rest = second - (second @ first) * first
    return cosine * first + numpy.sqrt(1 - cosine**2) * rest / numpy.linalg.norm(rest)


def _record(vector: NDArray[numpy.float64], source: str, frame: int, track: str = "") -> CropRecord:
    return make_record(
        id=f"{source}-{frame}-{track}",
        source_sha256=source,
        frame=frame,
        track=track,
        embedding=(vector * 20).astype(numpy.float32),
    )


def _film(
    centre: NDArray[numpy.float64], source: str, count: int, takes: int = 1, spread: float = 0.5
) -> list[CropRecord]:
    """Frames of one person in some takes; each take lies off the centre, each frame off its take.

    With a spread of 0.5 two frames of a take have a cosine of about 0.8, two takes of 0.8 as well.
    """
    generator = numpy.random.default_rng([int(abs(centre[0]) * 1e9), count, takes])
    records = []
    for take in range(takes):
        middle = centre + generator.normal(size=512) * spread / numpy.sqrt(512)
        for frame in range(count):
            vector = middle + generator.normal(size=512) * spread / numpy.sqrt(512)
            name = f"{source}{take}"
            records.append(_record(vector / numpy.linalg.norm(vector), name, frame, name))
    return records


def _choose(records: Sequence[CropRecord], *anchors: NDArray[numpy.float64], limit: float = LIMIT):
    rows = numpy.stack(anchors) if anchors else NOBODY
    return choose_person(records, rows, limit, "clip")


def test_one_person() -> None:
    choice = _choose(_film(draw_direction(1), "a", 20, takes=3))
    assert all(choice.is_person)
    assert (choice.others, choice.look_alikes) == (0, 0)


def test_stray_face_is_left_out() -> None:
    records = _film(draw_direction(1), "a", 40) + _film(draw_direction(2), "b", 2)
    choice = _choose(records)
    assert choice.is_person == [True] * 40 + [False] * 2
    assert choice.others == 0


def test_clear_majority_is_the_person_and_the_others_are_counted() -> None:
    records = _film(draw_direction(1), "a", 10, takes=4)
    records += _film(draw_direction(2), "b", 15) + _film(draw_direction(3), "c", 8)
    choice = _choose(records)
    assert choice.is_person == [True] * 40 + [False] * 23
    assert choice.others == 2


def test_without_a_majority_a_reference_is_needed() -> None:
    records = _film(draw_direction(1), "a", 20) + _film(draw_direction(2), "b", 11)
    with pytest.raises(FootageError, match="2 people") as caught:
        _choose(records)
    assert "20, 11 of 31 frames" in str(caught.value)
    assert "--reference" in caught.value.todo
    choice = _choose(records, draw_direction(2))
    assert choice.is_person == [False] * 20 + [True] * 11
    assert choice.others == 1


def test_two_stray_frames_do_not_take_the_reference_from_the_person() -> None:
    centre = draw_direction(1)
    reference = _mix(centre, draw_direction(7), 0.6)
    records = _film(centre, "a", 12, takes=2, spread=0.2)
    records += [_record(reference, "b", frame) for frame in range(2)]
    records = [
        record if record.track else record.model_copy(update={"track": record.id})
        for record in records
    ]
    choice = _choose(records, reference, limit=0.55)
    assert choice.is_person[:24] == [True] * 24
    # With nobody else there, two frames are the person all the same.
    assert all(_choose(records[-2:], reference, limit=0.55).is_person)


def test_reference_that_is_not_there() -> None:
    with pytest.raises(FootageError, match="none of its faces is the person"):
        _choose(_film(draw_direction(1), "a", 20), draw_direction(3))


def test_one_face_a_frame() -> None:
    first = _film(draw_direction(1), "a", 10)
    generator = numpy.random.default_rng(5)
    second = [
        _record(draw_direction(1) + generator.normal(size=512) * 0.04, "a0", frame, "poster")
        for frame in range(10)
    ]
    choice = _choose(first + second)
    assert choice.is_person == [True] * 10 + [False] * 10


def test_a_turned_head_is_who_the_faces_around_it_are() -> None:
    centre, away = draw_direction(1), draw_direction(9)
    cosines, yaws = (0.9, 0.9, 0.15, 0.05, 0.9, 0.9), (0.0, 0.0, 70.0, 80.0, 0.0, 0.0)
    turned = [
        _record(_mix(centre, away, cosine), "a0", frame, "a0").model_copy(
            update={"measures": make_measures(yaw=yaw)}
        )
        for frame, (cosine, yaw) in enumerate(zip(cosines, yaws, strict=True))
    ]
    records = _film(centre, "b", 12, takes=2) + turned
    assert all(_choose(records).is_person)
    # The same faces one by one, each for itself, are not.
    alone = [record.model_copy(update={"track": ""}) for record in turned]
    choice = _choose(_film(centre, "b", 12, takes=2) + alone)
    assert choice.is_person[-4:-2] == [False, False]


def test_a_sibling_is_left_out_and_counted() -> None:
    centre = draw_direction(1)
    sibling = _mix(centre, draw_direction(2), 0.5)
    records = _film(centre, "a", 10, takes=4, spread=0.3)
    records += _film(sibling, "b", 7, takes=2, spread=0.3)
    choice = _choose(records)
    assert choice.is_person == [True] * 40 + [False] * 14
    assert (choice.others, choice.look_alikes) == (1, 14)
    choice = _choose(records, sibling)
    assert choice.is_person == [False] * 40 + [True] * 14


def test_two_siblings_as_often_ask_for_a_reference() -> None:
    centre = draw_direction(1)
    records = _film(centre, "a", 10, takes=3, spread=0.3)
    records += _film(_mix(centre, draw_direction(2), 0.5), "b", 10, takes=2, spread=0.3)
    with pytest.raises(FootageError, match="2 people who look alike") as caught:
        _choose(records)
    assert "one --reference per appearance" in caught.value.todo
    both = _choose(records, centre, _mix(centre, draw_direction(2), 0.5))
    assert all(both.is_person)


def test_other_glasses_and_light_are_no_sibling() -> None:
    centre = draw_direction(1)
    records = _film(centre, "a", 10, takes=3, spread=0.3)
    records += _film(_mix(centre, draw_direction(2), 0.75), "b", 10, takes=3, spread=0.3)
    choice = _choose(records)
    assert all(choice.is_person)
    assert choice.look_alikes == 0


def test_who_is_in_the_picture_with_the_person_is_somebody_else() -> None:
    centre = draw_direction(1)
    sibling = _mix(centre, draw_direction(2), 0.3)
    records = _film(centre, "a", 10)
    for frame in range(10):
        records.append(_record(sibling, "a0", frame, "beside"))
    choice = _choose(records, centre, sibling)
    assert choice.is_person == [True] * 10 + [False] * 10


def test_thousands_of_photos_without_tracks() -> None:
    people = [(draw_direction(1), 2200), (draw_direction(2), 300)]
    records = []
    for number, (centre, count) in enumerate(people):
        film = _film(centre, f"p{number}", count, spread=0.4)
        records += [
            record.model_copy(update={"track": "", "source_sha256": record.id}) for record in film
        ]
    assert len(records) > identity.MAX_GROUPED
    choice = _choose(records)
    assert choice.is_person == [True] * 2200 + [False] * 300
    assert choice.others == 1
