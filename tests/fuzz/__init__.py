"""Open thousands of damaged models, each in a process that may die of it.

Every model has to be refused with a reason or to be of use; nothing else may happen: no crash, no
hang, no other exception, no file opened outside the model's folder, no pickle.
"""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import psutil

from facefusion_finetune.swappers.files.modelfile import open_model
from facefusion_finetune.swappers.files.writeback import save_model
from tests.fuzz.worker import MODEL, READY, SECRET, make_mutant
from tests.support import families
from tests.support.inswapper import build_inswapper

FAMILIES = ("ghost_2_256", "hififace_unofficial_256", "hyperswap_1a_256", "uniface_256")
WIDTH = 0.02
LONGEST = 5.0
"""Seconds of processor time that one model may take."""
LONGEST_WALL = 60.0
"""Seconds after which a model hangs even if it does nothing."""
MEMORY = 6 << 30
"""Bytes of address space. torch alone maps half of it."""
ROOT = Path(__file__).parents[2]


@dataclass
class Report:
    """What became of the models."""

    count: int = 0
    states: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, Any]] = field(default_factory=list)
    slowest: dict[str, Any] = field(default_factory=dict)
    peak_mb: int = 0

    def add(self, answer: dict[str, Any]) -> None:
        """Count one model."""
        self.count += 1
        self.states[answer["state"]] += 1
        if answer["state"] == "refused":
            self.reasons[answer["reason"]] += 1
        if answer["state"] == "failed":
            self.failures.append(answer)
        if answer["processor_s"] >= self.slowest.get("processor_s", 0.0):
            self.slowest = answer
        self.peak_mb = max(self.peak_mb, answer["peak_mb"])


def run(
    count: int,
    seed: int,
    folder: Path,
    plant: bool = False,
    first: int = 0,
    longest: float = LONGEST,
) -> Report:
    """Open `count` damaged models.

    Args:
        count: How many.
        seed: Of the damage; the same one gives the same models.
        folder: Where models that do harm are kept.
        plant: Whether to do harm on purpose at some of them, see `worker.PLANTS`.
        first: Number of the first one.
        longest: Seconds of processor time after which one hangs.
    """
    report = Report()
    with tempfile.TemporaryDirectory() as place:
        seeds, sandbox = Path(place) / "seeds", Path(place) / "sandbox"
        write_seeds(seeds)
        sandbox.mkdir()
        _furnish(sandbox, seeds)
        worker: _Worker | None = None
        for index in range(first, first + count):
            worker = worker or _Worker(sandbox, seeds, seed, plant, longest)
            answer = worker.ask(index)
            if "peak_mb" not in answer:
                answer |= {"index": index, "state": "failed", "processor_s": 0.0, "peak_mb": 0}
                worker.end()
                worker = None
            report.add(answer)
            if answer["state"] == "failed":
                folder.mkdir(parents=True, exist_ok=True)
                kept = folder / f"{seed}-{index}.onnx"
                kept.write_bytes(make_mutant(seeds, seed, index)[1])
                answer["file"] = str(kept)
        if worker is not None:
            worker.end()
    return report


def write_seeds(folder: Path) -> None:
    """Write the models that the damaged ones are made from."""
    folder.mkdir()
    plain = folder / "inswapper.onnx"
    onnx.save(build_inswapper(1), str(plain))
    for name in FAMILIES:
        onnx.save(families.build(name, width=WIDTH), str(folder / f"{name}.onnx"))
    base = folder / "base.bin"
    plain_ghost = folder / f"{FAMILIES[0]}.onnx"
    base.write_bytes(plain_ghost.read_bytes())
    save_model(open_model(plain_ghost), folder / "linked.onnx", link=base.name)


def _furnish(sandbox: Path, seeds: Path) -> None:
    """What a linked model may find beside it, and what it must not touch."""
    (sandbox / "base.bin").write_bytes((seeds / "base.bin").read_bytes())
    (sandbox / "folder").mkdir()
    (sandbox / "folder" / "base.bin").write_bytes(bytes(1 << 16))
    os.mkfifo(sandbox / "pipe")
    secret = sandbox.parent / SECRET
    secret.write_bytes(b"secret" * 100_000)
    (sandbox / "link.bin").symlink_to(secret)
    (sandbox / MODEL).touch()


class _Worker:
    def __init__(self, sandbox: Path, seeds: Path, seed: int, plant: bool, longest: float) -> None:
        command = [sys.executable, "-m", "tests.fuzz.worker", str(sandbox), str(seeds), str(seed)]
        command += ["--memory", str(MEMORY)] + ["--plant"] * plant
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        self._longest = longest
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        if self._answers.get() != f"{READY}\n":
            raise RuntimeError(f"the process ended with {self._process.wait()} at its start")

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")

    def ask(self, index: int) -> dict[str, Any]:
        """What becomes of a model; without `peak_mb` where the process does not survive it."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{index}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return {"reason": f"the process died with {self._process.wait()}"}
        before = self._measure()
        for _ in range(int(LONGEST_WALL / 0.5)):
            try:
                line = self._answers.get(timeout=0.5)
            except queue.Empty:
                spent = self._measure() - before
                if spent > self._longest:
                    return {"reason": f"it hangs: {spent:.1f} s"}
                continue
            if line:
                answer: dict[str, Any] = json.loads(line)
                if answer["processor_s"] > self._longest:
                    answer |= {"state": "failed", "reason": "it takes too long"}
                return answer
            return {"reason": f"the process died with {self._process.wait()}"}
        return {"reason": "it hangs"}

    def _measure(self) -> float:
        """Seconds of processor time so far."""
        try:
            times = psutil.Process(self._process.pid).cpu_times()
        except psutil.NoSuchProcess:
            return 0.0
        return float(times.user + times.system)

    def end(self) -> None:
        """Stop the process."""
        self._process.kill()
        self._process.wait()


def describe(report: Report) -> Iterator[str]:
    """The report in lines."""
    states = ", ".join(f"{report.states[state]} {state}" for state in _list_states(report))
    yield f"{report.count} models: {states}; peak memory {report.peak_mb} MB"
    slowest = report.slowest
    if slowest:
        yield (
            f"slowest: number {slowest['index']} with {slowest['processor_s']:.2f} s"
            f" ({slowest['state']})"
        )
    for reason, count in report.reasons.most_common():
        yield f"{count:6d}  {reason}"
    for failure in report.failures:
        yield f"FAILED  {failure['index']}: {failure['reason']} ({failure['file']})"


def _list_states(report: Report) -> Sequence[str]:
    return sorted({"refused", "accepted", "converted", "failed", *report.states}, reverse=True)
