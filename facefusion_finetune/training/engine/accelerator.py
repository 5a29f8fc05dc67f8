"""Device and precision of a training."""

import atexit
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import parse_flag_from_env

from facefusion_finetune.errors import UsageError
from facefusion_finetune.training.request import PRECISIONS, Precision

_NAMES = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
"""By accelerate's names."""


def create_accelerator(
    precision: Precision = "auto", trackers: Sequence[str] = (), folder: Path | None = None
) -> Accelerator:
    """Create the accelerator of this process, with automatic mixed precision.

    Args:
        precision: Precision of the swapper's and the losses' networks; weights stay in fp32.
            `auto`: bf16 on a CUDA device that supports it, fp16 on an older one, otherwise fp32.
        trackers: Names of experiment trackers; see `TrainRequest.trackers`.
        folder: Folder that trackers write to; required if there are any.

    Raises:
        UsageError: The device does not support the precision.
    """
    on_cpu = _requires_cpu()
    device = PartialState(cpu=on_cpu).device
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        # Once, however many trainings this process does.
        atexit.unregister(_leave_processes)
        atexit.register(_leave_processes)
    chosen = choose_precision(precision, device)
    # accelerate keeps one precision per process; a second training may use another one.
    AcceleratorState._reset_state()
    return Accelerator(
        cpu=on_cpu,
        mixed_precision=_NAMES[chosen],
        log_with=list(trackers) or None,
        project_dir=None if folder is None else str(folder),
    )


def _leave_processes() -> None:
    """Close the connection to the other processes.

    Its threads must end before the interpreter does: where one still runs, the process aborts.
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _requires_cpu() -> bool:
    """Whether accelerate must be told to use the CPU.

    On a machine without a GPU, it would otherwise let each of several processes train on its own.
    """
    has_gpu = torch.cuda.is_available() or torch.xpu.is_available()
    is_one_of_many = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return parse_flag_from_env("ACCELERATE_USE_CPU") or (is_one_of_many and not has_gpu)


def choose_precision(precision: Precision, device: torch.device) -> Precision:
    """Resolve `precision` on a device to one of fp32, bf16 and fp16.

    Raises:
        UsageError: The device does not support it, or there is no such precision.
    """
    if precision not in PRECISIONS:
        raise UsageError(
            f"precision {precision!r}", "unknown precision.", f"Use one of {', '.join(PRECISIONS)}."
        )
    has_bf16 = device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "auto":
        if device.type != "cuda":
            return "fp32"
        return "bf16" if has_bf16 else "fp16"
    if (precision == "fp16" and device.type == "cpu") or (precision == "bf16" and not has_bf16):
        raise UsageError(
            f"precision {precision!r}",
            f"this machine's device ({device.type}) does not support it.",
            "Omit it to use the best supported one.",
        )
    return precision


def name_precision(accelerator: Accelerator) -> Precision:
    """The precision of an accelerator."""
    for name in PRECISIONS:
        if _NAMES.get(name) == accelerator.mixed_precision:
            return name
    raise UsageError(
        f"precision {accelerator.mixed_precision!r}",
        "accelerate's configuration sets it, but it is not supported.",
        f"Use one of {', '.join(PRECISIONS)}.",
    )
