"""A removal beside other commands on the same person: whoever comes second writes nothing."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from facefusion_finetune import home
from facefusion_finetune.dataset.coverage.report import write_report
from facefusion_finetune.dataset.extraction.extract import Progress, extract_footage
from facefusion_finetune.dataset.manifest import read_manifest
from facefusion_finetune.dataset.review import curation
from facefusion_finetune.dataset.review.sheets import write_sheets
from facefusion_finetune.dataset.review.thumbnails import write_thumbnails
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.errors import (
    BusyError,
    ConsentError,
    FinetuneError,
    RegistryError,
    TrainingError,
)
from facefusion_finetune.evaluation import rerun
from facefusion_finetune.host.models import models_directory
from facefusion_finetune.jobs import queue, stopping
from facefusion_finetune.people import elsewhere
from facefusion_finetune.people.profile import Person, add_person, create_consent
from facefusion_finetune.people.work import Announcement, at_work, list_others
from facefusion_finetune.privacy.removal import RemovalError, remove_person
from facefusion_finetune.privacy.text import describe_removal
from facefusion_finetune.registry import store, transfer, versions
from facefusion_finetune.runs.observer import Observer
from facefusion_finetune.runs.run import Run, find_run
from facefusion_finetune.training import recipe
from facefusion_finetune.training.request import TrainRequest
from tests.support.inswapper import write_inswapper
from tests.support.runs import create_finished_run
from tests.support.waiting import HANGS

WORKER = """
import contextlib, signal, sys, time
from facefusion_finetune.people.profile import load_person
from facefusion_finetune.people.work import CROPS, at_work, ending_with_removal
kind = ending_with_removal() if "command" in sys.argv else contextlib.nullcontext()
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with kind, at_work(load_person("ada"), CROPS) as work:
    print("at work", flush=True)
    while "deaf" in sys.argv or not work.is_over:
        time.sleep(0.01)
print("over", flush=True)
"""


@pytest.fixture
def known(person: Person, tmp_path: Path) -> Person:
    """The person with a finished run, which was not trained."""
    create_finished_run(person, write_inswapper(tmp_path / "demo.onnx"))
    return person


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A folder for active models."""
    return tmp_path / "facefusion"


def _list_files(*folders: Path) -> list[Path]:
    return [path for folder in folders for path in folder.rglob("*") if not path.is_dir()]


class _Meeting:
    """Two commands, of which the first is halted at a call until the second was started."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
        real = getattr(module, name)
        self.is_there, self.may_go = threading.Event(), threading.Event()

        def halt(*arguments: Any, **options: Any) -> Any:
            if not self.is_there.is_set():
                self.is_there.set()
                assert self.may_go.wait(HANGS)
            return real(*arguments, **options)

        monkeypatch.setattr(module, name, halt)

    def hold(self, first: Callable[[], object], second: Callable[[], object]) -> list[object]:
        """What the two returned or raised; the second one ran into the halted first one."""
        ends: list[object] = [None, None]

        def run(place: int, command: Callable[[], object]) -> None:
            try:
                ends[place] = command()
            except FinetuneError as error:
                ends[place] = error

        threads = [threading.Thread(target=run, args=pair) for pair in enumerate((first, second))]
        threads[0].start()
        assert self.is_there.wait(HANGS)
        threads[1].start()
        threads[1].join(0.2)
        assert threads[1].is_alive(), "it waits"
        self.may_go.set()
        for thread in threads:
            thread.join(HANGS)
        return ends


def test_activation_comes_first_and_goes_with_the_person(
    known: Person, host: Path, home_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The removal would have looked for models before the activation wrote its own."""
    run = find_run(known, None)
    meeting = _Meeting(monkeypatch, home, "copy_whole")
    path, removal = meeting.hold(
        lambda: store.activate(known, run, host, force=True), lambda: remove_person("ada")
    )
    assert path == models_directory(host) / "ada-1.onnx"
    assert {path, path.with_suffix(".json")} <= set(removal.removed)  # type: ignore[attr-defined]
    removal.require_complete()  # type: ignore[attr-defined]
    assert _list_files(home_folder, host) == []


