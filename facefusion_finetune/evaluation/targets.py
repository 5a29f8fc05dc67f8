"""Frames of other people that the person is swapped onto, kept in the run they judge."""

from itertools import pairwise
from pathlib import Path

import numpy
from numpy.typing import NDArray

from facefusion_finetune.dataset.manifest import CropRecord
from facefusion_finetune.faces.protocol import FaceAnalyser
from facefusion_finetune.runs.others import OtherFaces, PersonFilter
from facefusion_finetune.runs.run import Run

MAX_TARGETS = 60
"""Half of them are spread over the footage; the other half follow those, to see flicker."""

FOLLOWS_WITHIN = 0.25
"""Seconds between two frames that count as following each other."""


def targets_directory(run: Run) -> Path:
    """Folder of the frames, their masks and `targets.jsonl`."""
    return OtherFaces(run, "targets").folder


def read_targets(run: Run) -> list[CropRecord]:
    """The kept frames' records, in the order of the footage; none where none were collected."""
    return OtherFaces(run, "targets").read()


def collect_targets(
    run: Run, paths: list[Path], analyser: FaceAnalyser, likeness: PersonFilter
) -> list[CropRecord]:
    """Cut faces of other people out of footage, and keep them in the run.

    The content check runs on the footage as for any other. Nobody's vector is kept.

    Args:
        run: That they judge; targets it had before are replaced.
        paths: Images, folders and videos that show others.
        analyser: Finds and aligns the faces.
        likeness: To the person, who is no target.

    Raises:
        FootageError: Nothing to read, or content refused.
        UsageError: The run was trained on a file of it.
        EvaluationError: Nobody else is shown.
    """
    return OtherFaces(run, "targets").collect(paths, analyser, likeness, _choose)


def find_followers(records: list[CropRecord]) -> NDArray[numpy.int64]:
    """(m, 2): rows of records that follow each other in one clip and show one face.

    Where several people are in the picture, only those that lie next to each other in the list are
    found: too few pairs, never two people as one.
    """
    pairs = [
        (row, row + 1)
        for row, (first, second) in enumerate(pairwise(records))
        if first.shot == second.shot and _is_next(first, second) and _is_at(first, second)
    ]
    return numpy.array(pairs, dtype=numpy.int64).reshape(-1, 2)


def _is_next(first: CropRecord, second: CropRecord) -> bool:
    if first.time is not None and second.time is not None:
        return 0 < second.time - first.time <= FOLLOWS_WITHIN
    return first.source != second.source


def _is_at(first: CropRecord, second: CropRecord) -> bool:
    """Whether two faces lie at one place, less than half a face apart."""
    points = [numpy.array(record.landmark_5) for record in (first, second)]
    left, _, right, _ = first.bounding_box
    return bool(
        numpy.linalg.norm(points[0].mean(axis=0) - points[1].mean(axis=0)) < (right - left) / 2
    )


def _choose(records: list[CropRecord]) -> list[CropRecord]:
    """At most `MAX_TARGETS`: spread positions, each with the frame after it."""
    if len(records) <= MAX_TARGETS:
        return records
    first = numpy.linspace(0, len(records) - 2, MAX_TARGETS // 2).round().astype(int)
    rows = sorted({int(row) + step for row in first for step in (0, 1)})
    return [records[row] for row in rows]
