"""Footage to crops, in the drawn world."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy
import pytest

from facefusion_finetune import home
from facefusion_finetune.dataset import collect, manifest
from facefusion_finetune.dataset.crops import load_crops
from facefusion_finetune.dataset.extract import extract_footage
from facefusion_finetune.dataset.manifest import digest_dataset, read_manifest
from facefusion_finetune.errors import ConsentError, DatasetError, FootageError
from facefusion_finetune.faces.demo import DemoAnalyser
from facefusion_finetune.faces.protocol import DetectedFace, VisionFrame
from facefusion_finetune.people.profile import Person
from tests.support.demo_world import FRAMES_PER_SHOT, SHOTS


class BlindAnalyser(DemoAnalyser):
    """Finds nobody."""

    def detect_faces(self, vision_frame: VisionFrame) -> list[DetectedFace]:
        return []


class StrictAnalyser(DemoAnalyser):
    """Its content check refuses everything."""

    def is_blocked(self, path: Path) -> bool:
        return True


def _files(person: Person) -> list[Path]:
    return sorted(path for path in person.directory.rglob("*") if path.is_file())


def test_every_frame_becomes_a_crop_with_its_shot(extracted: Person) -> None:
    records = read_manifest(extracted)
    assert len(records) == SHOTS * FRAMES_PER_SHOT
    assert all(record.kept and record.reason == "the person" for record in records)
    assert len({record.shot for record in records}) == SHOTS
    for record in records:
        path = manifest.cutout_path(extracted, record.id)
        height, width = cv2.imread(str(path)).shape[:2]
        assert (width, height) == record.size


def test_cutout_is_the_frame_without_loss(extracted: Person, footage: Path) -> None:
    record = read_manifest(extracted)[3]
    frame = cv2.imread(record.source)
    cutout = cv2.imread(str(manifest.cutout_path(extracted, record.id)))
    (x, y), (width, height) = record.offset, record.size
    numpy.testing.assert_array_equal(cutout, frame[y : y + height, x : x + width])


def test_crop_warped_late_equals_the_crop_of_the_frame(
    extracted: Person, analyser: DemoAnalyser
) -> None:
    options = analyser.get_swapper("demo")
    records = read_manifest(extracted)[::7]
    for crop in load_crops(extracted, records, analyser, options):
        frame = cv2.imread(crop.record.source)
        landmark_5 = numpy.array(crop.record.landmark_5)
        expected, _ = analyser.warp_face(frame, landmark_5, options.template, options.size)
        difference = numpy.abs(expected.astype(int) - crop.crop)
        assert difference.max() <= 1
        assert (difference > 0).mean() <= 0.01
        assert crop.face.max() == pytest.approx(1, abs=0.01)
        assert 0.1 < crop.face.mean() < 0.9


def test_same_footage_adds_nothing(
    extracted: Person, footage: Path, analyser: DemoAnalyser
) -> None:
    before = {path: path.stat().st_mtime_ns for path in _files(extracted)}
    digest = digest_dataset(read_manifest(extracted))
    result = extract_footage(extracted, [footage], analyser)
    assert (result.known_sources, result.kept) == (SHOTS * FRAMES_PER_SHOT, 0)
    assert result.total_kept == SHOTS * FRAMES_PER_SHOT
    assert {path: path.stat().st_mtime_ns for path in _files(extracted)} == before
    assert digest_dataset(read_manifest(extracted)) == digest


def test_footage_can_be_added_later(person: Person, footage: Path, analyser: DemoAnalyser) -> None:
    extract_footage(person, [footage / "shot-001"], analyser)
    result = extract_footage(person, [footage], analyser)
    assert result.kept == (SHOTS - 1) * FRAMES_PER_SHOT
    assert result.total_kept == SHOTS * FRAMES_PER_SHOT


def test_another_person_is_noticed(
    extracted: Person, other_footage: Path, analyser: DemoAnalyser
) -> None:
    before = _files(extracted)
    with pytest.raises(FootageError, match="none of the faces in it is the person"):
        extract_footage(extracted, [other_footage], analyser)
    assert _files(extracted) == before


def test_several_people_and_the_reference(
    person: Person, footage: Path, other_footage: Path, analyser: DemoAnalyser
) -> None:
    with pytest.raises(FootageError, match="2 people"):
        extract_footage(person, [footage, other_footage], analyser)
    assert [path.name for path in _files(person)] == ["person.toml"]
    reference = next(other_footage.rglob("*.png"))
    result = extract_footage(person, [footage, other_footage], analyser, reference)
    assert result.kept == 2 * FRAMES_PER_SHOT
    assert result.others == 1
    assert result.rejected == {"another face": SHOTS * FRAMES_PER_SHOT}
    for record in read_manifest(person):
        if not record.kept:
            assert record.embedding is None
            assert record.landmark_68 == []
            assert not manifest.cutout_path(person, record.id).exists()


def test_nobody_in_the_footage(person: Person, footage: Path) -> None:
    with pytest.raises(FootageError, match="no face was found in its 36 frames"):
        extract_footage(person, [footage], BlindAnalyser([footage]))
    assert [path.name for path in _files(person)] == ["person.toml"]


def test_refused_content_keeps_nothing(person: Person, footage: Path) -> None:
    with pytest.raises(FootageError, match="content check refuses it"):
        extract_footage(person, [footage], StrictAnalyser([footage]))
    assert [path.name for path in _files(person)] == ["person.toml"]


def test_no_consent_no_crops(person: Person, footage: Path, analyser: DemoAnalyser) -> None:
    nobody = person.model_copy(update={"consent": None})
    with pytest.raises(ConsentError, match="no consent is on record"):
        extract_footage(nobody, [footage], analyser)
    assert not manifest.crops_directory(person).exists()


def test_small_faces_are_left_out_with_the_reason(
    person: Person, footage: Path, analyser: DemoAnalyser, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = sorted(
        min(box[2] - box[0], box[3] - box[1])
        for path in footage.rglob("*.png")
        for box in [analyser.detect_faces(cv2.imread(str(path)))[0].bounding_box]
    )
    monkeypatch.setattr(collect, "SMALLEST_FACE", sides[len(sides) // 2])
    result = extract_footage(person, [footage], analyser)
    assert result.rejected == {"too small": len(sides) // 2}
    monkeypatch.setattr(collect, "SMALLEST_FACE", 1e6)
    shutil.rmtree(person.directory / "crops")
    (person.directory / "crops.jsonl").unlink()
    with pytest.raises(FootageError, match="no face in it can be used") as caught:
        extract_footage(person, [footage], analyser)
    assert "36 too small" in caught.value.why


def test_broken_file_in_a_folder_is_left_out_and_named(
    person: Person, footage: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(footage, folder)
    (folder / "shot-001" / "broken.png").write_bytes(b"no picture")

    class Trusting(DemoAnalyser):
        def is_blocked(self, path: Path) -> bool:
            return False

    result = extract_footage(person, [folder], Trusting([folder]))
    assert result.kept == SHOTS * FRAMES_PER_SHOT
    assert len(result.unreadable) == 1
    assert "broken.png" in result.unreadable[0]
    with pytest.raises(FootageError, match="can be decoded"):
        extract_footage(person, [folder / "shot-001" / "broken.png"], Trusting([folder]))


def test_full_disk_keeps_what_was_there(
    extracted: Person,
    other_footage: Path,
    analyser: DemoAnalyser,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = {path: path.read_bytes() for path in _files(extracted)}

    def full(path: Path, content: bytes, mode: int = 0o600) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(home, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        extract_footage(extracted, [other_footage], analyser)
    assert {path: path.read_bytes() for path in _files(extracted)} == before


def test_manifest_that_cannot_be_written_keeps_no_crop(
    person: Person, footage: Path, analyser: DemoAnalyser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: str, mode: int = 0o600) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(home, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        extract_footage(person, [footage / "shot-001"], analyser)
    assert [path.name for path in _files(person)] == ["person.toml"]


def test_known_folder_with_a_file_that_gave_nothing_adds_nothing(
    person: Person, footage: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(footage, folder)
    (folder / "shot-001" / "broken.png").write_bytes(b"no picture")

    class Trusting(DemoAnalyser):
        def is_blocked(self, path: Path) -> bool:
            return False

    extract_footage(person, [folder], Trusting([folder]))
    again = extract_footage(person, [folder], Trusting([folder]))
    assert (again.kept, again.total_kept) == (0, SHOTS * FRAMES_PER_SHOT)
    (folder / "only").mkdir()
    (folder / "only" / "broken.png").write_bytes(b"no picture either")
    with pytest.raises(FootageError, match="1 files cannot be read"):
        extract_footage(person, [folder / "only"], Trusting([folder]))


def test_leftovers_of_a_killed_extraction_are_removed(
    person: Person, footage: Path, analyser: DemoAnalyser
) -> None:
    crops = manifest.crops_directory(person)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left, live = crops / f".extract-{ended.pid}-a", crops / f".extract-{os.getpid()}-b"
    for folder in (left, live):
        folder.mkdir(parents=True)
        (folder / "face.png").write_bytes(b"somebody")
    extract_footage(person, [footage / "shot-001"], analyser)
    assert not left.exists()
    assert live.exists()


def test_damaged_manifest_is_named(extracted: Person) -> None:
    path = extracted.directory / "crops.jsonl"
    path.write_text(path.read_text() + '{"id": 3}\n')
    with pytest.raises(DatasetError, match="line 37"):
        read_manifest(extracted)
