"""Everything held about a person, in the person's folder and elsewhere."""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from facefusion_finetune import home
from facefusion_finetune.damage import DamageError, read_lines
from facefusion_finetune.dataset.manifest import is_record
from facefusion_finetune.errors import ConsentError, FinetuneError, UsageError
from facefusion_finetune.people import elsewhere
from facefusion_finetune.people.profile import find_directory, load_person
from facefusion_finetune.privacy import traces
from facefusion_finetune.registry.store import list_model_files, read_card
from facefusion_finetune.runs.run import RECORD_FILE, load_run
from facefusion_finetune.swappers.files.bases import bases_directory

PARTS = {
    home.PERSON_FILE: "the record: name and consent",
    home.MANIFEST_FILE: "faces found in the footage: positions, measurements, face embeddings",
    home.CROPS_FOLDER: "cut-outs of the footage with their masks",
    home.EXTRACTION_FOLDER: "left by an interrupted extraction",
    home.OTHERS_FOLDER: "faces of other people in the footage, kept with --others",
    home.CHOICES_FILE: "crops kept or rejected by hand",
    home.SOURCES_FILE: "the footage that was read",
    "coverage": "coverage of the crops",
    home.REVIEW_FOLDER: "pages for reviewing the crops",
    home.THUMBNAILS_FOLDER: "thumbnails of the crops, for the tab",
    home.JOBS_FOLDER: "jobs queued from the tab, with logs and uploaded footage",
    home.RUNS_FOLDER: "training runs: settings, checkpoints, models, reports",
    home.EXPORTS_FOLDER: "models exported from the tab",
    home.WORK_FOLDER: "commands that are at work on the person's data",
    ".lock": "left by an earlier version: a lock for changes to the crops",
    home.HOSTS_FILE: "FaceFusion folders in which a model was activated",
    home.ELSEWHERE_FILE: "places outside this folder that were written to",
}
"""The known entries of a person's folder, by name."""


@dataclass(frozen=True)
class Size:
    """Files and bytes; hard links to one file count once."""

    files: int
    bytes: int


@dataclass(frozen=True)
class Part:
    """One entry of the person's folder."""

    name: str
    what: str | None
    """Description; None for an unknown name."""
    size: Size


@dataclass(frozen=True)
class HeldRun:
    """One folder of `runs`."""

    reference: str
    """`NAME@VERSION`, or the folder's name if it is not a run."""
    state: str
    """`finished`, `not finished`, `imported`, `damaged` or `leftover`."""
    size: Size
    damaged: str | None
    """The file that cannot be read, and why; None if all can be read."""


@dataclass(frozen=True)
class HeldLocation:
    """Something outside the person's folder."""

    path: str
    kind: elsewhere.Kind
    about: str
    recorded: str
    """ISO 8601, UTC."""
    size: Size | None
    """None if it no longer exists, or is not a file."""


@dataclass(frozen=True)
class Inventory:
    """Everything held about one person."""

    name: str
    record: dict[str, Any] | None
    """Creation and consent; None if they cannot be read."""
    problems: list[str]
    """What is damaged or missing, in words."""
    folder: Path
    size: Size
    parts: list[Part]
    crops_kept: int
    rejected: dict[str, int]
    """Number of rejected crops, by reason."""
    shots: int
    sources: list[str]
    vectors: dict[str, int]
    """Number of face embeddings (vectors), by the path of the file that holds them."""
    runs: list[HeldRun]
    bases: dict[str, Size]
    """Bases in use, by path; other persons may share them."""
    hosts: dict[str, list[str]]
    """Files of active models, by FaceFusion folder."""
    elsewhere: list[HeldLocation]

    def as_dict(self) -> dict[str, Any]:
        """As plain values for a program, with the record's own at the top level."""
        values = asdict(self)
        record = values.pop("record") or {"created": None, "consent": None}
        return values | {
            **record,
            "folder": str(self.folder),
            "crops_rejected": sum(self.rejected.values()),
            "runs": [run.reference for run in self.runs],
            "run_details": values["runs"],
        }


