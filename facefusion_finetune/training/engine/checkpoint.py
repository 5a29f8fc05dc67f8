"""The state of a training run in one safetensors file, written atomically.

The previous file is kept as well, so a damaged one costs some steps but not the run.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import torch
from pydantic import ConfigDict, Field, TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from facefusion_finetune import home, temporary
from facefusion_finetune.damage import explain, open_regular, parse_json
from facefusion_finetune.errors import TrainingError
from facefusion_finetune.runs.run import RunConfig

TensorSet = dict[str, Tensor]

_GROUPS = ("weights", "average", "best", "moments")
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class DamagedCheckpointError(TrainingError):
    """A checkpoint is missing or damaged."""


@dataclass(frozen=True)
class Identity:
    """Identifies the run a checkpoint belongs to."""

    base: str
    """sha256 of the base file."""
    settings: str
    """sha256 of the run's settings."""


@dataclass(frozen=True)
class Progress:
    """A run's progress. Batches depend only on seed and step, so no generator state is stored."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    step: Annotated[int, Field(ge=0)]
    """Completed steps."""
    micro_batch: Annotated[int, Field(ge=1)]
    """Samples per forward and backward pass of a process."""
    rate_factor: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor on the preset's learning rate since the last rollback."""
    returns: Annotated[int, Field(ge=0)] = 0
    """Rollbacks since the last progress."""
    failed_at: Annotated[int, Field(ge=-1)] = -1
    """The furthest failed step."""
    scores: tuple[tuple[int, float], ...] = ()
    """Step and score of every validation; lower is better."""
    scaler: Mapping[str, int | float] = field(default_factory=dict)
    """State of the fp16 gradient scaler."""


_PROGRESS = TypeAdapter(Progress)


@dataclass(frozen=True)
class Checkpoint:
    """A run's state; tensors are on the CPU and not shared."""

    identity: Identity
    progress: Progress
    weights: TensorSet
    """By initializer name."""
    average: TensorSet
    """Exponential moving average of the weights, by initializer name."""
    best: TensorSet
    """The average with the best validation score, by initializer name; empty if there is none."""
    moments: TensorSet
    """Adam's `step/NAME`, `exp_avg/NAME` and `exp_avg_sq/NAME`; empty before the first step."""

    @property
    def step(self) -> int:
        """Completed steps."""
        return self.progress.step


def identify_run(config: RunConfig) -> Identity:
    """The identity of a run's checkpoints."""
    # Without defaults, so that keys added in later versions do not change the digest.
    values = config.model_dump(mode="json", exclude_defaults=True)
    text = json.dumps(values, sort_keys=True)
    return Identity(config.base_sha256, hashlib.sha256(text.encode()).hexdigest())


def has_checkpoint(path: Path) -> bool:
    """Whether there is a checkpoint to resume from; see `restore_checkpoint`."""
    return path.exists() or _name_previous(path).exists()


