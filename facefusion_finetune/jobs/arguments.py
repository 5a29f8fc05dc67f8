"""What each kind of job is asked with."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from facefusion_finetune.damage import describe_fault
from facefusion_finetune.errors import JobError
from facefusion_finetune.training.request import TrainRequest

Kind = Literal["extract", "train", "estimate", "evaluate"]
"""`estimate`: a training's first two steps, of which nothing is kept."""
KINDS: tuple[Kind, ...] = get_args(Kind)


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ExtractArguments(_Arguments):
    """Of `extract`; see `ExtractSettings`."""

    paths: list[str] = Field(min_length=1)
    """Absolute paths of images, folders and videos."""
    references: list[str] = []
    frames_per_second: float | None = Field(None, ge=0.1, le=60)
    most_frames: int | None = Field(None, ge=1)
    keep_others: bool = False


class EvaluateArguments(_Arguments):
    """Of `evaluate`; see `evaluate_run`."""

    version: int = Field(ge=1)
    judge: str | None = None
    targets: list[str] = []


Arguments = ExtractArguments | TrainRequest | EvaluateArguments
MODELS: Mapping[Kind, type[Arguments]] = {
    "extract": ExtractArguments,
    "train": TrainRequest,
    "estimate": TrainRequest,
    "evaluate": EvaluateArguments,
}


def check_arguments(kind: Kind, arguments: Mapping[str, Any]) -> Arguments:
    """The arguments of a kind of job.

    Raises:
        JobError: One is missing, unknown, or has no such value.
    """
    try:
        return MODELS[kind].model_validate(dict(arguments))
    except ValidationError as error:
        name, reason = describe_fault(error)
        given = str(error.errors(include_url=False)[0]["input"])[:80]
        raise JobError(
            f"{kind} with {name} = {given}",
            f"that is not possible ({reason}).",
            "Choose another value.",
        ) from error