def take_inventory(name: str) -> Inventory:
    """List everything held about a person, whose record may be damaged.

    Raises:
        UsageError: There is no such person.
    """
    directory = find_directory(name)
    record, problems = _read_record(name)
    locations = elsewhere.recall(directory)
    problems += [error.cause for error in locations.damaged]
    hosts = {
        str(host): [str(path) for path in list_model_files(name, host)] for host in locations.hosts
    }
    records = list(traces.read_records(directory / home.MANIFEST_FILE))
    kept = [entry for entry in records if entry.get("kept")]
    return Inventory(
        name=name,
        record=record,
        problems=problems + _find_damaged_lines(directory),
        folder=directory,
        size=_measure(traces.walk_files(directory)),
        parts=_list_parts(directory),
        crops_kept=len(kept),
        rejected=dict(
            Counter(str(entry.get("reason")) for entry in records if not entry.get("kept"))
        ),
        shots=len({str(entry.get("shot")) for entry in kept}),
        sources=sorted({str(entry.get("source")) for entry in records}),
        vectors=_count_vectors(directory, hosts),
        runs=_list_runs(name, directory / home.RUNS_FOLDER),
        bases=_list_bases(directory / home.RUNS_FOLDER),
        hosts=hosts,
        elsewhere=[_describe_location(entry) for entry in locations.elsewhere],
    )


def _read_record(name: str) -> tuple[dict[str, Any] | None, list[str]]:
    try:
        return load_person(name).model_dump(mode="json", exclude={"name"}), []
    except (ConsentError, UsageError) as error:
        return None, [error.cause]


def _find_damaged_lines(directory: Path) -> list[str]:
    path = directory / home.MANIFEST_FILE
    try:
        lines = read_lines(path)
        damaged = sum(1 for line in lines if line.strip() and not is_record(line))
    except FileNotFoundError:
        return []
    except DamageError as error:
        return [f"{path} cannot be read ({error})."]
    return [f"{damaged} lines of {path} are damaged."] if damaged else []


def _list_parts(directory: Path) -> list[Part]:
    parts = []
    for path in sorted(directory.iterdir()):
        known = path.name if path.name in PARTS else path.name.partition(".")[0]
        parts.append(Part(path.name, PARTS.get(known), _measure(_list_files(path))))
    return parts


def _list_files(path: Path) -> Iterable[Path]:
    return traces.walk_files(path) if path.is_dir() and not path.is_symlink() else [path]


def _measure(paths: Iterable[Path]) -> Size:
    sizes: dict[tuple[int, int], int] = {}
    count = 0
    for path in paths:
        try:
            status = path.lstat()
        except FileNotFoundError:
            # It was removed in the meantime.
            continue
        sizes[status.st_dev, status.st_ino] = status.st_size
        count += 1
    return Size(count, sum(sizes.values()))


def _count_vectors(directory: Path, hosts: dict[str, list[str]]) -> dict[str, int]:
    paths = [
        *traces.walk_files(directory),
        *(Path(path) for files in hosts.values() for path in files),
    ]
    counts = {str(path): len(traces.find_vectors(path)) for path in paths}
    return {path: count for path, count in counts.items() if count}


def _list_runs(name: str, folder: Path) -> list[HeldRun]:
    runs = [path for path in folder.glob("*") if path.is_dir()]
    runs.sort(key=lambda path: (not path.name.isdecimal(), len(path.name), path.name))
    return [_inspect_run(name, path) for path in runs]


def _inspect_run(name: str, folder: Path) -> HeldRun:
    size = _measure(_list_files(folder))
    if not folder.name.isdecimal():
        return HeldRun(folder.name, "leftover", size, None)
    reference = f"{name}@{folder.name}"
    path = folder / RECORD_FILE
    try:
        run = load_run(path)
        if run.is_finished:
            read_card(run.model_path)
    except FileNotFoundError:
        return HeldRun(reference, "damaged", size, f"{path}: the file is missing.")
    except FinetuneError as error:
        return HeldRun(reference, "damaged", size, error.cause)
    if run.is_imported:
        return HeldRun(reference, "imported", size, None)
    return HeldRun(reference, "finished" if run.is_finished else "not finished", size, None)


def _list_bases(folder: Path) -> dict[str, Size]:
    names = sorted({path.name for path in folder.glob("*/*.base")})
    paths = [bases_directory() / name for name in names]
    return {str(path): _measure([path]) for path in paths if path.exists()}


def _describe_location(entry: elsewhere.Location) -> HeldLocation:
    path = Path(entry.path)
    is_there = entry.kind != "tracker" and os.path.lexists(path)
    return HeldLocation(
        entry.path,
        entry.kind,
        entry.about,
        entry.recorded.isoformat(timespec="seconds"),
        _measure(_list_files(path)) if is_there else None,
    )
