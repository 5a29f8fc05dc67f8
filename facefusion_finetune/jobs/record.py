"""A job on disk: what was asked for, and where it stands.

`people/NAME/jobs/ID/` holds `job.json` (the request, never changed), `state.json` (written by the
process that works on it), `log.txt`, `stop` (there once the user wants it to end), `.lock` (held by
the working process as long as it lives), and what was uploaded for it in `footage/`, `targets/` and
`references/`. A job without `state.json` is queued. This module imports neither torch nor onnx.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from facefusion_finetune import home
from facefusion_finetune.analysers import Faces
from facefusion_finetune.damage import DamageError, read_file
from facefusion_finetune.errors import FinetuneError, JobError
from facefusion_finetune.jobs import locks
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
"""Of a job, for what was uploaded: footage to extract, or other people to train with; other people
to be judged on; pictures of the person."""

Count = Annotated[int, Field(ge=0, le=1 << 53)]

LOG_TAIL = 2000
"""Last bytes of a log that a crash is explained with."""


class JobRequest(BaseModel):
    """What was asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    """Begins with the time, so that ids sort by it."""
    person: str
    kind: Kind
    created: AwareDatetime
    host: str | None = None
    """FaceFusion's folder; otherwise it is looked for."""
    settings: dict[str, Any] = {}
    """Of FaceFusion, by their name in its state."""
    faces: Faces | None = None
    """Who finds faces; `demo` knows drawn footage only."""
    arguments: dict[str, Any] = {}

    def read_arguments(self) -> Arguments:
        """The arguments of its kind.

        Raises:
            JobError: They are none.
        """
        return check_arguments(self.kind, self.arguments)


class Failure(BaseModel):
    """Why a job failed, in words."""

    given: str
    why: str
    todo: str

    @classmethod
    def of(cls, error: FinetuneError) -> "Failure":
        """The words of an exception."""
        return cls(given=error.given, why=error.why, todo=error.todo)


class JobState(BaseModel):
    """Where a job stands."""

    # Entries of other versions of the package are passed over.
    model_config = ConfigDict(extra="ignore")

    status: Status = "queued"
    pid: int | None = None
    """Of the process that works, or worked, on it."""
    started: AwareDatetime | None = None
    ended: AwareDatetime | None = None
    stage: str = ""
    """What is being done, in words."""
    done: Count | None = None
    """Steps, frames of a video, or pictures."""
    total: Count | None = None
    """None where the stage has no countable parts."""
    seconds_left: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Roughly; None where nobody knows."""
    notes: list[str] = []
    """What was out of the ordinary, but was dealt with; of a stopped job, how to go on."""
    error: Failure | None = None
    """Of a failed job."""
    result: dict[str, Any] = {}
    """Of a job that is done; see `tasks`."""
    version: int | None = None
    """Of the run that a training writes, or a judging is about."""

    @property
    def is_ended(self) -> bool:
        """Whether nothing is going to happen any more."""
        return self.status in ENDED

    @property
    def is_active(self) -> bool:
        """Whether a process is at work on it."""
        return self.status in ("running", "stopping")


class Job:
    """One folder `jobs/ID` of a person."""

    def __init__(self, directory: Path, request: JobRequest) -> None:
        self.directory = directory
        self.request = request

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.request.id

    @property
    def log_path(self) -> Path:
        """What the working process printed; not there before it starts."""
        return self.directory / LOG_FILE

    @property
    def state_path(self) -> Path:
        """See `JobState`; not there while the job is queued."""
        return self.directory / STATE_FILE

    @property
    def stop_path(self) -> Path:
        """There once the job is to end."""
        return self.directory / STOP_FILE

    @property
    def lock_path(self) -> Path:
        """Held by the working process as long as it lives."""
        return self.directory / LOCK_FILE

    @property
    def upload_directories(self) -> list[Path]:
        """Folders of what was uploaded; see `UPLOAD_FOLDERS`."""
        return [self.directory / name for name in UPLOAD_FOLDERS]

    def find_damage(self) -> JobError | None:
        """What is wrong with what is written of the state; None where it can be read."""
        try:
            load_state(self.state_path)
        except JobError as error:
            return error
        return None

    @property
    def state(self) -> JobState:
        """Where the job stands now; never raises.

        A job whose process is gone without a last word has failed, whatever is written.
        """
        state = read_state(self.state_path)
        if state is None or state.is_active:
            is_alive = locks.is_held(self.lock_path)
            # A process writes its last word before it lets go of the lock.
            state = read_state(self.state_path) if not is_alive else state
            if state is None or (state.is_active and not is_alive):
                return self._conclude(state, is_alive)
        is_to_stop = self.stop_path.exists()
        if state.status == "queued" and is_to_stop:
            return state.model_copy(update={"status": "stopped"})
        if state.status == "running" and is_to_stop:
            return state.model_copy(update={"status": "stopping"})
        return state

    def read_log(self, most: int = 20_000) -> str:
        """The end of the log.

        Args:
            most: Bytes.
        """
        try:
            with self.log_path.open("rb") as file:
                file.seek(max(0, self.log_path.stat().st_size - most))
                return file.read(most).decode("utf-8", "replace")
        except OSError:
            return ""

    def release_lock(self) -> None:
        """Delete the lock's file, after the process is gone; what else lies there stays."""
        if not self.lock_path.is_dir():
            self.lock_path.unlink(missing_ok=True)

    def write_state(self, state: JobState) -> None:
        """Replace `state.json`, whole or not at all.

        Raises:
            OSError: It cannot be written; the job may be gone, or the disk full.
        """
        home.write_text(self.state_path, state.model_dump_json(indent=1) + "\n")

    def _conclude(self, state: JobState | None, is_alive: bool) -> JobState:
        if is_alive:
            # Damaged, but its process is about to write it again.
            status: Status = "stopping" if self.stop_path.exists() else "running"
            return JobState(status=status)
        if state is not None and self.stop_path.exists():
            return state.model_copy(update={"status": "stopped"})
        why = "its process ended without a word: it was killed, or the machine was switched off."
        if state is None:
            why = "its state.json is damaged, and no process is at work on it."
        return (state or JobState()).model_copy(
            update={"status": "failed", "error": explain_crash(self, why)}
        )


