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
import base64
import hashlib
import json
import os
import pickle
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import torch

from facefusion_finetune import home
from facefusion_finetune.cli import extract as extract_command
from facefusion_finetune.cli import main as run_main
from facefusion_finetune.cli import train as train_command
from facefusion_finetune.dataset.extraction.extract import extract_footage
from facefusion_finetune.dataset.manifest import read_manifest
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.demo.people import FIRST_UNSEEN_SEED
from facefusion_finetune.demo.world import write_footage
from facefusion_finetune.errors import FinetuneError
from facefusion_finetune.host.models import find_active, find_models, models_directory
from facefusion_finetune.people import elsewhere
from facefusion_finetune.people.profile import add_person, create_consent, load_person
from facefusion_finetune.privacy import removal
from facefusion_finetune.registry import store, transfer, versions
from facefusion_finetune.runs.run import load_run
from facefusion_finetune.swappers.files.bases import check_base
from facefusion_finetune.training.recipe import train_person
from facefusion_finetune.training.request import TrainRequest

LOADED = (onnx, removal, versions, traceback)
"""Loaded here so that no command has to load it."""

NAME = "ada"
SEED = FIRST_UNSEEN_SEED + 7
SHOTS, FRAMES = 6, 6
MOST_SECONDS = 300.0
"""After this time, a command counts as hanging."""
ENDED = {-signal.SIGTERM, -signal.SIGKILL}

PRESET = """
description = "A few steps, for races."
minimum_crops = 12
layers = "last_3"
variants = 1
face_weight = 1.4
outside_weight = 0.4
batch_size = 4
steps = 8
learning_rate = 1e-3
rate = "absolute"
schedule = "cosine"
warm_up = 0.1
ema = 0.5
clip_norm = 1.0
checkpoint_every = 2
preview_every = 4

[pairs]
self = 1

[losses]
l1 = 1.0
"""


@dataclass(frozen=True)
class Places:
    """The folders of one round, or of the template all rounds are copied from."""

    root: Path

    @property
    def home(self) -> Path:
        """The home."""
        return self.root / "home"

    @property
    def host(self) -> Path:
        """FaceFusion's folder."""
        return self.root / "host"

    @property
    def out(self) -> Path:
        """Where exports go."""
        return self.root / "out"

    @property
    def person(self) -> Path:
        """The person's folder."""
        return self.home / "people" / NAME


@dataclass(frozen=True)
class Material:
    """What rounds are made from; none of it is changed by them."""

    template: Places
    footage: Path
    more: Path
    """Footage that is not extracted yet."""
    preset: Path
    sent: Path
    """An exported model, to be imported."""
    crops: tuple[str, ...]
    """Ids of kept crops."""
    marks: tuple[bytes, ...]
    """Embeddings of the person, as in files, and digests of the cut-outs."""


def create_material(root: Path) -> Material:
    """Draw the person, extract, train once, import the result as a second version, activate.

    It is done by a process of its own: from one with threads, nothing can be forked safely.
    """
    result = root / "material"
    pid = os.fork()
    if pid:
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status:
            sys.exit(f"the material could not be made ({status})")
        found: Material = pickle.loads(result.read_bytes())
        return found
    code = 1
    try:
        result.write_bytes(pickle.dumps(_create_material(root)))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _create_material(root: Path) -> Material:
    template = Places(root / "template")
    footage, more, preset = root / "footage", root / "more", root / "quick.toml"
    write_footage(footage, SEED, SHOTS, FRAMES, seed=3)
    write_footage(more, SEED, 2, FRAMES, seed=9)
    preset.write_text(PRESET)
    (template.host / "facefusion").mkdir(parents=True)
    (template.host / "facefusion.py").touch()
    (template.host / "facefusion" / "metadata.py").write_text("METADATA = {'version': '3.8.1'}\n")
    template.out.mkdir()
    sent = root / "sent.onnx"
    with home.use_home(template.home):
        analyser = DemoAnalyser([footage, more])
        person = add_person(NAME, create_consent(None, "A drawn person agrees to nothing."))
        extract_footage(person, [footage], analyser)
        run, _ = train_person(person, analyser, TrainRequest(base="demo", preset=str(preset)))
        transfer.export_model(person, run, sent)
        elsewhere.forget(person.directory, sent)
        transfer.import_model(sent, NAME, [])
        store.activate(person, run, template.host, force=True)
        records = read_manifest(person)
        vectors = [record.embedding for record in records if record.embedding is not None]
        raw = [vector.astype("<f4").tobytes() for vector in vectors]
        raw.append(store.read_card(run.model_path).get_vector().astype("<f4").tobytes())
    marks = [base64.b64encode(vector) for vector in raw] + raw
    marks += [record.sha256.encode() for record in records if record.sha256]
    crops = tuple(record.id for record in records if record.kept)
    return Material(template, footage, more, preset, sent, crops, tuple(marks))


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
    pid = os.fork()
    if pid:
        return Started(name, arguments, pid, output)
    code = 99
    try:
        stream = os.open(output, os.O_WRONLY | os.O_APPEND)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ[home.HOME_VARIABLE] = str(places.home)
        torch.set_num_threads(1)
        for module in (extract_command, train_command):
            module.choose_analyser = _create_opener(material)  # type: ignore[attr-defined]
        sys.argv = ["facefusion-finetune", *arguments]
        time.sleep(wait)
        run_main()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


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


