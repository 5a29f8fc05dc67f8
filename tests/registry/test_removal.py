"""One version is deleted: its run, its exports, its model in every FaceFusion, and nothing else."""

import sys
from pathlib import Path

import pytest

from facefusion_finetune.cli import main
from facefusion_finetune.host.models import find_active, models_directory
from facefusion_finetune.people.profile import Person
from facefusion_finetune.registry import store
from facefusion_finetune.registry.transfer import export_privately, list_exports
from facefusion_finetune.registry.versions import remove_version
from facefusion_finetune.runs.run import Run, find_run
from facefusion_finetune.swappers.files.bases import bases_directory
from tests.support.host import create_fake_checkout
from tests.support.inswapper import write_inswapper
from tests.support.runs import create_finished_run


@pytest.fixture
def runs(person: Person, tmp_path: Path) -> list[Run]:
    """Two versions from the same base."""
    options = write_inswapper(tmp_path / "demo.onnx")
    return [create_finished_run(person, options) for _ in range(2)]


@pytest.fixture
def hosts(tmp_path: Path) -> list[Path]:
    return [create_fake_checkout(tmp_path / name) for name in ("first", "second")]


def _find_active(host: Path) -> dict[str, list[int]]:
    active = find_active(models_directory(host))
    return {name: list(versions) for name, versions in active.items()}


def test_it_goes_everywhere(person: Person, runs: list[Run], hosts: list[Path]) -> None:
    store.activate(person, runs[0], hosts[0], force=True)
    store.activate(person, runs[1], hosts[1], force=True)
    for run in runs:
        export_privately(person, run)
    removed = remove_version(person, runs[0], None)
    assert not runs[0].directory.exists()
    assert [_find_active(host) for host in hosts] == [{}, {"ada": [2]}]
    assert list_exports(person, 1) == []
    assert [path.name for path in list_exports(person, 2)] == ["ada-2.onnx"]
    assert runs[1].model_path.is_file()
    assert {path.name for path in removed} >= {"ada-1.onnx", "ada-1.hash", "ada-1.json", "1"}
    assert not any(path.exists() for path in removed)
    assert [path.suffix for path in bases_directory().iterdir()] == [".base"]
    removed = remove_version(person, runs[1], None)
    assert list(bases_directory().iterdir()) == []
    assert any(path.parent == bases_directory() for path in removed)


def test_a_host_that_is_not_on_record(person: Person, runs: list[Run], hosts: list[Path]) -> None:
    store.activate(person, runs[0], hosts[0], force=True)
    (person.directory / "hosts.json").unlink()
    remove_version(person, runs[0], hosts[0])
    assert _find_active(hosts[0]) == {}


def test_unfinished_run(person: Person, runs: list[Run]) -> None:
    runs[1].model_path.unlink()
    assert runs[1].directory in remove_version(person, runs[1], None)
    assert find_run(person, None).record.version == 1


def test_command_says_what_it_removed(
    person: Person,
    runs: list[Run],
    hosts: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store.activate(person, runs[0], hosts[0], force=True)
    arguments = ["models", "remove", "ada@1", "--yes", "--host", str(hosts[0])]
    monkeypatch.setattr(sys, "argv", ["facefusion-finetune", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    lines = capsys.readouterr().out.splitlines()
    directory = models_directory(hosts[0])
    assert lines[:3] == [
        f"removed {directory / name}" for name in ("ada-1.onnx", "ada-1.hash", "ada-1.json")
    ]
    assert f"removed {runs[0].directory}" in lines