def save_checkpoint(path: Path, checkpoint: Checkpoint, overwrite: bool = False) -> None:
    """Write the checkpoint; there is always a complete one on disk.

    Args:
        path: The last checkpoint; the previous one is kept next to it as `previous.safetensors`.
        checkpoint: The checkpoint to write.
        overwrite: Replace the last checkpoint and keep the previous one.

    Raises:
        OSError: The file cannot be written.
    """
    tensors = {
        f"{group}/{name}": tensor.contiguous()
        for group in _GROUPS
        for name, tensor in getattr(checkpoint, group).items()
    }
    state = json.dumps(asdict(checkpoint.progress) | asdict(checkpoint.identity), sort_keys=True)
    content = save(tensors, {"state": state, "sha256": _digest(state, tensors)})
    if path.exists() and not overwrite:
        _keep_previous(path)
    home.write_bytes(path, content)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        DamagedCheckpointError: There is none, or it is not what was written.
    """
    groups: dict[str, TensorSet] = {group: {} for group in _GROUPS}
    tensors: TensorSet = {}
    try:
        # safetensors waits for a named pipe, and has no words for a folder.
        open_regular(path).close()
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            for key in file.keys():  # noqa: SIM118 - not a dict
                group, _, name = key.partition("/")
                groups[group][name] = tensors[key] = file.get_tensor(key)
        if _digest(header["state"], tensors) != header["sha256"]:
            raise ValueError("its digest does not match")
        state = parse_json(header["state"])
        identity = Identity(state.pop("base"), state.pop("settings"))
        progress = _PROGRESS.validate_python(state)
        _check_moments(groups["moments"], groups["weights"])
    except FileNotFoundError as error:
        raise DamagedCheckpointError(
            str(path),
            "the run was interrupted before its first checkpoint.",
            "Train without --resume; only those steps are lost.",
        ) from error
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError, OSError) as error:
        raise DamagedCheckpointError(
            str(path),
            f"the checkpoint is damaged ({explain(error)}).",
            "Train again without --resume.",
        ) from error
    return Checkpoint(identity, progress, **groups)


def _check_moments(moments: TensorSet, weights: TensorSet) -> None:
    names = {key.partition("/")[2] for key in moments}
    if moments.keys() != {f"{moment}/{name}" for moment in _MOMENTS for name in names}:
        raise ValueError("moments are missing")
    for key, tensor in moments.items():
        moment, _, name = key.partition("/")
        if tensor.shape != (() if moment == "step" else weights[name].shape):
            raise ValueError("the moments have other shapes than the weights")


def restore_checkpoint(
    path: Path, identity: Identity, on_note: Callable[[str], None]
) -> list[Checkpoint]:
    """The checkpoints to resume from: the last one, or the previous one if that is damaged.

    Args:
        path: The last checkpoint.
        identity: The run's identity.
        on_note: Called if the last checkpoint is damaged.

    Returns:
        The checkpoint to resume from, preceded by an earlier one if there is one.

    Raises:
        TrainingError: All are damaged, or they belong to another base or other settings.
    """
    temporary.sweep_folder(path.parent)
    _name_link(path).unlink(missing_ok=True)
    before = _name_previous(path)
    earlier = None
    with contextlib.suppress(DamagedCheckpointError):
        earlier = load_checkpoint(before)
    try:
        last = load_checkpoint(path)
    except DamagedCheckpointError as error:
        if earlier is None:
            raise
        _check_identity(before, earlier, identity)
        # It replaces the damaged one, which thus never becomes the previous checkpoint.
        before.replace(path)
        on_note(f"{error.given}: {error.why} Resuming from the previous one, step {earlier.step}.")
        return [earlier]
    _check_identity(path, last, identity)
    if earlier is None or earlier.identity != identity or earlier.step >= last.step:
        return [last]
    return [earlier, last]


def read_moments(optimizer: torch.optim.Optimizer, named: Mapping[str, Tensor]) -> TensorSet:
    """Adam's moments by tensor name."""
    return {
        f"{moment}/{name}": optimizer.state[tensor][moment]
        for name, tensor in named.items()
        for moment in _MOMENTS
        if tensor in optimizer.state
    }


def restore_moments(
    optimizer: torch.optim.Optimizer, named: Mapping[str, Tensor], moments: TensorSet
) -> None:
    """Restore Adam's moments and step count."""
    optimizer.state.clear()
    for name, tensor in named.items():
        if f"step/{name}" in moments:
            optimizer.state[tensor] = {
                # Adam's step count is on the CPU, whatever the device.
                moment: moments[f"{moment}/{name}"]
                .to("cpu" if moment == "step" else tensor.device)
                .clone()
                for moment in _MOMENTS
            }


def copy_tensors(tensors: Mapping[str, Tensor]) -> TensorSet:
    """Copy tensors to the CPU."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def _name_previous(path: Path) -> Path:
    return path.with_name(f"previous{path.suffix}")


def _name_link(path: Path) -> Path:
    return path.with_name(f".{path.stem}.link.part")


def _keep_previous(path: Path) -> None:
    """Make the last checkpoint the previous one; there is always a last one on disk."""
    link = _name_link(path)
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
    except OSError:
        # Some file systems do not support hard links.
        home.write_bytes(_name_previous(path), path.read_bytes())
    else:
        link.replace(_name_previous(path))


def _check_identity(path: Path, checkpoint: Checkpoint, identity: Identity) -> None:
    if checkpoint.identity == identity:
        return
    is_base = checkpoint.identity.base != identity.base
    raise TrainingError(
        str(path),
        f"it belongs to a run with {'a different base' if is_base else 'different settings'}"
        " (the digests differ).",
        "Restore the run's own checkpoint, or train again without --resume.",
    )


def _digest(state: str, tensors: TensorSet) -> str:
    digest = hashlib.sha256(state.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
