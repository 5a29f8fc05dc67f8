"""Footage to crops, in the drawn world."""

import hashlib
import os
import shutil
import signal
from datetime import date, timedelta
from pathlib import Path

import cv2
import numpy
import pytest

from facefusion_finetune import home
from facefusion_finetune.dataset import manifest
from facefusion_finetune.dataset.crops import load_crops
from facefusion_finetune.dataset.extraction import extract, quality, staging
from facefusion_finetune.dataset.extraction.extract import (
    ExtractSettings,
    Progress,
    extract_footage,
)
from facefusion_finetune.dataset.footage.sources import list_sources
from facefusion_finetune.dataset.manifest import digest_dataset, read_manifest, read_records
from facefusion_finetune.dataset.review.curation import reject, restore
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.demo.world import WorldFace, write_footage
from facefusion_finetune.errors import (
    BusyError,
    ConsentError,
    DatasetError,
    FootageError,
    UnreadableError,
    UsageError,
)
from facefusion_finetune.faces.protocol import DetectedFace, VisionFrame
from facefusion_finetune.people.profile import Person, add_person, create_consent
from facefusion_finetune.people.work import CROPS, at_work
from facefusion_finetune.runs.others import check_apart
from tests.support.demo_world import FRAMES_PER_SHOT, PERSON_SEED, SHOTS
from tests.support.forked import ForkServer


class BlindAnalyser(DemoAnalyser):
    """Finds nobody."""

    def detect_faces(self, vision_frame: VisionFrame) -> list[DetectedFace]:
        return []


class StrictAnalyser(DemoAnalyser):
    """Its content check refuses everything."""

    def is_frame_blocked(self, vision_frame: VisionFrame) -> bool:
        return True


def _files(person: Person) -> list[Path]:
    return sorted(path for path in person.directory.rglob("*") if path.is_file())


def _names(person: Person) -> list[str]:
    return [path.name for path in _files(person)]


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
    with pytest.raises(FootageError, match="none of its faces is the person"):
        extract_footage(extracted, [other_footage], analyser)
    assert _files(extracted) == before


def test_clear_majority_is_the_person(
    person: Person, footage: Path, other_footage: Path, analyser: DemoAnalyser
) -> None:
    result = extract_footage(person, [footage, other_footage], analyser)
    assert (result.kept, result.others) == (SHOTS * FRAMES_PER_SHOT, 1)
    assert result.rejected == {"another face": 2 * FRAMES_PER_SHOT}
    kept = [record for record in read_manifest(person) if record.kept]
    assert all(Path(record.source).is_relative_to(footage) for record in kept)


def test_several_people_and_the_reference(
    person: Person, footage: Path, other_footage: Path, analyser: DemoAnalyser
) -> None:
    both = [footage / "shot-001", footage / "shot-002", other_footage]
    with pytest.raises(FootageError, match="2 people"):
        extract_footage(person, both, analyser)
    assert _names(person) == ["person.toml"]
    settings = ExtractSettings((next(other_footage.rglob("*.png")),))
    result = extract_footage(person, [footage, other_footage], analyser, settings)
    assert result.kept == 2 * FRAMES_PER_SHOT
    assert result.others == 1
    assert result.rejected == {"another face": SHOTS * FRAMES_PER_SHOT}
    for record in read_manifest(person):
        if not record.kept:
            assert record.embedding is None
            assert record.fingerprint is None
            assert record.measures is None
            assert record.landmark_68 == []
            assert not manifest.cutout_path(person, record.id).exists()


def test_others_are_kept_only_where_they_are_asked_for(
    person: Person, footage: Path, other_footage: Path, analyser: DemoAnalyser
) -> None:
    settings = ExtractSettings(keep_others=True)
    result = extract_footage(person, [footage, other_footage], analyser, settings)
    assert result.others_folder == person.directory / "others"
    pictures = [path for path in result.others_folder.iterdir() if path.suffix == ".png"]
    assert len(pictures) == 2 * FRAMES_PER_SHOT
    records = read_records(result.others_folder / "others.jsonl")
    assert all(record.embedding is None and record.landmark_68 == [] for record in records)
    assert {Path(record.source).is_relative_to(other_footage) for record in records} == {True}
    # They are footage of others, and know what they were cut out of.
    assert len(list_sources([result.others_folder])) == len(pictures)
    with pytest.raises(UsageError, match="cannot be used for training and for evaluation"):
        check_apart([result.others_folder], [other_footage])


def test_nobody_in_the_footage(person: Person, footage: Path) -> None:
    with pytest.raises(FootageError, match="no face was found in its 36 frames"):
        extract_footage(person, [footage], BlindAnalyser([footage]))
    assert _names(person) == ["person.toml"]


