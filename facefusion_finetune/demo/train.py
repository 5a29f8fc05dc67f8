"""Make the demo's networks anew: `python -m facefusion_finetune.demo.train --seed 1 --output DIR`.

The same seed gives the same bytes on the same machine and number of threads.
"""

import argparse
import io
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy
import onnx
import torch

from facefusion_finetune.demo import figures
from facefusion_finetune.demo.graphs import (
    read_weights,
    write_judge,
    write_recogniser,
    write_swapper,
)
from facefusion_finetune.demo.learning import (
    STOCK,
    Report,
    learn_metric,
    pose_for_judge,
    pose_for_recogniser,
)
from facefusion_finetune.demo.networks import Judge, Recogniser, Swapper
from facefusion_finetune.demo.people import FIRST_UNSEEN_SEED
from facefusion_finetune.demo.swapping import PEOPLE, Sources, gather_sources, learn_to_swap
from facefusion_finetune.home import write_bytes, write_text

STEPS = {"recogniser": 2800, "judge": 1200, "swapper": 6000}
Network = TypeVar("Network", Recogniser, Judge, Swapper)
FRESH = {"recogniser": 16, "judge": 8}
"""Pairs rendered anew in each step; the judge, with siblings to learn from, needs fewer."""
STAGES = (*STEPS, "figures")
OTHERS = 64


def train_demo(
    output: Path,
    seed: int,
    steps: dict[str, int],
    people: int = PEOPLE,
    stages: Sequence[str] = STAGES,
) -> None:
    """Train the networks and write them with their figures.

    Args:
        output: Gets `recogniser.onnx`, `judge.onnx`, `swapper.onnx`, `others.npy`, a log of each
            and `training_log.json`; created if missing.
        seed: Decides weights, people and pictures.
        steps: Steps of each network, by name.
        people: How many people drive the swapper's training; few make a trial quick.
        stages: Which of `STAGES` to run, in this order. `swapper` reads the recogniser, and
            `figures` everything, from `output`; recogniser and judge may run side by side.
    """
    output.mkdir(parents=True, exist_ok=True)
    for stage in stages:
        settings = {"seed": seed, "steps": steps.get(stage), "people": people}
        settings["threads"] = torch.get_num_threads()
        if stage == "figures":
            _gather_figures(output)
            continue
        rows: list[dict[str, float]] = []
        count, report = steps[stage], _report_to(rows, stage)
        stock, fresh = min(STOCK, people), FRESH.get(stage, 0)
        if stage == "recogniser":
            network = make(Recogniser, 3 * seed)
            learn_metric(network, pose_for_recogniser, count, 3 * seed, report, fresh, stock=stock)
            _write(output / "recogniser.onnx", write_recogniser(network))
        elif stage == "judge":
            judge = make(Judge, 3 * seed + 1)
            learn_metric(judge, pose_for_judge, count, 3 * seed + 1, report, fresh, stock=stock)
            _write(output / "judge.onnx", write_judge(judge))
        else:
            sources = gather_sources(_read(Recogniser, output / "recogniser.onnx"), seed, people)
            _write_others(output / "others.npy", sources)
            swapper = make(Swapper, 3 * seed + 2)
            learn_to_swap(swapper, sources, count, seed, report)
            _write(output / "swapper.onnx", write_swapper(swapper))
        _write_log(output / f"{stage}_log.json", {"settings": settings, "losses": rows})


def _gather_figures(output: Path) -> None:
    """Join the stages' logs and measure on people no network has seen."""
    recogniser = _read(Recogniser, output / "recogniser.onnx")
    judge = _read(Judge, output / "judge.onnx")
    swapper = _read(Swapper, output / "swapper.onnx")
    logs = {}
    for stage in STEPS:
        path = output / f"{stage}_log.json"
        logs[stage] = json.loads(path.read_text(encoding="utf-8"))
        path.unlink()
    measured = {
        **figures.judge_recognisers({"recogniser": recogniser, "judge": judge}),
        **figures.judge_swapper(swapper, recogniser),
    }
    log = {"unseen_people_from_seed": FIRST_UNSEEN_SEED, "figures": measured, "stages": logs}
    _write_log(output / "training_log.json", log)
    print(json.dumps(measured, indent=1))


def make(kind: type[Network], seed: int) -> Network:
    """A network with weights drawn from `seed`."""
    torch.manual_seed(seed)
    return kind()


def _report_to(rows: list[dict[str, float]], name: str) -> Report:
    start = time.monotonic()

    def report(step: int, values: dict[str, float]) -> None:
        rows.append({"step": step, **{key: round(value, 5) for key, value in values.items()}})
        text = " ".join(f"{key} {value:.4f}" for key, value in values.items())
        print(f"{name} step {step}: {text} ({time.monotonic() - start:.0f} s)", flush=True)

    return report


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
    """Read the command line and train."""
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
