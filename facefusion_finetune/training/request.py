"""The options of a training, shared by the command line, jobs and Python programs."""

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from facefusion_finetune.damage import MAX_NUMBER, describe_fault
from facefusion_finetune.errors import UsageError

Precision = Literal["auto", "fp32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

TRACKERS: Mapping[str, tuple[str, ...]] = {
    "tensorboard": ("tensorboard", "tensorboardX"),
    "mlflow": ("mlflow",),
}
"""By accelerate's name: modules of which at least one must be installed."""

DEFAULT_CACHE = "4GB"

JUDGE_VARIABLE = "FACEFUSION_FINETUNE_JUDGE"
"""ONNX file of an independent recogniser; the default of `judge`."""
CACHE_VARIABLE = "FACEFUSION_FINETUNE_CACHE"
"""Cache folder; the default of `cache`."""

MAX_DIGITS = 19
"""Of a size as text; more overflow where it is computed with."""
_UNITS = "KMGT"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?", re.ASCII)


def parse_size(text: str) -> int:
    """Bytes of a size such as `4GB`, `512 MB`, `1.5GiB` or `0`.

    Raises:
        UsageError: It is not a size.
    """
    match = _SIZE.fullmatch(text.strip().upper())
    if match is None or (match[3] and not match[2]) or len(match[1]) > MAX_DIGITS:
        raise UsageError(
            f"size {text!r}", "it is not a valid size.", "Use for example 4GB, 512MB or 1.5GiB."
        )
    power = _UNITS.index(match[2]) + 1 if match[2] else 0
    base = 1024 if match[3] else 1000
    return round(float(match[1]) * float(base**power))


def _read_size(value: object) -> object:
    return parse_size(value) if isinstance(value, str) else value


class TrainRequest(BaseModel):
    """What to train, how to evaluate it, and how to carry it out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str = "inswapper_128"
    """FaceFusion's name for a swapper, or the path of an ONNX file; see `resolve_base`."""
    preset: str = "balanced"
    """A preset's name, or the path of a .toml file."""
    seed: int = Field(default=0, ge=0, lt=MAX_NUMBER)
    """Seed of all random numbers."""
    resume: bool = False
    """Resume the person's last unfinished run with its own base, preset, seed and others."""
    judge: Path | None = None
    """ONNX file of an independent recogniser; if None, the run's or the analyser's own judge."""
    targets: tuple[Path, ...] = ()
    """Footage of other people that the person is swapped onto for evaluation."""
    others: tuple[Path, ...] = ()
    """Footage of other people, for training pairs with their frames."""
    commercial: bool = False
    """Refuse a base whose licence does not allow commercial use."""
    precision: Precision = "auto"
    """Precision of the forward and backward passes; the weights stay in fp32."""
    cache: Path | None = None
    """Folder of the cache of the frozen layers' activations; None for the run's own folder."""
    cache_size: Annotated[int, BeforeValidator(_read_size), Field(ge=0, lt=MAX_NUMBER)] = (
        parse_size(DEFAULT_CACHE)
    )
    """Maximum cache size in bytes, as a number or as text such as `4GB`; 0 turns the cache off."""
    trackers: tuple[str, ...] = ()
    """Experiment trackers in addition to metrics.jsonl: `tensorboard`, `mlflow`."""

    @classmethod
    def parse(cls, **values: Any) -> Self:
        """Create a request from user input.

        Raises:
            UsageError: An option is unknown or has an invalid value.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            name, reason = describe_fault(error)
            given = str(error.errors(include_url=False)[0]["input"])[:80]
            raise UsageError(f"{name} {given}", f"{reason}.", "Use another value.") from error

    def check(self) -> None:
        """Check that this machine can carry out the request, before anything is opened.

        Raises:
            UsageError: The cache is a file, or a tracker is unknown or not installed.
        """
        if self.cache is not None and self.cache.exists() and not self.cache.is_dir():
            raise UsageError(f"cache {self.cache}", "it is a file.", "Use a folder, or a new name.")
        for name in self.trackers:
            _check_tracker(name)


def _check_tracker(name: str) -> None:
    modules = TRACKERS.get(name)
    if modules is None:
        raise UsageError(
            f"tracker {name!r}", "unknown tracker.", f"Use one of {', '.join(TRACKERS)}."
        )
    if not any(importlib.util.find_spec(module) for module in modules):
        raise UsageError(
            f"tracker {name!r}",
            "it is not installed.",
            f"Run pip install 'facefusion-finetune[{name}]'; metrics.jsonl needs no tracker.",
        )
