"""Thumbnails: one for every crop that has a picture, drawn once, and gone with the crop."""

import os
from pathlib import Path

import numpy
import pytest
from PIL import Image

from facefusion_finetune import home
from facefusion_finetune.dataset import manifest
from facefusion_finetune.dataset.coverage import drawing
from facefusion_finetune.dataset.manifest import read_manifest
from facefusion_finetune.dataset.review.thumbnails import (
    SIDE,
    thumbnail_path,
    thumbnails_directory,
    write_thumbnails,
)
from facefusion_finetune.errors import ConsentError
from facefusion_finetune.people.profile import Person
from facefusion_finetune.privacy.inventory import take_inventory
from tests.support.records import make_other, make_record, write_records


def _names(person: Person) -> set[str]:
    return {path.name for path in thumbnails_directory(person).iterdir()}


def test_thumbnails_show_the_faces(extracted: Person) -> None:
    records = read_manifest(extracted)
    told: list[tuple[int, int]] = []
    drawn = write_thumbnails(extracted, records, lambda done, total: told.append((done, total)))
    assert drawn == len(records) == 36
    assert told == [(number, 36) for number in range(1, 37)]
    assert _names(extracted) == {f"{record.id}.jpg" for record in records}
    for record in records[::9]:
        path = thumbnail_path(extracted, record.id)
        with Image.open(path) as picture:
            assert (picture.format, picture.size) == ("JPEG", (SIDE, SIDE))
            pixels = numpy.asarray(picture, dtype=float)
        face = drawing.read_face(extracted, record, SIDE)
        assert face is not None
        assert numpy.abs(pixels - numpy.asarray(face, dtype=float)).mean() < 3
        if os.name == "posix":
            assert path.stat().st_mode & 0o777 == 0o600
    if os.name == "posix":
        assert thumbnails_directory(extracted).stat().st_mode & 0o777 == 0o700
    parts = {part.name: part for part in take_inventory("ada").parts}
    assert parts["shown"].what == "thumbnails of the crops, for the tab"
    assert parts["shown"].size.files == 36


def test_kept_and_rejected_ones_but_nobody_elses(person: Person) -> None:
    kept, rejected = make_record(0), make_record(1).decide(["blurred"], None)
    records = [kept, rejected, make_other()]
    write_records(person, records)
    assert write_thumbnails(person, records) == 2
    assert _names(person) == {f"{kept.id}.jpg", f"{rejected.id}.jpg"}


def test_only_what_is_missing_is_drawn_and_what_is_left_over_goes(person: Person) -> None:
    records = [make_record(number) for number in range(4)]
    write_records(person, records)
    assert write_thumbnails(person, records) == 4
    first, second, third, fourth = (thumbnail_path(person, record.id) for record in records)
    first.write_bytes(b"as it was")
    second.unlink()
    manifest.cutout_path(person, records[2].id).unlink()
    (thumbnails_directory(person) / f".{second.name}.x.part").touch()
    assert write_thumbnails(person, records[:3]) == 1
    assert first.read_bytes() == b"as it was"
    assert second.is_file()
    assert not third.exists(), "its picture is gone"
    assert not fourth.exists(), "it is in no manifest any more"
    assert _names(person) == {first.name, second.name}


def test_damaged_cutout_has_none_and_holds_up_nothing(person: Person) -> None:
    records = [make_record(number) for number in range(3)]
    write_records(person, records)
    manifest.cutout_path(person, records[1].id).write_bytes(b"no picture")
    assert write_thumbnails(person, records) == 2
    assert not thumbnail_path(person, records[1].id).exists()


def test_full_disk_leaves_whole_ones(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [make_record(number) for number in range(30)]
    write_records(person, records)
    real, written = home.write_bytes, []

    def write_bytes(path: Path, content: bytes, mode: int = 0o600) -> None:
        if len(written) == 5:
            raise OSError(28, "No space left on device", str(path))
        written.append(path)
        real(path, content, mode)

    with monkeypatch.context() as patch:
        patch.setattr(home, "write_bytes", write_bytes)
        with pytest.raises(OSError, match="No space left"):
            write_thumbnails(person, records)
    assert len(_names(person)) == 5
    assert write_thumbnails(person, records) == 25
    for record in records:
        with Image.open(thumbnail_path(person, record.id)) as picture:
            picture.load()


def test_removed_person_does_not_come_back(person: Person) -> None:
    (person.directory / "person.toml").unlink()
    person.directory.rmdir()
    with pytest.raises(ConsentError, match="the person was removed"):
        write_thumbnails(person, [])
    assert not person.directory.exists()
