"""How far a gated model's swaps of other people are from the base's, with the gate closed.

    python -m benchmarks.closed_gate [--pictures 5] [--width 0.0625]

Gives a small graph of each topology driven by a vector branches with random weights, and swaps
smooth pictures by sources that close the gate: in onnxruntime as FaceFusion opens it, where nodes
are joined, and with nothing joined. Compared are the outputs, and the pictures in 8 bits.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy
import onnxruntime
from numpy.typing import NDArray

from facefusion_finetune.swappers.branches.gate import IdentityGate
from facefusion_finetune.swappers.branches.insert import add_branches
from facefusion_finetune.swappers.branches.nodes import PREFIX
from facefusion_finetune.swappers.files.writeback import save_model
from facefusion_finetune.swappers.graphs.graph import read_swapper, select_layers
from tests.support.families import ENTRIES, build, create_inputs

NAMES = (
    *("inswapper_128", "simswap_256", "ghost_1_256", "ghost_2_256", "ghost_3_256"),
    *("hififace_unofficial_256", "hyperswap_1a_256"),
)
RANK = 4
SIZE = 0.1
"""Standard deviation of the branches' weights."""


@dataclass(frozen=True)
class Figures:
    """Of one swapper."""

    difference: float
    """Largest difference between two outputs, as a share of the base's output range."""
    pictures: int
    """How many pictures differ in 8 bits."""
    values: int
    """In how many of a picture's 3 x H x W values at most."""
    levels: int
    """By how many grey levels at most."""


def measure(name: str, pictures: int, width: float, folder: Path, joined: bool) -> Figures:
    """Compare a swapper with itself behind a closed gate."""
    path = folder / f"{name}.onnx"
    path.write_bytes(build(name, width=width, precision="fp32").SerializeToString())
    base = read_swapper(path)
    inputs = create_inputs(name, pictures)
    direction = numpy.zeros(512, numpy.float32)
    direction[0] = 1
    inputs["source"][:, 0] = 0
    gate = IdentityGate(direction, 0.3, 0.8)
    branched = add_branches(base, select_layers(base, "all"), RANK, gate, seed=0)
    random = numpy.random.default_rng(0)
    weights = {
        name: (SIZE * random.standard_normal(stored.dims)).astype(numpy.float32)
        for name, stored in branched.file.tensors.items()
        if name.startswith(PREFIX) and name.endswith(("/up", "/bias"))
    }
    save_model(branched.file, folder / "branched.onnx", weights)
    before, after = (_run(file, inputs, joined) for file in (path, folder / "branched.onnx"))
    spread = float(before.max() - before.min())
    rounded = [_round(output, ENTRIES[name].signed) for output in (before, after)]
    off = numpy.abs(rounded[0] - rounded[1]).reshape(pictures, -1)
    counts = (off > 0).sum(axis=1)
    return Figures(
        float(numpy.abs(before - after).max()) / spread,
        int((counts > 0).sum()),
        int(counts.max()),
        int(off.max()),
    )


def _run(
    path: Path, inputs: dict[str, NDArray[numpy.float32]], joined: bool
) -> NDArray[numpy.float32]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if not joined:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options)
    count = len(inputs["target"])
    return numpy.concatenate(
        [
            session.run(None, {key: array[[row]] for key, array in inputs.items()})[0]
            for row in range(count)
        ]
    )


def _round(output: NDArray[numpy.float32], signed: bool) -> NDArray[numpy.int64]:
    picture = output / 2 + 0.5 if signed else output
    return (picture.clip(0, 1) * 255).round().astype(numpy.int64)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=5)
    parser.add_argument("--width", type=float, default=1 / 16)
    arguments = parser.parse_args()
    print("share of the range, pictures off, most values off, by how many levels: joined | not")
    total = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in NAMES:
            rows = [
                measure(name, arguments.pictures, arguments.width, Path(folder), joined)
                for joined in (True, False)
            ]
            total += rows[0].pictures
            cells = [
                f"{row.difference:.1e} {row.pictures:2d} {row.values:3d} {row.levels}"
                for row in rows
            ]
            print(f"{name:25s}{' | '.join(cells)}", flush=True)
    print(f"{total} of {len(NAMES) * arguments.pictures} pictures are off in 8 bits")


if __name__ == "__main__":
    main()
