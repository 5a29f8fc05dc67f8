"""Footage of other people: what a run keeps of it, and that none of it both trains and judges."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy
from numpy.typing import NDArray

from facefusion_finetune import home
from facefusion_finetune.dataset.extraction.collect import collect_folder
from facefusion_finetune.dataset.extraction.others import find_origins, strip_record
from facefusion_finetune.dataset.footage import sources
from facefusion_finetune.dataset.manifest import (
    CropRecord,
    cutout_name,
    masks_name,
    read_records,
    write_records,
)
from facefusion_finetune.errors import EvaluationError, FinetuneError, TrainingError, UsageError
from facefusion_finetune.faces.protocol import FaceAnalyser
from facefusion_finetune.faces.vectors import create_centroid, measure_similarity
from facefusion_finetune.runs.crops import spread
from facefusion_finetune.runs.run import Run

MOST_OTHERS = 240
"""Frames of others that train."""

OWN_MARGIN = 0.1
"""How much less like the person than the least like of the person's own crops another face is."""

STRANGER_COSINE = 0.4
"""A face below this is nobody's whose crops scatter so much."""

Use = Literal["others", "targets"]
"""What footage of others is for: it trains, or the person is swapped onto it to judge."""

Choose = Callable[[list[CropRecord]], list[CropRecord]]
"""From usable faces in the order of the footage to those that are kept."""


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
        return PersonFilter(centroid, max(STRANGER_COSINE, float(own.min()) - OWN_MARGIN))

    def is_person(self, embedding: NDArray[numpy.float32]) -> bool:
        """Whether (512,) is the person's."""
        return bool(measure_similarity(embedding[None], self.centroid)[0] > self.limit)


@dataclass(frozen=True)
class Gallery:
    """The faces of other people that a run keeps for one use."""

    run: Run
    use: Use

    @property
    def folder(self) -> Path:
        """Of the cut-outs, their masks and the records."""
        return self.run.directory / self.use

    def read(self) -> list[CropRecord]:
        """The kept faces, in the order of the footage; none where none were collected."""
        return read_records(self.folder / self._records_name)

    def collect(
        self, paths: list[Path], analyser: FaceAnalyser, likeness: PersonFilter, choose: Choose
    ) -> list[CropRecord]:
        """Cut faces of other people out of footage, and keep them in place of earlier ones.

        The content check runs on the footage as for any other. Nobody's vector is kept.

        Args:
            paths: Images, folders and videos that show others.
            analyser: Finds and aligns the faces.
            likeness: To the person, who is left out.
            choose: Which of the faces are kept.

        Raises:
            FootageError: Nothing to read, or content refused.
            UsageError: A file of it is among what the run keeps for the other use.
            EvaluationError: Nobody else is shown on targets.
            TrainingError: Nobody else is shown on what is to train.
        """
        footage = [(source, source.digest()) for source in sources.list_sources(paths)]
        other = Gallery(self.run, "targets" if self.use == "others" else "others")
        _check_shared({record.source_sha256 for record in other.read()}, _name_origins(footage))
        work = self.folder.with_name(f"{self.use}.new")
        shutil.rmtree(work, ignore_errors=True)
        home.create_private_directory(work)
        try:
            found, frames = collect_folder(footage, analyser, work)
            others = [record for record in found if _is_usable(record, likeness)]
            if not others:
                raise self._complain(paths, len(found), frames)
            ordered = sorted(others, key=lambda record: (record.source, record.frame, record.id))
            chosen = [self._strip(record) for record in choose(ordered)]
            _remove_rest(work, chosen)
            write_records(work / self._records_name, chosen)
            shutil.rmtree(self.folder, ignore_errors=True)
            work.replace(self.folder)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        return chosen

    @property
    def _records_name(self) -> str:
        return f"{self.use}.jsonl"

    def _strip(self, record: CropRecord) -> CropRecord:
        reason = "a target" if self.use == "targets" else "somebody else"
        changes = {"kept": True, "sha256": record.sha256}
        return strip_record(record, reason).model_copy(update=changes)

    def _complain(self, paths: list[Path], faces: int, frames: int) -> FinetuneError:
        given = f"--{self.use} {', '.join(map(str, paths))}"
        why = (
            f"of the {faces} faces in its {frames} frames none is a usable face of somebody other"
            " than the person."
        )
        if self.use == "targets":
            todo = "Give footage of other people, such as what the person is to be swapped onto."
            return EvaluationError(given, why, todo)
        return TrainingError(given, why, "Give footage of other people, or leave it out.")


def collect_others(
    run: Run, paths: list[Path], analyser: FaceAnalyser, likeness: PersonFilter
) -> list[CropRecord]:
    """Cut faces of other people that train out of footage, and keep them in the run.

    Args:
        run: That trains on them; those it had before are replaced.
        paths: Images, folders and videos that show others.
        analyser: Finds and aligns the faces.
        likeness: To the person, who is left out.

    Returns:
        At most `MOST_OTHERS`, evenly spread over the footage. Load them from `others_directory`.

    Raises:
        FootageError: Nothing to read, or content refused.
        UsageError: A file of it also judges the run.
        TrainingError: Nobody else is shown.
    """
    return Gallery(run, "others").collect(
        paths, analyser, likeness, lambda records: spread(records, MOST_OTHERS)
    )


def read_others(run: Run) -> list[CropRecord]:
    """The records `collect_others` kept; none where there was no footage of others."""
    return Gallery(run, "others").read()


def others_directory(run: Run) -> Path:
    """Folder of these frames, their masks and `others.jsonl`."""
    return Gallery(run, "others").folder


def check_apart(training: Sequence[Path], judging: Sequence[Path]) -> None:
    """Make sure that footage of others does not both train and judge.

    Files are the same where their bytes are.

    Raises:
        UsageError: A file is in both.
        FootageError: Nothing to read.
    """
    train, judge = (
        _name_origins([(source, source.digest()) for source in sources.list_sources(paths)])
        for paths in (list(training), list(judging))
    )
    _check_shared({digest for _, digest in train}, judge)


def _check_shared(digests: set[str], footage: Iterable[tuple[Path, str]]) -> None:
    for path, digest in footage:
        if digest in digests:
            raise UsageError(
                str(path),
                "the same footage cannot train and judge: a model that learnt these frames by heart"
                " would pass.",
                "Give --others and --targets footage of different people, or other files.",
            )


def _name_origins(footage: list[tuple[sources.Source, str]]) -> list[tuple[Path, str]]:
    """Each file with its digest, and with that of the footage an extraction cut it out of."""
    return [
        (source.path, digest)
        for source, own in footage
        for digest in (own, *find_origins(source.path))
    ]


def _is_usable(record: CropRecord, likeness: PersonFilter) -> bool:
    return record.kept and record.embedding is not None and not likeness.is_person(record.embedding)


def _remove_rest(folder: Path, records: list[CropRecord]) -> None:
    kept = {name(record.id) for record in records for name in (cutout_name, masks_name)}
    for path in folder.iterdir():
        if path.name not in kept:
            path.unlink()
