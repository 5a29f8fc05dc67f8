"""Makes this folder's `home` and `facefusion` with the package of that version; see README.md."""

import os
import shutil
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import onnx

from facefusion_finetune.dataset.curation import reject
from facefusion_finetune.dataset.extract import extract_footage
from facefusion_finetune.dataset.manifest import read_manifest
from facefusion_finetune.demo.people import FIRST_UNSEEN_SEED
from facefusion_finetune.demo.world import write_footage
from facefusion_finetune.errors import StoppedError
from facefusion_finetune.faces.demo import DemoAnalyser
from facefusion_finetune.jobs import queue
from facefusion_finetune.jobs.record import Failure, JobState
from facefusion_finetune.people.profile import Person, add_person, create_consent
from facefusion_finetune.registry import store, transfer
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.training.observer import Observer
from facefusion_finetune.training.recipe import train_person
from tests.support import tiny

BASE = "hyperswap_1a_256"
SIDE = 64
PRESET = """
description = "A few steps of the smallest network, for tests."
minimum_crops = 4
layers = "all"
variants = 1
face_weight = 1.4
outside_weight = 0.4
batch_size = 2
steps = 6
learning_rate = 1e-3
rate = "absolute"
schedule = "cosine"
warm_up = 0.1
ema = 0.5
clip_norm = 1.0
checkpoint_every = 2
preview_every = 6

[pairs]
cycle = 2
self = 1
prior = 1

[losses]
l1 = 1.0
high_pass = 0.5
identity = 0.2
"""
BEGAN = datetime(2026, 5, 3, 9, 30, tzinfo=UTC)


class Analyser(DemoAnalyser):
    """The demo's, with the smallest swapper there is."""

    base: Path

    def get_swapper(self, name: str, path: Path | None = None) -> SwapperOptions:
        return SwapperOptions(
            name=name,
            path=path or self.base,
            type="hyperswap",
            template=super().get_swapper("demo").template,
            size=(SIDE, SIDE),
            mean=(0.5, 0.5, 0.5),
            standard_deviation=(0.5, 0.5, 0.5),
            vendor="tests",
            licence="Apache-2.0",
        )


def make(root: Path) -> None:
    """Everything below one folder, by its paths there."""
    footage, host = root / "footage", root / "facefusion"
    os.environ["FACEFUSION_FINETUNE_HOME"] = str(root / "home")
    write_footage(footage, FIRST_UNSEEN_SEED + 7, 4, 2, seed=3)
    tiny.SIZE = SIDE
    Analyser.base = root / f"{BASE}.onnx"
    onnx.save(tiny.build_tiny(), str(Analyser.base))
    preset = root / "quick.toml"
    preset.write_text(PRESET)
    analyser = Analyser([footage])
    expires = datetime(2099, 1, 31).date()
    note = create_consent(None, "A drawn person agrees to nothing.", "tests", expires)
    person = add_person("ada", note)
    extract_footage(person, [footage], analyser)
    reject(person, [read_manifest(person)[-1].id])
    run, report = train_person(person, analyser, BASE, str(preset), seed=11)
    store.activate(person, run, host, force=True)
    sent = root / "sent" / "ada.onnx"
    sent.parent.mkdir()
    transfer.export_model(person, run, sent, standalone=True)
    transfer.import_model(sent, None, [])
    steps: list[int] = []
    stopped = Observer(
        on_step=lambda step, total, values: steps.append(step), is_stopped=lambda: len(steps) == 4
    )
    try:
        train_person(person, analyser, BASE, str(preset), seed=12, observer=stopped)
    except StoppedError as error:
        queue_jobs(person, root, report, error)
    add_person("bea", create_consent(None, "Another drawn person agrees to nothing."))


def queue_jobs(person: Person, root: Path, report: dict[str, object], error: StoppedError) -> None:
    """One job of every state, as the page and its workers write them."""
    queue.ensure_runner = lambda: None
    ends = BEGAN + timedelta(minutes=2)
    extract = queue.submit(person, "extract", {"paths": [str(root / "footage")]}, faces="demo")
    found = {"kept": 8, "faces": 8, "frames": 8, "total_kept": 8, "rejected": {}}
    extract.write_state(
        JobState(status="done", pid=101, started=BEGAN, ended=ends, done=8, total=8, result=found)
    )
    train = queue.submit(person, "train", {"base": BASE, "preset": "fast", "seed": 11})
    keys = ("version", "verdict", "sentence", "proven", "reasons")
    train.write_state(
        JobState(
            status="done",
            pid=102,
            started=BEGAN,
            ended=ends,
            done=6,
            total=6,
            notes=list(report["notes"]),
            result={key: report[key] for key in keys},
            version=1,
        )
    )
    train.log_path.write_text("Training\nWriting back and judging\n")
    failed = queue.submit(person, "evaluate", {"version": 1, "judge": str(root / "judge.onnx")})
    given = f"judge {root / 'judge.onnx'}"
    why = Failure(given=given, why="there is no such file.", todo="Give one.")
    failed.write_state(JobState(status="failed", pid=103, started=BEGAN, ended=ends, error=why))
    failed.log_path.write_text("Judging\n")
    again = queue.submit(person, "train", {"base": BASE, "preset": "fast", "seed": 12})
    again.stop_path.touch()
    notes = [f"{error.why} {error.todo}"]
    again.write_state(
        JobState(
            status="stopped",
            pid=104,
            started=BEGAN,
            ended=ends,
            done=4,
            total=6,
            notes=notes,
            version=3,
        )
    )
    queue.submit(person, "estimate", {"base": BASE, "preset": "balanced"}, host=root / "facefusion")


def tidy(root: Path, target: Path) -> None:
    """Keep what is read, and no path of this machine."""
    for part in ("home", "facefusion"):
        shutil.rmtree(target / part, ignore_errors=True)
        shutil.copytree(root / part, target / part)
    for path in [*target.rglob("previews"), *target.rglob("report.html"), *target.rglob("shown")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in target.rglob("*"):
        if path.suffix in (".toml", ".json", ".jsonl"):
            text = path.read_text("utf-8").replace(str(root), "/home/user")
            path.write_text(text, "utf-8")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder).resolve())
        tidy(Path(folder).resolve(), Path(sys.argv[1]))
