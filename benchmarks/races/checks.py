"""Whether a round ended well: by what the commands said, and by what lies on the disk."""

import hashlib
import json
import os
import random
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.races.commands import COMMANDS, ENDABLE, Round, start, wait_for
from benchmarks.races.material import NAME, Material, Places
from facefusion_finetune.dataset.manifest import read_manifest
from facefusion_finetune.errors import FinetuneError
from facefusion_finetune.host.models import find_active, find_models, models_directory
from facefusion_finetune.people import elsewhere
from facefusion_finetune.people.profile import load_person
from facefusion_finetune.registry import store
from facefusion_finetune.runs.run import load_run
from facefusion_finetune.swappers.files.bases import check_base

ENDED = {-signal.SIGTERM, -signal.SIGKILL}


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
