"""The queue: who may submit, in what order, and what is not lost."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from facefusion_finetune import locks
from facefusion_finetune.errors import ConsentError, JobError
from facefusion_finetune.jobs import queue
from facefusion_finetune.jobs.arguments import ExtractArguments
from facefusion_finetune.jobs.record import FOOTAGE_FOLDER, DamagedJob, Job, JobState
from facefusion_finetune.people.profile import Person, add_person, create_consent
from tests.support.clock import SetBack
from tests.support.job_processes import submit
from tests.support.waiting import HANGS


@pytest.fixture
def other(home_folder: Path) -> Person:
    return add_person("bea", create_consent(None, "Agreed on paper."))


pytestmark = pytest.mark.usefixtures("no_runner")


def _end(job: Job, **changes: object) -> None:
    job.write_state(JobState.model_validate({"status": "done", **changes}))


def test_oldest_first_over_all_persons(person: Person, other: Person) -> None:
    jobs = [submit(one) for one in (person, other, person)]
    assert [job.id for job in queue.list_jobs()] == [job.id for job in jobs]
    assert [job.id for job in queue.list_jobs("bea")] == [jobs[1].id]
    assert [queue.count_jobs_ahead(job) for job in jobs] == [0, 1, 2]
    _end(jobs[0])
    assert [queue.count_jobs_ahead(job) for job in jobs] == [0, 0, 1]
    assert [job.id for job in queue.list_queued()] == [job.id for job in jobs[1:]]
    assert queue.find_active() is None
    with locks.hold(jobs[1].lock_path):
        jobs[1].write_state(JobState(status="running"))
        active = queue.find_active()
        assert active is not None
        assert active.id == jobs[1].id
        assert queue.count_jobs_ahead(jobs[2]) == 1
        assert [job.id for job in queue.list_queued()] == [jobs[2].id]


def test_order_does_not_change_with_the_clock(
    person: Person, other: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [submit(person)]
    monkeypatch.setattr(queue, "datetime", SetBack)
    jobs += [submit(one) for one in (other, person)]
    assert [job.id for job in queue.list_jobs()] == [job.id for job in jobs]
    assert [queue.count_jobs_ahead(job) for job in jobs] == [0, 1, 2]


def test_what_is_written_is_private(person: Person) -> None:
    job = submit(person)
    if os.name == "posix":
        assert job.directory.stat().st_mode & 0o777 == 0o700
        assert job.directory.parent.stat().st_mode & 0o777 == 0o700
        assert (job.directory / "job.json").stat().st_mode & 0o777 == 0o600


def test_uploads_come_before_the_job(person: Person) -> None:
    folder = queue.create_folder(person, "extract")
    (folder / "footage").mkdir()
    (folder / "footage" / "clip.mp4").write_bytes(b"1")
    assert queue.list_jobs() == []
    arguments = ExtractArguments(paths=[str(folder / "footage")], most_frames=7)
    job = queue.submit(person, "extract", arguments, Path("~"), {"a": [1, 2]}, folder=folder)
    assert job.directory == folder
    assert (job.directory / FOOTAGE_FOLDER / "clip.mp4").is_file()
    assert job.id.endswith("-extract")
    assert job.request.host == str(Path.home())
    assert job.request.settings == {"a": [1, 2]}
    assert job.request.arguments["most_frames"] == 7


def test_without_consent_nothing_is_queued(person: Person) -> None:
    shutil.copy(person.directory / "person.toml", person.directory.parent / "kept.toml")
    text = (person.directory / "person.toml").read_text()
    (person.directory / "person.toml").write_text(text[: text.index("[consent]")])
    with pytest.raises(ConsentError):
        submit(person)
    assert not (person.directory / "jobs").exists()


def test_consent_that_ends_while_uploading(person: Person) -> None:
    folder = queue.create_folder(person, "estimate")
    (person.directory / "person.toml").unlink()
    with pytest.raises(ConsentError):
        queue.submit(person, "estimate", {}, folder=folder)
    assert queue.list_jobs() == []


def test_removed_person_does_not_come_back(person: Person) -> None:
    folder = queue.create_folder(person, "estimate")
    shutil.rmtree(person.directory)
    with pytest.raises(ConsentError):
        submit(person)
    with pytest.raises(ConsentError):
        queue.submit(person, "estimate", {}, folder=folder)
    assert not person.directory.exists()


def test_full_disk_leaves_no_job(person: Person, fill_state_disk: Callable[[], None]) -> None:
    kept = submit(person)
    fill_state_disk()
    with pytest.raises(OSError, match="No space left"):
        submit(person)
    assert [path.name for path in (person.directory / "jobs").iterdir()] == [kept.id]
    assert [job.id for job in queue.list_jobs()] == [kept.id]


def test_wrong_arguments_leave_nothing(person: Person) -> None:
    with pytest.raises(JobError):
        queue.submit(person, "evaluate", {})
    assert not (person.directory / "jobs").exists()


def test_many_submit_at_once(person: Person) -> None:
    """Threads of one process, and two more processes, all for the same person."""
    code = """
