"""A job on disk: its request and its state.

`people/NAME/jobs/ID/` contains `job.json` (the request, never changed), `state.json` (written by
the worker), `log.txt`, `stop` (exists once the user requested a stop), `.lock` (held by the worker
while it is alive), and uploads in `footage/`, `targets/` and `references/`. A job without
`state.json` is queued. This module imports neither torch nor onnx.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from facefusion_finetune import home, locks
from facefusion_finetune.analysers import Faces
from facefusion_finetune.damage import DamageError, check_bounds, read_file
from facefusion_finetune.errors import FinetuneError, JobError, to_message
from facefusion_finetune.jobs.arguments import Arguments, check_arguments
from facefusion_finetune.jobs.arguments import Kind as Kind

Status = Literal["queued", "running", "stopping", "done", "failed", "stopped"]
ENDED: frozenset[Status] = frozenset({"done", "failed", "stopped"})

REQUEST_FILE = "job.json"
STATE_FILE = "state.json"
STOP_FILE = "stop"
LOCK_FILE = ".lock"
LOG_FILE = "log.txt"
FOOTAGE_FOLDER = "footage"
TARGETS_FOLDER = "targets"
REFERENCES_FOLDER = "references"
UPLOAD_FOLDERS = (FOOTAGE_FOLDER, TARGETS_FOLDER, REFERENCES_FOLDER)
"""Folders of a job's uploads: footage to extract or of other people to train with; targets of the
evaluation; pictures of the person."""

Count = Annotated[int, Field(ge=0, le=1 << 53)]
Values = Annotated[dict[str, Any], AfterValidator(check_bounds)]
Message = Annotated[str, AfterValidator(to_message)]

LOG_TAIL = 2000
"""Bytes at the end of a log that are used to explain a crash."""


class JobRequest(BaseModel):
    """The request of a job."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    """Starts with the time, so that ids sort chronologically."""
    person: str
    kind: Kind
    created: AwareDatetime
    host: str | None = None
    """FaceFusion's folder; if None, it is located."""
    settings: Values = {}
    """FaceFusion's settings, by their names in its state."""
    faces: Faces | None = None
    """The analyser; `demo` supports only synthetic footage."""
    arguments: Values = {}

    def read_arguments(self) -> Arguments:
        """The validated arguments.

        Raises:
            JobError: They are invalid.
        """
        return check_arguments(self.kind, self.arguments)


class Failure(BaseModel):
    """Why a job failed, as text."""

    given: Message
    why: Message
    todo: Message

    @classmethod
    def of(cls, error: FinetuneError) -> "Failure":
        """The message of an exception."""
        return cls(given=error.given, why=error.why, todo=error.todo)


