"""A run on disk: its settings, its files, and how it is found again.

A run is one version of a person's model, trained here or imported.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import AwareDatetime, BaseModel, ConfigDict

from facefusion_finetune import home
from facefusion_finetune.damage import DamageError, parse_json, parse_toml, read_file
from facefusion_finetune.errors import ConsentError, FinetuneError, TrainingError
from facefusion_finetune.people.profile import Consent, Person, confirm_consent
from facefusion_finetune.presets.preset import Preset

RECORD_FILE = "config.toml"
MODEL_FILE = "model.onnx"
REPORT_FILE = "report.json"
METRICS_FILE = "metrics.jsonl"
PREVIEWS_FOLDER = "previews"


class RunRecord(BaseModel):
    """What is known of every run: whose model, from which base, and when."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    person: str
    version: int
    created: AwareDatetime
    package_version: str
    base_name: str
    base_sha256: str
    base_vendor: str
    base_licence: str
    consent_digest: str
    dataset_digest: str
    preset_name: str


class ImportRecord(RunRecord):
    """A run whose model was trained on another machine; of its training nothing is here."""

    imported: Literal[True] = True
    imported_at: AwareDatetime
    origin: str
    """`NAME@VERSION`, as the model was called there."""


class JudgeRecord(BaseModel):
    """The recogniser that judges a run, where it is a file of the user's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    """Absolute."""
    sha256: str


class RunConfig(RunRecord):
    """Everything a training run depends on, as it was when the run began."""

    analyser: str
    base_argument: str
    """What the base was given as: a name, or the absolute path of a file."""
    seed: int
    train: list[str]
    """Ids of the crops that train."""
    held_out: list[str]
    """Ids of the crops that judge."""
    kept_back: list[str] = []
    """Ids of the crops that tell when training has done its work."""
    preset: Preset
    judge: JudgeRecord | None = None
    others: list[str] = []
    """Absolute paths of the footage of other people that trains, too."""


class Run:
    """One folder `runs/VERSION` of a person."""

    def __init__(self, directory: Path, record: RunRecord) -> None:
        self.directory = directory
        self.record = record

    @property
    def reference(self) -> str:
        """`NAME@VERSION`."""
        return f"{self.record.person}@{self.record.version}"

    @property
    def is_imported(self) -> bool:
        """Whether the model was trained on another machine."""
        return isinstance(self.record, ImportRecord)

    @property
    def config(self) -> RunConfig:
        """The settings it was trained with.

        Raises:
            TrainingError: It was trained on another machine.
        """
        if not isinstance(self.record, RunConfig):
            raise TrainingError(
                f"model {self.reference}",
                "it was imported, so the crops and settings it was trained with are not here: it"
                " can neither be judged again nor trained on.",
                f"Do that where it was trained, or train anew: facefusion-finetune train"
                f" {self.record.person}.",
            )
        return self.record

    @property
    def checkpoint_path(self) -> Path:
        """The last good state of training."""
        return self.directory / "checkpoints" / "last.safetensors"

    @property
    def record_path(self) -> Path:
        """Its settings; a run without them is none any more."""
        return self.directory / RECORD_FILE

    @property
    def model_path(self) -> Path:
        """The tuned model; there only once the run is finished."""
        return self.directory / MODEL_FILE

    @property
    def report_path(self) -> Path:
        """The report for people."""
        return self.directory / "report.html"

    @property
    def report_json_path(self) -> Path:
        """The same report for programs."""
        return self.directory / REPORT_FILE

    @property
    def previews_directory(self) -> Path:
        """Pictures: of single steps, and of the report."""
        return self.directory / PREVIEWS_FOLDER

    @property
    def metrics_path(self) -> Path:
        """What each step measured, a line of JSON for each."""
        return self.directory / METRICS_FILE

    @property
    def is_finished(self) -> bool:
        """Whether a model was written; it may be damaged by now."""
        return self.model_path.exists()

    def log(self, step: int, values: dict[str, Any]) -> None:
        """Append one line to `metrics.jsonl`."""
        path = self.metrics_path
        path.touch(mode=0o600)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    def forget_metrics_after(self, step: int) -> None:
        """Drop lines of steps that a resumed run will do again."""
        path = self.metrics_path
        if path.exists():
            lines = path.read_bytes().splitlines(keepends=True)
            kept = [line for line in lines if line.endswith(b"\n") and _read_step(line) <= step]
            home.write_bytes(path, b"".join(kept))


@dataclass(frozen=True)
class DamagedRun:
    """A run whose settings cannot be read."""

    directory: Path
    error: TrainingError

    @property
    def reference(self) -> str:
        """`NAME@VERSION`, as the folders are called."""
        return f"{self.directory.parts[-3]}@{self.version}"

    @property
    def version(self) -> int:
        """Its number."""
        return int(self.directory.name)

    @property
    def is_finished(self) -> bool:
        """Whether a model was written; it may be damaged by now."""
        return (self.directory / MODEL_FILE).exists()


def create_run(person: Person, config: RunConfig) -> Run:
    """Make the folder of a new run."""
    directory = person.runs_directory / str(config.version)
    home.create_private_directory(directory / "checkpoints")
    home.create_private_directory(directory / PREVIEWS_FOLDER)
    return write_record(directory, config)


def write_record(directory: Path, record: RunRecord) -> Run:
    """Write the settings of a run whose folder exists."""
    values = record.model_dump(mode="json", exclude_none=True)
    home.write_text(directory / RECORD_FILE, tomli_w.dumps(values))
    return Run(directory, record)


def next_version(person: Person) -> int:
    """Number of the person's next run: that of no folder, whatever is left in there."""
    names = (path.name for path in person.runs_directory.glob("*"))
    return max((int(name) for name in names if name.isdecimal()), default=0) + 1


