"""Exports in the person's own folder."""

import stat
from pathlib import Path

import pytest

from facefusion_finetune.errors import ConsentError, RegistryError, UsageError
from facefusion_finetune.people import elsewhere
from facefusion_finetune.people.profile import Person
from facefusion_finetune.privacy.inventory import take_inventory
from facefusion_finetune.privacy.removal import remove_person
from facefusion_finetune.registry.store import read_card
from facefusion_finetune.registry.transfer import (
    export_privately,
    exports_directory,
    list_exports,
    name_export,
)
from facefusion_finetune.runs.run import Run
from tests.support.inswapper import write_inswapper
from tests.support.runs import create_finished_run


@pytest.fixture
def run(person: Person, tmp_path: Path) -> Run:
    return create_finished_run(person, write_inswapper(tmp_path / "demo.onnx"))


def test_names_tell_the_options(run: Run) -> None:
    options = [(False, False, 1.0), (True, False, 1.0), (True, True, 1.0), (True, False, 0.5)]
    assert [name_export(run, *option) for option in options] == [
        "ada-1.onnx",
        "ada-1-standalone.onnx",
        "ada-1-fp16.onnx",
        "ada-1-strength-0.5.onnx",
    ]


def test_what_is_written(person: Person, run: Run) -> None:
    linked = export_privately(person, run)
    plain = export_privately(person, run, standalone=True)
    assert linked.base is not None
    assert plain.base is None
    assert linked.size < plain.size
    assert read_card(plain.path) == read_card(run.model_path)
    assert list_exports(person, 1) == sorted([linked.path, plain.path])
    assert stat.S_IMODE(exports_directory(person).stat().st_mode) == 0o700
    again = export_privately(person, run)
    assert again.path == linked.path
    assert len(list_exports(person, 1)) == 2, "the same export takes the place of the former one"


def test_versions_are_told_apart(person: Person, run: Run) -> None:
    export_privately(person, run)
    for name in ("ada-12.onnx", "ada-1-2_3.onnx", ".ada-1.onnx.x.part"):
        (exports_directory(person) / name).write_bytes(b"")
    assert [path.name for path in list_exports(person, 1)] == ["ada-1.onnx"]
    assert [path.name for path in list_exports(person, 12)] == ["ada-12.onnx"]


def test_it_goes_with_the_person(person: Person, run: Run) -> None:
    path = export_privately(person, run).path
    assert elsewhere.list_locations(person.directory) == []
    parts = {part.name: part for part in take_inventory("ada").parts}
    assert parts["exports"].what is not None
    assert parts["exports"].size.files == 1
    removal = remove_person("ada")
    removal.require_complete()
    assert path in removal.removed
    assert not person.directory.exists()


def test_refused(person: Person, run: Run) -> None:
    with pytest.raises(UsageError, match="not gated"):
        export_privately(person, run, strength=0.5)
    assert list_exports(person, 1) == []
    run.model_path.unlink()
    with pytest.raises(RegistryError, match="not finished"):
        export_privately(person, run)
    remove_person("ada").require_complete()
    with pytest.raises(ConsentError):
        export_privately(person, run)
    assert not person.directory.exists(), "a removed person must not come back"
