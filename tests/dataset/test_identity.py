"""Which faces are the person."""

import numpy
import pytest
from numpy.typing import NDArray

from facefusion_finetune.dataset.identity import choose_person
from facefusion_finetune.errors import FootageError


def _faces(person: int, count: int) -> NDArray[numpy.float32]:
    """Vectors of one person: cosine about 0.8 among themselves, about 0 to others."""
    generator = numpy.random.default_rng(person)
    centre = generator.normal(size=512)
    noise = numpy.random.default_rng(person + 100).normal(size=(count, 512)) * 0.5
    return ((centre + noise) * 20).astype(numpy.float32)


def _frames(*counts: int) -> list[str]:
    return [
        f"source{index} {frame}" for index, count in enumerate(counts) for frame in range(count)
    ]


def test_one_person() -> None:
    choice = choose_person(_faces(1, 20), _frames(20), None, "clip")
    assert all(choice.is_person)
    assert choice.others == 0


def test_stray_face_is_left_out() -> None:
    faces = numpy.concatenate([_faces(1, 40), _faces(2, 2)])
    choice = choose_person(faces, _frames(40, 2), None, "clip")
    assert choice.is_person == [True] * 40 + [False] * 2
    assert choice.others == 0


def test_several_people_need_a_reference() -> None:
    faces = numpy.concatenate([_faces(1, 20), _faces(2, 10)])
    with pytest.raises(FootageError, match="2 people") as caught:
        choose_person(faces, _frames(20, 10), None, "clip")
    assert "20, 10 of 30 frames" in str(caught.value)
    assert "--reference" in caught.value.todo
    anchor = _faces(2, 30).mean(axis=0)
    choice = choose_person(faces, _frames(20, 10), anchor / numpy.linalg.norm(anchor), "clip")
    assert choice.is_person == [False] * 20 + [True] * 10
    assert choice.others == 1


def test_reference_that_is_not_there() -> None:
    anchor = _faces(3, 5).mean(axis=0)
    with pytest.raises(FootageError, match="none of the faces in it is the person"):
        choose_person(_faces(1, 20), _frames(20), anchor / numpy.linalg.norm(anchor), "clip")


def test_one_face_a_frame() -> None:
    faces = numpy.concatenate([_faces(1, 10), _faces(1, 10)])
    faces[10:] += numpy.random.default_rng(5).normal(size=(10, 512)) * 12
    frames = _frames(10) * 2
    choice = choose_person(faces, frames, None, "clip")
    assert choice.is_person == [True] * 10 + [False] * 10