@pytest.mark.parametrize("kind", ["export", "import"])
def test_export_and_import_come_first_and_go_too(
    known: Person,
    tmp_path: Path,
    home_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    run = find_run(known, None)
    sent, output = tmp_path / "sent.onnx", tmp_path / "out" / "again.onnx"
    output.parent.mkdir()
    transfer.export_model(known, run, sent, standalone=True)
    elsewhere.forget(known.directory, sent)
    meeting = _Meeting(monkeypatch, home, "copy_whole")
    commands = {
        "export": lambda: transfer.export_model(known, run, output),
        "import": lambda: transfer.import_model(sent, "ada", [tmp_path]),
    }
    done, removal = meeting.hold(commands[kind], lambda: remove_person("ada", exports=True))
    assert not isinstance(done, FinetuneError), done
    removal.require_complete()  # type: ignore[attr-defined]
    assert _list_files(home_folder, output.parent) == []


def _commands(
    person: Person, run: Run, host: Path, tmp_path: Path, analyser: DemoAnalyser, footage: Path
) -> dict[str, Callable[[], object]]:
    consent = create_consent(None, "again")
    crop = read_manifest(person)[0].id
    return {
        "activate": lambda: store.activate(person, run, host, force=True),
        "deactivate": lambda: store.deactivate(person, host),
        "export": lambda: transfer.export_model(person, run, tmp_path / "sent.onnx"),
        "export privately": lambda: transfer.export_privately(person, run),
        "remove version": lambda: versions.remove_version(person, run, host),
        "extract": lambda: extract_footage(person, [footage], analyser),
        "train": lambda: recipe.train_person(person, analyser, TrainRequest(base="demo")),
        "resume": lambda: recipe.train_person(person, analyser, TrainRequest(resume=True)),
        "estimate": lambda: recipe.dry_run_person(person, analyser, TrainRequest(base="demo")),
        "evaluate": lambda: rerun.evaluate_run(person, run, analyser),
        "reject": lambda: curation.reject(person, [crop]),
        "restore": lambda: curation.restore(person, [crop]),
        "coverage": lambda: write_report(person),
        "sheets": lambda: write_sheets(person, []),
        "thumbnails": lambda: write_thumbnails(person, []),
        "submit": lambda: queue.submit(person, "extract", {"paths": [str(footage)]}),
        "renew": lambda: add_person("ada", consent, renew=True),
    }


def test_nothing_is_written_for_a_removed_person(
    extracted: Person,
    host: Path,
    tmp_path: Path,
    home_folder: Path,
    analyser: DemoAnalyser,
    footage: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor for the next one of that name, by a command that began before."""
    monkeypatch.setattr(queue, "ensure_runner", lambda: None)
    run = create_finished_run(extracted, analyser.get_swapper("demo"))
    commands = _commands(extracted, run, host, tmp_path, analyser, footage)
    given = set(_list_files(tmp_path)) - set(_list_files(home_folder))
    remove_person("ada").require_complete()
    for name, command in commands.items():
        with pytest.raises(FinetuneError, match=r"removed|no such person") as caught:
            command()
        assert "No such file" not in str(caught.value), name
        assert set(_list_files(tmp_path)) == given, name
    add_person("ada", create_consent(None, "somebody else"))
    before = set(_list_files(tmp_path))
    for name, command in commands.items():
        if name != "renew":
            with pytest.raises(ConsentError, match="added under the same name"):
                command()
        assert set(_list_files(tmp_path)) == before, name


def test_extraction_beside_a_removal_in_the_same_process(
    person: Person, footage: Path, analyser: DemoAnalyser, home_folder: Path
) -> None:
    """It cannot be waited for, and ends at its next frame; what is left to say is why."""

    def remove(progress: Progress) -> None:
        if progress.number == 5 and person.directory.exists():
            remove_person("ada").require_complete()

    with pytest.raises(ConsentError, match="the person was removed"):
        extract_footage(person, [footage], analyser, progress=remove)
    assert _list_files(home_folder) == []


def test_run_removed_by_another_command_is_not_activated(known: Person, host: Path) -> None:
    run = find_run(known, None)
    versions.remove_version(known, run, host)
    for command in (store.activate, versions.remove_version):
        with pytest.raises(TrainingError, match="ada@1: it was removed in the meantime"):
            command(known, run, host)
    assert _list_files(host) == []


def test_run_that_is_worked_on_is_not_removed(known: Person, host: Path) -> None:
    run = find_run(known, None)
    before = _list_files(run.directory)
    with at_work(known, "ada@1"), pytest.raises(BusyError, match=r"working on ada@1 right now"):
        versions.remove_version(known, run, host)
    assert _list_files(run.directory) == before
    versions.remove_version(known, run, host)
    assert not run.directory.exists()


@pytest.mark.parametrize("is_deleted", [True, False])
def test_failed_activation_leaves_nothing_incomplete(
    known: Person, host: Path, monkeypatch: pytest.MonkeyPatch, is_deleted: bool
) -> None:
    """Somebody else deletes an active model while it is activated again, and the disk is full."""
    run = find_run(known, None)
    path = store.activate(known, run, host, force=True)
    before = set(_list_files(host))

    def copy_whole(source: Path, target: Path, mode: int = 0o600) -> None:
        if is_deleted:
            path.unlink()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    monkeypatch.setattr(home, "copy_whole", copy_whole)
    with pytest.raises(RegistryError, match="No incomplete files were left"):
        store.activate(known, run, host, force=True)
    assert set(_list_files(host)) == (set() if is_deleted else before)
    if not is_deleted:
        store.verify(path)


def test_consent_that_expires_while_writing_undoes_it(
    known: Person, host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, sent = find_run(known, None), tmp_path / "sent.onnx"
    transfer.export_model(known, run, sent, standalone=True)
    record = known.directory / "person.toml"
    text, real = record.read_text(), home.copy_whole

    def copy_whole(source: Path, path: Path, mode: int = 0o600) -> None:
        real(source, path, mode)
        record.write_text(text.split("[consent]")[0])

    monkeypatch.setattr(home, "copy_whole", copy_whole)
    store_again = tmp_path / "again.onnx"
    for command in (
        lambda: store.activate(known, run, host, force=True),
        lambda: transfer.export_model(known, run, store_again),
        lambda: transfer.import_model(sent, "ada", [tmp_path]),
    ):
        record.write_text(text)
        with pytest.raises(ConsentError, match="no consent is on record"):
            command()
    assert _list_files(host) == []
    assert not store_again.exists()
    assert [path.name for path in known.runs_directory.iterdir()] == ["1"]
    assert [entry.path for entry in elsewhere.list_locations(known.directory)] == [str(sent)]


def _start_worker(*words: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, *words], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    return process


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), 0),
        (("command", "deaf"), -signal.SIGTERM),
        (("command", "deaf", "stubborn"), -signal.SIGKILL),
    ],
)
def test_work_in_another_process_ends_before_anything_is_deleted(
    person: Person,
    home_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    code: int,
) -> None:
    monkeypatch.setattr(stopping, "STOP_SECONDS", 0.2 if words else HANGS)
    monkeypatch.setattr(stopping, "END_SECONDS", 0.5 if "stubborn" in words else HANGS)
    with _start_worker(*words) as process:
        remove_person("ada").require_complete()
        assert process.wait(HANGS) == code
    assert _list_files(home_folder) == []


def test_only_the_process_that_has_the_file_open_is_ended(
    known: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container, an id may be that of another process outside."""
    monkeypatch.setattr(stopping, "STOP_SECONDS", 0.2)
    with _start_worker("deaf") as process, _sleep() as stranger:
        (path,) = list_others(known.directory)
        made = Announcement(pid=stranger.pid, what="the crops", is_command=True)
        path.write_text(made.model_dump_json())
        with pytest.raises(RemovalError, match=rf"process {stranger.pid}\) cannot be stopped"):
            remove_person("ada")
        assert (process.poll(), stranger.poll()) == (None, None)
        process.kill()
        stranger.kill()


def _sleep() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])


