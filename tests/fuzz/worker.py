"""One process that opens damaged models until it is told to stop, or dies of one.

It says when it is ready. Then it is given the number of a model on each line of its input, and
answers with a line of JSON.
"""

import argparse
import json
import os
import re
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from random import Random

import numpy

import facefusion_finetune
from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.files.writeback import save_model, write_model
from facefusion_finetune.swappers.graphs.graph import SwapperGraph, read_swapper, select_layers
from tests.support.mutate import mutate

MODEL = "model.onnx"
READY = "ready"
PLANTS = ("error", "escape", "pickle", "memory", "crash", "hang")
PLANTED_AT = 3
"""Number of the model at which the first kind of harm is done on purpose, if it is asked for."""
CONVERTED = 0.25
"""Share of the models that are converted where they are accepted."""
SECRET = "secret.bin"
"""A file beside the sandbox, which nothing may open."""

PACKAGE = str(Path(facefusion_finetune.__file__).parent)
ALLOWED = tuple(
    {sys.prefix, sys.base_prefix, str(Path(os.__file__).parent), "/proc/", "/dev/null", PACKAGE}
)
FORBIDDEN = (
    "pickle.find_class",
    "socket.connect",
    "subprocess.Popen",
    "os.system",
)


class Guard:
    """Notes what files are opened while it is on."""

    def __init__(self, sandbox: Path) -> None:
        self._sandbox = str(sandbox.resolve())
        self._on = False
        self.seen: list[str] = []
        sys.addaudithook(self._look)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Be on for a while."""
        self.seen.clear()
        self._on = True
        try:
            yield
        finally:
            self._on = False

    def _look(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self._on:
            return
        if event in FORBIDDEN:
            self.seen.append(f"{event} {arguments[:2]!r}")
        elif event == "open" and isinstance(arguments[0], str | bytes):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if not path.startswith((self._sandbox, *ALLOWED)):
                self.seen.append(f"open {path}")


def make_mutant(seeds: Path, seed: int, index: int) -> tuple[str, bytes]:
    """The name of the model it was made from, and the damaged one."""
    random = Random(f"{seed}:{index}")
    paths = sorted(seeds.glob("*.onnx"))
    path, other = random.choice(paths), random.choice(paths)
    return path.name, mutate(path.read_bytes(), other.read_bytes(), random)


def exercise(path: Path, convert: bool) -> str:
    """Do with a model what the package does.

    Returns:
        `accepted`, or `converted` where it was converted as well.

    Raises:
        SwapperError: It is refused.
    """
    graph = read_swapper(path)
    for choice in ("decoder", "tail", "last_1", "all"):
        try:
            select_layers(graph, choice)
        except SwapperError:
            if choice == "all":
                raise
    graph.emap  # noqa: B018
    if not convert:
        return "accepted"
    _convert(graph)
    return "converted"


def _convert(graph: SwapperGraph) -> None:
    swapper = TorchSwapper(graph, select_layers(graph, "decoder"))
    values = graph.trace.values
    inputs = [numpy.full(values[name].shape, 0.1, numpy.float32) for name in ("target", "source")]
    swapper.run(*inputs)
    write_model(graph.file, BytesIO())
    copy = graph.path.with_name("copy.onnx")
    save_model(graph.file, copy, swapper.export_weights(), {"note": "tuned"})
    again = read_swapper(copy)
    assert [layer.node for layer in again.partition.candidates] == [
        layer.node for layer in graph.partition.candidates
    ], "the copy has other layers"


def describe(error: SwapperError) -> str:
    """Why a model is refused, without its names and numbers."""
    text = re.sub(r"'[^']*'|\[[^\]]*\]|b\"[^\"]*\"", "…", error.why)
    return re.sub(r"-?\d[\d.e+]*", "N", text)[:90]


def _plant(kind: str, secret: Path) -> None:
    if kind == "escape":
        secret.read_bytes()
    if kind == "crash":
        os.abort()
    if kind == "hang":
        while True:
            pass
    if kind == "error":
        raise KeyError("planted")
    if kind == "memory":
        bytearray(1 << 36)
    if kind == "pickle":
        import pickle

        pickle.loads(pickle.dumps(Random(1)))


def main() -> None:
    """Answer until the input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("sandbox", type=Path)
    parser.add_argument("seeds", type=Path)
    parser.add_argument("seed", type=int)
    parser.add_argument("--memory", type=int, required=True)
    parser.add_argument("--plant", action="store_true")
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (given.memory, given.memory))
    guard = Guard(given.sandbox)
    # What is loaded late would be taken for an escape.
    exercise(min(given.seeds.glob("*.onnx"), key=lambda path: path.stat().st_size), True)
    print(READY, flush=True)
    for line in sys.stdin:
        index = int(line)
        name, mutant = make_mutant(given.seeds, given.seed, index)
        path = given.sandbox / MODEL
        path.write_bytes(mutant)
        convert = Random(index).random() < CONVERTED
        state, reason = "failed", ""
        start, wall = time.process_time(), time.monotonic()
        with guard.watch():
            try:
                if given.plant and 0 <= index - PLANTED_AT < len(PLANTS):
                    _plant(PLANTS[index - PLANTED_AT], given.sandbox.parent / SECRET)
                state = exercise(path, convert)
            except SwapperError as error:
                state, reason = "refused", describe(error)
                if not (error.given and error.why and error.todo):
                    state = "failed"
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"[:300]
        if guard.seen:
            state, reason = "failed", f"it opened {sorted(set(guard.seen))[:3]}"[:300]
        answer = {
            "index": index,
            "model": name,
            "state": state,
            "reason": reason,
            "processor_s": time.process_time() - start,
            "wall_s": time.monotonic() - wall,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
