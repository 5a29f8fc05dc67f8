"""The user's choice about single crops counts, and outlives a new extraction."""

import json
import shutil
from pathlib import Path

import pytest

from facefusion_finetune import home
from facefusion_finetune.dataset import manifest
from facefusion_finetune.dataset.extraction.extract import extract_footage
from facefusion_finetune.dataset.manifest import CropRecord, read_manifest
from facefusion_finetune.dataset.review import curation
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.errors import ConsentError, DatasetError, UsageError
from facefusion_finetune.people.profile import Person
from tests.support.records import make_other, make_record, write_records


def _kept(person: Person) -> list[str]:
    return [record.id for record in read_manifest(person) if record.kept]


def _read(person: Person) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in person.directory.glob("*.json*")}


def test_reject_and_restore(extracted: Person) -> None:
    ids = _kept(extracted)
    result = curation.reject(extracted, [ids[3], ids[0][:10].upper(), ids[3][:8]])
    assert sorted(record.id for record in result.changed) == sorted([ids[0], ids[3]])
    assert (result.unchanged, result.kept) == ([], len(ids) - 2)
    assert _kept(extracted) == [other for other in ids if other not in (ids[0], ids[3])]
    assert read_manifest(extracted)[3].reason == "rejected by hand"
    stored = json.loads(curation.choices_path(extracted).read_text())
    assert stored == {ids[0]: "rejected", ids[3]: "rejected"}
    assert list(stored) == sorted(stored)
    # the cut-outs stay
    assert manifest.cutout_path(extracted, ids[0]).is_file()
    result = curation.restore(extracted, [ids[3]])
    assert [record.reason for record in result.changed] == ["restored by hand"]
    assert _kept(extracted) == ids[1:]


def test_restored_crop_counts_whatever_its_faults_are(person: Person) -> None:
    record = make_record(0).decide(["blurred"], None)
    write_records(person, [record])
    curation.restore(person, [record.id])
    (after,) = read_manifest(person)
    assert (after.kept, after.reason) == (True, "restored by hand (blurred)")
    curation.reject(person, [record.id])
    (after,) = read_manifest(person)
    assert (after.kept, after.reason) == (False, "rejected by hand (blurred)")


def test_what_is_so_already_is_said_and_changes_nothing(person: Person) -> None:
    kept, blurred = make_record(0), make_record(1).decide(["blurred"], None)
    write_records(person, [kept, blurred])
    before = _read(person)
    assert curation.restore(person, [kept.id]).unchanged[0].id == kept.id
    result = curation.reject(person, [blurred.id])
    assert (result.changed, [record.id for record in result.unchanged]) == ([], [blurred.id])
    assert _read(person) == before
    assert not curation.choices_path(person).exists()


@pytest.mark.parametrize("choose", [curation.reject, curation.restore])
def test_unknown_and_ambiguous_ids_are_named_and_nothing_changes(choose, person: Person) -> None:  # type: ignore[no-untyped-def]
    records = [
        make_record(0, id="abcd000000000000"),
        make_record(1, id="abcd111111111111"),
        make_record(2, id="0000111122223333"),
    ]
    write_records(person, records)
    before = _read(person)
    with pytest.raises(UsageError) as caught:
        choose(person, ["0000111122223333", "abcd", "beef1", "000", ""])
    for words in (
        "'abcd' matches 2 ids (abcd000000000000, abcd111111111111",
        "'beef1' is unknown",
        "'000' has fewer than 4 digits",
        "'' has fewer than 4 digits",
    ):
        assert words in caught.value.why
    assert "0000111122223333" not in caught.value.why
    assert _read(person) == before


def test_somebody_elses_face_is_not_restored(person: Person) -> None:
    records = [make_record(0).decide([], "rejected"), make_other()]
    write_records(person, records)
    before = _read(person)
    with pytest.raises(UsageError, match="not the person's") as caught:
        curation.restore(person, [record.id for record in records])
    assert records[1].id in caught.value.given
    assert _read(person) == before
    assert curation.reject(person, [records[1].id]).changed == []


@pytest.mark.parametrize("lost", [manifest.cutout_path, manifest.masks_path])
def test_crop_without_its_files_is_not_restored(lost, person: Person) -> None:  # type: ignore[no-untyped-def]
    record = make_record(0).decide(["blurred"], None)
    write_records(person, [record])
    lost(person, record.id).unlink()
    before = _read(person)
    with pytest.raises(DatasetError, match="cut-out is missing"):
        curation.restore(person, [record.id])
    assert _read(person) == before


def test_rejecting_needs_no_consent_and_restoring_does(person: Person) -> None:
    record = make_record(0)
    write_records(person, [record])
    nobody = person.model_copy(update={"consent": None})
    assert len(curation.reject(nobody, [record.id]).changed) == 1
    with pytest.raises(ConsentError, match="no consent is on record"):
        curation.restore(nobody, [record.id])
    assert _kept(person) == []


def test_choice_survives_a_new_extraction(
    extracted: Person, footage: Path, analyser: DemoAnalyser
) -> None:
    ids = _kept(extracted)
    curation.reject(extracted, [ids[5]])
    # all that is known of the footage, which would be passed over otherwise
    for name in ("crops.jsonl", "sources.jsonl"):
        (extracted.directory / name).unlink(missing_ok=True)
    shutil.rmtree(manifest.crops_directory(extracted))
    extract_footage(extracted, [footage], analyser)
    again = curation.apply_choices(extracted, read_manifest(extracted))
    assert sorted(record.id for record in again) == sorted(ids)
    assert [record.id for record in again if not record.kept] == [ids[5]]
    assert next(record for record in again if not record.kept).choice == "rejected"


def test_choices_are_applied_where_they_can_be(person: Person) -> None:
    blurred = make_record(0).decide(["blurred"], None)
    without = make_record(1, sha256="").decide(["too small"], None)
    other, untouched = make_other(), make_record(3)
    legacy = make_record(4, kept=False, reason="too small", sha256="")
    records = [blurred, without, other, untouched, legacy]
    choices = dict.fromkeys((blurred.id, without.id, other.id), "restored")
    home.write_text(curation.choices_path(person), json.dumps(choices))
    applied = curation.apply_choices(person, records)
    assert applied[1:] == records[1:]
    assert (applied[0].kept, applied[0].choice) == (True, "restored")
    assert curation.apply_choices(person, applied) == applied


def test_without_choices_nothing_is_changed(person: Person) -> None:
    records: list[CropRecord] = [make_record(0), make_record(1).decide(["blurred"], None)]
    assert curation.apply_choices(person, records) == records


def test_choice_is_written_before_the_manifest(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = make_record(0)
    write_records(person, [record])

    def fail(person: Person, records: list[CropRecord]) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(manifest, "write_manifest", fail)
        with pytest.raises(OSError, match="No space left"):
            curation.reject(person, [record.id])
    assert _kept(person) == [record.id]
    assert not curation.apply_choices(person, read_manifest(person))[0].kept
    assert len(curation.reject(person, [record.id]).changed) == 1
    assert _kept(person) == []


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b'{"abcd": "maybe"}', b"\xff\xfe", b'{"abcd": 3}', b""]
)
def test_damaged_choices_are_named_and_kept(person: Person, content: bytes) -> None:
    record = make_record(0)
    write_records(person, [record])
    curation.choices_path(person).write_bytes(content)
    for act in (
        lambda: curation.apply_choices(person, [record]),
        lambda: curation.reject(person, [record.id]),
    ):
        with pytest.raises(DatasetError, match=r"choices\.json.*damaged"):
            act()
    assert curation.choices_path(person).read_bytes() == content
    assert _kept(person) == [record.id]
