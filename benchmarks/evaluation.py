"""What an evaluation costs: `python -m benchmarks.evaluation`.

Trains 100 steps of the preset `balanced` on a drawn person and evaluates the run on 60 held-out
pairs, in one process: times are compared as a ratio. The evaluation is all of `evaluate`: loading
crops, making pairs, running both models, measuring every figure, writing report and pictures.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from facefusion_finetune import home
from facefusion_finetune.dataset.extraction.extract import extract_footage
from facefusion_finetune.demo.analyser import SWAPPER, DemoAnalyser
from facefusion_finetune.demo.people import FIRST_UNSEEN_SEED
from facefusion_finetune.demo.truths import create_world
from facefusion_finetune.demo.world import write_footage
from facefusion_finetune.evaluation.rerun import evaluate_run
from facefusion_finetune.people.profile import add_person, create_consent
from facefusion_finetune.runs.observer import Observer
from facefusion_finetune.training.recipe import train_person
from facefusion_finetune.training.request import TrainRequest

PERSON = FIRST_UNSEEN_SEED + 70_000
SHOTS, FRAMES = 41, 6
TARGETS, TARGET_SHOTS, TARGET_FRAMES = 6, 2, 5
STEPS = 100
PAIRS = 60
TARGET_RATIO = 1.0


def measure(folder: Path) -> dict[str, float]:
    """Seconds of `STEPS` training steps and of one evaluation, and how much was evaluated."""
    write_footage(folder / "person", PERSON, SHOTS, FRAMES, seed=1)
    targets = [folder / f"target-{number}" for number in range(TARGETS)]
    for number, target in enumerate(targets, 1):
        write_footage(target, PERSON + number, TARGET_SHOTS, TARGET_FRAMES, number)
    analyser = DemoAnalyser([folder / "person", *targets])
    person = add_person("pat", create_consent(None, "A drawn person agrees to nothing."))
    extract_footage(person, [folder / "person"], analyser)
    preset = folder / "preset.toml"
    preset.write_text(_shorten_preset(), encoding="utf-8")
    ends: dict[int, float] = {}
    observer = Observer(on_step=lambda step, total, values: ends.setdefault(step, time.monotonic()))
    world = create_world(targets, analyser, PERSON)
    request = TrainRequest(base=SWAPPER, preset=str(preset), seed=1)
    run, _ = train_person(person, analyser, request, observer, world)
    training = (ends[STEPS] - ends[1]) * STEPS / (STEPS - 1)
    start = time.monotonic()
    report = evaluate_run(person, run, analyser)
    judging = time.monotonic() - start
    assert report.material.targets is not None
    return {
        "training_seconds": round(training, 2),
        "judging_seconds": round(judging, 2),
        "ratio": round(judging / training, 3),
        "held_out_pairs": report.material.held_out,
        "targets": report.material.targets.frames,
    }


def _shorten_preset() -> str:
    """`balanced` with `STEPS` steps and no preview or checkpoint between them."""
    path = Path(__file__).parents[1] / "facefusion_finetune" / "presets"
    changed = {"steps": STEPS, "checkpoint_every": STEPS, "preview_every": STEPS}
    lines = []
    for line in (path / "balanced.toml").read_text("utf-8").splitlines():
        key = line.split(" = ")[0]
        lines.append(f"{key} = {changed[key]}" if key in changed else line)
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, home.use_home(Path(folder) / "home"):
        figures = measure(Path(folder))
    assert figures["held_out_pairs"] == PAIRS
    if arguments.json:
        print(json.dumps(figures, indent=2))
        return
    print(
        f"{STEPS} training steps: {figures['training_seconds']} s; judging {PAIRS} held-out pairs"
        f" and {figures['targets']:.0f} targets: {figures['judging_seconds']} s; ratio"
        f" {figures['ratio']} (target: at most {TARGET_RATIO})."
    )


if __name__ == "__main__":
    main()
