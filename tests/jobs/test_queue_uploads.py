"""Uploads: they go once they have been used, and stay as long as they may be needed."""

import os
import time
from pathlib import Path

import pytest

from facefusion_finetune.jobs import queue
from facefusion_finetune.jobs.queue import release_uploads
from facefusion_finetune.jobs.record import FOOTAGE_FOLDER, Job, JobState
from facefusion_finetune.people.profile import Person
from tests.support.job_processes import RUNNER, submit

pytestmark = pytest.mark.usefixtures("no_runner")


def _upload(job: Job) -> Path:
    (job.directory / FOOTAGE_FOLDER).mkdir()
    path = job.directory / FOOTAGE_FOLDER / "clip.mp4"
    path.touch()
    return path


def test_uploads_without_a_job_go_after_a_day(person: Person) -> None:
    old, new = (queue.create_folder(person, "extract") for _ in range(2))
    (old / "footage").mkdir()
    (old / "footage" / "clip.mp4").touch()
    yesterday = time.time() - 25 * 3600
    os.utime(old, (yesterday, yesterday))
    job = submit(person)
    os.utime(job.directory, (yesterday, yesterday))
    RUNNER.run()
    assert not old.exists()
    assert new.exists()
    assert job.state.status == "done"


def test_uploads_go_with_success(person: Person) -> None:
    failed, good, unrelated = submit(person, "refuse"), submit(person), submit(person, "refuse")
    paths = [_upload(job) for job in (failed, good, unrelated)]
    RUNNER.run()
    assert [path.exists() for path in paths] == [True, False, True]
    again = queue.submit(
        person,
        "extract",
        {"paths": [str(failed.directory / FOOTAGE_FOLDER)]},
        settings={"do": "done"},
    )
    RUNNER.run()
    assert again.state.status == "done"
    assert [path.exists() for path in paths] == [False, False, True], "given once more, and used"


def test_uploads_of_a_training_go_when_it_was_gone_on_with(person: Person) -> None:
    jobs = [queue.submit(person, "train", {}) for _ in range(3)]
    for job, version, status in zip(jobs, (1, 2, 2), ("stopped", "stopped", "done"), strict=True):
        _upload(job)
        job.write_state(JobState.model_validate({"status": status, "version": version}))
    release_uploads(jobs[2])
    assert [(job.directory / FOOTAGE_FOLDER).exists() for job in jobs] == [True, False, False]


def test_uploads_that_wait_for_their_turn_stay(person: Person) -> None:
    waiting = submit(person)
    path = _upload(waiting)
    done = queue.submit(person, "extract", {"paths": [str(waiting.directory / FOOTAGE_FOLDER)]})
    done.write_state(JobState(status="done"))
    release_uploads(done)
    assert path.exists()
