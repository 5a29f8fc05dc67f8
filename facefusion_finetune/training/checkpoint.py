"""The state of a training run in one safetensors file, written whole or not at all."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from facefusion_finetune import home
from facefusion_finetune.errors import TrainingError

TensorSet = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stands. Batches depend on seed and step alone, so that no generator is kept."""

    step: int
    """Steps done."""
    weights: TensorSet
    """By initializer name."""
    average: TensorSet
    """Moving average of the weights, by initializer name."""
    moments: TensorSet
    """Adam's `exp_avg/NAME` and `exp_avg_sq/NAME`."""


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint; the one before stays until the new one is on disk.

    Raises:
        OSError: The file cannot be written.
    """
    tensors = {
        f"{group}/{name}": tensor.detach().cpu().contiguous()
        for group, values in (
            ("weights", checkpoint.weights),
            ("average", checkpoint.average),
            ("moments", checkpoint.moments),
        )
        for name, tensor in values.items()
    }
    content = save(tensors, metadata={"step": str(checkpoint.step)})
    home.write_bytes(path, content)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint back.

    Raises:
        TrainingError: There is none, or it is damaged.
    """
    groups: dict[str, TensorSet] = {"weights": {}, "average": {}, "moments": {}}
    try:
        with safe_open(path, framework="pt") as file:
            step = int((file.metadata() or {})["step"])
            for key in file.keys():  # noqa: SIM118 - not a dict
                group, _, name = key.partition("/")
                groups[group][name] = file.get_tensor(key)
    except FileNotFoundError as error:
        raise TrainingError(
            str(path),
            "the run was interrupted before its first checkpoint.",
            "Train without --resume; nothing is lost but those steps.",
        ) from error
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise TrainingError(
            str(path), f"the checkpoint is damaged ({error}).", "Train again without --resume."
        ) from error
    return Checkpoint(step, groups["weights"], groups["average"], groups["moments"])


def read_moments(optimiser: torch.optim.Optimizer, named: dict[str, Tensor]) -> TensorSet:
    """Adam's moments by the tensors' names."""
    return {
        f"{moment}/{name}": optimiser.state[tensor][moment]
        for name, tensor in named.items()
        for moment in ("exp_avg", "exp_avg_sq")
        if tensor in optimiser.state
    }


def restore_moments(
    optimiser: torch.optim.Optimizer, named: dict[str, Tensor], moments: TensorSet, step: int
) -> None:
    """Give Adam back its moments and its count of steps."""
    for name, tensor in named.items():
        optimiser.state[tensor] = {
            "step": torch.tensor(float(step)),
            "exp_avg": moments[f"exp_avg/{name}"].to(tensor.device),
            "exp_avg_sq": moments[f"exp_avg_sq/{name}"].to(tensor.device),
        }