def explain_crash(job: Job, why: str) -> Failure:
    """Words for a job whose process ended without any.

    Args:
        job: Which one.
        why: A sentence.
    """
    lines = job.read_log(LOG_TAIL).strip().splitlines()
    if lines:
        why += f" Its log ends with: {lines[-1].strip()[:300]}"
    todo = "Start it again: what was looked through is kept, and is not done twice."
    if job.request.kind == "train":
        todo = "Resume the training: it goes on from its last checkpoint."
    elif job.request.kind in ("estimate", "evaluate"):
        todo = "Start it again; nothing was changed."
    return Failure(given=f"job {job.id}", why=why, todo=f"{todo} The log: {job.log_path}")


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
        """Whose, as the folder is called."""
        return self.directory.parts[-3]


def load_state(path: Path) -> JobState:
    """What is written; `queued` where nothing is.

    Raises:
        JobError: It is damaged.
    """
    try:
        return read_file(path, JobState.model_validate_json)
    except FileNotFoundError:
        return JobState()
    except DamageError as error:
        raise JobError(
            str(path), f"the state is not legible ({error}).", "Start the job again."
        ) from error


def read_state(path: Path) -> JobState | None:
    """`load_state`, or None where it is damaged."""
    try:
        return load_state(path)
    except JobError:
        return None


def load_job(directory: Path) -> Job:
    """The job in a folder.

    Raises:
        FileNotFoundError: There is none.
        JobError: Its request is damaged.
    """
    path = directory / REQUEST_FILE
    try:
        request = read_file(path, JobRequest.model_validate_json)
    except DamageError as error:
        raise _complain(path, str(error)) from error
    if directory.parts[-3:] != (request.person, home.JOBS_FOLDER, request.id):
        raise _complain(path, "it is another job's")
    return Job(directory, request)


def _complain(path: Path, why: str) -> JobError:
    return JobError(
        str(path),
        f"the job is not legible ({why}).",
        f"Delete the folder {path.parent} with what was uploaded for it.",
    )
