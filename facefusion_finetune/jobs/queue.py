"""The queue: one per machine, for all persons, oldest job first.

Submitting a job ensures that a runner exists (see `runner`), which runs one job after the other and
exits when the queue is empty.
"""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from facefusion_finetune import home, locks
from facefusion_finetune.analysers import Faces
from facefusion_finetune.errors import JobError
from facefusion_finetune.jobs import processes
from facefusion_finetune.jobs.arguments import Kind, check_arguments
from facefusion_finetune.jobs.record import (
    LOCK_FILE,
    REQUEST_FILE,
    STATE_FILE,
    STOP_FILE,
    DamagedJob,
    Failure,
    Job,
    JobRequest,
    load_job,
)
from facefusion_finetune.people.profile import (
    Person,
    confirm_person,
    person_directory,
)
from facefusion_finetune.people.work import lock_person

LOCK_NAME = "queue.lock"
RUNNER = "facefusion_finetune.jobs.runner"
_TIME_FORMAT = "%Y%m%d-%H%M%S-%f"
"""Of the time that a job's id begins with: the order of ids is the order of the queue."""
START_SECONDS = 5.0
"""How long a new runner may take to acquire the lock before another one is started."""

_started: list[tuple[float, subprocess.Popen[bytes]]] = []


def lock_path() -> Path:
    """Lock file that the runner holds while it is alive."""
    return home.home_directory() / LOCK_NAME


def create_folder(person: Person, kind: Kind) -> Path:
    """Create the folder of a future job, for its uploads; it becomes a job with `submit`.

    Raises:
        ConsentError: No valid consent is on record, or the person was removed.
        BusyError: Another command is changing what is held about the person.
        OSError: The folder cannot be created.
    """
    with lock_person(person) as current:
        current.require_consent()
        folder = person.directory / home.JOBS_FOLDER
        home.create_inner_directory(folder, person.directory)
        when = _choose_time()
        while (path := folder / f"{when:{_TIME_FORMAT}}-{kind}").exists():
            when += timedelta(microseconds=1)
        path.mkdir(mode=0o700)
        return path


def _choose_time() -> datetime:
    """Now, but later than any job that waits or runs: the clock may have been set back."""
    when = datetime.now(UTC)
    for job in list_jobs():
        if not job.state.is_ended:
            with contextlib.suppress(ValueError):
                other = datetime.strptime(job.id.rpartition("-")[0], _TIME_FORMAT)
                when = max(when, other.replace(tzinfo=UTC) + timedelta(microseconds=1))
    return when


def submit(
    person: Person,
    kind: Kind,
    arguments: BaseModel | Mapping[str, Any],
    host: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    faces: Faces | None = None,
    folder: Path | None = None,
) -> Job:
    """Put a job into the queue, and ensure that a runner exists.

    Args:
        person: A person with consent on record.
        kind: Kind of the job.
        arguments: Arguments of that kind; see `arguments`.
        host: FaceFusion's folder; if None, it is located.
        settings: FaceFusion's settings, by their names in its state.
        faces: The analyser; None for FaceFusion.
        folder: The folder from `create_folder`, with uploads.

    Raises:
        ConsentError: No valid consent is on record, or the person was removed.
        BusyError: Another command is changing what is held about the person.
        JobError: The arguments are invalid for this kind.
        OSError: The job cannot be written, and was not queued.
    """
    values = arguments.model_dump() if isinstance(arguments, BaseModel) else dict(arguments)
    checked = check_arguments(kind, values)
    directory = folder or create_folder(person, kind)
    request = JobRequest(
        id=directory.name,
        person=person.name,
        kind=kind,
        created=datetime.now(UTC),
        host=None if host is None else str(home.resolve_path(host)),
        settings=dict(settings or {}),
        faces=faces,
        arguments=checked.model_dump(mode="json"),
    )
    try:
        # Uploading may have taken a long time.
        with lock_person(person) as current:
            current.require_consent()
            home.write_text(directory / REQUEST_FILE, request.model_dump_json(indent=1) + "\n")
    except OSError:
        if folder is None:
            shutil.rmtree(directory, ignore_errors=True)
        # The person may have been removed in the meantime.
        confirm_person(person)
        raise
    ensure_runner()
    return Job(directory, request)


def list_jobs(person_name: str | None = None) -> list[Job]:
    """All jobs, or those of one person, oldest first, including ended ones.

    A job whose process crashed is recorded as failed. Unreadable jobs are left out; see
    `scan_jobs`.

    Args:
        person_name: Name of the person; None for all.
    """
    return [job for job in scan_jobs(person_name) if isinstance(job, Job)]


def scan_jobs(person_name: str | None = None) -> list[Job | DamagedJob]:
    """Like `list_jobs`, but including unreadable jobs."""
    found: list[Job | DamagedJob] = []
    people = [person_directory(person_name)] if person_name else home.people_directory().glob("*")
    for path in (
        path for person in people for path in person.glob(f"{home.JOBS_FOLDER}/*/{REQUEST_FILE}")
    ):
        # It may have been removed in the meantime.
        with contextlib.suppress(FileNotFoundError):
            try:
                found.append(load_job(path.parent))
            except JobError as error:
                found.append(DamagedJob(path.parent, error))
    record_crashes([job for job in found if isinstance(job, Job)])
    return sorted(found, key=lambda job: job.id)


