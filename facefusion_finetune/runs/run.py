"""A run on disk: its settings, its files, and how to find it.

A run is one version of a person's model, trained here or imported.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from facefusion_finetune import home, temporary
from facefusion_finetune.damage import DamageError, parse_json, parse_toml, read_content, read_file
from facefusion_finetune.errors import ConsentError, FinetuneError, TrainingError
from facefusion_finetune.people.profile import Consent, Person, confirm_consent
from facefusion_finetune.presets.preset import Preset

RECORD_FILE = "config.toml"
MODEL_FILE = "model.onnx"
REPORT_FILE = "report.json"
METRICS_FILE = "metrics.jsonl"
PREVIEWS_FOLDER = "previews"


class RunRecord(BaseModel):
    """Settings common to all runs: person, base, consent and date."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    person: str
    version: Annotated[int, Field(ge=1)]
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
    """A run whose model was trained on another machine; its training data is not here."""

    imported: Literal[True] = True
    imported_at: AwareDatetime
    origin: str
    """`NAME@VERSION` of the model on that machine."""
    sha256: str | None = None
    """Of the imported file; None if it was imported by a former version of this package."""


class JudgeRecord(BaseModel):
    """The user's judge file of a run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    """Absolute path."""
    sha256: str


class RunConfig(RunRecord):
    """Everything a training run depends on, recorded at its start."""

    analyser: str
    base_argument: str
    """The base as given: a name, or the absolute path of a file."""
    seed: Annotated[int, Field(ge=0)]
    train: list[str]
    """Ids of the training crops."""
    held_out: list[str]
    """Ids of the held-out crops."""
    kept_back: list[str] = []
    """Ids of the validation crops."""
    preset: Preset
    judge: JudgeRecord | None = None
    others: list[str] = []
    """Absolute paths of training footage of other people."""


class Run:
    """A run in a person's folder `runs/VERSION`."""

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
        """The settings of the training.

        Raises:
            TrainingError: It was trained on another machine.
        """
        if not isinstance(self.record, RunConfig):
            raise TrainingError(
                f"model {self.reference}",
                "it was imported without its crops and training settings, so it can be neither"
                " evaluated nor resumed here.",
                "Do that on the machine it was trained on, or train a new model here:"
                f" facefusion-finetune train {self.record.person}.",
            )
        return self.record

    @property
    def checkpoint_path(self) -> Path:
        """The last checkpoint."""
        return self.directory / "checkpoints" / "last.safetensors"

    @property
    def record_path(self) -> Path:
        """The settings; a folder without them is not a run."""
        return self.directory / RECORD_FILE

    @property
    def model_path(self) -> Path:
        """The tuned model; exists only once the run is finished."""
        return self.directory / MODEL_FILE

    @property
    def report_path(self) -> Path:
        """The HTML report."""
        return self.directory / "report.html"

    @property
    def report_json_path(self) -> Path:
        """The same report as JSON."""
        return self.directory / REPORT_FILE

    @property
    def previews_directory(self) -> Path:
        """Folder of the training previews and the report's pictures."""
        return self.directory / PREVIEWS_FOLDER

    @property
    def metrics_path(self) -> Path:
        """The metrics of each step, one JSON object per line."""
        return self.directory / METRICS_FILE

    @property
    def is_finished(self) -> bool:
        """Whether a model was written; it may be damaged."""
        return self.model_path.exists()

    def log(self, step: int, values: dict[str, Any]) -> None:
        """Append one line to `metrics.jsonl`."""
        path = self.metrics_path
        path.touch(mode=0o600)
        with home.naming(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    def forget_metrics_after(self, step: int) -> None:
        """Remove metrics of steps that a resumed run will repeat."""
        path = self.metrics_path
        if path.is_file():
            lines = read_content(path, limit=None).splitlines(keepends=True)
            kept = [line for line in lines if line.endswith(b"\n") and _read_step(line) <= step]
            home.write_bytes(path, b"".join(kept))


@dataclass(frozen=True)
class DamagedRun:
    """A run whose settings cannot be read."""

    directory: Path
    error: TrainingError

    @property
    def reference(self) -> str:
        """`NAME@VERSION`, from the folder names."""
        return f"{self.directory.parts[-3]}@{self.version}"

    @property
    def version(self) -> int:
        """The version number."""
        return int(self.directory.name)

    @property
    def is_finished(self) -> bool:
        """Whether a model was written; it may be damaged."""
        return (self.directory / MODEL_FILE).exists()


def create_run(person: Person, config: RunConfig) -> Run:
    """Create the folder of a new run, with its settings."""
    directory = run_directory(person, config.version)
    home.create_inner_directory(person.runs_directory, person.directory)
    with temporary.stage_folder(directory) as folder:
        for name in ("checkpoints", PREVIEWS_FOLDER):
            (folder / name).mkdir(mode=0o700)
        write_record(folder, config)
        folder.rename(directory)
    return Run(directory, config)


def run_directory(person: Person, version: int) -> Path:
    """The folder of a person's run with that version; it may not exist."""
    return person.runs_directory / str(version)


def write_record(directory: Path, record: RunRecord) -> Run:
    """Write a run's settings to its existing folder."""
    values = record.model_dump(mode="json", exclude_none=True)
    home.write_text(directory / RECORD_FILE, tomli_w.dumps(values))
    return Run(directory, record)


def next_version(person: Person) -> int:
    """The version of the person's next run, higher than that of any existing folder."""
    names = (path.name for path in person.runs_directory.glob("*"))
    return max((int(name) for name in names if name.isdecimal()), default=0) + 1


def find_records(folder: Path) -> list[Path]:
    """Paths of `config.toml` of all runs in a folder `runs`, oldest run first."""
    paths = [path for path in folder.glob(f"*/{RECORD_FILE}") if path.parent.name.isdecimal()]
    return sorted(paths, key=lambda path: int(path.parent.name))


def list_runs(person: Person) -> list[Run]:
    """All runs of a person with readable settings, oldest first."""
    return [run for run in scan_runs(person) if isinstance(run, Run)]


def scan_runs(person: Person) -> list[Run | DamagedRun]:
    """All runs of a person, oldest first, including those with damaged settings."""
    found: list[Run | DamagedRun] = []
    for path in find_records(person.runs_directory):
        # It may have been removed in the meantime.
        with contextlib.suppress(FileNotFoundError):
            try:
                found.append(load_run(path))
            except TrainingError as error:
                found.append(DamagedRun(path.parent, error))
    return found


def load_run(path: Path) -> Run:
    """Load the run of a settings file.

    Args:
        path: The run's `config.toml`.

    Raises:
        TrainingError: The settings are damaged, or belong to another run.
        FileNotFoundError: The file does not exist; the run may have been removed.
    """
    todo = "Restore the file, or remove the run's folder."
    try:
        record = read_file(path, _parse_record)
    except DamageError as error:
        raise TrainingError(
            str(path), f"the run's settings are damaged ({error}).", todo
        ) from error
    if (record.person, record.version) != (path.parts[-4], int(path.parent.name)):
        raise TrainingError(str(path), "it has the settings of another run.", todo)
    return Run(path.parent, record)


def _parse_record(content: bytes) -> RunRecord:
    values = parse_toml(content)
    kind = ImportRecord if values.get("imported") else RunConfig
    return kind.model_validate(values)


def find_run(person: Person, version: int | None) -> Run:
    """The run with the given version, or the person's last one.

    Raises:
        TrainingError: There is no such run, or its settings are damaged.
    """
    paths = find_records(person.runs_directory)
    for path in reversed(paths):
        if version in (None, int(path.parent.name)):
            # It may have been removed in the meantime.
            with contextlib.suppress(FileNotFoundError):
                return load_run(path)
    known = ", ".join(f"{person.name}@{path.parent.name}" for path in paths) or "none yet"
    wanted = f"{person.name}@{version}" if version else person.name
    raise TrainingError(
        f"model {wanted!r}",
        f"no such version (known: {known}).",
        f"Train one: facefusion-finetune train {person.name} --base inswapper_128.",
    )


def check_consent(run: Run) -> Consent:
    """The consent that currently allows a run to continue, read from disk again.

    Raises:
        ConsentError: No consent is on record, it has expired, or the person or run was removed.
    """
    consent = confirm_consent(run.record.person)
    if not is_on_record(run):
        raise ConsentError(
            f"run {run.reference}",
            "it was removed while it was running.",
            f"Train again: facefusion-finetune train {run.record.person}.",
        )
    return consent


def is_on_record(run: Run) -> bool:
    """Whether a run is still there, and not another one with the same version.

    A run whose settings were damaged in the meantime still counts.
    """
    try:
        return load_run(run.record_path).record.created == run.record.created
    except FileNotFoundError:
        return False
    except TrainingError:
        return True


def require_on_record(run: Run) -> None:
    """Make sure that a run was not removed since it was loaded.

    Raises:
        TrainingError: It was, even if a new one has the same version.
    """
    if not is_on_record(run):
        raise TrainingError(
            f"model {run.reference}",
            "it was removed in the meantime.",
            "Choose another version: facefusion-finetune models list.",
        )


@contextlib.contextmanager
def watch_consent(run: Run) -> Iterator[None]:
    """Report failures caused by missing consent as such, and delete what a removed run wrote.

    Raises:
        ConsentError: As `check_consent`, in place of an error it caused.
    """
    try:
        yield
    except (OSError, FinetuneError):
        # A file access may have failed because the person was removed.
        check_consent(run)
        raise
    finally:
        _discard_remains(run)


def _discard_remains(run: Run) -> None:
    """Delete files that were written to a run's folder after the run was removed."""
    if not run.record_path.exists():
        shutil.rmtree(run.directory, ignore_errors=True)
        with contextlib.suppress(OSError):
            run.directory.parent.rmdir()


def _read_step(line: bytes) -> int:
    """The step of a line of metrics; 0 for a damaged line, which is thus kept."""
    try:
        return int(parse_json(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError):
        return 0