def copy_template(material: Material, root: Path) -> Places:
    """The folders of a round."""
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(material.template.root, root, symlinks=True)
    places = Places(root)
    # The recorded FaceFusion is the template's.
    record = places.person / "hosts.json"
    record.write_text(json.dumps([str(places.host.resolve())]))
    return places


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


def check_commands(done: Round) -> Iterator[str]:
    """Each command ends with 0, or with an error that says what to do."""
    for command in done.started:
        text, code = command.text, command.code
        if code in ENDED and done.find("remove") and command.name in ENDABLE:
            continue
        if code not in (0, 1, 2):
            yield f"{command.name} ended with {code}: {text[-400:]}"
        elif "Traceback" in text:
            yield f"{command.name} ended with a traceback: {text[-400:]}"
        elif code and "error: " not in text:
            yield f"{command.name} ended with {code} and no error: {text[-400:]}"
        elif "No such file" in text or "[Errno" in text or "not empty" in text:
            yield f"{command.name} tells of a missing file: {text[-400:]}"


def check_disk(done: Round, material: Material, places: Places) -> Iterator[str]:
    """What is on the disk is what the records say; of a removed person nothing is."""
    is_removed = done.is_done("remove")
    if is_removed and done.is_done("add"):
        yield from find_remains(material, places, is_new=True)
    elif is_removed:
        yield from find_remains(material, places)
    elif (failed := done.find("remove")) is not None:
        yield f"remove ended with {failed.code}: {failed.text[-400:]}"
    else:
        yield from check_person(done, places)


def find_remains(material: Material, places: Places, is_new: bool = False) -> Iterator[str]:
    """Traces of the person in home, FaceFusion and exports.

    Args:
        material: Has the embeddings and digests.
        places: Where to look.
        is_new: A person of that name was added since; then the name may stand in the record.
    """
    word = re.compile(rb"(?<![A-Za-z0-9])" + NAME.encode() + rb"(?![A-Za-z0-9])")
    allowed = {places.person / "person.toml", places.home / "locks" / f"{NAME}.lock"}
    for folder in (places.home, places.host, places.out):
        for path in sorted(folder.rglob("*")):
            if is_new and (path in allowed or path == places.person):
                continue
            if word.search(os.fsencode(path.relative_to(folder))):
                yield f"remains: {path.relative_to(places.root)}"
            elif path.is_file():
                content = path.read_bytes()
                if word.search(content):
                    yield f"remains: {path.relative_to(places.root)} has the name"
                if any(mark in content for mark in material.marks):
                    yield f"remains: {path.relative_to(places.root)} has data of the person"
    for path in (places.home / "bases").glob("*"):
        yield f"remains: the base {path.name}"


def check_person(done: Round, places: Places) -> Iterator[str]:
    """The person's records fit the files, in the home and in FaceFusion."""
    try:
        person = load_person(NAME)
    except FinetuneError as error:
        yield f"person: {error}"
        return
    yield from check_crops(places)
    yield from check_runs(done, places)
    yield from check_host(places)
    for entry in elsewhere.list_locations(person.directory):
        if not Path(entry.path).exists():
            yield f"elsewhere.json names {entry.path}, which is not there"
    for path in places.out.iterdir():
        known = {entry.path for entry in elsewhere.list_locations(person.directory)}
        if str(path.resolve()) not in known:
            yield f"{path.name} was exported and is not recorded"
    for folder in (places.home, places.host, places.out):
        for path in folder.rglob(".*"):
            if path.suffix == ".part" or path.name.startswith((".import-", ".dry-run-")):
                yield f"left: {path.relative_to(places.root)}"
    for name in ("extraction", ".work"):
        if (places.person / name).exists():
            yield f"left: {name} in the person's folder"
    if done.is_done("renew") and person.require_consent().text != "And again.":
        yield "the renewed consent is lost"


