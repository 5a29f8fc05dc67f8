"""Search the disk for what is left of a removed person."""

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

GALLERIES = ("runs/*/others/*.jsonl", "runs/*/targets/*.jsonl", "others/others.jsonl")
"""Where another person's folder keeps faces of people who are not that person."""

_HEAD = 8192
_LOOK = "Look whether it means this person; if it does, edit or delete it."


@dataclass(frozen=True)
class Finding:
    """Something that still tells of the person."""

    path: str
    what: str
    """What was found there, in words."""
    todo: str
    """What the user can do about it."""
    remains: bool = False
    """Whether it is the person's data in this package's reach: then the person is not removed."""


@dataclass
class Search:
    """What was searched, and what was found."""

    files: int = 0
    findings: list[Finding] = field(default_factory=list)


def search_disk(traces: Traces, hosts: Iterable[Path], told: Container[Path] = ()) -> Search:
    """Search the home and FaceFusion's folders.

    Names of files and texts are searched for the person's name, everything but weights for the
    vectors, texts for the digests of the cut-outs, pictures for the cut-outs, and what other
    persons keep of others for the person's footage.

    Args:
        traces: Of the person, collected before the removal.
        hosts: FaceFusion folders.
        told: Files that are known to be left, and are not looked into.
    """
    search = Search()
    root = home.home_directory()
    pattern = NamePattern(traces.name, (name for name in list_names() if name != traces.name))

    def miss(error: OSError) -> None:
        search.findings.append(_report_unread(Path(error.filename or root), error))

    places = [(root, root)]
    places += [(host, place) for host in hosts for place in _list_places(host)]
    for folder, place in places:
        for path in walk_files(place, miss) if place.is_dir() else iter([place]):
            search.files += 1
            if path not in told:
                search.findings += _look_into(path, folder, traces, pattern)
    search.findings += _find_in_galleries(traces)
    return search


def _list_places(host: Path) -> list[Path]:
    """Where FaceFusion itself may keep something of a person."""
    places = [models_directory(host), *(host / name for name in (".jobs", ".caches", ".temp"))]
    return [place for place in [*places, host / "facefusion.ini"] if place.exists()]


def _look_into(path: Path, root: Path, traces: Traces, pattern: NamePattern) -> Iterator[Finding]:
    own = person_directory(traces.name)
    if own in path.parents:
        yield Finding(str(path), "was not deleted", "Remove the person again.", remains=True)
        return
    if pattern.is_in(str(path.relative_to(root)).encode("utf-8", "surrogateescape")):
        yield Finding(str(path), "has the person's name", _advise(path, root))
    if path.is_symlink() or not path.is_file():
        return
    try:
        if traces.vectors & find_vectors(path):
            yield _report_data(path, "holds a face vector of the person")
        with open_content(path) as content:
            if b"\0" not in content[:_HEAD]:
                if pattern.is_in(content):
                    yield Finding(str(path), "names the person", _advise(path, root))
                if traces.cutouts & find_digests(content):
                    yield _report_data(path, "lists a cut-out of the person")
            elif hashlib.sha256(content).hexdigest().encode("ascii") in traces.cutouts:
                yield _report_data(path, "is a cut-out of the person")
    except OSError as error:
        yield _report_unread(path, error)


def _report_data(path: Path, what: str) -> Finding:
    """Data of the person; where another person on record has it, it stays that person's."""
    people = home.people_directory()
    if people in path.parents:
        other = path.relative_to(people).parts[0]
        todo = f"Remove {other}, too, if that is the same person: person remove {other}."
        return Finding(str(path), what, todo)
    return Finding(str(path), what, "Delete it.", remains=True)


def _report_unread(path: Path, error: OSError) -> Finding:
    return Finding(str(path), f"cannot be searched ({error.strerror})", "Look into it yourself.")


def _advise(path: Path, root: Path) -> str:
    if root / ".jobs" in path.parents:
        return f"Delete that job in FaceFusion: python facefusion.py job-delete {path.stem}."
    if path == root / "facefusion.ini":
        return "Remove the person's model from that file."
    return _LOOK


def _find_in_galleries(traces: Traces) -> Iterator[Finding]:
    """Faces that other persons' trainings took, as somebody else's, from the person's footage."""
    people = home.people_directory()
    for path in sorted(path for kind in GALLERIES for path in people.glob(f"*/{kind}")):
        other, *rest = path.relative_to(people).parts
        sources = {record.get("source_sha256") for record in read_records(path)}
        if other == traces.name or not traces.sources & sources:
            continue
        todo = f"Delete the folder {path.parent}"
        if rest[0] == home.RUNS_FOLDER:
            todo += f", or the whole run: models remove {other}@{rest[1]}"
        yield Finding(str(path), "lists faces out of the person's footage", todo + ".")
