"""From footage to crops: consent, content check, faces, identity, quality, manifest.

An extraction works in a separate folder (see `staging`) and changes the person's crops in one step
at its end. If it was interrupted, or the disk was full, it continues when started again; if it was
refused, it leaves nothing.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy
from numpy.typing import NDArray

from facefusion_finetune import home
from facefusion_finetune.dataset import manifest
from facefusion_finetune.dataset.extraction.collect import Collector
from facefusion_finetune.dataset.extraction.identity import IdentityChoice, choose_person
from facefusion_finetune.dataset.extraction.others import keep_others, strip_record
from facefusion_finetune.dataset.extraction.quality import MIN_FACE_SIZE, decide_crops
from facefusion_finetune.dataset.extraction.seen import (
    KnownSource,
    find_incomplete,
    read_known_sources,
    read_listed_sources,
    write_known_sources,
)
from facefusion_finetune.dataset.extraction.staging import FrameEntry, Staging, read_journal
from facefusion_finetune.dataset.footage import sources
from facefusion_finetune.dataset.footage.background import BackgroundTasks
from facefusion_finetune.dataset.footage.sources import Source
from facefusion_finetune.dataset.manifest import CropRecord, stack_embeddings
from facefusion_finetune.dataset.review.curation import apply_choices, read_choices
from facefusion_finetune.errors import FootageError, UnreadableError, UsageError
from facefusion_finetune.faces.images import read_image
from facefusion_finetune.faces.protocol import FaceAnalyser
from facefusion_finetune.faces.vectors import create_centroid
from facefusion_finetune.people.profile import Person, confirm_person
from facefusion_finetune.people.work import CROPS, Work, at_work


@dataclass(frozen=True)
class ExtractSettings:
    """Settings of an extraction."""

    references: tuple[Path, ...] = ()
    """Images of the person, if the footage shows several people; one per appearance."""
    frames_per_second: float = sources.FRAMES_PER_SECOND
    """Highest sampling rate of videos."""
    most_frames: int = sources.MAX_FRAMES
    """Largest number of frames per video, spread over its shots."""
    keep_others: bool = False
    """Whether other people's faces are kept, for training as footage of others."""

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UsageError: One is not positive, or not finite.
        """
        if not 0 < self.frames_per_second < math.inf or self.most_frames < 1:
            raise UsageError(
                f"{self.frames_per_second:g} frames per second, at most {self.most_frames}",
                "both must be positive numbers.",
                "Use for example 6 and 1800.",
            )


@dataclass(frozen=True)
class Progress:
    """Progress of an extraction."""

    stage: str
    """`checking` or `extracting`."""
    name: str
    """Name of the file."""
    number: int
    """Index of the file, from 1."""
    total: int
    """Number of files."""
    frames: int = 0
    """Frames of this file processed so far."""
    planned: int = 1
    """Frames of this file to process."""


@dataclass
class ExtractionResult:
    """The result of an extraction."""

    frames: int = 0
    faces: int = 0
    kept: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    """Number of rejected faces by reason; a face can have several faults."""
    others: int = 0
    """Other people seen often enough to count."""
    look_alikes: int = 0
    """Faces rejected because they resemble the person, but not enough."""
    others_folder: Path | None = None
    """Where other people's faces were kept, if requested."""
    known_sources: int = 0
    """Sources extracted earlier, which add nothing."""
    resumed_frames: int = 0
    """Frames already processed by an interrupted extraction."""
    notes: list[str] = field(default_factory=list)
    """Footage that was skipped, or used only in part, with the reason."""
    shots: int = 0
    total_kept: int = 0
    """Kept crops of the person, over all extractions."""


def extract_footage(
    person: Person,
    paths: list[Path],
    analyser: FaceAnalyser,
    settings: ExtractSettings | None = None,
    progress: Callable[[Progress], object] = lambda progress: None,
) -> ExtractionResult:
    """Add the person's faces in some footage to the person's crops.

    Nothing is kept unless the whole call succeeds; crops kept earlier always stay.

    Args:
        person: A person whose consent is on record.
        paths: Images, folders and videos.
        analyser: Finds and aligns the faces, and checks the content.
        settings: The settings.
        progress: Called for each frame.

    Raises:
        ConsentError: No valid consent is on record, or it ended during the extraction, also by the
            person's removal.
        FootageError: Nothing can be read, it shows no one or several people, or it is refused.
        BusyError: Another process is changing the person's crops.
        DatasetError: The manifest, or another record of the crops, is damaged.
        OSError: The disk is full, or a file cannot be written; the next call continues.
    """
    person.require_consent()
    settings = settings or ExtractSettings()
    with at_work(person, CROPS) as work:
        return _Extraction(work, paths, analyser, settings, progress).run()


