"""Files made to do harm, and what has to become of them."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from onnx import ModelProto, TensorProto

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.graphs.graph import read_swapper, select_layers
from tests.support.tiny import (
    find_tensor,
)

LONGEST = 5.0
"""Seconds of processor time."""
MOST_MEMORY = 1 << 30
"""Bytes that reading a file may take on top of what the process has."""

Spoil = Callable[[ModelProto], None]


@contextmanager
def bounded() -> Iterator[None]:
    """Nothing in here takes long or much memory, or leaves a file open."""
    files = len(os.listdir("/proc/self/fd"))
    Path("/proc/self/clear_refs").write_text("5")
    memory, start = _read_peak(), time.process_time()
    yield
    assert time.process_time() - start < LONGEST
    assert _read_peak() - memory < MOST_MEMORY
    assert len(os.listdir("/proc/self/fd")) == files


def _read_peak() -> int:
    """Most memory of the process since it was asked to forget."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def refuse(path: Path, message: str) -> None:
    """The file is refused, and the error says what, why and what to do."""
    with bounded(), pytest.raises(SwapperError, match=message) as caught:
        read_swapper(path)
    assert caught.value.given == str(path)
    assert caught.value.why.endswith(".")
    assert caught.value.todo.endswith(".")
    assert len(str(caught.value)) < 10_000


def convert(path: Path) -> TorchSwapper:
    """All that is done with a file before it is trained."""
    graph = read_swapper(path)
    return TorchSwapper(graph, select_layers(graph, "all"))


def write(folder: Path, content: ModelProto | bytes) -> Path:
    """A model in a folder of its own."""
    path = folder / "model.onnx"
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    return path


def link(model: ModelProto, name: str = "last.weight", **entries: str) -> TensorProto:
    """Say that a tensor lies in another file."""
    tensor = find_tensor(model, name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    del tensor.external_data[:]
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return tensor
