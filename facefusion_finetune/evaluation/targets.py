"""Frames of other people that the person is swapped onto, kept in the run they judge."""

import shutil
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy
from numpy.typing import NDArray

from facefusion_finetune import home
from facefusion_finetune.dataset import sources
from facefusion_finetune.dataset.collect import Collector, ExtractionResult
from facefusion_finetune.dataset.extract import FRAMES_PER_SECOND
from facefusion_finetune.dataset.identity import SAME_PERSON_COSINE
from facefusion_finetune.dataset.manifest import (
    CropRecord,
    cutout_name,
    masks_name,
    read_records,
    write_records,
)
from facefusion_finetune.errors import EvaluationError
from facefusion_finetune.evaluation.metrics import measure_similarity
from facefusion_finetune.faces.protocol import FaceAnalyser
from facefusion_finetune.swappers.vectors import create_centroid
from facefusion_finetune.training.run import Run

MOST_TARGETS = 60
"""Half of them are spread over the footage; the other half follow those, to see flicker."""

OWN_MARGIN = 0.1
"""How much less like the person than the least like of the person's own crops another face is."""

FOLLOWS_WITHIN = 0.25
"""Seconds between two frames that count as following each other."""


def targets_directory(run: Run) -> Path:
    """Folder of the frames, their masks and `targets.jsonl`."""
    return run.directory / "targets"


def read_targets(run: Run) -> list[CropRecord]:
    """The kept frames' records, in the order of the footage; none where none were collected."""
    return read_records(targets_directory(run) / "targets.jsonl")


@dataclass(frozen=True)
class PersonFilter:
    """How a face is known to be the person's."""

    centroid: NDArray[numpy.float64]
    """(512,): mean direction of the person's crops."""
    limit: float
    """Cosine above which a face is the person's."""

    @staticmethod
    def of(embeddings: NDArray[numpy.float32]) -> "PersonFilter":
        """Take (n, 512) of the person's crops: all of them lie above the limit."""
        centroid = create_centroid(embeddings)
        own = measure_similarity(embeddings, centroid)
        return PersonFilter(centroid, max(SAME_PERSON_COSINE, float(own.min()) - OWN_MARGIN))

    def is_person(self, embedding: NDArray[numpy.float32]) -> bool:
        """Whether (512,) is the person's."""
        return bool(measure_similarity(embedding[None], self.centroid)[0] > self.limit)


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
        EvaluationError: Nobody else is shown.
    """
    folder = targets_directory(run)
    work = run.directory / "targets.new"
    shutil.rmtree(work, ignore_errors=True)
    home.create_private_directory(work)
    try:
        result = ExtractionResult()
        collector = Collector(analyser, work, result)
        found: list[CropRecord] = []
        for source in sources.list_sources(paths):
            found += collector.collect(source, source.digest(), FRAMES_PER_SECOND)
        others = [record for record in found if record.kept and not _is_person(record, likeness)]
        if not others:
            raise EvaluationError(
                f"--targets {', '.join(map(str, paths))}",
                f"of the {len(found)} faces in its {result.frames} frames none is a usable face of"
                " somebody other than the person.",
                "Give footage of other people, such as what the person is to be swapped onto.",
            )
        chosen = [_strip(record) for record in _choose(others)]
        _remove_others(work, chosen)
        write_records(work / "targets.jsonl", chosen)
        shutil.rmtree(folder, ignore_errors=True)
        work.replace(folder)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return chosen


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


def _is_person(record: CropRecord, likeness: PersonFilter) -> bool:
    assert record.embedding is not None
    return likeness.is_person(record.embedding)


def _choose(records: list[CropRecord]) -> list[CropRecord]:
    """At most `MOST_TARGETS`: spread positions, each with the frame after it."""
    ordered = sorted(records, key=lambda record: (record.source, record.frame, record.id))
    if len(ordered) <= MOST_TARGETS:
        return ordered
    first = numpy.linspace(0, len(ordered) - 2, MOST_TARGETS // 2).round().astype(int)
    rows = sorted({int(row) + step for row in first for step in (0, 1)})
    return [ordered[row] for row in rows]


def _strip(record: CropRecord) -> CropRecord:
    return record.model_copy(update={"embedding": None, "landmark_68": [], "reason": "a target"})


def _remove_others(folder: Path, records: list[CropRecord]) -> None:
    kept = {name(record.id) for record in records for name in (cutout_name, masks_name)}
    for path in folder.iterdir():
        if path.name not in kept:
            path.unlink()