import sys
from facefusion_finetune.jobs import queue
from facefusion_finetune.people.profile import load_person
queue.ensure_runner = lambda: None
for _ in range(20):
    queue.submit(load_person("ada"), "estimate", {})
"""
    others = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    threads = [
        threading.Thread(target=lambda: [submit(person) for _ in range(10)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait(HANGS) for process in others] == [0, 0]
    jobs = queue.list_jobs()
    assert len({job.id for job in jobs}) == 80
    assert [queue.count_jobs_ahead(job) for job in jobs[::20]] == [0, 20, 40, 60]


def test_damaged_jobs_are_told_apart(person: Person) -> None:
    good, bad = submit(person), submit(person)
    (bad.directory / "job.json").write_text("{")
    (person.directory / "jobs" / "stray.txt").touch()
    assert [job.id for job in queue.list_jobs()] == [good.id]
    found = queue.scan_jobs()
    assert [job.id for job in found] == [good.id, bad.id]
    assert isinstance(found[1], DamagedJob)
    assert (found[1].person, found[1].directory) == ("ada", bad.directory)
    assert str(bad.directory / "job.json") in found[1].error.cause
    with pytest.raises(JobError):
        queue.find_job(bad.id)
    assert queue.find_job(good.id).id == good.id
    with pytest.raises(JobError, match="no such job"):
        queue.find_job("nothing")


def test_crashed_job_fails_on_disk_where_no_runner_would_see(person: Person) -> None:
    job = submit(person)
    job.write_state(JobState(status="running"))
    job.lock_path.touch()
    with locks.hold(queue.lock_path()):
        assert queue.list_jobs()[0].state.status == "failed"
        assert json.loads(job.state_path.read_text())["status"] == "running"
    assert queue.list_jobs()[0].state.status == "failed"
    written = json.loads(job.state_path.read_text())
    assert (written["status"], written["ended"] is None) == ("failed", False)
    assert not job.lock_path.exists()


def test_crashed_job_has_failed_also_on_a_full_disk(
    person: Person, fill_state_disk: Callable[[], None]
) -> None:
    job = submit(person)
    job.write_state(JobState(status="running"))
    job.lock_path.touch()
    fill_state_disk()
    (listed,) = queue.list_jobs()
    assert listed.state.status == "failed"


def test_queued_job_is_stopped_at_once(person: Person) -> None:
    job = submit(person)
    queue.request_stop(job)
    assert job.state.status == "stopped"
    assert queue.list_queued() == []
    with pytest.raises(JobError, match="has already ended"):
        queue.request_stop(job)


def test_stop_of_a_removed_job(person: Person) -> None:
    job = submit(person)
    shutil.rmtree(person.directory)
    with pytest.raises(JobError, match="removed"):
        queue.request_stop(job)
    assert not person.directory.exists()


def test_only_ended_jobs_are_removed(person: Person) -> None:
    job = submit(person)
    (job.directory / FOOTAGE_FOLDER).mkdir()
    (job.directory / FOOTAGE_FOLDER / "clip.mp4").touch()
    with pytest.raises(JobError, match="has not ended"):
        queue.remove_job(job)
    queue.request_stop(job)
    queue.remove_job(job)
    assert not job.directory.exists()
    assert queue.list_jobs() == []


def test_neither_torch_nor_onnx_is_imported() -> None:
    names = ["queue", "runner", "stopping", "work"]
    code = "".join(f"import facefusion_finetune.jobs.{name}\n" for name in names)
    code += "import sys; print([n for n in ('torch', 'onnx', 'gradio') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
