"""Kills every command at any moment, repeats it, and compares the result with an undisturbed one.

    python -m benchmarks.kills [--kills 550] [--seed 0] [--command NAME]... [--facefusion PATH]

Each command runs on a drawn person in a process of its own, which gets SIGKILL: every other time
just before one of its calls that change the disk, which reaches every state in between, otherwise
after a random share of its undisturbed duration. Every fourth time, the repeated command is killed
as well. Then it is repeated undisturbed, and the whole disk is compared with what an undisturbed
command leaves: every file's content, weights bit for bit, and nothing else. Before and after,
FaceFusion must start, list exactly the processors that are there, and be able to load them, and
each active model must fit its hash and card.

The processes are forked from one that has everything imported, so Linux or macOS only. FaceFusion's
code is copied; without one, a folder stands in that imports as it does. Times differ between runs,
the calls do not.
"""

import argparse
import importlib
import math
import random
import signal
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.kills.disk import compare, describe
from benchmarks.kills.processes import Moment
from benchmarks.kills.world import NAME, TRAIN, World, build
from facefusion_finetune.runs.run import find_records

IMPORTED = (
    "facefusion_finetune.cli",
    "facefusion_finetune.demo.analyser",
    "facefusion_finetune.demo.world",
    "facefusion_finetune.dataset.coverage.report",
    "facefusion_finetune.evaluation.rerun",
    "facefusion_finetune.privacy.removal",
    "facefusion_finetune.registry.transfer",
    "facefusion_finetune.training.recipe",
)


@dataclass(frozen=True)
class Command:
    """A command, what it begins with, and how often it is killed."""

    arguments: tuple[str, ...]
    """With the places of `World.fill`."""
    state: str
    """The saved state it begins with."""
    kills: float = 1.0
    """Share of the kills, relative to the other commands."""
    again: tuple[str, ...] | None = None
    """The repeated command, where it is another."""
    done: str | None = None
    """What the repeated command may say, as an error, where the killed one had done everything."""


MATERIAL = ("--targets", "{footage}/targets", "--others", "{footage}/others")
COMMANDS = {
    "extract": Command(("extract", NAME, "{footage}/ada", "--others", "--review"), "added"),
    "train": Command(
        (*TRAIN, *MATERIAL),
        "extracted",
        kills=0.6,
        again=("train", NAME, "--resume", *MATERIAL[:2]),
        done="nothing to resume",
    ),
    "activate": Command(("models", "activate", "ada@2", "--force", "--host", "{host}"), "active"),
    "deactivate": Command(("models", "deactivate", NAME, "--host", "{host}"), "active"),
    "export": Command(
        ("models", "export", "ada@1", "--output", "{out}/new.onnx", "--standalone"),
        "active",
        done="already exists",
    ),
    "import": Command(("models", "import", "{out}/ada.onnx"), "trained"),
    "models remove": Command(
        ("models", "remove", "ada@1", "--yes", "--host", "{host}"), "active", done="no such version"
    ),
    "person remove": Command(
        ("person", "remove", NAME, "--yes", "--exports", "--host", "{host}"),
        "active",
        done="no such person",
    ),
    "link": Command(("link", "{host}"), "added"),
    "unlink": Command(("unlink", "{host}"), "active"),
}


@dataclass
class Row:
    """The result of one command."""

    calls: int
    seconds: float
    kills: int = 0
    late: int = 0
    """How often the command had ended before the moment came, besides."""
    faults: list[str] = field(default_factory=list)


def measure(world: World, command: Command) -> tuple[dict[str, str], Row]:
    """What the undisturbed command leaves, which must be the same each time."""
    found, seconds = [], math.inf
    for _ in range(2):
        world.restore(command.state)
        ended = world.must_run(*command.arguments)
        seconds = min(seconds, ended.seconds)
        found.append(describe(world.disk))
    differences = compare(*found)
    if differences or world.find_faults():
        sys.exit(f"{command.arguments}: undisturbed, {differences or world.find_faults()}")
    return found[0], Row(ended.calls, seconds)


def draw_moment(generator: random.Random, row: Row, share: float, by_call: bool) -> Moment:
    """A moment of the command, `share` of its way."""
    if by_call:
        return Moment(call=1 + min(row.calls - 1, int(share * row.calls)))
    return Moment(seconds=max(0.001, (share + generator.uniform(-0.05, 0.05)) * row.seconds))


def choose_again(world: World, command: Command) -> tuple[str, ...]:
    """The command to repeat; a training that had not begun cannot be resumed."""
    runs = world.disk / "home" / "people" / NAME / "runs"
    if command.again is None or not find_records(runs):
        return command.arguments
    return command.again


def try_once(
    world: World, command: Command, expected: dict[str, str], moments: list[Moment], row: Row
) -> None:
    """Kill the command, and its repetition, at these moments; repeat it; note what is wrong."""
    world.restore(command.state)
    faults: list[str] = []
    arguments = command.arguments
    for moment in moments:
        ended = world.run(arguments, moment)
        is_late = ended.code != -signal.SIGKILL
        row.kills += not is_late
        row.late += is_late
        faults += [f"after the kill: {fault}" for fault in world.find_faults()]
        arguments = choose_again(world, command)
    ended = world.run(arguments)
    if ended.code and not (command.done and command.done in ended.output):
        faults.append(f"ended with {ended.code}: {' '.join(ended.output.split())[:300]}")
    faults += compare(expected, describe(world.disk))
    faults += world.find_faults()
    if faults:
        row.faults.append(f"{', '.join(map(str, moments))}: {'; '.join(faults)}")


def kill(world: World, name: str, kills: int, seed: int) -> Row:
    """Kill one command that many times."""
    command = COMMANDS[name]
    expected, row = measure(world, command)
    generator = random.Random(f"{seed} {name}")
    number = 0
    while row.kills < kills:
        share = (number + generator.random()) / kills
        by_call = number % 2 == 0
        moments = [draw_moment(generator, row, share % 1, by_call)]
        if number % 4 == 3 and row.kills + 1 < kills:
            moments.append(draw_moment(generator, row, generator.random(), True))
        try_once(world, command, expected, moments, row)
        number += 1
    return row


def main() -> None:
    """Print the table and the faults; exit code 1 if there is a fault."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=550, help="of all commands together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--command", action="append", choices=list(COMMANDS))
    parser.add_argument("--facefusion", type=Path, help="the code of this one is used")
    options = parser.parse_args()
    for name in IMPORTED:
        importlib.import_module(name)
    names = options.command or list(COMMANDS)
    rows: dict[str, Row] = {}
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder).resolve(), options.facefusion)
        build(world)
        for name in names:
            share = COMMANDS[name].kills / sum(COMMANDS[each].kills for each in names)
            rows[name] = kill(world, name, math.ceil(options.kills * share), options.seed)
            report = f"{name}: {rows[name].kills} kills, {len(rows[name].faults)} with faults"
            print(report, file=sys.stderr)
    print(f"{'command':14} {'calls':>6} {'ms':>6} {'kills':>6} {'late':>5} {'faults':>7}")
    for name, row in rows.items():
        print(
            f"{name:14} {row.calls:6} {row.seconds * 1000:6.0f} {row.kills:6} {row.late:5}"
            f" {len(row.faults):7}"
        )
    total = sum(len(row.faults) for row in rows.values())
    print(f"{sum(row.kills for row in rows.values())} kills, {total} with faults")
    for name, row in rows.items():
        for fault in row.faults:
            print(f"{name}: {fault}")
    sys.exit(1 if total else 0)


if __name__ == "__main__":
    main()
