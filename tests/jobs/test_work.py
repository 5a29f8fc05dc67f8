"""The four kinds of work, done by the process of a job on the drawn world."""

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from facefusion_finetune import home, locks
from facefusion_finetune.dataset.manifest import read_manifest
from facefusion_finetune.dataset.review.thumbnails import thumbnail_path
from facefusion_finetune.jobs import queue, tasks, work
from facefusion_finetune.jobs.arguments import EvaluateArguments, ExtractArguments
from facefusion_finetune.jobs.record import Job, JobState
from facefusion_finetune.jobs.reporting import Reporter
from facefusion_finetune.people.profile import Person
from facefusion_finetune.runs.run import find_run
from facefusion_finetune.training.engine.checkpoint import load_checkpoint
from facefusion_finetune.training.request import TrainRequest
from tests.support.job_processes import read_error, submit, wait_for_end
from tests.support.runs import read_digests
from tests.support.waiting import wait_until


@pytest.fixture(autouse=True)
def _own_signals() -> Iterator[None]:
    former = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, former)


def test_uploaded_footage_is_extracted_by_real_processes(person: Person, footage: Path) -> None:
    """From the page's point of view: uploads, a job, and nothing to do but wait."""
    folder = queue.create_folder(person, "extract")
    shutil.copytree(footage, folder / "footage")
    arguments = ExtractArguments(paths=[str(folder / "footage")])
    job = queue.submit(person, "extract", arguments, faces="demo", folder=folder)
    wait_for_end(job)
    state = job.state
    assert state.status == "done", job.read_log()
    assert (state.result["kept"], state.result["faces"], state.result["shots"]) == (36, 36, 6)
    assert state.result["advice"]
    assert (person.directory / "coverage.png").is_file()
    records = read_manifest(person)
    assert all(thumbnail_path(person, record.id).is_file() for record in records)
    log = job.read_log()
    assert "Extracting frame-0001.png (1 of 36)" in log
    assert "Drawing thumbnails" in log
    wait_until(lambda: not locks.is_held(queue.lock_path()), "the runner goes")
    left = {path.name for path in job.directory.iterdir()}
    assert left == {"job.json", "state.json", "log.txt"}, "what was uploaded is gone"


def _work_on(job: Job) -> JobState:
    """Do a job in this process, which has loaded all that takes long to load."""
    assert work.main(job.directory) == 0
    return job.state


@pytest.mark.usefixtures("no_runner")
def test_training_stopped_and_resumed_to_the_same_bits(
    extracted: Person, preset_file: Path, trained_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = TrainRequest(base="demo", preset=str(preset_file), seed=11)
    job = queue.submit(extracted, "train", arguments, faces="demo")
    real = Reporter._on_step

    def on_step(self: Reporter, step: int, total: int, values: dict[str, float]) -> None:
        real(self, step, total, values)
        if step == 3:
            queue.request_stop(job)

    with monkeypatch.context() as patch:
        patch.setattr(Reporter, "_on_step", on_step)
        state = _work_on(job)
    assert (state.status, state.version, state.error) == ("stopped", 1, None)
    assert state.notes == [
        "it was stopped after step 3 of 8; nothing is lost. Resume with: facefusion-finetune train"
        " ada --resume."
    ]
    run = find_run(extracted, 1)
    assert load_checkpoint(run.checkpoint_path).step == 3
    again = queue.submit(extracted, "train", TrainRequest(resume=True))
    state = _work_on(again)
    assert state.status == "done", state.error
    assert (state.version, state.result["version"]) == (1, 1)
    assert state.result["verdict"] == "not judged"
    assert state.result["proven"] is False
    assert any("No footage of other people" in note for note in state.notes)
    with home.use_home(trained_home):
        whole = read_digests(find_run(extracted, None))
    assert read_digests(run) == whole


@pytest.mark.usefixtures("no_runner")
def test_estimate_leaves_nothing(extracted: Person, preset_file: Path) -> None:
    arguments = {"base": "demo", "preset": str(preset_file)}
    before = {path.name for path in extracted.directory.iterdir()}
    job = queue.submit(extracted, "estimate", arguments, faces="demo")
    state = _work_on(job)
    assert state.status == "done", state.error
    result = state.result
    assert (result["steps"], result["device"], "trained" in result) == (8, "cpu", False)
    assert result["seconds_total"] > result["seconds"] > 0
    assert {path.name for path in extracted.directory.iterdir()} == before | {"jobs"}


@pytest.mark.usefixtures("no_runner")
def test_judged_again_on_uploaded_targets(trained: Person, other_footage: Path) -> None:
    folder = queue.create_folder(trained, "evaluate")
    targets = folder / "targets"
    shutil.copytree(other_footage, targets)
    arguments = EvaluateArguments(version=1, targets=[str(targets)])
    state = _work_on(queue.submit(trained, "evaluate", arguments, folder=folder))
    assert state.status == "done", state.error
    assert (state.version, state.result["version"]) == (1, 1)
    assert state.result["sentence"]
    assert not any("No footage of other people" in note for note in state.notes)
    assert not targets.exists()


@pytest.mark.usefixtures("no_runner")
def test_failures_of_the_work_are_told(extracted: Person, tmp_path: Path) -> None:
    missing = queue.submit(
        extracted, "extract", {"paths": [str(tmp_path / "no.mp4")]}, faces="demo"
    )
    assert _work_on(missing).status == "failed"
    assert "no.mp4" in read_error(missing)
    nothing = queue.submit(extracted, "train", {"resume": True}, faces="demo")
    assert _work_on(nothing).status == "failed"
    assert "nothing to resume" in read_error(nothing)
    no_host = queue.submit(
        extracted, "extract", {"paths": [str(tmp_path)]}, host=tmp_path / "nowhere"
    )
    assert _work_on(no_host).status == "failed"
    assert "nowhere" in read_error(no_host)
    assert len(read_manifest(extracted)) == 36


@pytest.mark.usefixtures("no_runner")
def test_expired_consent_ends_a_queued_job(extracted: Person, footage: Path) -> None:
    job = queue.submit(extracted, "extract", {"paths": [str(footage)]}, faces="demo")
    record = extracted.directory / "person.toml"
    record.write_text(record.read_text() + 'expires = "2020-01-01"\n')
    assert _work_on(job).status == "failed"
    assert "expired" in read_error(job)


@pytest.mark.usefixtures("no_runner")
def test_only_a_queued_job_is_done(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "LOCK_SECONDS", 0.1)
    stopped, held, ended, gone, damaged = (submit(person, "bug") for _ in range(5))
    queue.request_stop(stopped)
    ended.write_state(JobState(status="done"))
    shutil.rmtree(gone.directory)
    (damaged.directory / "job.json").write_text("{")
    with locks.hold(held.lock_path):
        codes = [work.main(job.directory) for job in (stopped, held, ended, gone, damaged)]
    assert codes == [0, 0, 0, 0, 1]
    assert [job.state.status for job in (stopped, held, ended)] == ["stopped", "queued", "done"]
    assert not gone.directory.exists()


@pytest.mark.usefixtures("no_runner")
def test_targets_of_a_training_that_ended_early_are_taken_over(
    trained: Person, tmp_path: Path
) -> None:
    run = find_run(trained, 1)
    names = [tmp_path / name for name in ("old", "mine", "others")]
    for path in names:
        path.mkdir()
    for path, version in zip(names, (1, 1, 2), strict=True):
        job = queue.submit(trained, "train", {"targets": [str(path)]})
        job.write_state(JobState(status="stopped", version=version))
    again = queue.submit(trained, "train", {"resume": True})
    assert tasks._find_targets(again, run) == [str(names[1])]
    names[1].rmdir()
    assert tasks._find_targets(again, run) == []


def test_runs_with_all_processors_and_the_same_home(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facefusion_finetune.jobs import processes

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(person.directory)
    monkeypatch.setenv(home.HOME_VARIABLE, os.path.relpath(person.directory.parents[1]))
    environment = processes.create_environment()
    assert "OMP_NUM_THREADS" not in environment
    assert environment[home.HOME_VARIABLE] == str(person.directory.parents[1])
    monkeypatch.delenv(home.HOME_VARIABLE)
    assert home.HOME_VARIABLE not in processes.create_environment()
    assert processes.PYTHON[0] == sys.executable
