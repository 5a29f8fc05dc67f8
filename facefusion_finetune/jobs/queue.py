"""The queue: one per machine, over all persons, oldest job first.

Whoever submits makes sure that a runner is there (see `runner`), which works on one job after the
other and goes when nothing is queued.
"""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from facefusion_finetune import home
from facefusion_finetune.analysers import Faces
from facefusion_finetune.errors import ConsentError, JobError
from facefusion_finetune.jobs import locks, processes
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
from facefusion_finetune.people.profile import Person, confirm_consent

LOCK_NAME = "queue.lock"
RUNNER = "facefusion_finetune.jobs.runner"
START_SECONDS = 5.0
"""How long a runner has to take the lock before another one is started."""

_started: list[tuple[float, subprocess.Popen[bytes]]] = []


def lock_path() -> Path:
    """Held by the runner as long as it lives."""
    return home.home_directory() / LOCK_NAME


def create_folder(person: Person, kind: Kind) -> Path:
    """The folder of a job to come, for its uploads; it is no job before `submit`.

    Raises:
        ConsentError: No valid consent is on record, or the person was removed.
        OSError: It cannot be made.
    """
    confirm_consent(person.name)
    folder = person.directory / home.JOBS_FOLDER
    try:
        # Without parents: a person who is being removed must not come back.
        folder.mkdir(mode=0o700, exist_ok=True)
        while True:
            path = folder / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}-{kind}"
            try:
                path.mkdir(mode=0o700)
                return path
            except FileExistsError:
                time.sleep(1e-5)
    except FileNotFoundError as error:
        raise ConsentError(
            f"person {person.name!r}",
            "the person was removed, and with that the consent is withdrawn.",
            "To begin anew, ask again, then add the person.",
        ) from error


def submit(
    person: Person,
    kind: Kind,
    arguments: BaseModel | Mapping[str, Any],
    host: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    faces: Faces | None = None,
    folder: Path | None = None,
) -> Job:
    """Put a job into the queue, and see to it that it will be worked on.

    Args:
        person: Whose consent is on record.
        kind: What is to be done.
        arguments: Of that kind; see `arguments`.
        host: FaceFusion's folder; otherwise it is looked for.
        settings: Of FaceFusion, by their name in its state.
        faces: Who finds faces; None for FaceFusion.
        folder: From `create_folder`, with uploads.

    Raises:
        ConsentError: No valid consent is on record, or the person was removed.
        JobError: The arguments are not those of that kind.
        OSError: The job cannot be written; then there is none.
    """
    values = arguments.model_dump() if isinstance(arguments, BaseModel) else dict(arguments)
    checked = check_arguments(kind, values)
    directory = folder or create_folder(person, kind)
    # Uploading may have taken long.
    confirm_consent(person.name)
    request = JobRequest(
        id=directory.name,
        person=person.name,
        kind=kind,
        created=datetime.now(UTC),
        host=None if host is None else str(host.expanduser().resolve()),
        settings=dict(settings or {}),
        faces=faces,
        arguments=checked.model_dump(mode="json"),
    )
    try:
        home.write_text(directory / REQUEST_FILE, request.model_dump_json(indent=1) + "\n")
    except OSError:
        if folder is None:
            shutil.rmtree(directory, ignore_errors=True)
        # The person may have been removed meanwhile.
        confirm_consent(person.name)
        raise
    ensure_runner()
    return Job(directory, request)


def list_jobs(person_name: str | None = None) -> list[Job]:
    """All jobs, or those of one person, oldest first; also those that have ended.

    A job whose process crashed is made a failed one on disk, too. One that is not legible is left
    out; see `scan_jobs`.

    Args:
        person_name: Of the one whose jobs are meant.
    """
    return [job for job in scan_jobs(person_name) if isinstance(job, Job)]


def scan_jobs(person_name: str | None = None) -> list[Job | DamagedJob]:
    """`list_jobs`, and in the same order those that are not legible."""
    found: list[Job | DamagedJob] = []
    for path in home.people_directory().glob(
        f"{person_name or '*'}/{home.JOBS_FOLDER}/*/{REQUEST_FILE}"
    ):
        # One that was removed meanwhile is none.
        with contextlib.suppress(FileNotFoundError):
            try:
                found.append(load_job(path.parent))
            except JobError as error:
                found.append(DamagedJob(path.parent, error))
    settle([job for job in found if isinstance(job, Job)])
    return sorted(found, key=lambda job: job.id)


