"""Footage -> crops: consent, content check, faces, identity, cut-outs, manifest."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy
import psutil
from numpy.typing import NDArray

from facefusion_finetune import home
from facefusion_finetune.dataset import identity, manifest, sources
from facefusion_finetune.dataset.collect import SMALLEST_FACE, Collector, ExtractionResult
from facefusion_finetune.dataset.manifest import CropRecord, stack_embeddings
from facefusion_finetune.errors import FootageError
from facefusion_finetune.faces.protocol import FaceAnalyser
from facefusion_finetune.people.profile import Person
from facefusion_finetune.swappers.vectors import create_centroid

FRAMES_PER_SECOND = 6.0
STAGING = ".extract-"
"""Begins the name of the folder an extraction works in; its process id follows."""

Progress = Callable[[str, int, int], None]
"""Called with the source's name, its number from 1 and how many there are."""


def extract_footage(
    person: Person,
    paths: list[Path],
    analyser: FaceAnalyser,
    reference: Path | None = None,
    frames_per_second: float = FRAMES_PER_SECOND,
    progress: Progress = lambda name, number, total: None,
) -> ExtractionResult:
    """Add the person's faces in some footage to the person's crops.

    Nothing is kept unless the whole call succeeds; what was kept earlier stays in any case.

    Args:
        person: Whose consent is on record.
        paths: Images, folders and videos.
        analyser: Finds and aligns the faces, and checks the content.
        reference: An image of the person, where the footage shows several people.
        frames_per_second: How densely videos are sampled.
        progress: Told about each source.

    Raises:
        ConsentError: No valid consent is on record.
        FootageError: Nothing to read, nobody or several people in it, or content refused.
    """
    person.require_consent()
    known = manifest.read_manifest(person)
    seen = {record.source_sha256 for record in known}
    anchor = _find_anchor(known, reference, analyser)
    result = ExtractionResult()
    directory = home.create_private_directory(manifest.crops_directory(person))
    _remove_leftovers(directory)
    with tempfile.TemporaryDirectory(prefix=f"{STAGING}{os.getpid()}-", dir=directory) as folder:
        found: list[CropRecord] = []
        every = sources.list_sources(paths)
        collector = Collector(analyser, Path(folder), result)
        for number, source in enumerate(every, 1):
            progress(source.path.name, number, len(every))
            digest = source.digest()
            if digest in seen:
                result.known_sources += 1
                continue
            seen.add(digest)
            found += collector.collect(source, digest, frames_per_second)
        if not found and result.known_sources:
            result.total_kept = sum(record.kept for record in known)
            return result
        footage = ", ".join(str(path) for path in paths)
        if not found:
            unread = f" ({len(result.unreadable)} files cannot be read)"
            raise FootageError(
                footage,
                f"no face was found in its {result.frames} frames"
                f"{unread if result.unreadable else ''}.",
                "Give footage in which the face is visible, upright and at least"
                f" {SMALLEST_FACE:.0f} pixels wide.",
            )
        records = _choose(found, anchor, footage, result)
        _keep(person, Path(folder), known, records)
    result.total_kept = sum(record.kept for record in known + records)
    return result


def _keep(person: Person, folder: Path, known: list[CropRecord], records: list[CropRecord]) -> None:
    """Move the kept crops in and write the manifest, or leave everything as it was."""
    moved: list[Path] = []
    try:
        for record in records:
            if record.kept:
                for path in (
                    manifest.cutout_path(person, record.id),
                    manifest.masks_path(person, record.id),
                ):
                    moved.append((folder / path.name).replace(path))
        manifest.write_manifest(person, known + records)
    except BaseException:
        for path in moved:
            path.unlink()
        raise


def _remove_leftovers(directory: Path) -> None:
    """Delete what a killed extraction left: it may show people nobody asked for consent."""
    for folder in directory.glob(f"{STAGING}*"):
        process = folder.name.removeprefix(STAGING).split("-")[0]
        if not process.isdecimal() or not psutil.pid_exists(int(process)):
            shutil.rmtree(folder)


def _find_anchor(
    known: list[CropRecord], reference: Path | None, analyser: FaceAnalyser
) -> NDArray[numpy.float64] | None:
    if reference is not None:
        faces = analyser.detect_faces(sources.read_image(reference))
        if not faces:
            raise FootageError(
                f"reference {reference}",
                "no face was found in it.",
                "Give a clear picture of the person's face.",
            )
        return create_centroid(faces[0].embedding.reshape(1, -1))
    kept = stack_embeddings([record for record in known if record.kept])
    return create_centroid(kept) if len(kept) else None


def _choose(
    found: list[CropRecord],
    anchor: NDArray[numpy.float64] | None,
    footage: str,
    result: ExtractionResult,
) -> list[CropRecord]:
    choice = identity.choose_person(
        stack_embeddings(found),
        [f"{record.source_sha256} {record.frame}" for record in found],
        anchor,
        footage,
    )
    records = [
        record if is_person else _strip(record)
        for record, is_person in zip(found, choice.is_person, strict=True)
    ]
    for record in records:
        if not record.kept:
            result.rejected[record.reason] = result.rejected.get(record.reason, 0) + 1
    result.faces = len(records)
    result.kept = sum(record.kept for record in records)
    result.others = choice.others
    result.shots = len({record.shot for record in records if record.kept})
    if not result.kept:
        reasons = ", ".join(f"{count} {reason}" for reason, count in result.rejected.items())
        raise FootageError(
            footage,
            f"no face in it can be used ({reasons}).",
            "Give footage with a larger, sharper face.",
        )
    return records


def _strip(record: CropRecord) -> CropRecord:
    """What may stay on disk of a face nobody gave consent for: that it was there."""
    changes = {"kept": False, "reason": "another face", "sha256": ""}
    return record.model_copy(update={**changes, "embedding": None, "landmark_68": []})
