"""Persons and their consent."""

import shutil
import stat
from datetime import date, timedelta
from pathlib import Path

import pytest

from facefusion_finetune.errors import ConsentError, UsageError
from facefusion_finetune.people.profile import (
    DamagedPerson,
    add_person,
    create_consent,
    list_names,
    load_person,
    person_directory,
    scan_people,
    split_reference,
)
from facefusion_finetune.privacy.removal import remove_person


def test_record_survives_reading_back() -> None:
    note = 'Jane said "yes",\nin writing: é'
    added = add_person("jane.doe-1", create_consent(None, note, expires=date(2099, 1, 2)))
    read = load_person("jane.doe-1")
    assert read == added
    assert read.require_consent().text == note
    assert read.require_consent().expires == date(2099, 1, 2)


def test_consent_file_is_kept_as_digest_only(tmp_path: Path, home_folder: Path) -> None:
    form = tmp_path / "form.pdf"
    form.write_bytes(b"signed with a pen")
    person = add_person("jane", create_consent(form, None))
    assert person.require_consent().sha256.startswith("5aa76da8")
    everything = b"".join(path.read_bytes() for path in home_folder.rglob("*") if path.is_file())
    assert b"signed with a pen" not in everything


def test_files_are_private_to_the_user(home_folder: Path) -> None:
    person = add_person("jane", create_consent(None, "yes"))
    for path in [home_folder, person.directory, person.directory / "person.toml"]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


@pytest.mark.parametrize(
    "name", ["", "../jane", "jane/doe", "jane\\doe", ".jane", "a b", "con", "x" * 65, "jané", "a@1"]
)
def test_name_that_is_no_file_name_is_refused(name: str, home_folder: Path) -> None:
    with pytest.raises(UsageError, match="only letters, digits") as caught:
        add_person(name, create_consent(None, "yes"))
    assert repr(name) in str(caught.value)
    assert not home_folder.exists()


@pytest.mark.parametrize(("file", "note"), [(None, None), (Path("form.pdf"), "yes")])
def test_exactly_one_proof_of_consent(file: Path | None, note: str | None) -> None:
    with pytest.raises(UsageError, match="exactly one proof"):
        create_consent(file, note)


def test_empty_note_is_no_consent() -> None:
    with pytest.raises(UsageError, match="it is empty"):
        create_consent(None, "  ")


def test_missing_consent_file(tmp_path: Path) -> None:
    with pytest.raises(ConsentError, match="cannot be read"):
        create_consent(tmp_path / "nothing.pdf", None)


def test_expired_consent_stops_and_can_be_renewed() -> None:
    consent = create_consent(None, "yes")
    past = consent.model_copy(update={"expires": date.today() - timedelta(days=1)})
    person = add_person("jane", past)
    with pytest.raises(ConsentError, match="expired on"):
        person.require_consent()
    renewed = add_person("jane", create_consent(None, "again"), renew=True)
    assert renewed.require_consent().text == "again"
    assert renewed.created == person.created


def test_person_without_consent_record() -> None:
    person = add_person("jane", create_consent(None, "yes"))
    path = person.directory / "person.toml"
    path.write_text(path.read_text().split("[consent]")[0])
    with pytest.raises(ConsentError, match="no consent is on record"):
        load_person("jane").require_consent()


def test_damaged_record_shows_no_consent() -> None:
    person = add_person("jane", create_consent(None, "yes"))
    (person.directory / "person.toml").write_text("name = ")
    with pytest.raises(ConsentError, match="damaged"):
        load_person("jane")


def test_unknown_person_lists_the_known() -> None:
    add_person("jane", create_consent(None, "yes"))
    with pytest.raises(UsageError, match="known: jane"):
        load_person("joan")


def test_name_is_taken_whatever_its_case() -> None:
    add_person("jane", create_consent(None, "yes"))
    with pytest.raises(UsageError, match="already a person named 'jane'"):
        add_person("Jane", create_consent(None, "yes"))


def test_removal_leaves_nothing(home_folder: Path) -> None:
    person = add_person("jane", create_consent(None, "yes"))
    (person.directory / "crops").mkdir()
    (person.directory / "crops" / "a.png").write_bytes(b"face")
    removed = remove_person("jane").removed
    assert {path.name for path in removed} == {"person.toml", "a.png"}
    assert not person.directory.exists()
    assert list_names() == []


def test_reference_with_version() -> None:
    assert split_reference("jane") == ("jane", None)
    assert split_reference("jane@12") == ("jane", 12)
    assert split_reference("jane@002") == ("jane", 2)
    for version in ("latest", "0", "-1", "1.5", "1e3", "\u0663", "9" * 5000, "0" * 5000 + "1"):
        with pytest.raises(UsageError, match="not a version number") as caught:
            split_reference(f"jane@{version}")
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "name", ["../../evil", "..", "", "/etc", "a/b", "*", "a\0b", "con.x", "x" * 5000, "jane\n"]
)
def test_no_name_leads_out_of_the_people_s_folder(name: str) -> None:
    for use in (person_directory, load_person):
        with pytest.raises(UsageError, match="only letters, digits"):
            use(name)


def test_a_folder_with_a_name_that_nobody_can_have(home_folder: Path) -> None:
    jane = add_person("jane", create_consent(None, "yes"))
    odd = home_folder / "people" / "old copy"
    shutil.copytree(jane.directory, odd)
    assert list_names() == ["jane"]
    found = {person.name: isinstance(person, DamagedPerson) for person in scan_people()}
    assert found == {"jane": False, "old copy": True}