def find_job(job_id: str) -> Job:
    """The job that is called so.

    Raises:
        JobError: There is none, or it is damaged.
    """
    for path in home.people_directory().glob(f"*/{home.JOBS_FOLDER}/*/{REQUEST_FILE}"):
        if path.parent.name == job_id:
            job = load_job(path.parent)
            settle([job])
            return job
    raise JobError(f"job {job_id}", "there is none.", "See: facefusion-finetune jobs list.")


def find_active() -> Job | None:
    """The job a process is at work on."""
    return next((job for job in list_jobs() if job.state.is_active), None)


def list_queued() -> list[Job]:
    """Jobs that wait for their turn, oldest first."""
    return [job for job in list_jobs() if job.state.status == "queued"]


def count_before(job: Job) -> int:
    """How many jobs come before one, those at work included; 0 for one that has ended."""
    if job.state.is_ended:
        return 0
    earlier = [other for other in list_jobs() if other.id < job.id]
    return sum(not other.state.is_ended for other in earlier)


def request_stop(job: Job) -> None:
    """Stop a queued job at once, and one at work as soon as it can.

    Raises:
        JobError: It has ended, or is gone.
        OSError: It cannot be told.
    """
    if job.state.is_ended:
        raise JobError(
            f"job {job.id}", f"it has ended ({job.state.status}).", "There is nothing to stop."
        )
    try:
        job.stop_path.touch(mode=0o600)
    except FileNotFoundError as error:
        raise JobError(f"job {job.id}", "it was removed.", "There is nothing to stop.") from error


def remove_job(job: Job) -> None:
    """Delete an ended job with its log and uploads.

    Raises:
        JobError: It has not ended.
        OSError: Something cannot be deleted.
    """
    if not job.state.is_ended:
        raise JobError(f"job {job.id}", "it has not ended.", "Stop it first.")
    # Without its request it is no job any more, whatever becomes of the rest.
    (job.directory / REQUEST_FILE).unlink(missing_ok=True)
    shutil.rmtree(job.directory)


def settle(jobs: list[Job]) -> None:
    """Make what is said of crashed jobs true on disk; left to the runner as long as one lives."""
    for job in jobs:
        if job.lock_path.is_file() and job.state.is_ended and not locks.is_held(lock_path()):
            finish(job)


def finish(job: Job, failure: Failure | None = None) -> bool:
    """Write down how a job ended whose process is gone.

    Args:
        job: Which one.
        failure: More than the job itself knows of it; counts unless the user had it stopped.

    Returns:
        Whether that is on disk; True for one that is gone, too.
    """
    state = job.state
    changes: dict[str, Any] = {}
    if state.status != "stopped" and failure is not None:
        changes = {"status": "failed", "error": failure}
    if state.ended is None:
        changes["ended"] = datetime.now(UTC)
    try:
        # Something else in its place says by itself that the job has failed.
        if not job.state_path.is_dir():
            job.write_state(state.model_copy(update=changes))
        job.release_lock()
    except OSError:
        return not job.directory.exists()
    return True


def ensure_runner() -> None:
    """Start a runner where there is something to do and none is there; cheap to call often."""
    _started[:] = [entry for entry in _started if entry[1].poll() is None]
    now = time.monotonic()
    if any(now - began < START_SECONDS for began, _ in _started):
        return
    if _is_something_to_do() and not locks.is_held(lock_path()):
        _started.append((now, processes.start_detached([*processes.PYTHON, RUNNER])))


def _is_something_to_do() -> bool:
    """Whether a job is queued, or one at work may have nobody who watches it."""
    for path in home.people_directory().glob(f"*/{home.JOBS_FOLDER}/*/{REQUEST_FILE}"):
        folder = path.parent
        is_new = not (folder / STATE_FILE).exists() and not (folder / STOP_FILE).exists()
        if (is_new or (folder / LOCK_FILE).is_file()) and _is_legible(folder):
            return True
    return False


def _is_legible(folder: Path) -> bool:
    """Whether a runner would work on the job in a folder."""
    try:
        load_job(folder)
    except (FileNotFoundError, JobError):
        return False
    return True


def release_uploads(job: Job) -> None:
    """Delete what was uploaded for a job that is done.

    So goes what was uploaded for an ended job that this one did again, or went on with. What cannot
    be deleted stays until the job, or the person, is removed.
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
