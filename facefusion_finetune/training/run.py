"""A training run on disk: its settings, its files, and how a run is found again."""

import hashlib
import json
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError

from facefusion_finetune import home
from facefusion_finetune.errors import TrainingError
from facefusion_finetune.people.profile import Person
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.training.presets import Preset


class RunConfig(BaseModel):
    """Everything a run depends on, as it was when the run began."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    person: str
    version: int
    created: datetime
    package_version: str
    analyser: str
    base_name: str
    base_argument: str
    """What the base was given as: a name, or the absolute path of a file."""
    base_sha256: str
    base_vendor: str
    base_licence: str
    consent_digest: str
    dataset_digest: str
    preset_name: str
    seed: int
    train: list[str]
    """Ids of the crops that train."""
    held_out: list[str]
    """Ids of the crops that judge."""
    preset: Preset


class Run:
    """One folder `runs/VERSION` of a person."""

    def __init__(self, directory: Path, config: RunConfig) -> None:
        self.directory = directory
        self.config = config

    @property
    def reference(self) -> str:
        """`NAME@VERSION`."""
        return f"{self.config.person}@{self.config.version}"

    @property
    def checkpoint_path(self) -> Path:
        """The last good state of training."""
        return self.directory / "checkpoints" / "last.safetensors"

    @property
    def model_path(self) -> Path:
        """The tuned model; there only once the run is finished."""
        return self.directory / "model.onnx"

    @property
    def report_path(self) -> Path:
        """The report for people; `report.json` beside it holds the same figures."""
        return self.directory / "report.html"

    @property
    def is_finished(self) -> bool:
        """Whether a model was written."""
        return self.model_path.is_file()

    def log(self, step: int, values: dict[str, Any]) -> None:
        """Append one line to `metrics.jsonl`."""
        path = self.directory / "metrics.jsonl"
        path.touch(mode=0o600)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    def forget_metrics_after(self, step: int) -> None:
        """Drop lines of steps that a resumed run will do again."""
        path = self.directory / "metrics.jsonl"
        if path.exists():
            lines = path.read_text("utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and _step(line) <= step]
            home.write_text(path, "".join(kept))


def create_run(person: Person, config: RunConfig) -> Run:
    """Make the folder of a new run."""
    directory = person.runs_directory / str(config.version)
    home.create_private_directory(directory / "checkpoints")
    home.create_private_directory(directory / "previews")
    values = config.model_dump(mode="json", exclude_none=True)
    home.write_text(directory / "config.toml", tomli_w.dumps(values))
    return Run(directory, config)


def next_version(person: Person) -> int:
    """Number of the person's next run."""
    return max((run.config.version for run in list_runs(person)), default=0) + 1


def list_runs(person: Person) -> list[Run]:
    """All runs of a person, oldest first.

    Raises:
        TrainingError: A run's settings are damaged.
    """
    paths = person.runs_directory.glob("*/config.toml")
    return [_load(path) for path in sorted(paths, key=lambda path: int(path.parent.name))]


def find_run(person: Person, version: int | None) -> Run:
    """The run of that version, or the person's last one.

    Raises:
        TrainingError: There is no such run.
    """
    runs = list_runs(person)
    for run in reversed(runs):
        if version in (None, run.config.version):
            return run
    known = ", ".join(run.reference for run in runs) or "none yet"
    wanted = f"{person.name}@{version}" if version else person.name
    raise TrainingError(
        f"model {wanted!r}",
        f"there is no such training run (known: {known}).",
        f"Train one: facefusion-finetune train {person.name} --base inswapper_128.",
    )


def digest_file(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_base(run: Run, options: SwapperOptions) -> None:
    """Make sure that a run goes on with the base it was started with.

    Raises:
        TrainingError: The base file's digest is another one.
    """
    if digest_file(options.path) != run.config.base_sha256:
        raise TrainingError(
            f"run {run.reference}",
            f"it was started with another {run.config.base_name} than {options.path} holds now"
            " (the digests differ).",
            "Put the former base file back, or train anew without --resume.",
        )


def _load(path: Path) -> Run:
    try:
        config = RunConfig.model_validate(tomllib.loads(path.read_text("utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValidationError) as error:
        raise TrainingError(
            str(path), f"the run's settings are damaged ({error}).", "Remove that run's folder."
        ) from error
    return Run(path.parent, config)


def _step(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError):
        return 0
