"""Errors cross processes whole, and a lack of memory is told by every library's own words."""

import ast
import importlib
import pickle
from pathlib import Path

import pytest
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

import facefusion_finetune
from facefusion_finetune.errors import (
    MAX_PART,
    FinetuneError,
    TrainingError,
    cut_middle,
    is_out_of_memory,
)


def list_error_modules() -> set[str]:
    """Modules of the package that define an exception, by their text: not all can be imported."""
    root = Path(facefusion_finetune.__file__).parent
    return {
        ".".join(path.relative_to(root.parent).with_suffix("").parts)
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
        and any("Error" in ast.unparse(base) for base in node.bases)
    }


def list_errors() -> list[type[Exception]]:
    """All exceptions of the package."""
    found = {
        value
        for module in sorted(list_error_modules())
        for value in vars(importlib.import_module(module)).values()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    return sorted(
        (kind for kind in found if kind.__module__.startswith("facefusion_finetune.")),
        key=lambda kind: kind.__name__,
    )


def test_all_errors_of_the_package_are_found() -> None:
    assert {
        "FinetuneError",
        "UsageError",
        "DamagedCheckpointError",
        "RemovalError",
        "WireError",
    } <= {kind.__name__ for kind in list_errors()}


@pytest.mark.parametrize("kind", list_errors())
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_is_pickled_whole(kind: type[Exception], protocol: int) -> None:
    parts = ("clip.mp4", "it cannot be read.", "Check the path.")
    error = kind(*parts) if issubclass(kind, FinetuneError) else kind("clip.mp4")
    copy = pickle.loads(pickle.dumps(error, protocol))
    assert (type(copy), str(copy)) == (kind, str(error))
    if isinstance(copy, FinetuneError) and isinstance(error, FinetuneError):
        assert (copy.given, copy.why, copy.todo) == parts
        assert copy.exit_code == error.exit_code


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 1 TB"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED."),
        RuntimeError("std::bad_alloc"),
        RuntimeException("[ONNXRuntimeError] : 6 : BFCArena: Failed to allocate memory for 1 B"),
    ],
)
def test_a_lack_of_memory_is_recognised(error: Exception) -> None:
    assert is_out_of_memory(error)
    wrapped = TrainingError("step 3", "it cannot be computed.", "Try again.")
    wrapped.__cause__ = error
    assert is_out_of_memory(wrapped)


@pytest.mark.parametrize(
    "error",
    [
        None,
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        OSError(28, "No space left on device", "out of memory.mp4"),
        TrainingError("out of memory.mp4", "it cannot be read.", "Check the path."),
        RuntimeException("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT"),
    ],
)
def test_other_errors_are_not(error: BaseException | None) -> None:
    assert not is_out_of_memory(error)


def test_what_a_message_quotes_is_shortened_and_printable() -> None:
    error = FinetuneError("a" * 5000 + ".mp4", "\x1b[2J\ud800 is\nno   name.", "b" * MAX_PART)
    assert len(error.given) == MAX_PART
    assert error.given.startswith("aaa")
    assert error.given.endswith("a.mp4")
    assert error.why == "?[2J? is no   name."
    assert error.todo == "b" * MAX_PART
    assert str(error) == f"{error.given}: {error.why} {error.todo}"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    ("text", "length", "cut"),
    [("abcdefgh", 8, "abcdefgh"), ("abcdefgh", 7, "ab...gh"), ("abcdefgh", 6, "ab...h")],
)
def test_the_middle_is_cut(text: str, length: int, cut: str) -> None:
    assert cut_middle(text, length) == cut
