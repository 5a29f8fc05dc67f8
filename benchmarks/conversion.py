"""Time and memory needed to open and convert a swapper of real width.

    python -m benchmarks.conversion [--folder DIR]

Builds inswapper_128 and simswap_256 with their real channel counts and random weights, then opens
and converts each in a fresh process. Memory is given as the process's peak above its level after
the imports, and in total; both also as multiples of the file size.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NAMES = ("inswapper_128", "simswap_256")
MAX_SECONDS = 15.0
"""Seconds."""
MAX_MEMORY = 3.0
"""Peak memory above the level after the imports, as a multiple of the file size."""


def read_peak() -> int:
    """Peak memory of this process in bytes."""
    factor = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * factor


def convert(path: Path) -> dict[str, float]:
    """Open and convert in this process; times in seconds, memory in bytes."""
    import numpy

    from facefusion_finetune.swappers.convert.network import TorchSwapper
    from facefusion_finetune.swappers.convert.parity import measure_difference
    from facefusion_finetune.swappers.graphs.graph import read_swapper, select_layers
    from facefusion_finetune.swappers.sessions import create_session, run_session

    before = read_peak()
    started = time.perf_counter()
    graph = read_swapper(path)
    opened = time.perf_counter()
    swapper = TorchSwapper(graph, select_layers(graph, "decoder"))
    converted = time.perf_counter()
    peak = read_peak()
    generator = numpy.random.default_rng(0)
    target = generator.uniform(0, 1, (1, 3, *graph.size[::-1])).astype(numpy.float32)
    source = (generator.normal(size=(1, 512)) / 22).astype(numpy.float32)
    output = swapper.run(target, source)
    expected = run_session(create_session(path, path.stem), target, source)
    return {
        "open": opened - started,
        "convert": converted - opened,
        "before": before,
        "peak": peak,
        "parity": measure_difference(output, expected),
    }


def main() -> None:
    """Print the figures; exit code 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--folder", type=Path, help="where to keep the files; otherwise they are deleted"
    )
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(convert(arguments.one)))
        return
    if arguments.build:
        from tests.support.families import build

        model = build(arguments.build.stem, width=1.0)
        arguments.build.write_bytes(model.SerializeToString())
        return
    missed = False
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        for name in NAMES:
            path = folder / f"{name}.onnx"
            if not path.exists():
                command = [sys.executable, "-m", "benchmarks.conversion", "--build", str(path)]
                subprocess.run(command, check=True)
            command = [sys.executable, "-m", "benchmarks.conversion", "--one", str(path)]
            made = subprocess.run(command, check=True, capture_output=True, text=True)
            figures = json.loads(made.stdout.splitlines()[-1])
            size = path.stat().st_size
            added = figures["peak"] - figures["before"]
            seconds = figures["open"] + figures["convert"]
            missed |= seconds > MAX_SECONDS or added > MAX_MEMORY * size
            print(
                f"{name}: {size / 1e6:.0f} MB; opened in {figures['open']:.2f} s, converted in"
                f" {figures['convert']:.2f} s (target {MAX_SECONDS:.0f} s in total); memory"
                f" {added / 1e6:.0f} MB above the imports, {added / size:.2f} x the file (target"
                f" {MAX_MEMORY:.0f} x); {figures['peak'] / 1e6:.0f} MB in total,"
                f" {figures['peak'] / size:.2f} x; parity {figures['parity']:.1e}"
            )
    if missed:
        raise SystemExit("a target was missed")


if __name__ == "__main__":
    main()