class JobState(BaseModel):
    """The state of a job."""

    # Entries of other versions of the package are ignored.
    model_config = ConfigDict(extra="ignore")

    status: Status = "queued"
    pid: Count | None = None
    """Process id of its worker, which may have ended."""
    started: AwareDatetime | None = None
    ended: AwareDatetime | None = None
    stage: str = ""
    """The current stage, as text."""
    done: Count | None = None
    """Completed steps, frames of a video, or pictures."""
    total: Count | None = None
    """None if the stage has no countable parts."""
    seconds_left: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Estimate; None if unknown."""
    notes: list[str] = []
    """Unusual events that were handled; for a stopped job, how to resume it."""
    error: Failure | None = None
    """Set for a failed job."""
    result: Values = {}
    """Result of a finished job; see `tasks`."""
    version: Count | None = None
    """Version of the run that is trained or evaluated."""

    @property
    def is_ended(self) -> bool:
        """Whether the job has ended."""
        return self.status in ENDED

    @property
    def is_active(self) -> bool:
        """Whether a worker is running it."""
        return self.status in ("running", "stopping")


class Job:
    """A job in a person's folder `jobs/ID`."""

    def __init__(self, directory: Path, request: JobRequest) -> None:
        self.directory = directory
        self.request = request

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.request.id

    @property
    def log_path(self) -> Path:
        """The worker's output; does not exist before it starts."""
        return self.directory / LOG_FILE

    @property
    def state_path(self) -> Path:
        """The state; does not exist while the job is queued."""
        return self.directory / STATE_FILE

    @property
    def stop_path(self) -> Path:
        """Exists once a stop is requested."""
        return self.directory / STOP_FILE

    @property
    def lock_path(self) -> Path:
        """Lock file that the worker holds while it is alive."""
        return self.directory / LOCK_FILE

    @property
    def upload_directories(self) -> list[Path]:
        """Folders of the uploads; see `UPLOAD_FOLDERS`."""
        return [self.directory / name for name in UPLOAD_FOLDERS]

    def find_damage(self) -> JobError | None:
        """The error of a damaged `state.json`; None if it can be read."""
        try:
            load_state(self.state_path)
        except JobError as error:
            return error
        return None

    @property
    def state(self) -> JobState:
        """The current state; never raises.

        A job whose worker ended without recording it has failed, whatever the file says.
        """
        state = read_state(self.state_path)
        if state is None or state.is_active:
            is_alive = locks.is_held(self.lock_path)
            # A worker writes its final state before it releases the lock.
            state = read_state(self.state_path) if not is_alive else state
            if state is None or (state.is_active and not is_alive):
                return self._infer_state(state, is_alive)
        is_to_stop = self.stop_path.exists()
        if state.status == "queued" and is_to_stop:
            return state.model_copy(update={"status": "stopped"})
        if state.status == "running" and is_to_stop:
            return state.model_copy(update={"status": "stopping"})
        return state

    def read_log(self, most: int = 20_000) -> str:
        """The end of the log.

        Args:
            most: Maximum number of bytes.
        """
        try:
            with self.log_path.open("rb") as file:
                file.seek(max(0, self.log_path.stat().st_size - most))
                return file.read(most).decode("utf-8", "replace")
        except OSError:
            return ""

    def release_lock(self) -> None:
        """Delete the lock file after the worker has ended; a folder in its place is kept."""
        if not self.lock_path.is_dir():
            self.lock_path.unlink(missing_ok=True)

    def write_state(self, state: JobState) -> None:
        """Replace `state.json` atomically.

        Raises:
            OSError: It cannot be written; the job may have been removed, or the disk may be full.
        """
        home.write_text(self.state_path, state.model_dump_json(indent=1) + "\n")

    def _infer_state(self, state: JobState | None, is_alive: bool) -> JobState:
        if is_alive:
            # Damaged, but its worker will rewrite it.
            status: Status = "stopping" if self.stop_path.exists() else "running"
            return JobState(status=status)
        if state is not None and self.stop_path.exists():
            return state.model_copy(update={"status": "stopped"})
        why = "its process ended unexpectedly: it was killed, or the machine was switched off."
        if state is None:
            why = "its state.json is damaged, and no process is running it."
        return (state or JobState()).model_copy(
            update={"status": "failed", "error": explain_crash(self, why)}
        )


def explain_crash(job: Job, why: str) -> Failure:
    """Describe a crash of a job's process.

    Args:
        job: The job.
        why: The reason, as a sentence.
    """
    lines = job.read_log(LOG_TAIL).strip().splitlines()
    if lines:
        why += f" Its log ends with: {lines[-1].strip()[:300]}"
    todo = "Start it again: completed work is kept and not repeated."
    if job.request.kind == "train":
        todo = "Resume the training: it continues from its last checkpoint."
    elif job.request.kind in ("estimate", "evaluate"):
        todo = "Start it again; nothing was changed."
    return Failure(given=f"job {job.id}", why=why, todo=f"{todo} Log: {job.log_path}")


@dataclass(frozen=True)
class DamagedJob:
    """A job whose request cannot be read."""

    directory: Path
    error: JobError

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.directory.name

    @property
    def person(self) -> str:
        """The person's name, from the folder names."""
        return self.directory.parts[-3]


def load_state(path: Path) -> JobState:
    """Load a state; `queued` if the file does not exist.

    Raises:
        JobError: The file is damaged.
    """
    try:
        return read_file(path, JobState.model_validate_json)
    except FileNotFoundError:
        return JobState()
    except DamageError as error:
        raise JobError(
            str(path), f"the job's state cannot be read ({error}).", "Start the job again."
        ) from error


def read_state(path: Path) -> JobState | None:
    """Like `load_state`, but None if the file is damaged."""
    try:
        return load_state(path)
    except JobError:
        return None


def load_job(directory: Path) -> Job:
    """Load the job in a folder.

    Raises:
        FileNotFoundError: There is no job.
        JobError: Its request is damaged.
    """
    path = directory / REQUEST_FILE
    try:
        request = read_file(path, JobRequest.model_validate_json)
    except DamageError as error:
        raise _create_error(path, str(error)) from error
    if directory.parts[-3:] != (request.person, home.JOBS_FOLDER, request.id):
        raise _create_error(path, "it belongs to another job")
    return Job(directory, request)


def _create_error(path: Path, why: str) -> JobError:
    return JobError(
        str(path),
        f"the job cannot be read ({why}).",
        f"Delete the folder {path.parent}, which contains its uploads.",
    )
