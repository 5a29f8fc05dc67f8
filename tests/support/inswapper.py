"""A small inswapper with random weights, and its description."""

from pathlib import Path

import onnx
import torch

from facefusion_finetune.demo.networks.graphs import write_swapper
from facefusion_finetune.demo.networks.modules import Swapper
from facefusion_finetune.swappers.catalogue import SwapperOptions


def build_inswapper(seed: int = 1) -> onnx.ModelProto:
    """A graph in the inswapper layout; the same seed gives the same bytes."""
    torch.manual_seed(seed)
    return write_swapper(Swapper())


def write_inswapper(path: Path, seed: int = 1) -> SwapperOptions:
    """Write such a file, and say what it is."""
    onnx.save(build_inswapper(seed), str(path))
    return SwapperOptions(
        name=path.stem,
        path=path,
        type="inswapper",
        template="demo_64",
        size=(64, 64),
        mean=(0.0, 0.0, 0.0),
        standard_deviation=(1.0, 1.0, 1.0),
        vendor="tests",
        licence="Apache-2.0",
    )
