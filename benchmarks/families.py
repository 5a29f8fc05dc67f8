"""Convert, train and write back every swapper family, as a table.

    python -m benchmarks.families [--write docs/swappers.md]

For each of FaceFusion's 13 swappers, a graph with the real topology, reduced width and random
weights is converted, compared with onnxruntime at batch 1, 2 and 4, trained for one step, written
back and compared again. Figures are fractions of the output's range. Random weights show that the
function is the same, not that a published file converts: published files are not available here.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto

from facefusion_finetune import home
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.convert.parity import get_parity_limit, measure_difference
from facefusion_finetune.swappers.files.writeback import save_model
from facefusion_finetune.swappers.graphs.costs import measure_cost
from facefusion_finetune.swappers.graphs.graph import read_swapper, select_layers
from facefusion_finetune.swappers.sessions import create_session, run_session
from tests.support.families import ENTRIES, build, create_inputs

BATCHES = (1, 2, 4)
BEGIN, END = "<!-- table: python -m benchmarks.families -->", "<!-- end of table -->"


@dataclass(frozen=True)
class Row:
    """The results of one family."""

    name: str
    opset: int
    precision: str
    nodes: int
    trained: str
    cache: float
    """MiB per sample."""
    live: float
    """Share of the multiplications that run in each step."""
    batching: str
    parity: tuple[float, ...]
    """For each of `BATCHES`."""
    reached: bool
    """Whether gradients reached the trained tensors and no others."""
    written: float
    """Difference between the written file and PyTorch."""
    identical: bool
    """Whether everything else is unchanged, bit for bit."""
    passed: bool


def measure(name: str, folder: Path) -> Row:
    """Convert, train and write back one family."""
    path = folder / f"{name}.onnx"
    path.write_bytes(build(name).SerializeToString())
    graph = read_swapper(path)
    limit = get_parity_limit(graph)
    layers = select_layers(graph, "decoder")
    cost = measure_cost(graph.trace, layers)
    swapper = TorchSwapper(graph, layers)
    inputs = create_inputs(name, max(BATCHES))
    expected = run_session(create_session(path, name), inputs["target"], inputs["source"])
    parity = tuple(
        measure_difference(
            swapper.run(inputs["target"][:count], inputs["source"][:count]), expected[:count]
        )
        for count in BATCHES
    )
    reached = _take_step(swapper, inputs["target"][:2], inputs["source"][:2])
    save_model(graph.file, folder / "tuned.onnx", swapper.export_weights())
    tuned = create_session(folder / "tuned.onnx", "tuned")
    after = run_session(tuned, inputs["target"][:2], inputs["source"][:2])
    output = swapper.run(inputs["target"][:2], inputs["source"][:2])
    written = measure_difference(output, after)
    identical = _is_identical(path, folder / "tuned.onnx", set(swapper.trained))
    return Row(
        name,
        graph.trace.opset,
        graph.precision,
        len(graph.file.skeleton.graph.node),
        f"{len(layers)} of {len(graph.partition.candidates)}",
        cost.cut_bytes / 2**20,
        cost.live_macs / cost.macs,
        "native" if swapper.network.batchable else "mapped",
        parity,
        reached,
        written,
        identical,
        max(*parity, written) < limit
        and reached
        and identical
        and measure_difference(after, expected[:2]) > limit / 100,
    )


def _take_step(
    swapper: TorchSwapper,
    targets: NDArray[numpy.float32],
    sources: NDArray[numpy.float32],
) -> bool:
    output = swapper(torch.from_numpy(targets), torch.from_numpy(sources))
    output.square().mean().backward()
    moved = {id(parameter) for parameter in swapper.parameters() if parameter.grad is not None}
    with torch.no_grad():
        for parameter in swapper.trained.values():
            assert parameter.grad is not None
            size = parameter.abs().mean().clamp_min(1e-3)
            slope = parameter.grad / parameter.grad.abs().mean().clamp_min(1e-12)
            parameter.sub_(0.01 * size * slope)
    return moved == {id(parameter) for parameter in swapper.trained.values()}


def _is_identical(first: Path, second: Path, trained: set[str]) -> bool:
    """Whether two files differ in all of the trained initializers, and in nothing else."""
    models = [onnx.load(str(path)) for path in (first, second)]
    tensors = [
        [(tensor.name, tensor.SerializeToString()) for tensor in model.graph.initializer]
        for model in models
    ]
    names = [[name for name, _ in one] for one in tensors]
    changed = {a[0] for a, b in zip(*tensors, strict=True) if a != b}
    for model in models:
        del model.graph.initializer[:]
    return names[0] == names[1] and changed == trained and _bytes(models[0]) == _bytes(models[1])


def _bytes(model: ModelProto) -> bytes:
    return model.SerializeToString(deterministic=True)


def format_table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| swapper | opset | precision | nodes | decoder layers | cache, MiB | live | batch |"
        " parity at 1, 2, 4 | gradients | written | rest identical |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        parity = ", ".join(f"{value:.0e}" for value in row.parity)
        lines.append(
            f"| {row.name} | {row.opset} | {row.precision} | {row.nodes} | {row.trained} |"
            f" {row.cache:.1f} | {row.live:.0%} | {row.batching} | {parity} |"
            f" {'exact' if row.reached else 'WRONG'} | {row.written:.0e} |"
            f" {'yes' if row.identical else 'NO'} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the table; exit code 1 if a family fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", type=Path, help="write the table between this file's markers")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(name, Path(folder)) for name in ENTRIES]
    table = format_table(rows)
    print(table)
    if arguments.write:
        text = arguments.write.read_text("utf-8")
        head, rest = text.split(BEGIN)
        tail = rest.split(END)[1]
        home.write_text(arguments.write, f"{head}{BEGIN}\n{table}\n{END}{tail}", 0o644)
    failed = [row.name for row in rows if not row.passed]
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
