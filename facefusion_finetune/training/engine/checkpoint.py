"""The state of a training run in one safetensors file, written whole or not at all.

The file before the last one is kept as well, so that a damaged one costs steps and not the run.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from facefusion_finetune import home
from facefusion_finetune.damage import parse_json
from facefusion_finetune.errors import TrainingError
from facefusion_finetune.runs.run import RunConfig

TensorSet = dict[str, Tensor]

_GROUPS = ("weights", "average", "best", "moments")
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class DamagedError(TrainingError):
    """A checkpoint is missing, or is not what was written."""


@dataclass(frozen=True)
class Identity:
    """What a checkpoint belongs to."""

    base: str
    """sha256 of the base file."""
    settings: str
    """sha256 of the run's settings."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands. Batches depend on seed and step alone: no generator is kept."""

    step: int
    """Steps done."""
    micro_batch: int
    """How many samples a process computes at once."""
    rate_factor: float = 1.0
    """What the preset's rate is multiplied with since the last return to a good state."""
    returns: int = 0
    """Returns to a good state since the last progress."""
    failed_at: int = -1
    """The furthest step that could not be done."""
    scores: tuple[tuple[int, float], ...] = ()
    """Step and score of every look at what is kept back; lower is better."""
    scaler: Mapping[str, float] = field(default_factory=dict)
    """State of the fp16 gradient scaler."""


@dataclass(frozen=True)
class Checkpoint:
    """A run's state; tensors are on the CPU and nobody else's."""

    identity: Identity
    progress: Progress
    weights: TensorSet
    """By initializer name."""
    average: TensorSet
    """Moving average of the weights, by initializer name."""
    best: TensorSet
    """The average with the best score, by initializer name; empty where there is none."""
    moments: TensorSet
    """Adam's `step/NAME`, `exp_avg/NAME` and `exp_avg_sq/NAME`; empty before its first step."""

    @property
    def step(self) -> int:
        """Steps done."""
        return self.progress.step


def identify_run(config: RunConfig) -> Identity:
    """What the checkpoints of a run belong to."""
    # Without defaults, so that a key that a later version adds changes no digest.
    values = config.model_dump(mode="json", exclude_defaults=True)
    text = json.dumps(values, sort_keys=True)
    return Identity(config.base_sha256, hashlib.sha256(text.encode()).hexdigest())


def has_checkpoint(path: Path) -> bool:
    """Whether there is something to go on from; see `restore_checkpoint`."""
    return path.exists() or _name_previous(path).exists()


def save_checkpoint(path: Path, checkpoint: Checkpoint, overwrite: bool = False) -> None:
    """Write the checkpoint; there is a whole one on disk at every moment.

    Args:
        path: The last checkpoint; the one before is kept beside it as `previous.safetensors`.
        checkpoint: What to write.
        overwrite: Put it in the last one's place, and let the one before be.

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
        _keep(path)
    home.write_bytes(path, content)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint back.

    Raises:
        DamagedError: There is none, or it is not what was written.
    """
    groups: dict[str, TensorSet] = {group: {} for group in _GROUPS}
    tensors: TensorSet = {}
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            for key in file.keys():  # noqa: SIM118 - not a dict
                group, _, name = key.partition("/")
                groups[group][name] = tensors[key] = file.get_tensor(key)
        if _digest(header["state"], tensors) != header["sha256"]:
            raise ValueError("its digest is another one")
        state = parse_json(header["state"])
        identity = Identity(state.pop("base"), state.pop("settings"))
        scores = tuple((step, score) for step, score in state.pop("scores"))
        progress = Progress(**state, scores=scores)
    except FileNotFoundError as error:
        raise DamagedError(
            str(path),
            "the run was interrupted before its first checkpoint.",
            "Train without --resume; nothing is lost but those steps.",
        ) from error
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        raise DamagedError(
            str(path), f"the checkpoint is damaged ({error}).", "Train again without --resume."
        ) from error
    return Checkpoint(identity, progress, **groups)


def restore_checkpoint(
    path: Path, identity: Identity, on_note: Callable[[str], None]
) -> list[Checkpoint]:
    """What a run goes on from: its last checkpoint, or the one before where that is damaged.

    Args:
        path: The last checkpoint.
        identity: Of the run.
        on_note: Told when the last one is damaged.

    Returns:
        The checkpoint to go on from, with an earlier one before it where there is one.

    Raises:
        TrainingError: None is whole, or it is of another base or other settings.
    """
    for rest in path.parent.glob(f".{path.stem}*.part"):
        rest.unlink(missing_ok=True)
    before = _name_previous(path)
    earlier = None
    with contextlib.suppress(DamagedError):
        earlier = load_checkpoint(before)
    try:
        last = load_checkpoint(path)
    except DamagedError as error:
        if earlier is None:
            raise
        _check_identity(before, earlier, identity)
        # In the damaged one's place, so that it never becomes the one before.
        before.replace(path)
        on_note(f"{error.given}: {error.why} Going on from the one before, step {earlier.step}.")
        return [earlier]
    _check_identity(path, last, identity)
    if earlier is None or earlier.identity != identity or earlier.step >= last.step:
        return [last]
    return [earlier, last]


def read_moments(optimiser: torch.optim.Optimizer, named: Mapping[str, Tensor]) -> TensorSet:
    """Adam's moments by the tensors' names."""
    return {
        f"{moment}/{name}": optimiser.state[tensor][moment]
        for name, tensor in named.items()
        for moment in _MOMENTS
        if tensor in optimiser.state
    }


def restore_moments(
    optimiser: torch.optim.Optimizer, named: Mapping[str, Tensor], moments: TensorSet
) -> None:
    """Give Adam back its moments and its count of steps."""
    optimiser.state.clear()
    for name, tensor in named.items():
        if f"step/{name}" in moments:
            optimiser.state[tensor] = {
                # Adam counts on the CPU, whatever the device.
                moment: moments[f"{moment}/{name}"]
                .to("cpu" if moment == "step" else tensor.device)
                .clone()
                for moment in _MOMENTS
            }


def copy_tensors(tensors: Mapping[str, Tensor]) -> TensorSet:
    """Copies on the CPU."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def _name_previous(path: Path) -> Path:
    return path.with_name(f"previous{path.suffix}")


def _keep(path: Path) -> None:
    """Make the last checkpoint the one before, without a moment at which there is no last one."""
    link = path.with_name(f".{path.stem}.link.part")
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
    except OSError:
        # Some file systems have no hard links.
        home.write_bytes(_name_previous(path), path.read_bytes())
    else:
        link.replace(_name_previous(path))


def _check_identity(path: Path, checkpoint: Checkpoint, identity: Identity) -> None:
    if checkpoint.identity == identity:
        return
    is_base = checkpoint.identity.base != identity.base
    raise TrainingError(
        str(path),
        f"it is the checkpoint of a run with {'another base' if is_base else 'other settings'}"
        " (the digests differ).",
        "Put the run's own checkpoint back, or train again without --resume.",
    )


def _digest(state: str, tensors: TensorSet) -> str:
    digest = hashlib.sha256(state.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
