"""A small inswapper with random weights, and its description."""

from pathlib import Path

import numpy
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

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


def run_inswapper(path: Path) -> NDArray[numpy.float32]:
    """What ONNX Runtime makes by such a file of one and the same picture and vector."""
    generator = numpy.random.default_rng(0)
    feed = {
        "target": generator.uniform(0, 1, (1, 3, 64, 64)).astype(numpy.float32),
        "source": (generator.normal(size=(1, 512)) / 22).astype(numpy.float32),
    }
    output: NDArray[numpy.float32] = onnxruntime.InferenceSession(str(path)).run(None, feed)[0]
    return output