def find_job(job_id: str) -> Job:
    """The job with this id.

    Raises:
        JobError: There is no such job, or it is damaged.
    """
    for path in home.people_directory().glob(f"*/{home.JOBS_FOLDER}/*/{REQUEST_FILE}"):
        if path.parent.name == job_id:
            job = load_job(path.parent)
            record_crashes([job])
            return job
    raise JobError(f"job {job_id}", "no such job.", "See facefusion-finetune jobs list.")


def find_active() -> Job | None:
    """The job that is running or stopping; None if there is none."""
    return next((job for job in list_jobs() if job.state.is_active), None)


def list_queued() -> list[Job]:
    """Queued jobs, oldest first."""
    return [job for job in list_jobs() if job.state.status == "queued"]


def count_jobs_ahead(job: Job) -> int:
    """Number of jobs ahead of a queued one, including running ones; 0 for an ended job."""
    if job.state.is_ended:
        return 0
    earlier = [other for other in list_jobs() if other.id < job.id]
    return sum(not other.state.is_ended for other in earlier)


def request_stop(job: Job) -> None:
    """Request a stop: a queued job stops at once, a running one as soon as possible.

    Raises:
        JobError: The job has ended or was removed.
        OSError: The request cannot be written.
    """
    if job.state.is_ended:
        raise JobError(
            f"job {job.id}",
            f"it has already ended ({job.state.status}).",
            "There is nothing to stop.",
        )
    try:
        job.stop_path.touch(mode=0o600)
    except FileNotFoundError as error:
        raise JobError(f"job {job.id}", "it was removed.", "There is nothing to stop.") from error


def remove_job(job: Job) -> None:
    """Delete an ended job with its log and uploads.

    Raises:
        JobError: The job has not ended.
        OSError: A file cannot be deleted.
    """
    if not job.state.is_ended:
        raise JobError(f"job {job.id}", "it has not ended.", "Stop it first.")
    # Without its request, it is no longer a job, even if the rest cannot be deleted.
    (job.directory / REQUEST_FILE).unlink(missing_ok=True)
    shutil.rmtree(job.directory)


def record_crashes(jobs: list[Job]) -> None:
    """Record crashed jobs as failed on disk, unless a runner is alive, which will do so."""
    for job in jobs:
        if job.lock_path.is_file() and job.state.is_ended and not locks.is_held(lock_path()):
            record_end(job)


def record_end(job: Job, failure: Failure | None = None) -> bool:
    """Record how a job ended whose process no longer exists.

    Args:
        job: The job.
        failure: A more precise reason than the job's own; ignored if the user stopped it.

    Returns:
        Whether the end was recorded, or the job was removed.
    """
    state = job.state
    changes: dict[str, Any] = {}
    if state.status != "stopped" and failure is not None:
        changes = {"status": "failed", "error": failure}
    if state.ended is None:
        changes["ended"] = datetime.now(UTC)
    try:
        # A folder in its place already makes the job a failed one.
        if not job.state_path.is_dir():
            job.write_state(state.model_copy(update=changes))
        job.release_lock()
    except OSError:
        return not job.directory.exists()
    return True


def ensure_runner() -> None:
    """Start a runner if there is work and no runner; fast enough for polling."""
    _started[:] = [entry for entry in _started if entry[1].poll() is None]
    now = time.monotonic()
    if any(now - began < START_SECONDS for began, _ in _started):
        return
    if _has_work() and not locks.is_held(lock_path()):
        _started.append((now, processes.start_detached([*processes.PYTHON, RUNNER])))


def _has_work() -> bool:
    """Whether a job is queued, or running possibly without a runner."""
    for path in home.people_directory().glob(f"*/{home.JOBS_FOLDER}/*/{REQUEST_FILE}"):
        folder = path.parent
        is_new = not (folder / STATE_FILE).exists() and not (folder / STOP_FILE).exists()
        if (is_new or (folder / LOCK_FILE).is_file()) and _is_readable(folder):
            return True
    return False


def _is_readable(folder: Path) -> bool:
    """Whether the job in a folder can be read, so that a runner would run it."""
    try:
        load_job(folder)
    except (FileNotFoundError, JobError):
        return False
    return True


def release_uploads(job: Job) -> None:
    """Delete the uploads of a finished job.

    Uploads of ended jobs that this one repeated or resumed are deleted as well. Files that cannot
    be deleted stay until the job or the person is removed.
    """
    state = job.state
    for other in list_jobs(job.request.person):
        is_same_run = state.version is not None and other.state.version == state.version
        for folder in other.upload_directories:
            if not folder.exists():
                continue
            is_used = any(_is_in(path, folder) for path in _list_paths(job.request.arguments))
            if other.id == job.id or (other.state.is_ended and (is_used or is_same_run)):
                shutil.rmtree(folder, ignore_errors=True)


def _list_paths(arguments: dict[str, Any]) -> list[Path]:
    lists = [value for value in arguments.values() if isinstance(value, list)]
    return [Path(text) for texts in lists for text in texts if isinstance(text, str)]


def _is_in(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents
