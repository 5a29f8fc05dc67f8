"""Trains the demo's networks from scratch.

`python -m facefusion_finetune.demo.networks.train --seed 1 --output DIR`

The same seed gives the same bytes on the same machine and number of threads.
"""

import argparse
import io
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy
import onnx
import torch

from facefusion_finetune.demo.networks import figures, learning, reading, swapping
from facefusion_finetune.demo.networks.graphs import (
    read_weights,
    write_judge,
    write_reader,
    write_recogniser,
    write_swapper,
)
from facefusion_finetune.demo.networks.learning import Report, train_judge
from facefusion_finetune.demo.networks.modules import Judge, Reader, Recogniser, Swapper
from facefusion_finetune.demo.networks.reading import (
    sample_reader_batch,
    sample_recogniser_batch,
    train_detail_invariance,
    train_regression,
)
from facefusion_finetune.demo.networks.swapping import (
    FINISH,
    PEOPLE,
    POLISH,
    SKETCH,
    Sources,
    choose_ideal,
    gather_sources,
    train_swapper,
)
from facefusion_finetune.demo.people import FIRST_UNSEEN_SEED
from facefusion_finetune.home import write_bytes, write_text

STEPS = {"recogniser": 3500, "judge": 1200, "reader": 1500, "sketch": 5500, "swapper": 5000}
"""Steps of each stage; `sketch` is the swapper driven by ideal vectors, and `swapper` continues
from it."""
INVARIANCE_PHASES = ((10.0, 9 / 35), (30.0, 2 / 7))
"""What follows for the recogniser: weights of blindness, and shares of its steps."""
POLISHED = 0.6
"""Additional polish steps, as a share of the swapper's steps."""
Network = TypeVar("Network", Recogniser, Judge, Reader, Swapper)
STAGES = (*STEPS, "figures")
OTHERS = 64


def train_demo(
    output: Path,
    seed: int,
    steps: dict[str, int],
    people: int = PEOPLE,
    stages: Sequence[str] = STAGES,
) -> None:
    """Train the networks and write them with their metrics.

    Args:
        output: Receives `recogniser.onnx`, `judge.onnx`, `reader.onnx`, `swapper.onnx`,
            `others.npy`, a log of each stage and `training_log.json`; created if missing.
        seed: Seed of weights, people and pictures.
        steps: Steps of each stage, by name.
        people: Number of people that drive the swapper's training; few make a trial fast, since
            the buffers shrink with it.
        stages: The `STAGES` to run, in this order. `swapper` reads the recogniser and the sketch,
            and `figures` everything, from `output`; the others may run in parallel.
    """
    output.mkdir(parents=True, exist_ok=True)
    for stage in stages:
        if stage == "figures":
            _gather_figures(output)
            continue
        rows: list[dict[str, float]] = []
        model = _run_stage(stage, output, seed, steps[stage], people, _report_to(rows, stage))
        _write(output / f"{stage}.onnx", model)
        settings = {"seed": seed, "steps": steps[stage], "people": people}
        settings["threads"] = torch.get_num_threads()
        _write_log(output / f"{stage}_log.json", {"settings": settings, "losses": rows})


