"""A dry run: two real steps, their measured cost, and the estimated cost of the whole run."""

import math
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import psutil
import torch
from rich.table import Table

from facefusion_finetune.errors import TrainingError
from facefusion_finetune.runs.observer import format_seconds
from facefusion_finetune.training.engine.accelerator import name_precision
from facefusion_finetune.training.engine.gradients import Gradients
from facefusion_finetune.training.engine.loop import Trainer
from facefusion_finetune.training.engine.schedule import Schedule, compute_learning_rate
from facefusion_finetune.training.engine.state import TrainingState

STEPS = 2
"""The first step is a warm-up for memory and kernels; the second one is timed."""


@dataclass(frozen=True)
class DryRun:
    """Measurements and estimates for a run."""

    device: str
    precision: str
    processes: int
    batch_size: int
    micro_batch: int
    """Samples per forward and backward pass of a process."""
    steps: int
    seconds_per_step: float
    seconds_per_look: float
    """Duration of one validation; 0 without a validation set."""
    seconds: float
    """Estimate for all steps and validations, excluding preparation and final evaluation."""
    peak_bytes: int
    """Peak memory: of the device on CUDA, otherwise of this process since it started."""
    cache_bytes: int
    """Size of the cache of the frozen layers' activations."""
    pairs: dict[str, int]
    """Number of pairs of each kind."""
    trained: dict[str, list[int]]
    """Shape of each trainable tensor, by name."""

    @property
    def parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(torch.Size(shape).numel() for shape in self.trained.values())

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "tensors": len(self.trained), "parameters": self.parameters}


def measure_steps(trainer: Trainer, pairs: Mapping[str, int], cache_bytes: int = 0) -> DryRun:
    """Run the first steps of a training without previews, checkpoints or metrics.

    The weights are restored afterwards.

    Args:
        trainer: The run's trainer; nothing is written to the run's folder.
        pairs: Number of pairs of each kind.
        cache_bytes: Size of the cache of the frozen layers' activations.

    Raises:
        TrainingError: Not even one sample fits into memory, or the loss is NaN or infinite.
    """
    accelerator, preset = trainer.accelerator, trainer.preset
    device = accelerator.device
    state = TrainingState(accelerator, trainer.swapper, preset)
    before = {name: tensor.detach().clone() for name, tensor in state.trained.items()}
    gradients = Gradients(
        accelerator,
        trainer.feed,
        trainer.loss,
        preset.losses.stay,
        trainer.options,
        state.trained,
        preset.batch_size,
        lambda text: None,
    )
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    step_seconds = validation_seconds = 0.0
    try:
        for step in range(STEPS):
            began = time.perf_counter()
            measured = gradients.compute(step)
            if not math.isfinite(measured["loss"]):
                raise TrainingError(
                    f"step {step + 1}",
                    "the loss is NaN or infinite.",
                    "Check the crops, or use --precision fp32.",
                )
            state.clip()
            state.update(compute_learning_rate(preset, trainer.steps, step))
            state.update_average(step)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            step_seconds = time.perf_counter() - began
        validations = 0
        if trainer.validate is not None and preset.validate_every:
            began = time.perf_counter()
            with state.averaged():
                trainer.validate()
            validation_seconds = time.perf_counter() - began
            validations = 1 + Schedule(preset.validate_every, trainer.steps, True).count_left(0)
    finally:
        state.load(before)
        for tensor in state.trained.values():
            tensor.grad = None
    return DryRun(
        device=_name_device(device),
        precision=name_precision(accelerator),
        processes=accelerator.num_processes,
        batch_size=preset.batch_size,
        micro_batch=gradients.micro_batch,
        steps=trainer.steps,
        seconds_per_step=step_seconds,
        seconds_per_look=validation_seconds,
        seconds=trainer.steps * step_seconds + validations * validation_seconds,
        peak_bytes=measure_peak_memory(device),
        cache_bytes=cache_bytes,
        pairs=dict(pairs),
        trained={name: list(tensor.shape) for name, tensor in state.trained.items()},
    )


def create_table(dry_run: DryRun) -> Table:
    """A dry run as a table for the terminal."""
    table = Table(title="Dry run: nothing was written", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    parts = f"{dry_run.micro_batch} at a time, {dry_run.processes} process(es)"
    pairs = ", ".join(f"{count} {kind}" for kind, count in dry_run.pairs.items() if count)
    for name, text in (
        ("device", f"{dry_run.device}, {dry_run.precision}"),
        ("peak memory", format_bytes(dry_run.peak_bytes)),
        ("batch", f"{dry_run.batch_size} samples: {parts}"),
        ("pairs", pairs or "none"),
        ("cache", format_bytes(dry_run.cache_bytes)),
        ("step", f"{dry_run.seconds_per_step:.3g} s"),
        ("training", f"{dry_run.steps} steps, about {format_seconds(dry_run.seconds)}"),
        ("trained", f"{len(dry_run.trained)} tensors, {dry_run.parameters:,} parameters"),
        *((f"  {name}", f"{shape}") for name, shape in dry_run.trained.items()),
    ):
        table.add_row(name, text)
    return table


def measure_peak_memory(device: torch.device) -> int:
    """Peak memory in bytes: of a CUDA device, otherwise of this process since it started."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:
        # Windows lacks this module.
        return int(psutil.Process().memory_info().peak_wset)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def format_bytes(count: int) -> str:
    """A human-readable size such as `1.5 GB`."""
    size, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:.3g} {unit}"


def _name_device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
