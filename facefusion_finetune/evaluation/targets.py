"""Targets: frames of other people that the person is swapped onto, kept in the run."""

from itertools import pairwise
from pathlib import Path

import numpy
from numpy.typing import NDArray

from facefusion_finetune.dataset.footage.sources import NoteCallback, ignore
from facefusion_finetune.dataset.manifest import CropRecord
from facefusion_finetune.faces.protocol import FaceAnalyser
from facefusion_finetune.runs.others import OtherFaces, PersonFilter
from facefusion_finetune.runs.run import Run

MAX_TARGETS = 60
"""Half of them are evenly spaced; the other half are the next frames, to measure flicker."""

MAX_GAP = 0.25
"""Maximum seconds between two frames that count as consecutive."""


def targets_directory(run: Run) -> Path:
    """The folder of the frames, their masks and `targets.jsonl`."""
    return OtherFaces(run, "targets").folder


def read_targets(run: Run) -> list[CropRecord]:
    """The records of the kept frames, in the order of the footage; empty if there are none."""
    return OtherFaces(run, "targets").read()


def collect_targets(
    run: Run,
    paths: list[Path],
    analyser: FaceAnalyser,
    person: PersonFilter,
    on_note: NoteCallback = ignore,
) -> list[CropRecord]:
    """Extract faces of other people from footage, and keep them in the run.

    The content check runs on the footage as usual. No embeddings are kept.

    Args:
        run: The run to evaluate; its earlier targets are replaced.
        paths: Images, folders and videos of other people.
        analyser: Finds and aligns the faces.
        person: Recognises the person, whose faces are left out.
        on_note: Called for footage that is passed over, or used only in part.

    Raises:
        FootageError: There is no footage, or the content check refuses it.
        UsageError: The run was trained on a file of it.
        EvaluationError: The footage shows no one but the person.
    """
    return OtherFaces(run, "targets").collect(paths, analyser, person, _choose, on_note)


def find_followers(records: list[CropRecord]) -> NDArray[numpy.int64]:
    """(m, 2): rows of consecutive records of one clip that show the same face.

    With several people in the picture, only neighbours in the list are compared: this finds fewer
    pairs, but never mixes two people.
    """
    pairs = [
        (row, row + 1)
        for row, (first, second) in enumerate(pairwise(records))
        if first.shot == second.shot and _is_next(first, second) and _is_at(first, second)
    ]
    return numpy.array(pairs, dtype=numpy.int64).reshape(-1, 2)


def _is_next(first: CropRecord, second: CropRecord) -> bool:
    if first.time is not None and second.time is not None:
        return 0 < second.time - first.time <= MAX_GAP
    return first.source != second.source


def _is_at(first: CropRecord, second: CropRecord) -> bool:
    """Whether two faces are at the same position, less than half a face apart."""
    points = [numpy.array(record.landmark_5) for record in (first, second)]
    left, _, right, _ = first.bounding_box
    return bool(
        numpy.linalg.norm(points[0].mean(axis=0) - points[1].mean(axis=0)) < (right - left) / 2
    )


def _choose(records: list[CropRecord]) -> list[CropRecord]:
    """At most `MAX_TARGETS`: evenly spaced frames, each with its next frame."""
    if len(records) <= MAX_TARGETS:
        return records
    first = numpy.linspace(0, len(records) - 2, MAX_TARGETS // 2).round().astype(int)
    rows = sorted({int(row) + step for row in first for step in (0, 1)})
    return [records[row] for row in rows]
