"""The commands that race, and how one is started in a process of its own and waited for."""

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from benchmarks.forked import fork
from benchmarks.races.material import NAME, Material, Places
from facefusion_finetune import home
from facefusion_finetune.cli import extract as extract_command
from facefusion_finetune.cli import main as run_main
from facefusion_finetune.cli import train as train_command
from facefusion_finetune.demo.analyser import DemoAnalyser

MOST_SECONDS = 300.0
"""After this time, a command counts as hanging."""

Build = Callable[[Material, Places, random.Random], list[str]]

COMMANDS: dict[str, Build] = {
    "activate": lambda material, places, draw: [
        *("models", "activate", f"{NAME}@{draw.choice((1, 2))}", "--force"),
        *("--host", str(places.host)),
    ],
    "deactivate": lambda material, places, draw: [
        *("models", "deactivate", NAME, "--host", str(places.host))
    ],
    "export": lambda material, places, draw: [
        *("models", "export", f"{NAME}@1", "--output", str(places.out / "sent.onnx")),
        *(["--standalone"] if draw.random() < 0.5 else []),
    ],
    "import": lambda material, places, draw: [
        *("models", "import", str(material.sent), "--as", NAME, "--host", str(places.host))
    ],
    "models remove": lambda material, places, draw: [
        *("models", "remove", f"{NAME}@{draw.choice((1, 2))}", "--yes"),
        *("--host", str(places.host)),
    ],
    "extract": lambda material, places, draw: ["extract", NAME, str(material.more)],
    "train": lambda material, places, draw: [
        *("train", NAME, "--base", "demo", "--preset", str(material.preset))
    ],
    "evaluate": lambda material, places, draw: ["evaluate", f"{NAME}@1"],
    "reject": lambda material, places, draw: [
        *("dataset", "reject", NAME, *draw.sample(material.crops, 3))
    ],
    "restore": lambda material, places, draw: [
        *("dataset", "restore", NAME, *draw.sample(material.crops, 3))
    ],
    "dataset show": lambda material, places, draw: ["dataset", "show", NAME],
    "review": lambda material, places, draw: ["dataset", "review", NAME],
    "renew": lambda material, places, draw: [
        *("person", "add", NAME, "--renew", "--consent-note", "And again.")
    ],
    "remove": lambda material, places, draw: [
        *("person", "remove", NAME, "--yes", "--exports", "--host", str(places.host))
    ],
    "add": lambda material, places, draw: [
        *("person", "add", NAME, "--consent-note", "Someone else of that name agrees.")
    ],
}
WEIGHTS = {"train": 2, "extract": 2, "activate": 3, "export": 2, "import": 2}
"""How often a command is drawn; others once."""
AFTER_ADD = ("activate", "deactivate", "export", "models remove", "evaluate", "reject", "renew")
"""Commands with nothing to do for a person who was just added; what they leave would be old."""
ENDABLE = {"extract", "train", "evaluate", "review"}
"""Commands that a removal ends if they do not stop by themselves."""


@dataclass
class Started:
    """A command at work, and how it ended."""

    name: str
    arguments: list[str]
    pid: int
    output: Path
    code: int | None = None
    seconds: float = 0.0

    @property
    def text(self) -> str:
        """What it printed and said."""
        return self.output.read_text("utf-8", errors="replace")


@dataclass
class Round:
    """One round: its commands, and what was wrong afterwards."""

    number: int
    started: list[Started]
    faults: list[str] = field(default_factory=list)

    @property
    def names(self) -> str:
        """The commands, in the order they were started."""
        return ", ".join(command.name for command in self.started)

    def find(self, name: str) -> Started | None:
        """The command of that name."""
        return next((command for command in self.started if command.name == name), None)

    def is_done(self, name: str) -> bool:
        """Whether it took part and ended with 0, as often as it was started."""
        codes = [command.code for command in self.started if command.name == name]
        return bool(codes) and not any(codes)


def start(
    name: str, arguments: list[str], material: Material, places: Places, wait: float
) -> Started:
    """Start a command in a process of its own, which waits so many seconds first."""
    output = places.root / f"{name.replace(' ', '-')}-{len(list(places.root.glob('*.txt')))}.txt"
    output.touch()

    def run() -> None:
        os.environ[home.HOME_VARIABLE] = str(places.home)
        torch.set_num_threads(1)
        for module in (extract_command, train_command):
            module.choose_analyser = _create_opener(material)  # type: ignore[attr-defined]
        sys.argv = ["facefusion-finetune", *arguments]
        time.sleep(wait)
        run_main()

    return Started(name, arguments, fork(run, output), output)


def _create_opener(material: Material) -> Callable[..., DemoAnalyser]:
    return lambda *arguments, **options: DemoAnalyser([material.footage, material.more])


def wait_for(commands: list[Started]) -> None:
    """Wait until all have ended; what hangs is killed."""
    began = time.monotonic()
    while any(command.code is None for command in commands):
        for command in commands:
            if command.code is None:
                pid, status = os.waitpid(command.pid, os.WNOHANG)
                if pid:
                    command.code = os.waitstatus_to_exitcode(status)
                    command.seconds = time.monotonic() - began
                elif time.monotonic() - began > MOST_SECONDS:
                    os.kill(command.pid, signal.SIGKILL)
        time.sleep(0.005)


def draw_commands(draw: random.Random) -> list[str]:
    """The commands of a round: two or three, half of the rounds with a removal."""
    others = [name for name in COMMANDS if name not in ("remove", "add")]
    weights = [WEIGHTS.get(name, 1) for name in others]
    count = draw.choice((2, 2, 3))
    if draw.random() < 0.5:
        names = draw.choices(others, weights, k=count)
    elif draw.random() < 0.25:
        names = ["remove", "add", draw.choice(AFTER_ADD)]
    else:
        names = ["remove", *draw.choices(others, weights, k=count - 1)]
    draw.shuffle(names)
    return names
