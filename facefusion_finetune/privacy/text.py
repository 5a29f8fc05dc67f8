"""Describes an inventory, and the result of a removal, as lines of text."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from facefusion_finetune.privacy.inventory import Inventory, Size

if TYPE_CHECKING:
    from facefusion_finetune.privacy.removal import Removal

MAX_FOLDERS = 5
"""Footage folders listed by name; the rest are counted."""


def describe_inventory(held: Inventory) -> Iterator[str]:
    """Describe an inventory."""
    yield f"{held.name}: {_describe_size(held.size)} in {held.folder}"
    yield from (f"problem: {problem}" for problem in held.problems)
    yield from _describe_record(held)
    yield "in the folder:"
    for part in held.parts:
        yield f"  {part.name}: {part.what or 'unknown'} ({_describe_size(part.size)})"
    rejected = ", ".join(f"{count} {reason}" for reason, count in held.rejected.items())
    yield f"crops: {held.crops_kept} kept in {held.shots} shots; rejected: {rejected or 'none'}"
    yield f"face embeddings: {sum(held.vectors.values())}"
    yield from (f"  {count} in {path}" for path, count in held.vectors.items())
    yield f"runs: {len(held.runs) or 'none'}"
    for run in held.runs:
        damaged = f": {run.damaged}" if run.damaged else ""
        yield f"  {run.reference}: {run.state} ({_describe_size(run.size)}){damaged}"
    if held.bases:
        yield "bases in use, shared with other persons:"
        yield from (f"  {path} ({_describe_size(size)})" for path, size in held.bases.items())
    yield f"active in FaceFusion: {'' if any(held.hosts.values()) else 'nowhere'}".rstrip()
    for host, files in held.hosts.items():
        yield from (f"  {path}" for path in files)
        if not files:
            yield f"  {host}: no longer"
    yield f"written elsewhere: {'' if held.elsewhere else 'nothing'}".rstrip()
    for entry in held.elsewhere:
        there = ""
        if entry.kind != "tracker":
            there = f", {_describe_size(entry.size)}" if entry.size else ", no longer there"
        yield f"  {entry.kind} of {entry.about or 'a run'}: {entry.path} ({entry.recorded}{there})"
    yield f"footage, which is only read: {'' if held.sources else 'none'}".rstrip()
    yield from (f"  {line}" for line in _describe_footage(held.sources))


def describe_removal(done: "Removal") -> Iterator[str]:
    """Describe what was deleted, what was searched, and what the user still has to do."""
    name, traces = done.traces.name, done.traces
    if done.footage:
        yield "footage was not touched:"
        yield from (f"  {line}" for line in _describe_footage(done.footage))
    left = [found for found in done.findings if not found.remains]
    if left:
        yield "not deleted, please check:"
        yield from (f"  {found.path} {found.what}. {found.todo}" for found in left)
    remains = [f"{path} ({why})" for path, why in done.failed.items()]
    remains += [f"{found.path} ({found.what})" for found in done.findings if found.remains]
    if remains:
        # The error has room for some of them only.
        yield "could not be removed:"
        yield from (f"  {line}" for line in remains)
    yield f"{name}: {len(done.removed)} files were deleted."
    if done.files_searched is not None:
        yield (
            f"{name}: {done.files_searched} files in the home and {len(done.hosts)} FaceFusion"
            f" folders were searched for the name, {len(traces.vectors)} face embeddings and"
            f" {len(traces.cutouts)} cut-outs."
        )
    if not remains:
        yield f"{name}: nothing is held about this person" + (
            " except for the above." if left else "."
        )


def _describe_record(held: Inventory) -> Iterator[str]:
    if held.record is None:
        yield "consent: none that can be proven"
        return
    yield f"recorded: {held.record['created']}"
    consent = held.record["consent"]
    if consent is None:
        yield "consent: none"
        return
    yield f"consent: {consent['kind']} {consent['text']!r}"
    yield f"  recorded {consent['recorded']}, expires {consent['expires'] or 'never'}"
    yield f"  scope: {consent['scope']}"
    yield f"  sha256: {consent['sha256']}"


def _describe_size(size: Size) -> str:
    files = "1 file" if size.files == 1 else f"{size.files} files"
    if size.bytes < 100_000:
        return f"{files}, {size.bytes} bytes"
    return f"{files}, {size.bytes / 1e6:.1f} MB"


def _describe_footage(paths: list[str]) -> Iterator[str]:
    folders = Counter(str(Path(path).parent) for path in paths).most_common()
    yield from (f"{count} files in {folder}" for folder, count in folders[:MAX_FOLDERS])
    if len(folders) > MAX_FOLDERS:
        yield f"and files in {len(folders) - MAX_FOLDERS} other folders"
