"""Commands racing on one person: `python -m benchmarks.races --rounds 200`.

In every round two or three commands are started on one drawn person, each in a process of its own,
up to the length of the longest of them apart; a removal is among them in half of the rounds. The
person has crops and two models, one of which is active in a stand-in for FaceFusion's folder.
Afterwards everything on the disk is compared with what the records say, and after a removal that
ended with 0 the disk is searched for the person, with code of this module's own. The same seed
draws the same rounds; which process is faster is up to the machine.

A process is forked from this one, which has loaded what the commands need; only the analyser is
replaced, by the demo's. Ends with 1 if there was a fault.
"""

import argparse
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

import onnx
import torch

from benchmarks.races.checks import check_commands, check_disk, check_repetition
from benchmarks.races.commands import COMMANDS, Round, draw_commands, start, wait_for
from benchmarks.races.material import Material, copy_template, create_material
from facefusion_finetune import home
from facefusion_finetune.privacy import removal
from facefusion_finetune.registry import versions

LOADED = (onnx, removal, versions)
"""Loaded here so that no command has to load it."""


def run_round(
    number: int, seed: int, material: Material, root: Path, lengths: dict[str, float]
) -> Round:
    """Run and check one round."""
    draw = random.Random(f"{seed} {number}")
    names = draw_commands(draw)
    places = copy_template(material, root)
    longest = max(lengths.get(name, 0.1) for name in names)
    commands = []
    for name in names:
        # An early start for what takes longest, so that the others meet it at any moment.
        share = draw.random() * (0.1 if lengths.get(name, 0.1) == longest else 1)
        arguments = COMMANDS[name](material, places, draw)
        commands.append(start(name, arguments, material, places, share * longest))
    wait_for(commands)
    done = Round(number, commands)
    done.faults += check_commands(done)
    with home.use_home(places.home):
        try:
            done.faults += check_disk(done, material, places)
        except Exception:
            done.faults.append(f"check failed: {traceback.format_exc(limit=-2)}")
        done.faults += check_repetition(done, material, places)
    return done


def measure_lengths(material: Material, root: Path) -> dict[str, float]:
    """Seconds that each command takes alone; each must succeed."""
    lengths = {}
    for name, build in COMMANDS.items():
        places = copy_template(material, root)
        command = start(name, build(material, places, random.Random(0)), material, places, 0)
        wait_for([command])
        assert command.code == (2 if name == "add" else 0), command.text
        lengths[name] = command.seconds
    return lengths


def print_table(rounds: list[Round]) -> None:
    """Print a line for each pair and triple, then the faults."""
    counts: Counter[str] = Counter()
    faulty: Counter[str] = Counter()
    ends: dict[str, Counter[str]] = {}
    for done in rounds:
        key = " + ".join(sorted(command.name for command in done.started))
        counts[key] += 1
        faulty[key] += bool(done.faults)
        codes = " ".join(
            f"{command.name}={command.code}"
            for command in sorted(done.started, key=lambda command: command.name)
        )
        ends.setdefault(key, Counter())[codes] += 1
    print(f"{'commands':44} {'rounds':>6} {'faulty':>6}")
    for key, count in sorted(counts.items()):
        print(f"{key:44} {count:6} {faulty[key]:6}")
    for done in rounds:
        for fault in done.faults:
            print(f"round {done.number} ({done.names}): {' '.join(fault.split())}")
    removals = [done for done in rounds if done.is_done("remove")]
    remains = [done for done in removals if any("remains" in fault for fault in done.faults)]
    print(
        f"{len(rounds)} rounds, {sum(bool(done.faults) for done in rounds)} with faults;"
        f" {len(removals)} removals ended with 0, {len(remains)} of them left something."
    )


def main() -> int:
    """Run the rounds and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="number of the first round")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the homes of faulty rounds")
    arguments = parser.parse_args()
    # Forked processes compute on one thread each; this one starts none.
    torch.set_num_threads(1)
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        material = create_material(root)
        lengths = measure_lengths(material, root / "round")
        for number in range(arguments.first, arguments.first + arguments.rounds):
            done = run_round(number, arguments.seed, material, root / "round", lengths)
            rounds.append(done)
            if done.faults:
                fault = " ".join(done.faults[0].split())[:300]
                print(f"round {number} ({done.names}): {fault}", flush=True)
                if arguments.keep:
                    shutil.copytree(root / "round", arguments.keep / str(number), symlinks=True)
    print_table(rounds)
    return int(any(done.faults for done in rounds))


if __name__ == "__main__":
    sys.exit(main())
