"""Size and load time of a linked model, against its base and the standalone file.

    python -m benchmarks.linked_load [--rounds 5] [--width 1.0]

Builds an inswapper of real width (554 MB, random weights), changes the weights of its decoder,
writes the result as a linked and as a standalone file, and opens base, linked and standalone file
alternately as FaceFusion does, each in a process of its own, so that a busy machine slows all
equally and none reuses another's memory. The peak memory is read from /proc, so Linux only.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import onnx

from facefusion_finetune.home import HOME_VARIABLE
from facefusion_finetune.swappers.card import encode_metadata
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.files.bases import digest_file, place_base
from facefusion_finetune.swappers.files.modelfile import open_model
from facefusion_finetune.swappers.files.writeback import save_model
from tests.support.families import build
from tests.support.runs import create_card, move_weights

MAX_MB = 30
MAX_TIME_SHARE = 0.6
"""The linked file may take at most this fraction of the base's load time."""

DECODER = tuple(f"Conv_{n}.{part}" for n in (590, 594, 596, 612) for part in ("weight", "bias"))

MEASURE = """
import hashlib, json, re, sys, time, zlib
from pathlib import Path
import numpy, onnx, onnxruntime
from facefusion_finetune.swappers.files.bases import check_base

def time_call(call):
    started = time.perf_counter()
    result = call()
    return result, time.perf_counter() - started

path, kind = Path(sys.argv[1]), sys.argv[2]
figures = {}
if kind == "session":
    session, figures["load"] = time_call(
        lambda: onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    )
    generator = numpy.random.default_rng(0)
    target = generator.uniform(0, 1, (1, 3, 128, 128)).astype(numpy.float32)
    source = (generator.normal(size=(1, 512)) / 22).astype(numpy.float32)
    feed = {"target": target, "source": source}
    output, figures["first run"] = time_call(lambda: session.run(None, feed)[0])
    figures["digest"] = hashlib.sha256(output.tobytes()).hexdigest()
elif kind == "emap":
    model, figures["load"] = time_call(lambda: onnx.load(str(path)))
    matrix = onnx.numpy_helper.to_array(model.graph.initializer[-1])
    figures["digest"] = hashlib.sha256(matrix.tobytes()).hexdigest()
elif kind == "whole":
    # Everything done before the first frame: by FaceFusion for its base, by our processor.
    def start():
        zlib.crc32(path.read_bytes())
        linked = path.stem == "jane-1"
        model = onnx.load(str(path), load_external_data=not linked)
        onnx.numpy_helper.to_array(model.graph.initializer[-1])
        check_base(path)
        return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    figures["load"] = time_call(start)[1]
else:
    figures["load"] = time_call(lambda: check_base(path))[1]
status = Path("/proc/self/status").read_text()
figures["peak"] = int(re.search(r"VmHWM:\\s*([0-9]+) kB", status)[1]) / 1024
print(json.dumps(figures))
"""


def write_models(folder: Path, width: float) -> dict[str, Path]:
    """Write base, linked and standalone file, the linked one with its base next to it."""
    base_path = folder / "inswapper_128.onnx"
    onnx.save(build("inswapper_128", width=width), str(base_path))
    base = open_model(base_path)
    options = SwapperOptions(
        name="inswapper_128",
        path=base_path,
        type="inswapper",
        template="arcface_128",
        size=(128, 128),
        mean=(0.0, 0.0, 0.0),
        standard_deviation=(1.0, 1.0, 1.0),
        vendor="benchmark",
        licence="none",
    )
    card = create_card("jane", 1, options)
    paths = {
        "base": base_path,
        "standalone": folder / "standalone.onnx",
        "linked": folder / "jane-1.onnx",
    }
    weights = move_weights(base, DECODER, by=1e-4)
    beside = place_base(base_path, digest_file(base_path), options.name, folder)
    save_model(base, paths["standalone"], weights, encode_metadata(card))
    save_model(base, paths["linked"], weights, encode_metadata(card), link=beside.name)
    return paths


def measure(path: Path, kind: str) -> dict[str, float | str]:
    """Figures from one fresh process: seconds, and peak memory in MB."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path), kind],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # as facefusion.py sets it
    )
    figures: dict[str, float | str] = json.loads(done.stdout)
    return figures


def summarise(rows: list[dict[str, float | str]], key: str) -> float:
    """Median of one figure."""
    return statistics.median(float(row[key]) for row in rows)


def main() -> None:
    """Print the figures; exit code 1 if a target is missed or the outputs differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=float, default=1.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        os.environ[HOME_VARIABLE] = name
        folder = Path(name)
        if shutil.disk_usage(folder).free < 4e9 * options.width:
            sys.exit(f"{folder}: less than 4 GB of free disk space")
        paths = write_models(folder, options.width)
        rows: dict[tuple[str, str], list[dict[str, float | str]]] = {}
        for number in range(options.rounds + 1):
            for kind in ("session", "emap", "whole"):
                for which, path in paths.items():
                    figures = measure(path, kind)
                    if number:  # the first round fills the page cache
                        rows.setdefault((kind, which), []).append(figures)
        check = summarise([measure(paths["linked"], "check") for _ in range(3)], "load")
        sizes = {which: path.stat().st_size / 1e6 for which, path in paths.items()}
    for which, size in sizes.items():
        session, emap = rows["session", which], rows["emap", which]
        print(
            f"{which:10} {size:7.1f} MB; session {summarise(session, 'load'):.2f} s, first run"
            f" {summarise(session, 'first run'):.2f} s, peak {summarise(session, 'peak'):.0f} MB;"
            f" onnx.load for the emap {summarise(emap, 'load'):.2f} s, peak"
            f" {summarise(emap, 'peak'):.0f} MB"
        )
    print(f"checking the base's digest, once per process: {check:.2f} s")
    print(f"medians of {options.rounds} alternating rounds")
    equal = all(
        len({row["digest"] for which in pair for row in rows[kind, which]}) == 1
        for kind, pair in (("session", ("standalone", "linked")), ("emap", tuple(paths)))
    )
    ratio = summarise(rows["session", "linked"], "load") / summarise(
        rows["session", "base"], "load"
    )
    print(f"outputs and emaps identical bit for bit: {'yes' if equal else 'NO'}")
    print(f"size {sizes['linked']:.1f} MB (target: below {MAX_MB} MB)")
    print(f"load time {ratio:.2f} of the base's (target: at most {MAX_TIME_SHARE})")
    whole = {which: summarise(rows["whole", which], "load") for which in ("base", "linked")}
    print(
        f"everything before the first frame, including checks and emap: {whole['linked']:.2f} s,"
        f" {whole['linked'] / whole['base']:.2f} of the base's {whole['base']:.2f} s"
    )
    sys.exit(0 if equal and sizes["linked"] < MAX_MB and ratio <= MAX_TIME_SHARE else 1)


if __name__ == "__main__":
    main()
