"""Commands on models, killed before each call that changes the disk, and repeated."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from facefusion_finetune import home
from facefusion_finetune.host.models import find_models, models_directory
from facefusion_finetune.people.profile import Person
from facefusion_finetune.registry import store, transfer
from facefusion_finetune.registry.versions import finish_removal, remove_version
from facefusion_finetune.runs.run import ImportRecord, Run, find_run, list_runs, next_version
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.files.bases import bases_directory
from tests.support.forked import ForkServer
from tests.support.killed import kill_everywhere
from tests.support.runs import create_finished_run


@pytest.fixture
def run(person: Person, options: SwapperOptions) -> Run:
    """What `elsewhere` exports."""
    return create_finished_run(person, options)


@pytest.fixture
def runs(person: Person, options: SwapperOptions, host: Path) -> list[Run]:
    """Two versions, of which the first is active."""
    made = [create_finished_run(person, options) for _ in range(2)]
    store.activate(person, made[0], host, force=True)
    transfer.export_privately(person, made[0])
    return made


def _list(*folders: Path) -> list[str]:
    """Everything in some folders and below."""
    return sorted(str(path) for folder in folders for path in folder.rglob("*"))


def _check_active(host: Path) -> None:
    for versions in find_models(models_directory(host)).values():
        for path in versions.values():
            store.verify(path)


PREPARED = """
from pathlib import Path
from facefusion_finetune.people.profile import load_person
from facefusion_finetune.registry import store, transfer, versions
from facefusion_finetune.runs.run import find_run
person, host = load_person("ada"), Path(sys.argv[1]) / "facefusion"
"""


def _repeat_activate(person: Person, host: Path) -> None:
    store.activate(person, find_run(person, 2), host, force=True)


def _repeat_deactivate(person: Person, host: Path) -> None:
    store.deactivate(person, host)


def _repeat_remove(person: Person, host: Path) -> None:
    """As the command does."""
    if finish_removal(person, 1) == [] or (person.runs_directory / "1").exists():
        remove_version(person, find_run(person, 1), host)


@pytest.mark.parametrize(
    ("code", "repeat"),
    [
        ("store.activate(person, find_run(person, 2), host, force=True)", _repeat_activate),
        ("store.deactivate(person, host)", _repeat_deactivate),
        ("versions.remove_version(person, find_run(person, 1), host)", _repeat_remove),
    ],
    ids=["activate", "deactivate", "remove"],
)
def test_repeated_command_ends_as_an_undisturbed_one(
    person: Person,
    runs: list[Run],
    host: Path,
    tmp_path: Path,
    fork_server: ForkServer,
    code: str,
    repeat: Callable[[Person, Path], None],
) -> None:
    folders = host, home.home_directory()
    saved = tmp_path.parent / f"{tmp_path.name}-saved"
    for folder in folders:
        shutil.copytree(folder, saved / folder.name)
    repeat(person, host)
    expected = _list(*folders)

    def prepare() -> None:
        for folder in folders:
            shutil.rmtree(folder)
            shutil.copytree(saved / folder.name, folder)

    calls = 0
    for calls in kill_everywhere(fork_server, PREPARED + code, tmp_path, prepare, every=2):
        _check_active(host)
        repeat(person, host)
        assert _list(*folders) == expected, calls
        _check_active(host)
    assert calls >= 4
    assert _list(*folders) == expected


def test_what_former_versions_left_is_taken_out(
    person: Person, runs: list[Run], host: Path
) -> None:
    directory = models_directory(host)
    before = _list(directory)
    for name in (
        *("ada-7.hash", "ada-7.json", ".ada-7.onnx.k3_9abcd.part", ".ada-1.json.k3_9abcd.part"),
        *("ada-b-7.json", ".ada-b-7.onnx.k3_9abcd.part"),
        ".demo-0123456789abcdef.base.0123abcd.part",
    ):
        (directory / name).touch()
    store.deactivate(person, host, version=7)
    others = {"ada-b-7.json", ".ada-b-7.onnx.k3_9abcd.part"}
    assert set(_list(directory)) - set(before) == {str(directory / name) for name in others}
    store.deactivate(person, host)
    assert {Path(path).name for path in _list(directory)} == others


def test_killed_import_leaves_nothing_and_is_repeated_once(
    elsewhere: Callable[..., Path],
    options: SwapperOptions,
    tmp_path: Path,
    fork_server: ForkServer,
) -> None:
    sent = elsewhere()
    folder = home.home_directory()
    saved = tmp_path / "saved"
    shutil.copytree(folder, saved)

    def prepare() -> None:
        shutil.rmtree(folder)
        shutil.copytree(saved, folder)

    transfer.import_model(sent, None, [options.path.parent])
    expected = _list(folder)
    code = f"""
transfer.import_model(Path({str(sent)!r}), None, [Path({str(options.path.parent)!r})])
"""
    calls = 0
    for calls in kill_everywhere(fork_server, PREPARED + code, folder, prepare, every=3):
        made = transfer.import_model(sent, None, [options.path.parent])
        assert made.run.reference == "ada@1"
        assert _list(folder) == expected, calls
    assert calls > 10


def test_file_imported_before_is_not_imported_again(
    elsewhere: Callable[..., Path], options: SwapperOptions
) -> None:
    sent = elsewhere()
    first = transfer.import_model(sent, None, [options.path.parent])
    second = transfer.import_model(sent, None, [options.path.parent])
    assert (first.is_new, second.is_new) == (True, False)
    assert second.run.reference == second.origin == "ada@1"
    first.run.model_path.write_bytes(first.run.model_path.read_bytes()[:-9])
    third = transfer.import_model(sent, None, [options.path.parent])
    assert (third.run.reference, third.is_new) == ("ada@2", True)


def test_import_of_a_former_version_has_no_digest(
    elsewhere: Callable[..., Path], options: SwapperOptions, person: Person
) -> None:
    sent = elsewhere()
    first = transfer.import_model(sent, None, [options.path.parent])
    lines = first.run.record_path.read_text().splitlines(keepends=True)
    first.run.record_path.write_text(
        "".join(line for line in lines if not line.startswith("sha256"))
    )
    (record,) = (run.record for run in list_runs(person))
    assert isinstance(record, ImportRecord)
    assert record.sha256 is None
    assert transfer.import_model(sent, None, [options.path.parent]).run.reference == "ada@2"


def test_killed_start_of_a_run_is_no_version(
    person: Person, runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    (person.runs_directory / ".3.k3_9abcd.part" / "checkpoints").mkdir(parents=True)
    assert next_version(person) == 3
    assert len(list_runs(person)) == 2
    person.sweep()
    assert sorted(path.name for path in person.runs_directory.iterdir()) == ["1", "2"]
    assert len(list(bases_directory().iterdir())) == 1