def _run_stage(
    stage: str, output: Path, seed: int, steps: int, people: int, report: Report
) -> onnx.ModelProto:
    if stage == "recogniser":
        recogniser, own = create_network(Recogniser, 3 * seed), 3 * seed
        stock = _scale(reading.BUFFER_SIZE, people)
        train_regression(recogniser, sample_recogniser_batch, steps, own, report, stock)
        done = steps
        for number, (invariance, share) in enumerate(INVARIANCE_PHASES):
            more = round(share * steps)
            later = partial(_report_offset, report, done)
            train_detail_invariance(recogniser, invariance, more, own + 100 * number, later)
            done += more
        return write_recogniser(recogniser)
    if stage == "judge":
        judge = create_network(Judge, 3 * seed + 1)
        train_judge(judge, steps, 3 * seed + 1, report, stock=_scale(learning.BUFFER_SIZE, people))
        return write_judge(judge)
    if stage == "reader":
        reader, own = create_network(Reader, 3 * seed + 1), 3 * seed + 1
        stock = _scale(reading.BUFFER_SIZE, people)
        train_regression(reader, sample_reader_batch, steps, own, report, stock)
        return write_reader(reader)
    stock = _scale(swapping.BUFFER_SIZE, people)
    if stage == "sketch":
        sketch = create_network(Swapper, 3 * seed + 2)
        train_swapper(sketch, choose_ideal, SKETCH, steps, seed, report, stock)
        return write_swapper(sketch)
    sources = gather_sources(_read(Recogniser, output / "recogniser.onnx"), seed, people)
    _write_others(output / "others.npy", sources)
    swapper = _read(Swapper, output / "sketch.onnx")
    train_swapper(swapper, sources.choose, FINISH, steps, seed, report, stock)
    later = partial(_report_offset, report, steps)
    train_swapper(swapper, sources.choose, POLISH, round(POLISHED * steps), seed, later, stock)
    return write_swapper(swapper)


def _scale(stock: int, people: int) -> int:
    """A buffer size in proportion to `people`."""
    return max(64, stock * people // PEOPLE // 64 * 64)


def _gather_figures(output: Path) -> None:
    """Merge the stages' logs, and measure on people that no network has seen."""
    recogniser = _read(Recogniser, output / "recogniser.onnx")
    judge = _read(Judge, output / "judge.onnx")
    reader = _read(Reader, output / "reader.onnx")
    swapper = _read(Swapper, output / "swapper.onnx")
    logs = {}
    for stage in STEPS:
        path = output / f"{stage}_log.json"
        logs[stage] = json.loads(path.read_text(encoding="utf-8"))
        path.unlink()
    trial = figures.run_swapper(swapper, recogniser)
    measured = {
        **figures.evaluate_recognisers({"recogniser": recogniser, "judge": judge}),
        **figures.evaluate_swapper(trial),
        "reader_r2": figures.evaluate_reader(reader, trial),
    }
    log = {"unseen_people_from_seed": FIRST_UNSEEN_SEED, "figures": measured, "stages": logs}
    _write_log(output / "training_log.json", log)
    (output / "sketch.onnx").unlink()
    print(json.dumps(measured, indent=1))


def create_network(kind: type[Network], seed: int) -> Network:
    """A network with weights initialised from `seed`."""
    torch.manual_seed(seed)
    return kind()


def _report_to(rows: list[dict[str, float]], name: str) -> Report:
    start = time.monotonic()

    def report(step: int, values: dict[str, float]) -> None:
        rows.append({"step": step, **{key: round(value, 5) for key, value in values.items()}})
        text = " ".join(f"{key} {value:.4f}" for key, value in values.items())
        print(f"{name} step {step}: {text} ({time.monotonic() - start:.0f} s)", flush=True)

    return report


def _report_offset(report: Report, done: int, step: int, values: dict[str, float]) -> None:
    report(done + step, values)


def _read(kind: type[Network], path: Path) -> Network:
    network = kind()
    read_weights(network, onnx.load(path))
    return network


def _write_log(path: Path, log: dict[str, Any]) -> None:
    write_text(path, json.dumps(log, indent=1) + "\n", mode=0o644)


def _write(path: Path, model: onnx.ModelProto) -> None:
    write_bytes(path, model.SerializeToString(deterministic=True), mode=0o644)


def _write_others(path: Path, sources: Sources) -> None:
    content = io.BytesIO()
    numpy.save(content, sources.centroids()[:OTHERS].numpy())
    write_bytes(path, content.getvalue(), mode=0o644)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, help="steps of every network, for a trial")
    parser.add_argument("--people", type=int, default=PEOPLE, help="people the swapper learns from")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    steps = dict.fromkeys(STEPS, arguments.steps) if arguments.steps else STEPS
    train_demo(arguments.output, arguments.seed, steps, arguments.people, arguments.stages)


if __name__ == "__main__":
    main()