class _Extraction:
    """One call of `extract_footage`."""

    def __init__(
        self,
        work: Work,
        paths: list[Path],
        analyser: FaceAnalyser,
        settings: ExtractSettings,
        progress: Callable[[Progress], object],
    ) -> None:
        self.work = work
        self.person = person = work.person
        self.analyser = analyser
        self.settings = settings
        self.progress = progress
        self.result = ExtractionResult()
        self.footage = ", ".join(map(sources.show_path, paths))
        person.sweep()
        self.records = manifest.read_manifest(person)
        self.known = read_known_sources(person, self.records)
        # Only applied at the end, but damage is told before hours of work.
        read_choices(person)
        self._list_known()
        for digest in find_incomplete(person, self.records):
            # Such footage is processed again if it is given again.
            del self.known[digest]
        self.anchors = self._find_anchors()
        self.sources: dict[str, Source] = {}
        self.given_sources: list[tuple[Source, str]] = []
        self.unreadable = 0
        listed = sources.list_sources(paths, self.result.notes.append)
        self.is_single = len(listed) == 1
        for source in listed:
            self._add(source)

    def run(self) -> ExtractionResult:
        directory = self.person.directory
        home.create_inner_directory(manifest.crops_directory(self.person), directory)
        settings = {
            "analyser": self.analyser.name,
            "frames_per_second": self.settings.frames_per_second,
            "most_frames": self.settings.most_frames,
        }
        with Staging(self.person, settings) as staging:
            staging.recover(self.records, set(self.sources))
            self._collect(staging)
            confirm_person(self.person).require_consent()
            if self.sources or not self.result.known_sources:
                self._finish(staging)
        self.result.total_kept = sum(record.kept for record in self.records)
        return self.result

    def _list_known(self) -> None:
        """Complete `sources.jsonl`, if an extraction was interrupted just before it was written."""
        missing = self.known.keys() - read_listed_sources(self.person).keys()
        for digest in missing:
            if frames := list(read_journal(self.person, digest).frames.values()):
                self.known[digest] = _describe(digest, self.known[digest].path, frames)
        if missing:
            write_known_sources(self.person, self.known)

    def _add(self, source: Source) -> None:
        try:
            digest = _digest(source)
        except UnreadableError as error:
            self._skip_source(source, error)
            return
        if digest in self.known:
            self.result.known_sources += 1
        elif digest not in self.sources:
            self.sources[digest] = source
        else:
            return
        self.given_sources.append((source, digest))

    def _collect(self, staging: Staging) -> None:
        """Process all sources, while their content is being checked."""
        collector = Collector(self.analyser)
        checks = BackgroundTasks(
            {
                digest: partial(self._check, collector, staging, digest, source)
                for digest, source in self.sources.items()
            }
        )
        number = 0
        try:
            for source, digest in self.given_sources:
                if digest in self.known:
                    collector.skip(source, [], self.known[digest].shot)
                else:
                    number += 1
                    self._process_source(collector, staging, checks, digest, number)
        finally:
            checks.close()
        staging.flush()

    def _check(self, collector: Collector, staging: Staging, digest: str, source: Source) -> None:
        if not staging.read(digest).is_checked:
            collector.check_content(source)
            staging.add_content_check(digest)

    def _process_source(
        self,
        collector: Collector,
        staging: Staging,
        checks: BackgroundTasks,
        digest: str,
        number: int,
    ) -> None:
        source, settings = self.sources[digest], self.settings
        name, total = source.path.name, len(self.sources) + self.unreadable
        confirm_person(self.person).require_consent()
        try:
            journal = staging.begin(digest)
            self.result.resumed_frames += len(journal.frames)
            if journal.is_complete:
                checks.wait(digest)
                collector.skip(source, list(journal.frames.values()))
                return
            layout = sources.plan_source(source, settings.frames_per_second, settings.most_frames)
            planned = len(layout.numbers) if layout else 1
            done = len(journal.frames)
            for entry, pictures in collector.collect(source, digest, layout, journal.frames):
                self.work.check()
                checks.raise_refusal()
                staging.add_frame(digest, entry, pictures)
                done += 1
                self.progress(Progress("extracting", name, number, total, done, planned))
            if not checks.is_done(digest):
                self.progress(Progress("checking", name, number, total))
            checks.wait(digest)
            if layout and layout.damage:
                self.result.notes.append(layout.damage)
            staging.complete(digest)
        except UnreadableError as error:
            del self.sources[digest]
            self._skip_source(source, error)

    def _skip_source(self, source: Source, error: UnreadableError) -> None:
        if source.explicit and self.is_single:
            raise error
        self.unreadable += 1
        self.result.notes.append(f"skipped: {error}")

    def _finish(self, staging: Staging) -> None:
        """Decide on every face, and add the crops."""
        # Records of footage that was processed again because some of its files were lost.
        self.records = [
            record for record in self.records if record.source_sha256 not in self.sources
        ]
        found: list[CropRecord] = []
        seen: dict[str, KnownSource] = {}
        for digest, source in self.sources.items():
            frames = list(staging.read(digest).frames.values())
            found += [face for frame in frames for face in frame.faces]
            seen[digest] = _describe(digest, sources.show_path(source.path), frames)
        self.result.frames = sum(source.frames for source in seen.values())
        if not found and not self.result.known_sources:
            raise self._create_no_face_error()
        new = self._decide(found) if found else []
        if self.settings.keep_others:
            mine = {record.id for record in new if record.is_person}
            others = [record for record in found if record.id not in mine]
            self.result.others_folder = keep_others(self.person, staging.folder, others)
        for record in new:
            if record.is_person and record.sha256:
                for name in manifest.file_names(record.id):
                    (staging.folder / name).replace(manifest.crops_directory(self.person) / name)
        self.records += new
        manifest.write_manifest(self.person, self.records)
        write_known_sources(self.person, self.known | seen)

    def _decide(self, found: list[CropRecord]) -> list[CropRecord]:
        choice = choose_person(found, self.anchors, self.analyser.same_person_cosine, self.footage)
        kept = [record for record in self.records if record.kept]
        takes = {sources.show_path(source.path): source.take for source, _ in self.given_sources}
        own = [record for record, is_own in zip(found, choice.is_person, strict=True) if is_own]
        decided = apply_choices(self.person, decide_crops(own, kept, takes))
        by_id = {record.id: record for record in decided}
        new = [by_id.get(record.id) or strip_record(record) for record in found]
        self._count(new, choice)
        if not self.result.kept and not kept:
            reasons = ", ".join(f"{count} {why}" for why, count in self.result.rejected.items())
            raise FootageError(
                self.footage,
                f"none of its faces is usable ({reasons}).",
                "Give footage with a whole, larger or sharper face.",
            )
        return new

    def _count(self, new: list[CropRecord], choice: IdentityChoice) -> None:
        result = self.result
        rejected = [record for record in new if not record.kept]
        faults = (fault for record in rejected for fault in record.faults or [record.reason])
        result.rejected = dict(Counter(faults))
        result.faces, result.kept = len(new), len(new) - len(rejected)
        result.others, result.look_alikes = choice.others, choice.look_alikes
        result.shots = len({record.shot for record in new if record.kept})

    def _find_anchors(self) -> NDArray[numpy.float64]:
        """(n, 512): the references, or else the means of the person's shots so far."""
        rows = [self._read_reference(path) for path in self.settings.references]
        if not rows:
            shots: dict[str, list[CropRecord]] = {}
            for record in self.records:
                if record.kept:
                    shots.setdefault(record.shot, []).append(record)
            rows = [create_centroid(stack_embeddings(part)) for part in shots.values()]
        return numpy.stack(rows) if rows else numpy.empty((0, 512))

    def _read_reference(self, path: Path) -> NDArray[numpy.float64]:
        faces = self.analyser.detect_faces(read_image(path))
        if not faces:
            raise FootageError(
                f"reference {sources.show_path(path)}",
                "no face was found in it.",
                "Give a clear picture of the person's face.",
            )
        return create_centroid(faces[0].embedding.reshape(1, -1))

    def _create_no_face_error(self) -> FootageError:
        unread = f" ({self.unreadable} files cannot be read)" if self.unreadable else ""
        return FootageError(
            self.footage,
            f"no face was found in its {self.result.frames} frames{unread}.",
            "Give footage in which the face is visible, upright and at least"
            f" {MIN_FACE_SIZE:.0f} pixels wide.",
        )


def _describe(digest: str, path: str, frames: list[FrameEntry]) -> KnownSource:
    return KnownSource(
        sha256=digest,
        path=path,
        frames=len(frames),
        faces=sum(len(frame.faces) for frame in frames),
        shot=frames[-1].shot if frames else None,
    )


def _digest(source: Source) -> str:
    path = sources.show_path(source.path)
    try:
        if not source.path.stat().st_size:
            raise UnreadableError(path, "it is empty (0 bytes).", "Copy it again.")
        return source.digest()
    except OSError as error:
        raise UnreadableError(
            path, f"it cannot be read ({error.strerror}).", "Grant access, or leave it out."
        ) from error