def find_records(folder: Path) -> list[Path]:
    """`config.toml` of all runs in a person's folder `runs`, oldest run first."""
    paths = [path for path in folder.glob(f"*/{RECORD_FILE}") if path.parent.name.isdecimal()]
    return sorted(paths, key=lambda path: int(path.parent.name))


def list_runs(person: Person) -> list[Run]:
    """All runs of a person whose settings can be read, oldest first."""
    return [run for run in scan_runs(person) if isinstance(run, Run)]


def scan_runs(person: Person) -> list[Run | DamagedRun]:
    """All runs of a person, oldest first; those with damaged settings are among them."""
    found: list[Run | DamagedRun] = []
    for path in find_records(person.runs_directory):
        # One that was removed meanwhile is none.
        with contextlib.suppress(FileNotFoundError):
            try:
                found.append(load_run(path))
            except TrainingError as error:
                found.append(DamagedRun(path.parent, error))
    return found


def load_run(path: Path) -> Run:
    """The run with those settings.

    Args:
        path: Its `config.toml`.

    Raises:
        TrainingError: They are damaged, or another run's.
        FileNotFoundError: There are none; the run may have been removed meanwhile.
    """
    todo = "Put the file back as it was, or remove that run's folder."
    try:
        record = read_file(path, _parse_record)
    except DamageError as error:
        raise TrainingError(
            str(path), f"the run's settings are damaged ({error}).", todo
        ) from error
    if (record.person, record.version) != (path.parts[-4], int(path.parent.name)):
        raise TrainingError(str(path), "they are the settings of another run.", todo)
    return Run(path.parent, record)


def _parse_record(content: bytes) -> RunRecord:
    values = parse_toml(content)
    kind = ImportRecord if values.get("imported") else RunConfig
    return kind.model_validate(values)


def find_run(person: Person, version: int | None) -> Run:
    """The run of that version, or the person's last one.

    Raises:
        TrainingError: There is no such run, or its settings are damaged.
    """
    paths = find_records(person.runs_directory)
    for path in reversed(paths):
        if version in (None, int(path.parent.name)):
            # One that was removed meanwhile is none.
            with contextlib.suppress(FileNotFoundError):
                return load_run(path)
    known = ", ".join(f"{person.name}@{path.parent.name}" for path in paths) or "none yet"
    wanted = f"{person.name}@{version}" if version else person.name
    raise TrainingError(
        f"model {wanted!r}",
        f"there is no such training run (known: {known}).",
        f"Train one: facefusion-finetune train {person.name} --base inswapper_128.",
    )


def check_consent(run: Run) -> Consent:
    """The consent that a run may go on with at this moment, read from disk again.

    Raises:
        ConsentError: There is none, it has expired, or person or run were removed meanwhile.
    """
    consent = confirm_consent(run.record.person)
    if not run.record_path.is_file():
        raise ConsentError(
            f"run {run.reference}",
            "it was removed while it was at work.",
            f"Train anew: facefusion-finetune train {run.record.person}.",
        )
    return consent


@contextlib.contextmanager
def watch_consent(run: Run) -> Iterator[None]:
    """Work on a run: where that fails because of the consent, say so, and leave nothing behind.

    Raises:
        ConsentError: As `check_consent`, in place of what failed for that reason.
    """
    try:
        yield
    except (OSError, FinetuneError):
        # Whatever could not be written or read: the person may have been removed meanwhile.
        check_consent(run)
        raise
    finally:
        _discard_remains(run)


def _discard_remains(run: Run) -> None:
    """Delete what was written into a run's folder after the run was removed."""
    if not run.record_path.exists():
        shutil.rmtree(run.directory, ignore_errors=True)
        for folder in (run.directory.parent, run.directory.parent.parent):
            with contextlib.suppress(OSError):
                folder.rmdir()


def _read_step(line: bytes) -> int:
    """The step that a line of metrics tells of; one that is damaged tells of none, and is kept."""
    try:
        return int(parse_json(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError):
        return 0
