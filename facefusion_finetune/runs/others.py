"""Footage of other people: collects their faces, and keeps training and evaluation apart."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy
from numpy.typing import NDArray

from facefusion_finetune import temporary
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

MAX_OTHERS = 240
"""Maximum number of training frames of other people."""

OWN_MARGIN = 0.1
"""Margin in cosine below the least similar of the person's own crops."""

STRANGER_COSINE = 0.4
"""A face below this cosine is never the person, however much the person's crops vary."""

Use = Literal["others", "targets"]
"""Purpose of footage of others: training, or targets for the evaluation."""

Choose = Callable[[list[CropRecord]], list[CropRecord]]
"""Selects the faces to keep from all usable ones, in the order of the footage."""


@dataclass(frozen=True)
class PersonFilter:
    """Recognises the person's face."""

    centroid: NDArray[numpy.float64]
    """(512,): mean direction of the person's embeddings."""
    limit: float
    """Cosine above which a face is the person's."""

    @staticmethod
    def of(embeddings: NDArray[numpy.float32]) -> "PersonFilter":
        """Create it from the (n, 512) embeddings of the person's crops, which all pass."""
        centroid = create_centroid(embeddings)
        own = measure_similarity(embeddings, centroid)
        return PersonFilter(centroid, max(STRANGER_COSINE, float(own.min()) - OWN_MARGIN))

    def is_person(self, embedding: NDArray[numpy.float32]) -> bool:
        """Whether a (512,) embedding is the person's."""
        return bool(measure_similarity(embedding[None], self.centroid)[0] > self.limit)


@dataclass(frozen=True)
class OtherFaces:
    """The faces of other people that a run keeps for one purpose."""

    run: Run
    use: Use

    @property
    def folder(self) -> Path:
        """The folder of the cut-outs, their masks and their records."""
        return self.run.directory / self.use

    def read(self) -> list[CropRecord]:
        """The kept faces, in the order of the footage; empty if none were collected."""
        return read_records(self.folder / self._records_name)

    def collect(
        self,
        paths: list[Path],
        analyser: FaceAnalyser,
        person: PersonFilter,
        choose: Choose,
        on_note: sources.NoteCallback,
    ) -> list[CropRecord]:
        """Extract faces of other people from footage, replacing earlier ones.

        The content check runs on the footage as usual. No embeddings are kept.

        Args:
            paths: Images, folders and videos of other people.
            analyser: Finds and aligns the faces.
            person: Recognises the person, whose faces are left out.
            choose: Selects the faces to keep.
            on_note: Called for footage that is passed over, or used only in part.

        Raises:
            FootageError: There is no footage, or the content check refuses it.
            UsageError: The run uses a file of it for the other purpose.
            EvaluationError: The targets show no one but the person.
            TrainingError: The training footage shows no one but the person.
        """
        footage = [(source, source.digest()) for source in sources.list_sources(paths, on_note)]
        other = OtherFaces(self.run, "targets" if self.use == "others" else "others")
        _check_shared({record.source_sha256 for record in other.read()}, _name_origins(footage))
        with temporary.stage_folder(self.folder) as work:
            found, frames = collect_folder(footage, analyser, work, on_note)
            others = [record for record in found if _is_usable(record, person)]
            if not others:
                raise self._create_error(paths, len(found), frames)
            ordered = sorted(others, key=lambda record: (record.source, record.frame, record.id))
            chosen = [self._strip(record) for record in choose(ordered)]
            _remove_unused(work, chosen)
            write_records(work / self._records_name, chosen)
            if self.folder.exists():
                temporary.remove_folder(self.folder)
            work.replace(self.folder)
        return chosen

    @property
    def _records_name(self) -> str:
        return f"{self.use}.jsonl"

    def _strip(self, record: CropRecord) -> CropRecord:
        reason = "a target" if self.use == "targets" else "somebody else"
        changes = {"kept": True, "sha256": record.sha256}
        return strip_record(record, reason).model_copy(update=changes)

    def _create_error(self, paths: list[Path], faces: int, frames: int) -> FinetuneError:
        given = f"--{self.use} {', '.join(map(str, paths))}"
        why = (
            f"none of the {faces} faces in its {frames} frames is a usable face of someone other"
            " than the person."
        )
        if self.use == "targets":
            todo = "Use footage of other people, such as that the person will be swapped onto."
            return EvaluationError(given, why, todo)
        return TrainingError(given, why, "Use footage of other people, or omit the option.")


def collect_others(
    run: Run,
    paths: list[Path],
    analyser: FaceAnalyser,
    person: PersonFilter,
    on_note: sources.NoteCallback = sources.ignore,
) -> list[CropRecord]:
    """Extract other people's faces for training, and keep them in the run.

    Args:
        run: The run to train; its earlier faces are replaced.
        paths: Images, folders and videos of other people.
        analyser: Finds and aligns the faces.
        person: Recognises the person, whose faces are left out.
        on_note: Called for footage that is passed over, or used only in part.

    Returns:
        At most `MAX_OTHERS`, evenly spaced over the footage. Load them from `others_directory`.

    Raises:
        FootageError: There is no footage, or the content check refuses it.
        UsageError: A file of it is also among the run's targets.
        TrainingError: The footage shows no one but the person.
    """
    return OtherFaces(run, "others").collect(
        paths, analyser, person, lambda records: spread(records, MAX_OTHERS), on_note
    )


def read_others(run: Run) -> list[CropRecord]:
    """The records kept by `collect_others`; empty if there are none."""
    return OtherFaces(run, "others").read()


def others_directory(run: Run) -> Path:
    """Folder of these frames, their masks and `others.jsonl`."""
    return OtherFaces(run, "others").folder


def check_apart(training: Sequence[Path], judging: Sequence[Path]) -> None:
    """Check that no footage of others is used for both training and evaluation.

    Files are compared by content.

    Raises:
        UsageError: A file is in both.
        FootageError: There is no footage.
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
                "the same footage cannot be used for training and for evaluation: a model that"
                " memorised these frames would pass.",
                "Use different files for --others and --targets, ideally of different people.",
            )


def _name_origins(footage: list[tuple[sources.Source, str]]) -> list[tuple[Path, str]]:
    """Each file with its digest, and with those of the footage it was extracted from."""
    return [
        (source.path, digest)
        for source, own in footage
        for digest in (own, *find_origins(source.path))
    ]


def _is_usable(record: CropRecord, person: PersonFilter) -> bool:
    return record.kept and record.embedding is not None and not person.is_person(record.embedding)


def _remove_unused(folder: Path, records: list[CropRecord]) -> None:
    kept = {name(record.id) for record in records for name in (cutout_name, masks_name)}
    for path in folder.iterdir():
        if path.name not in kept:
            path.unlink()
