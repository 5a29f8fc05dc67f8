"""Searches the disk for remains of a removed person."""

import hashlib
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from facefusion_finetune import home
from facefusion_finetune.host.models import models_directory
from facefusion_finetune.people.profile import list_names, person_directory
from facefusion_finetune.privacy.traces import (
    NamePattern,
    Traces,
    find_digests,
    find_vectors,
    open_content,
    read_records,
    walk_files,
)

OTHERS_FILES = ("runs/*/others/*.jsonl", "runs/*/targets/*.jsonl", "others/others.jsonl")
"""Files in a person's folder that list faces of other people."""

_HEAD = 8192
_CHECK = "Check whether it refers to this person; if so, edit or delete it."


@dataclass(frozen=True)
class Finding:
    """Something that still refers to the person."""

    path: str
    what: str
    """What was found there, in words."""
    todo: str
    """What the user can do about it."""
    remains: bool = False
    """Whether it is the person's data within this package's reach: the removal is incomplete."""


@dataclass
class Search:
    """What was searched, and what was found."""

    files: int = 0
    findings: list[Finding] = field(default_factory=list)


def search_disk(traces: Traces, hosts: Iterable[Path], known: Container[Path] = ()) -> Search:
    """Search the home and FaceFusion's folders.

    File names and texts are searched for the person's name, everything but weights for the face
    embeddings, texts for the digests of the cut-outs, pictures for the cut-outs, and other persons'
    lists of other people for the person's footage.

    Args:
        traces: The person's traces, collected before the removal.
        hosts: FaceFusion folders.
        known: Files already known to be left; they are not searched.
    """
    search = Search()
    root = home.home_directory()
    pattern = NamePattern(traces.name, (name for name in list_names() if name != traces.name))

    def report_unread(error: OSError) -> None:
        search.findings.append(_report_unread(Path(error.filename or root), error))

    places = [(root, root)]
    places += [(host, place) for host in hosts for place in _list_places(host)]
    for folder, place in places:
        for path in walk_files(place, report_unread) if place.is_dir() else iter([place]):
            search.files += 1
            if path not in known:
                search.findings += _search_file(path, folder, traces, pattern)
    search.findings += _find_others(traces)
    return search


def _list_places(host: Path) -> list[Path]:
    """Where FaceFusion itself may keep a person's data."""
    places = [models_directory(host), *(host / name for name in (".jobs", ".caches", ".temp"))]
    return [place for place in [*places, host / "facefusion.ini"] if place.exists()]


def _search_file(path: Path, root: Path, traces: Traces, pattern: NamePattern) -> Iterator[Finding]:
    own = person_directory(traces.name)
    if own in path.parents:
        yield Finding(str(path), "was not deleted", "Remove the person again.", remains=True)
        return
    if pattern.is_in(str(path.relative_to(root)).encode("utf-8", "surrogateescape")):
        yield Finding(str(path), "has the person's name in its path", _advise(path, root))
    if path.is_symlink() or not path.is_file():
        return
    try:
        if traces.vectors & find_vectors(path):
            yield _report_data(path, "holds a face embedding of the person")
        with open_content(path) as content:
            if b"\0" not in content[:_HEAD]:
                if pattern.is_in(content):
                    yield Finding(str(path), "contains the person's name", _advise(path, root))
                if traces.cutouts & find_digests(content):
                    yield _report_data(path, "lists a cut-out of the person")
            elif hashlib.sha256(content).hexdigest().encode("ascii") in traces.cutouts:
                yield _report_data(path, "is a cut-out of the person")
    except OSError as error:
        yield _report_unread(path, error)


def _report_data(path: Path, what: str) -> Finding:
    """Data of the person; it stays if it also belongs to another person on record."""
    people = home.people_directory()
    if people in path.parents:
        other = path.relative_to(people).parts[0]
        todo = f"Also remove {other} if that is the same person: person remove {other}."
        return Finding(str(path), what, todo)
    return Finding(str(path), what, "Delete it.", remains=True)


def _report_unread(path: Path, error: OSError) -> Finding:
    return Finding(str(path), f"cannot be searched ({error.strerror})", "Check it yourself.")


def _advise(path: Path, root: Path) -> str:
    if root / ".jobs" in path.parents:
        return f"Delete that job in FaceFusion: python facefusion.py job-delete {path.stem}."
    if path == root / "facefusion.ini":
        return "Remove the person's model from that file."
    return _CHECK


def _find_others(traces: Traces) -> Iterator[Finding]:
    """Faces from the person's footage that other persons' runs use as other people."""
    people = home.people_directory()
    for path in sorted(path for kind in OTHERS_FILES for path in people.glob(f"*/{kind}")):
        other, *rest = path.relative_to(people).parts
        sources = {record.get("source_sha256") for record in read_records(path)}
        if other == traces.name or not traces.sources & sources:
            continue
        todo = f"Delete the folder {path.parent}"
        if rest[0] == home.RUNS_FOLDER:
            todo += f", or the whole run: models remove {other}@{rest[1]}"
        yield Finding(str(path), "lists faces from the person's footage", todo + ".")
