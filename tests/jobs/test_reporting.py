"""What a working process tells of a job."""

import json
from collections.abc import Callable

import pytest

from facefusion_finetune.dataset.extraction.extract import Progress
from facefusion_finetune.errors import StoppedError
from facefusion_finetune.jobs import reporting
from facefusion_finetune.jobs.record import Job, JobState
from facefusion_finetune.jobs.reporting import Reporter
from facefusion_finetune.people.profile import Person
from tests.support.clock import SetBack
from tests.support.job_processes import submit
from tests.support.waiting import HANGS, wait_until

pytestmark = pytest.mark.usefixtures("no_runner")


@pytest.fixture
def job(person: Person, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setattr(reporting, "WRITE_SECONDS", 0.02)
    return submit(person)


def _wait(job: Job, is_as_wanted: Callable[[JobState], bool]) -> JobState:
    """The state on disk, once it is as wanted."""

    def read() -> JobState:
        return JobState.model_validate_json(job.state_path.read_bytes())

    wait_until(lambda: is_as_wanted(read()), read)
    return read()


def test_stages_steps_and_notes_of_a_training(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter(job) as reporter:
        observer = reporter.create_observer()
        observer.on_stage("Making pairs (3 of 120)")
        state = _wait(job, lambda state: state.stage == "Making pairs")
        assert (state.status, state.done, state.total) == ("running", 3, 120)
        observer.on_stage("Caching (1 of 9 pairs)")
        state = _wait(job, lambda state: state.stage == "Caching")
        assert (state.done, state.total) == (1, 9)
        observer.on_stage("Training")
        observer.on_run(4)
        for step in range(1, 21):
            observer.on_step(step, 20, {"loss": 0.5, "seconds_left": 60.0 - step})
        observer.on_note("The disk is nearly full.")
        state = _wait(job, lambda state: bool(state.notes))
        assert (state.stage, state.done, state.total) == ("Training", 20, 20)
        assert (state.seconds_left, state.version) == (40.0, 4)
        assert reporter.finish(status="done", result={"version": 4})
    state = JobState.model_validate_json(job.state_path.read_bytes())
    assert (state.status, state.version, state.result) == ("done", 4, {"version": 4})
    assert (state.done, state.total, state.seconds_left) == (None, None, None)
    assert state.notes == ["The disk is nearly full."]
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["Making pairs", "Caching", "Training"]
    assert len([line for line in lines if line.startswith("step ")]) == 10
    assert lines[-2:] == ["step 20 of 20: loss 0.5000", "The disk is nearly full."]


def test_a_wish_to_stop_is_heard_at_stages_and_after_steps(job: Job) -> None:
    with Reporter(job) as reporter:
        observer = reporter.create_observer()
        assert not observer.is_stopped()
        job.stop_path.touch()
        assert observer.is_stopped()
        observer.on_step(1, 2, {"loss": 1.0})
        observer.on_note("nothing")
        with pytest.raises(StoppedError):
            observer.on_stage("Training")
        with pytest.raises(StoppedError):
            reporter.on_progress(Progress("extracting", "a.mp4", 1, 1))
        reporter.finish(status="stopped")


def test_pictures_are_counted(job: Job) -> None:
    with Reporter(job) as reporter:
        reporter.on_progress(Progress("extracting", "a.png", 3, 36, 1, 1))
        state = _wait(job, lambda state: "a.png" in state.stage)
        assert (state.stage, state.done, state.total) == ("Extracting a.png (3 of 36)", 3, 36)
        reporter.on_progress(Progress("checking", "a.png", 3, 36))
        state = _wait(job, lambda state: state.stage.startswith("Checking"))
        assert (state.done, state.total) == (None, None)
        reporter.finish(status="done")


def test_time_left_of_an_extraction(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two videos: the first frame is looked at when a quarter of it all is known already."""
    clock = [100.0]
    monkeypatch.setattr(reporting.time, "monotonic", lambda: clock[0])
    reporter = Reporter(job)
    left = []
    for number, frames, seconds in ((1, 50, 0), (1, 75, 10), (2, 0, 10), (2, 100, 40)):
        clock[0] += seconds
        reporter.on_progress(Progress("extracting", f"{number}.mp4", number, 2, frames, 100))
        left.append(reporter._state.seconds_left)
    assert left == [None, 50.0, 40.0, 0.0]


def test_duration_does_not_change_with_the_clock(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(reporting.time, "monotonic", lambda: clock[0])
    with Reporter(job) as reporter:
        monkeypatch.setattr(reporting, "datetime", SetBack)
        clock[0] += 90
        assert reporter.finish(status="done")
    state = JobState.model_validate_json(job.state_path.read_bytes())
    assert state.started is not None
    assert state.ended is not None
    assert (state.ended - state.started).total_seconds() == 90


def test_last_word_is_tried_again_on_a_full_disk(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "RETRY_SECONDS", HANGS)
    with Reporter(job) as reporter:
        real, refused = job.write_state, []

        def write_state(state: JobState) -> None:
            if len(refused) < 3:
                refused.append(state.status)
                raise OSError(28, "No space left on device")
            real(state)

        monkeypatch.setattr(job, "write_state", write_state)
        assert reporter.finish(status="done")
        assert len(refused) == 3
    assert json.loads(job.state_path.read_text())["status"] == "done"


def test_last_word_that_cannot_be_written(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "RETRY_SECONDS", 0.1)

    def write_state(state: JobState) -> None:
        raise OSError(28, "No space left on device")

    with Reporter(job) as reporter:
        monkeypatch.setattr(job, "write_state", write_state)
        assert not reporter.finish(status="done")
    assert json.loads(job.state_path.read_text())["status"] == "running"
