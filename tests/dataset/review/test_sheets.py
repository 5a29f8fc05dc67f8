"""Contact sheets: every crop of the person once, in order, kept and rejected told apart."""

import os
from pathlib import Path

import numpy
import pytest
from PIL import Image

from facefusion_finetune import home
from facefusion_finetune.dataset.coverage import drawing
from facefusion_finetune.dataset.manifest import CropRecord, cutout_path, read_manifest
from facefusion_finetune.dataset.review import sheets
from facefusion_finetune.people.profile import Person
from tests.support.demo_world import FRAMES_PER_SHOT, SHOTS
from tests.support.records import make_other, make_record, write_records


def _shares(path: Path) -> tuple[int, int]:
    """Pixels of the kept and the rejected colour."""
    picture = numpy.asarray(Image.open(path).convert("RGB"))
    found = []
    for colour in (drawing.BLUE, drawing.VERMILION):
        rgb = tuple(int(colour[place : place + 2], 16) for place in (1, 3, 5))
        found.append(int((picture == rgb).all(axis=2).sum()))
    return found[0], found[1]


def test_sheet_of_the_drawn_world(extracted: Person) -> None:
    records = read_manifest(extracted)
    paths = sheets.write_sheets(extracted, records)
    assert [path.name for path in paths] == ["sheet-01.png"]
    assert SHOTS * FRAMES_PER_SHOT <= sheets.PER_PAGE
    picture = Image.open(paths[0])
    assert picture.width == sheets.WIDTH
    kept, rejected = _shares(paths[0])
    frame = sheets.TILE**2 - sheets.FACE**2
    assert kept >= len(records) * frame * 0.9
    assert rejected == 0
    if os.name == "posix":
        assert paths[0].stat().st_mode & 0o777 == 0o600


def test_kept_ones_by_shot_come_before_rejected_ones_by_reason() -> None:
    records = [
        make_record(0, shot="b"),
        make_record(1, shot="a").decide(["too dark"], None),
        make_record(2, shot="a"),
        make_record(3, shot="b").decide(["blurred"], None),
        make_other(),
        make_record(4, shot="b"),
        make_record(5, shot="a").decide([], "rejected"),
        make_record(6, shot="a").decide(["too dark"], "restored"),
    ]
    tiles = sheets.list_tiles(records)
    assert [(tile.record.frame, tile.group) for tile in tiles] == [
        (0, "shot 1: 2 crops, b.mp4"),
        (4, "shot 1: 2 crops, b.mp4"),
        (2, "shot 2: 2 crops, a.mp4"),
        (6, "shot 2: 2 crops, a.mp4"),
        (3, "blurred"),
        (5, "rejected by hand"),
        (1, "too dark"),
    ]
    states = [sheets.describe_state(tile.record) for tile in tiles]
    assert states[2:6] == ["kept", "restored by hand", "rejected", "rejected by hand"]


def test_ids_are_shown_as_long_as_they_have_to_be() -> None:
    assert sheets.count_digits(["0123456789abcdef", "0123456799abcdef"]) == 9
    assert sheets.count_digits(["0123456789abcdef", "f123456789abcdef"]) == 8
    assert sheets.count_digits(["0123456789abcdee", "0123456789abcdef"]) == 16
    assert sheets.count_digits([]) == 8


def test_pages_of_before_are_gone(person: Person) -> None:
    records = [make_record(number) for number in range(2 * sheets.PER_PAGE + 1)]
    write_records(person, records)
    assert len(sheets.write_sheets(person, records)) == 3
    note = sheets.review_directory(person) / "note.txt"
    note.touch()
    paths = sheets.write_sheets(person, records[:2])
    assert sorted(sheets.review_directory(person).iterdir()) == [note, *paths]
    assert sheets.write_sheets(person, [make_other()]) == []
    assert list(sheets.review_directory(person).iterdir()) == [note]


def test_rejected_page_has_the_other_colour(person: Person) -> None:
    records = [make_record(number).decide(["blurred"], None) for number in range(3)]
    write_records(person, records)
    kept, rejected = _shares(sheets.write_sheets(person, records)[0])
    assert kept == 0
    assert rejected >= 3 * (sheets.TILE**2 - sheets.FACE**2) * 0.9


def test_full_disk_leaves_no_partial_page(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [make_record(number) for number in range(sheets.PER_PAGE + 1)]
    write_records(person, records)
    write_bytes = home.write_bytes

    def fill(path: Path, content: bytes, mode: int = 0o600) -> None:
        if path.name == "sheet-02.png":
            raise OSError(28, "No space left on device")
        write_bytes(path, content, mode)

    monkeypatch.setattr(home, "write_bytes", fill)
    with pytest.raises(OSError, match="No space left"):
        sheets.write_sheets(person, records)
    assert [path.name for path in sheets.review_directory(person).iterdir()] == ["sheet-01.png"]


def test_missing_cutouts_and_odd_names_are_drawn(person: Person) -> None:
    names = ["世界.mp4", "x" * 255, "a\nb\x1b.mp4", "שלום 🙂.mp4"]
    records = [
        make_record(number, source=f"/x/{name}", shot=str(number), time=None)
        for number, name in enumerate(names)
    ]
    write_records(person, records)
    cutout_path(person, records[0].id).unlink()
    cutout_path(person, records[1].id).write_bytes(b"no picture")
    assert len(sheets.write_sheets(person, records)) == 1


def test_one_page_is_in_memory_at_a_time(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    records: list[CropRecord] = [make_record(number) for number in range(4 * sheets.PER_PAGE)]
    write_records(person, records)
    events: list[str] = []
    encode, write_bytes = drawing.encode_drawing, home.write_bytes

    def note_drawn(picture: Image.Image) -> bytes:
        events.append("drawn")
        return encode(picture)

    def note_written(path: Path, content: bytes, mode: int = 0o600) -> None:
        events.append("written")
        write_bytes(path, content, mode)

    monkeypatch.setattr(drawing, "encode_drawing", note_drawn)
    monkeypatch.setattr(home, "write_bytes", note_written)
    sheets.write_sheets(person, records)
    assert events == ["drawn", "written"] * 4