def check_crops(places: Places) -> Iterator[str]:
    """Manifest, cut-outs and footage list fit."""
    records = read_manifest(load_person(NAME))
    expected = set()
    for record in records:
        if record.is_person and record.sha256:
            path = places.person / "crops" / f"{record.id}.png"
            expected |= {path.name, f"{record.id}.masks.png"}
            if not path.is_file():
                yield f"crops: {path.name} is missing"
            elif hashlib.sha256(path.read_bytes()).hexdigest() != record.sha256:
                yield f"crops: {path.name} has another digest"
    there = {path.name for path in (places.person / "crops").iterdir()}
    if there != expected:
        yield f"crops: {len(there ^ expected)} files and records differ"
    lines = (places.person / "sources.jsonl").read_text().splitlines()
    known = {json.loads(line)["sha256"] for line in lines}
    if {record.source_sha256 for record in records} - known:
        yield "sources.jsonl lacks footage of the manifest"
    choices = places.person / "choices.json"
    chosen: dict[str, Any] = json.loads(choices.read_text()) if choices.exists() else {}
    by_id = {record.id: record.choice for record in records}
    if any(by_id.get(identifier) != choice for identifier, choice in chosen.items()):
        yield "choices.json and the manifest differ"


def check_runs(done: Round, places: Places) -> Iterator[str]:
    """Every run has its record, its model and its base; a base without a run is gone."""
    needed = set()
    for folder in sorted((places.person / "runs").iterdir()):
        if not folder.name.isdecimal():
            yield f"runs: {folder.name} is no run"
            continue
        try:
            run = load_run(folder / "config.toml")
            if run.is_finished:
                store.read_card(run.model_path)
                check_base(run.model_path, hard_links=True)
            elif done.is_done("train") or not done.find("train"):
                yield f"runs: {folder.name} has no model"
        except (FinetuneError, OSError) as error:
            yield f"runs: {folder.name}: {error}"
        needed |= {path.name for path in folder.glob("*.base")}
        if (folder / "candidate.onnx").exists():
            yield f"runs: {folder.name} has a candidate left"
    kept = {path.name for path in (places.home / "bases").glob("*")}
    if kept != needed:
        yield f"bases: {sorted(kept ^ needed)}"


def check_host(places: Places) -> Iterator[str]:
    """At most one version is active, whole, recorded, and of a run that is there."""
    directory = models_directory(places.host)
    active = find_active(directory).get(NAME, {})
    if find_models(directory).get(NAME, {}) != active or len(active) > 1:
        yield f"FaceFusion: {sorted(path.name for path in directory.iterdir())}"
    files = {path.stem for path in directory.glob(f"{NAME}-*")}
    if files != {path.stem for path in active.values()}:
        yield f"FaceFusion: {sorted(path.name for path in directory.iterdir())}"
    for number, path in active.items():
        if not (places.person / "runs" / str(number) / "model.onnx").exists():
            yield f"FaceFusion: version {number} is active, and its run is gone"
        try:
            store.verify(path)
        except FinetuneError as error:
            yield f"FaceFusion: {error}"
    if active and places.host.resolve() not in elsewhere.list_hosts(places.person):
        yield "FaceFusion: not in hosts.json"
    if not active and list(directory.glob("*.base")):
        yield "FaceFusion: a base is left"


def check_repetition(done: Round, material: Material, places: Places) -> Iterator[str]:
    """A removal that failed can be repeated, and then removes everything."""
    if not done.find("remove") or done.is_done("remove"):
        return
    arguments = COMMANDS["remove"](material, places, random.Random(0))
    again = start("remove", arguments, material, places, 0)
    wait_for([again])
    if again.code:
        yield f"repeated removal ended with {again.code}: {again.text[-400:]}"
    yield from (f"repeated removal: {fault}" for fault in find_remains(material, places))


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