def test_refused_content_keeps_nothing(person: Person, footage: Path) -> None:
    with pytest.raises(FootageError, match="content check refuses it"):
        extract_footage(person, [footage], StrictAnalyser([footage]))
    assert _names(person) == ["person.toml"]


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
    monkeypatch.setattr(quality, "MIN_FACE_SIZE", sides[len(sides) // 2])
    result = extract_footage(person, [footage], analyser)
    assert result.rejected == {"too small": len(sides) // 2}
    monkeypatch.setattr(quality, "MIN_FACE_SIZE", 1e6)
    shutil.rmtree(person.directory / "crops")
    (person.directory / "crops.jsonl").unlink()
    (person.directory / "sources.jsonl").unlink()
    with pytest.raises(FootageError, match="none of its faces is usable") as caught:
        extract_footage(person, [footage], analyser)
    assert "36 too small" in caught.value.why


def test_broken_file_in_a_folder_is_left_out_and_named(
    person: Person, footage: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(footage, folder)
    (folder / "shot-001" / "broken.png").write_bytes(b"no picture")

    result = extract_footage(person, [folder], DemoAnalyser([folder]))
    assert result.kept == SHOTS * FRAMES_PER_SHOT
    assert len(result.notes) == 1
    assert "broken.png" in result.notes[0]
    with pytest.raises(FootageError, match="cannot be decoded as an image"):
        extract_footage(person, [folder / "shot-001" / "broken.png"], DemoAnalyser([folder]))


FULL = OSError(28, "No space left on device")


@pytest.mark.parametrize("room", [0, 1, 9, 40])
def test_full_disk_keeps_what_was_there_and_goes_on_later(
    extracted: Person,
    other_footage: Path,
    footage: Path,
    analyser: DemoAnalyser,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    room: int,
) -> None:
    before = {path: path.read_bytes() for path in _files(extracted)}
    more = tmp_path / "more"
    write_footage(more, PERSON_SEED, 2, FRAMES_PER_SHOT, seed=99)
    knowing = DemoAnalyser([footage, more])
    write, left = staging._write_through, room

    def fill(path: Path, content: bytes, flag: int) -> None:
        nonlocal left
        if left == 0:
            path.write_bytes(content[: len(content) // 2])
            raise FULL
        left -= 1
        write(path, content, flag)

    with monkeypatch.context() as patch:
        patch.setattr(staging, "_write_through", fill)
        with pytest.raises(OSError, match="No space left"):
            extract_footage(extracted, [more], knowing)
    assert {path: path.read_bytes() for path in before} == before
    result = extract_footage(extracted, [more], knowing)
    assert result.kept == 2 * FRAMES_PER_SHOT
    _check_crops(extracted, (SHOTS + 2) * FRAMES_PER_SHOT)


def test_manifest_that_cannot_be_written_changes_nothing(
    person: Person, footage: Path, analyser: DemoAnalyser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise FULL

    with monkeypatch.context() as patch:
        patch.setattr(manifest, "write_manifest", full)
        with pytest.raises(OSError, match="No space left"):
            extract_footage(person, [footage / "shot-001"], analyser)
    assert read_manifest(person) == []
    result = extract_footage(person, [footage / "shot-001"], analyser)
    assert (result.kept, result.resumed_frames) == (FRAMES_PER_SHOT, FRAMES_PER_SHOT)
    _check_crops(person, FRAMES_PER_SHOT)


def _check_crops(person: Person, count: int) -> None:
    """So many different crops, each with its two whole files, and nothing else beside them."""
    records = read_manifest(person)
    ids = [record.id for record in records]
    assert len(ids) == len(set(ids)) == count
    directory = manifest.crops_directory(person)
    names = {name for record in records for name in manifest.file_names(record.id)}
    assert {path.name for path in directory.iterdir()} == names
    for record in records:
        content = (directory / manifest.cutout_name(record.id)).read_bytes()
        assert hashlib.sha256(content).hexdigest() == record.sha256
        assert cv2.imread(str(directory / manifest.masks_name(record.id))) is not None
    assert not (person.directory / "extraction").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from facefusion_finetune.dataset.extraction import extract, staging
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.people.profile import load_person

footage, place, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

def die_in(module, name):
    function = getattr(module, name)
    def call(*arguments):
        global left
        left -= 1
        if left < 0:
            if name == "_write_through":
                # half of the file is there
                with open(arguments[0], "ab") as file:
                    file.write(arguments[1][: len(arguments[1]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)
    setattr(module, name, call)

left = count
if place == "write":
    die_in(staging, "_write_through")
elif place == "move":
    die_in(Path, "replace")
elif place == "sources":
    die_in(extract, "write_known_sources")
extract.extract_footage(load_person("ada"), [footage], DemoAnalyser([footage]))
"""


def _sort_lines(path: Path) -> list[str]:
    return sorted(path.read_text().splitlines())


@pytest.mark.parametrize("others_first", [False, True])
def test_interrupted_before_the_footage_was_listed(
    person: Person,
    footage: Path,
    other_footage: Path,
    extracted_home: Path,
    analyser: DemoAnalyser,
    monkeypatch: pytest.MonkeyPatch,
    others_first: bool,
) -> None:
    """The crops are on record then, so their footage is known, and its counts must be, too."""

    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(extract, "write_known_sources", interrupt)
        with pytest.raises(KeyboardInterrupt):
            extract_footage(person, [footage], analyser)
    path = person.directory / "sources.jsonl"
    assert not path.exists()
    if others_first:
        # Another extraction deletes the journals.
        extract_footage(person, [footage / "shot-001" / "frame-0001.png"], analyser)
    result = extract_footage(person, [footage], analyser)
    assert (result.known_sources, result.total_kept) == (SHOTS * FRAMES_PER_SHOT,) * 2
    whole = extracted_home / "people" / "ada" / "sources.jsonl"
    assert _sort_lines(path) == _sort_lines(whole)
    assert not (person.directory / "extraction").exists()


@pytest.mark.parametrize(
    ("place", "count"),
    [("write", 0), ("write", 40), ("write", 110), ("move", 9), ("move", 50), ("sources", 0)],
)
def test_killed_extraction_goes_on(
    person: Person,
    footage: Path,
    analyser: DemoAnalyser,
    fork_server: ForkServer,
    place: str,
    count: int,
) -> None:
    killed = fork_server.run(KILLED, footage, place, count)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    kept_before = len(read_manifest(person))
    result = extract_footage(person, [footage], analyser)
    assert kept_before + result.kept == SHOTS * FRAMES_PER_SHOT
    if count > 100:
        assert 15 < result.resumed_frames < SHOTS * FRAMES_PER_SHOT
    _check_crops(person, SHOTS * FRAMES_PER_SHOT)


def test_killed_extraction_comes_to_the_same(
    person: Person,
    footage: Path,
    analyser: DemoAnalyser,
    extracted_home: Path,
    fork_server: ForkServer,
) -> None:
    """Shots and tracks that were interrupted go on as if nothing had happened."""
    fork_server.run(KILLED, footage, "write", 95)
    extract_footage(person, [footage], analyser)
    with home.use_home(extracted_home):
        expected = [record.model_dump() for record in read_manifest(person)]
    found = [record.model_dump() for record in read_manifest(person)]
    for one, other in zip(found, expected, strict=True):
        for key in ("embedding", "fingerprint"):
            numpy.testing.assert_array_equal(one.pop(key), other.pop(key))
        assert one == other


def test_other_settings_begin_anew_and_other_footage_is_forgotten(
    person: Person, footage: Path, analyser: DemoAnalyser, fork_server: ForkServer
) -> None:
    fork_server.run(KILLED, footage, "write", 90)
    left = person.directory / "extraction"
    assert len(list(left.glob("*.png"))) > 10
    result = extract_footage(
        person, [footage / "shot-005"], analyser, ExtractSettings(frames_per_second=3)
    )
    assert result.resumed_frames == 0
    _check_crops(person, FRAMES_PER_SHOT)


def test_two_extractions_at_once(person: Person, footage: Path, analyser: DemoAnalyser) -> None:
    with at_work(person, CROPS):
        with pytest.raises(
            BusyError, match=f"another process .{os.getpid()}. is working on the crop"
        ):
            extract_footage(person, [footage], analyser)
        with pytest.raises(BusyError, match="is working on the crops right now"):
            reject(person, ["abcd"])
    assert _names(person) == ["person.toml"]
    assert extract_footage(person, [footage], analyser).kept == SHOTS * FRAMES_PER_SHOT


def test_consent_that_ends_meanwhile_ends_the_extraction(
    person: Person, footage: Path, analyser: DemoAnalyser
) -> None:
    def withdraw(progress: Progress) -> None:
        if progress.stage == "extracting" and progress.number == 8:
            consent = create_consent(None, "I agreed until yesterday.")
            past = consent.model_copy(update={"expires": date.today() - timedelta(days=1)})
            add_person(person.name, past, renew=True)

    with pytest.raises(ConsentError, match="expired"):
        extract_footage(person, [footage], analyser, progress=withdraw)
    assert _names(person) == ["person.toml"]


def test_progress_tells_every_frame(person: Person, footage: Path, analyser: DemoAnalyser) -> None:
    told: list[Progress] = []
    extract_footage(person, [footage / "shot-001"], analyser, progress=told.append)
    extracting = [
        (progress.number, progress.total, progress.frames, progress.planned)
        for progress in told
        if progress.stage == "extracting"
    ]
    numbers = range(1, FRAMES_PER_SHOT + 1)
    assert extracting == [(number, FRAMES_PER_SHOT, 1, 1) for number in numbers]


def test_same_picture_from_another_file_is_a_near_duplicate(
    person: Person, footage: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(footage, folder)
    first = folder / "shot-001" / "frame-0001.png"

    class Forgiving(DemoAnalyser):
        """Knows a frame again that was stored with other values."""

        def find_face(self, vision_frame: VisionFrame) -> WorldFace:
            nearest = min(pixels, key=lambda key: numpy.abs(vision_frame - pixels[key]).mean())
            return super().find_face(pixels[nearest].astype(numpy.uint8))

    frames = sorted(folder.rglob("*.png"))
    pixels = {path: cv2.imread(str(path)).astype(float) for path in frames}
    copy = folder / "shot-001" / "frame-0001 (copy).jpg"
    cv2.imwrite(str(copy), cv2.imread(str(first)), [cv2.IMWRITE_JPEG_QUALITY, 80])
    result = extract_footage(person, [folder], Forgiving([folder]))
    assert result.rejected == {"near-duplicate": 1}
    assert result.kept == SHOTS * FRAMES_PER_SHOT
    (record,) = [record for record in read_manifest(person) if not record.kept]
    assert {Path(record.source).name, copy.name, first.name} == {copy.name, first.name}


def test_choices_survive_a_new_extraction(
    extracted: Person, footage: Path, analyser: DemoAnalyser
) -> None:
    records = read_manifest(extracted)
    reject(extracted, [records[3].id, records[20].id])
    restore(extracted, [records[20].id])
    shutil.rmtree(manifest.crops_directory(extracted))
    for name in ("crops.jsonl", "sources.jsonl"):
        (extracted.directory / name).unlink()
    result = extract_footage(extracted, [footage], analyser)
    assert result.kept == SHOTS * FRAMES_PER_SHOT - 1
    again = {record.id: record for record in read_manifest(extracted)}
    assert again[records[3].id].reason == "rejected by hand"
    assert not again[records[3].id].kept
    assert again[records[20].id].kept


def test_lost_cutouts_are_made_again(
    extracted: Person, footage: Path, analyser: DemoAnalyser
) -> None:
    records = read_manifest(extracted)
    manifest.cutout_path(extracted, records[5].id).unlink()
    manifest.masks_path(extracted, records[9].id).unlink()
    result = extract_footage(extracted, [footage], analyser)
    assert result.kept == 2
    assert {record.id for record in read_manifest(extracted)} == {record.id for record in records}
    _check_crops(extracted, SHOTS * FRAMES_PER_SHOT)


def test_known_folder_with_a_file_that_gave_nothing_adds_nothing(
    person: Person, footage: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(footage, folder)
    (folder / "shot-001" / "broken.png").write_bytes(b"no picture")

    extract_footage(person, [folder], DemoAnalyser([folder]))
    again = extract_footage(person, [folder], DemoAnalyser([folder]))
    assert (again.kept, again.total_kept) == (0, SHOTS * FRAMES_PER_SHOT)
    (folder / "only").mkdir()
    (folder / "only" / "broken.png").write_bytes(b"no picture either")
    with pytest.raises(FootageError, match="1 files cannot be read"):
        extract_footage(person, [folder / "only"], DemoAnalyser([folder]))


def test_every_empty_file_is_named(person: Person, footage: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(footage / "shot-001", folder / "shot-001")
    shutil.copy(footage / "world.json", folder)
    for name in ("a.png", "b.mp4"):
        (folder / name).write_bytes(b"")
    result = extract_footage(person, [folder], DemoAnalyser([folder]))
    assert result.kept == FRAMES_PER_SHOT
    assert [note.split(": ")[1].rsplit("/")[-1] for note in result.notes] == ["a.png", "b.mp4"]
    assert all("it is empty (0 bytes)" in note for note in result.notes)
    with pytest.raises(UnreadableError, match="it is empty"):
        extract_footage(person, [folder / "a.png"], DemoAnalyser([folder]))


def test_damaged_manifest_is_named(extracted: Person) -> None:
    path = extracted.directory / "crops.jsonl"
    path.write_text(path.read_text() + '{"id": 3}\n')
    with pytest.raises(DatasetError, match="line 37"):
        read_manifest(extracted)