def test_other_programs_are_not_ended_and_nothing_is_deleted(
    known: Person, home_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "STOP_SECONDS", 0.2)
    with _start_worker("deaf") as process:
        before = _list_files(home_folder)
        with pytest.raises(
            RemovalError, match=rf"the crops \(process {process.pid}\) cannot be stopped"
        ):
            remove_person("ada")
        assert process.poll() is None
        assert _list_files(home_folder) == before
        # The person is not being removed any more.
        add_person("ada", create_consent(None, "again"), renew=True)
        process.kill()
    remove_person("ada").require_complete()


def test_what_comes_back_is_deleted_again(
    known: Person, host: Path, home_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a program that does not know of the lock, such as an earlier version of this one."""
    from facefusion_finetune.privacy import removal

    path = store.activate(known, find_run(known, None), host, force=True)
    card = path.with_suffix(".json")
    content, real = card.read_text(), removal._delete_last
    writes = [1]

    def delete_last(done: removal.Removal, directory: Path) -> None:
        real(done, directory)
        if writes.pop() if writes else False:
            card.write_text(content)
            directory.mkdir()
            (directory / "metrics.jsonl").write_text("{}")

    monkeypatch.setattr(removal, "_delete_last", delete_last)
    done = remove_person("ada")
    done.require_complete()
    assert _list_files(host, home_folder) == []
    assert done.removed.count(card) == 2


def test_two_trainings_at_once_take_two_versions_or_one_says_so(
    extracted: Person, analyser: DemoAnalyser, preset_file: Path
) -> None:
    request = TrainRequest(base="demo", preset=str(preset_file))
    real = recipe.plan_run
    with pytest.MonkeyPatch.context() as patch:

        def plan_run(*arguments: Any) -> Any:
            plan = real(*arguments)
            create_finished_run(extracted, analyser.get_swapper("demo"))
            return plan

        patch.setattr(recipe, "plan_run", plan_run)
        with pytest.raises(TrainingError, match="another command has created this version"):
            recipe.train_person(extracted, analyser, request)
    model = find_run(extracted, 1).model_path.read_bytes()
    stopped = Observer(is_stopped=lambda: True)
    with pytest.raises(FinetuneError, match="stopped after step 1"):
        recipe.train_person(extracted, analyser, request, stopped)
    assert find_run(extracted, None).record.version == 2
    assert find_run(extracted, 1).model_path.read_bytes() == model


def test_uploads_that_were_deleted_are_not_called_untouched(
    person: Person, footage: Path, tmp_path: Path
) -> None:
    job = person.directory / "jobs" / "20260101-extract" / "footage"
    shutil.copytree(footage, job)
    mine = tmp_path / "mine" / "shot-002"
    shutil.copytree(job / "shot-002", mine)
    extract_footage(person, [job / "shot-001", mine], DemoAnalyser([job, footage]))
    done = remove_person("ada")
    lines = list(describe_removal(done))
    assert len(done.traces.footage) == 12
    place = lines.index("footage was not touched:")
    assert lines[place + 1] == f"  6 files in {mine}"
    assert not any("jobs" in line for line in lines)


def test_only_uploads_means_no_footage_at_all(person: Person, footage: Path) -> None:
    job = person.directory / "jobs" / "20260101-extract" / "footage"
    shutil.copytree(footage, job)
    extract_footage(person, [job / "shot-001"], DemoAnalyser([job]))
    assert not any("not touched" in line for line in describe_removal(remove_person("ada")))
