"""The picture of the coverage: whole, legible, and made from few files."""

import io
from pathlib import Path

import cv2
import numpy
import pytest
from numpy.typing import NDArray
from PIL import Image

from facefusion_finetune.dataset.coverage import drawing
from facefusion_finetune.dataset.coverage.advice import advise
from facefusion_finetune.dataset.coverage.measure import PITCHES, YAWS, find_cell, measure_coverage
from facefusion_finetune.dataset.coverage.picture import (
    CELL,
    CELL_GAP,
    HEAD_HEIGHT,
    LABELS,
    MAP_HEAD,
    MARGIN,
    WIDTH,
    choose_typical,
    draw_coverage,
)
from facefusion_finetune.dataset.manifest import CropRecord, cutout_path
from facefusion_finetune.people.profile import Person
from tests.support.records import make_complete, make_measures, make_record, write_records

GREEN = (20, 200, 60)


def _draw(person: Person, records: list[CropRecord]) -> NDArray[numpy.uint8]:
    coverage = measure_coverage(records)
    content = draw_coverage(person, records, coverage, advise(coverage))
    picture = Image.open(io.BytesIO(content))
    assert (picture.format, picture.width, picture.mode) == ("PNG", WIDTH, "RGB")
    return numpy.asarray(picture)


def _cell(picture: NDArray[numpy.uint8], row: int, column: int) -> NDArray[numpy.uint8]:
    x = MARGIN + LABELS + column * (CELL + CELL_GAP)
    y = HEAD_HEIGHT + MAP_HEAD + row * (CELL + CELL_GAP)
    return picture[y : y + CELL, x : x + CELL]


def _fill(person: Person, record: CropRecord, colour: tuple[int, int, int]) -> None:
    pixels = numpy.full((60, 60, 3), colour[::-1], dtype=numpy.uint8)
    cv2.imwrite(str(cutout_path(person, record.id)), pixels)


@pytest.mark.parametrize("count", [0, 1, 12])
def test_any_number_of_crops(person: Person, count: int) -> None:
    records = make_complete(shots=1, crops=count)
    write_records(person, records)
    picture = _draw(person, records)
    ink = (picture < 250).any(axis=2)
    # nothing is cut off at an edge
    assert not ink[:, : MARGIN // 2].any()
    assert not ink[:, -MARGIN // 2 :].any()
    assert not ink[-MARGIN // 2 :].any()
    for row in range(len(PITCHES)):
        for column in range(len(YAWS)):
            is_filled = (row, column) in {find_cell(record) for record in records}
            # an empty cell is paper
            assert bool((_cell(picture, row, column)[5, 5] != 255).any()) is is_filled


def test_face_stands_in_its_own_cell(person: Person) -> None:
    records = [make_record(0, make_measures(yaw=60.0)), make_record(1, make_measures(yaw=-60.0))]
    write_records(person, records)
    _fill(person, records[0], GREEN)
    picture = _draw(person, records)
    is_green = (picture == GREEN).all(axis=2)
    assert is_green.sum() > 100 * 100
    # turned to the own left: the picture's right
    assert is_green.sum() == (_cell(picture, 1, 6) == GREEN).all(axis=2).sum()


def test_thousands_of_crops_read_one_file_a_cell(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = make_complete(shots=50, crops=100)
    write_records(person, records[:30])
    opened: list[str] = []
    read_face = drawing.read_face

    def count(person: Person, record: CropRecord, side: int) -> Image.Image | None:
        opened.append(record.id)
        return read_face(person, record, side)

    monkeypatch.setattr(drawing, "read_face", count)
    _draw(person, records)
    assert len(opened) == len({find_cell(record) for record in records}) == 9


def test_sharpest_crop_is_shown(person: Person) -> None:
    records = [make_record(n, make_measures(sharpness=n / 10)) for n in (5, 8, 6)]
    rejected = make_record(9, make_measures(sharpness=0.9)).decide(["covered"], None)
    assert choose_typical([*records, rejected, make_record(10)]) == {(1, 3): records[1]}


def test_gone_and_damaged_cutouts_leave_a_gap_only(person: Person) -> None:
    records = [make_record(0, make_measures(yaw=60.0)), make_record(1, make_measures(yaw=0.0))]
    write_records(person, records)
    cutout_path(person, records[0].id).unlink()
    path = cutout_path(person, records[1].id)
    path.write_bytes(path.read_bytes()[:60])
    picture = _draw(person, records)
    for column in (6, 3):
        assert (_cell(picture, 1, column)[5, 5] != 255).any()


def test_names_in_any_script_and_of_any_length(person: Person, tmp_path: Path) -> None:
    names = [
        "世界.mp4",
        "Жаба" * 60 + ".mp4",
        "a\nb\x1b.mp4",
        "\ud800.mp4",
        "\N{GRINNING FACE}.mp4",
    ]
    records = [
        make_record(number, make_measures(), shot=str(number), source=f"/x/{name}")
        for number, name in enumerate(names)
    ]
    write_records(person, [])
    picture = _draw(person, records)
    assert not (picture[:, -MARGIN // 2 :] < 250).any()


def test_text_is_wrapped_and_shortened_to_the_width() -> None:
    text = "film ten seconds turning your head slowly to your left " * 3
    lines = drawing.wrap(text, 17, 300)
    assert " ".join(lines).split() == text.split()
    assert max(drawing.measure_text(line, 17) for line in lines) <= 300
    assert drawing.wrap("x" * 400, 17, 100)[0].count("...") == 1
    short = drawing.shorten("a_very_long_name_of_a_clip_0001.mp4", 13, 100)
    assert short.startswith("a_very")
    assert short.endswith(".mp4")
    assert drawing.measure_text(short, 13) <= 100
    assert drawing.shorten("clip.mp4", 13, 100) == "clip.mp4"
    assert drawing.shorten("clip.mp4", 13, 1) == ""


def test_face_at_the_rim_stays_in_the_picture(person: Person) -> None:
    record = make_record(0, make_measures(), bounding_box=(80.0, 40.0, 140.0, 130.0))
    write_records(person, [record], shade=255)
    face = drawing.read_face(person, record, 50)
    assert face is not None
    assert face.size == (50, 50)
    assert face.getextrema() == ((255, 255),) * 3
