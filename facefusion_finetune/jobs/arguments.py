"""The arguments of each kind of job."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from facefusion_finetune.damage import describe_fault
from facefusion_finetune.errors import JobError
from facefusion_finetune.training.request import TrainRequest

Kind = Literal["extract", "train", "estimate", "evaluate"]
"""`estimate` is a dry run of a training."""
KINDS: tuple[Kind, ...] = get_args(Kind)


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ExtractArguments(_Arguments):
    """Arguments of `extract`; see `ExtractSettings`."""

    paths: list[str] = Field(min_length=1)
    """Absolute paths of images, folders and videos."""
    references: list[str] = []
    frames_per_second: float | None = Field(None, ge=0.1, le=60)
    most_frames: int | None = Field(None, ge=1, le=1 << 53)
    keep_others: bool = False


class EvaluateArguments(_Arguments):
    """Arguments of `evaluate`; see `evaluate_run`."""

    version: int = Field(ge=1, le=1 << 53)
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
    """Validate the arguments of a kind of job.

    Raises:
        JobError: An argument is missing, unknown or invalid.
    """
    try:
        return MODELS[kind].model_validate(dict(arguments))
    except ValidationError as error:
        name, reason = describe_fault(error)
        given = str(error.errors(include_url=False)[0]["input"])[:80]
        raise JobError(
            f"{kind} with {name} = {given}",
            f"the value is invalid ({reason}).",
            "Use another value.",
        ) from error
