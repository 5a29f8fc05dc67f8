"""Processes one source after another: content check, frames, faces, cut-outs, records."""

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy
from numpy.typing import NDArray

from facefusion_finetune.dataset.duplicates import create_fingerprint
from facefusion_finetune.dataset.extraction.measuring import measure_face
from facefusion_finetune.dataset.extraction.quality import find_alignment_fault, find_faults
from facefusion_finetune.dataset.extraction.staging import CutoutPixels, FrameEntry, write_cutout
from facefusion_finetune.dataset.extraction.tracks import Tracker
from facefusion_finetune.dataset.footage.background import read_ahead
from facefusion_finetune.dataset.footage.sources import (
    Frame,
    NoteCallback,
    PictureShots,
    Plan,
    Source,
    plan_source,
    read_frames,
    show_path,
)
from facefusion_finetune.dataset.manifest import CropRecord
from facefusion_finetune.errors import FootageError, UnreadableError
from facefusion_finetune.faces.content import is_sequence_blocked, is_video_blocked
from facefusion_finetune.faces.protocol import (
    DetectedFace,
    FaceAnalyser,
    Matrix,
    Points,
    VisionFrame,
)
from facefusion_finetune.faces.warp import fit_similarity

MARGIN_SHARE = 0.08
"""Added on each side: a host's robust fit of the matrix may differ from least squares."""

MARGIN_PIXELS = 4
"""Added on each side for the interpolation at the edge."""


def find_cutout_box(
    landmark_5: Points, templates: Mapping[str, Points], frame_size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """The part of a frame that the crops of this face are warped from, for all templates.

    Args:
        landmark_5: (5, 2), pixels of the frame.
        templates: (5, 2) points in the unit square, by name.
        frame_size: Width and height of the frame.

    Returns:
        x1, y1, x2, y2 in whole pixels, within the frame.
    """
    square = numpy.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    corners = []
    for template in templates.values():
        matrix = fit_similarity(template, landmark_5)
        corners.append(square @ matrix[:, :2].T + matrix[:, 2])
    every = numpy.concatenate(corners)
    low, high = every.min(axis=0), every.max(axis=0)
    margin = (high - low) * MARGIN_SHARE + MARGIN_PIXELS
    x1, y1 = numpy.clip(numpy.floor(low - margin), 0, frame_size).astype(int)
    x2, y2 = numpy.clip(numpy.ceil(high + margin), 0, frame_size).astype(int)
    return int(x1), int(y1), int(x2), int(y2)


def cut_out(vision_frame: VisionFrame, box: tuple[int, int, int, int]) -> VisionFrame:
    """A copy of the frame inside `box` (x1, y1, x2, y2)."""
    x1, y1, x2, y2 = box
    return vision_frame[y1:y2, x1:x2].copy()


MASK_TEMPLATE = "ffhq_512"
"""The template that face parsers are trained on; if it is missing, the first one is used."""

MASK_TEMPLATE_SIZE = (512, 512)

DETECTOR_THREADS = 2
"""Frames processed at the same time."""

MAX_PENDING = 2
"""Frames whose faces may still be waiting to be measured while the next is processed."""

FrameFaces = tuple[FrameEntry, dict[str, CutoutPixels]]
"""The faces of one frame, and the pixels of the usable ones, by id."""


class Collector:
    """Finds the faces of one source after another."""

    def __init__(self, analyser: FaceAnalyser) -> None:
        self._analyser = analyser
        self._templates = analyser.warp_templates()
        self._shots = PictureShots()
        self._tracker = Tracker(analyser.same_person_cosine)
        self._is_warm = False

    def check_content(self, source: Source) -> None:
        """Let the analyser check a source's content.

        Raises:
            FootageError: The content is refused.
            UnreadableError: The source cannot be read.
        """
        if self._is_blocked(source):
            raise FootageError(
                show_path(source.path),
                "FaceFusion's content check refuses it.",
                "Leave it out; nothing from it was kept.",
            )

    def collect(
        self,
        source: Source,
        digest: str,
        layout: Plan | None,
        known: Mapping[int, FrameEntry] | None = None,
    ) -> Iterator[FrameFaces]:
        """The faces of a source's frames, one frame after the other.

        Args:
            source: A source.
            digest: The file's digest.
            layout: Sampling plan of a video or animation; see `plan_source`.
            known: Frames processed earlier, by index; they are skipped.

        Raises:
            UnreadableError: The source cannot be read.
        """
        waiting: deque[Future[FrameFaces]] = deque()
        with (
            read_ahead(read_frames(source, layout=layout)) as frames,
            ThreadPoolExecutor(max_workers=1) as describer,
        ):
            for frame, faces in self._detect(frames, known or {}):
                if faces is None:
                    self.skip(source, [(known or {})[frame.number]])
                    continue
                waiting.append(self._follow(source, digest, frame, faces, describer))
                if len(waiting) > MAX_PENDING:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _detect(
        self, frames: Iterator[Frame], known: Mapping[int, FrameEntry]
    ) -> Iterator[tuple[Frame, list[DetectedFace] | None]]:
        """Frames in order, with their faces; None for frames that are known.

        While the networks process one frame, the next is being prepared.
        """
        waiting: deque[tuple[Frame, Future[list[DetectedFace]] | None]] = deque()
        with ThreadPoolExecutor(max_workers=DETECTOR_THREADS) as detector:
            for frame in frames:
                future = None
                if frame.number not in known:
                    future = detector.submit(self._analyser.detect_faces, frame.pixels)
                    if not self._is_warm:
                        # Only one thread loads the networks: FaceFusion may load them twice.
                        future.result()
                        self._is_warm = True
                waiting.append((frame, future))
                if len(waiting) > DETECTOR_THREADS:
                    yield _take(waiting.popleft())
            while waiting:
                yield _take(waiting.popleft())

    def skip(self, source: Source, entries: list[FrameEntry], shot: str | None = None) -> None:
        """Skip known frames, so that shots and tracks continue after them.

        Args:
            source: The frames' source.
            entries: The known frames.
            shot: The shot of a picture, if nothing else is known.
        """
        for entry in entries:
            ids = [face.id for face in entry.faces]
            self._tracker.follow(entry.shot, entry.faces, ids, source.kind != "image")
        if source.kind == "image":
            self._shots.skip(source, entries[-1].shot if entries else shot)

    def _is_blocked(self, source: Source) -> bool:
        if source.kind == "image":
            (frame,) = read_frames(source)
            return self._analyser.is_frame_blocked(frame.pixels)
        if source.kind == "video":
            return is_video_blocked(source.path, self._analyser.is_frame_blocked)
        pictures = (frame.pixels for frame in read_frames(source, frames_per_second=1))
        return is_sequence_blocked(pictures, self._analyser.is_frame_blocked)

    def _follow(
        self,
        source: Source,
        digest: str,
        frame: Frame,
        faces: list[DetectedFace],
        describer: Executor,
    ) -> "Future[FrameFaces]":
        """Assign the faces to a shot and tracks; the rest is done in another thread."""
        if frame.shot is None:
            shot = self._shots.name(source, frame.pixels, digest)
        else:
            shot = f"{digest[:12]}#{frame.shot}"
        ids = [_identify(digest, frame, number) for number in range(len(faces))]
        tracks = self._tracker.follow(shot, faces, ids, source.kind != "image")
        return describer.submit(self._describe, source, digest, shot, frame, faces, ids, tracks)

    def _describe(
        self,
        source: Source,
        digest: str,
        shot: str,
        frame: Frame,
        faces: list[DetectedFace],
        ids: list[str],
        tracks: list[str],
    ) -> FrameFaces:
        records, pictures = [], {}
        for face, identifier, track in zip(faces, ids, tracks, strict=True):
            x1, y1, x2, y2 = (float(value) for value in face.bounding_box)
            record = CropRecord(
                id=identifier,
                source=show_path(source.path),
                source_sha256=digest,
                frame=frame.number,
                time=frame.time,
                shot=shot,
                track=track,
                offset=(0, 0),
                size=(0, 0),
                bounding_box=(x1, y1, x2, y2),
                landmark_5=[(float(x), float(y)) for x, y in face.landmark_5],
                landmark_68=[(float(x), float(y)) for x, y in face.landmark_68],
                detector_score=face.detector_score,
                landmarker_score=face.landmarker_score,
                embedding=face.embedding.astype(numpy.float32),
                kept=True,
                reason="",
            )
            fault = find_alignment_fault(min(x2 - x1, y2 - y1), face.landmarker_score)
            if fault is not None:
                records.append(record.decide([fault], None))
                continue
            changes, pictures[identifier] = self._cut(frame, face)
            measures = changes["measures"]
            record = record.model_copy(update=changes)
            records.append(record.decide(find_faults(measures), None))
        return FrameEntry(number=frame.number, shot=shot, faces=records), pictures

    def _cut(self, frame: Frame, face: DetectedFace) -> tuple[dict[str, Any], CutoutPixels]:
        """The record's fields derived from a face's picture, and its cut-out and masks."""
        height, width = frame.pixels.shape[:2]
        box = find_cutout_box(face.landmark_5, self._templates, (width, height))
        cutout = cut_out(frame.pixels, box)
        landmark_5 = face.landmark_5 - numpy.asarray(box[:2])
        template = MASK_TEMPLATE if MASK_TEMPLATE in self._templates else min(self._templates)
        crop, matrix = self._analyser.warp_face(cutout, landmark_5, template, MASK_TEMPLATE_SIZE)
        masks = self._analyser.create_masks(crop)
        to_frame = matrix.copy()
        to_frame[:, 2] -= matrix[:, :2] @ numpy.array(box[:2], dtype=numpy.float64)
        changes = {
            "offset": (box[0], box[1]),
            "size": (box[2] - box[0], box[3] - box[1]),
            "measures": measure_face(frame.pixels, face, crop, to_frame, masks),
            "fingerprint": create_fingerprint(crop),
        }
        stacked = numpy.dstack([masks.features, masks.visible, masks.face])
        points = self._templates[template] * MASK_TEMPLATE_SIZE
        return changes, (cutout, _warp_back(stacked, fit_similarity(points, landmark_5), cutout))


def collect_folder(
    footage: list[tuple[Source, str]], analyser: FaceAnalyser, folder: Path, on_note: NoteCallback
) -> tuple[list[CropRecord], int]:
    """All faces in some footage, with their cut-outs in a folder.

    Args:
        footage: Sources and their digests.
        analyser: Finds and aligns the faces, and checks the content.
        folder: Receives the cut-outs and masks of the usable faces.
        on_note: Called for footage that is skipped, or used only in part.

    Returns:
        The records, and the number of frames processed.

    Raises:
        FootageError: The content is refused, or a file given by the user cannot be read.
    """
    collector = Collector(analyser)
    records, frames = [], 0
    for source, digest in footage:
        try:
            collector.check_content(source)
            layout = plan_source(source)
            if layout and layout.damage:
                on_note(layout.damage)
            for entry, pictures in collector.collect(source, digest, layout):
                frames += 1
                digests = {
                    identifier: write_cutout(folder, identifier, files)
                    for identifier, files in pictures.items()
                }
                records += entry.with_digests(digests).faces
        except UnreadableError as error:
            if source.explicit:
                raise
            on_note(f"skipped: {error}")
    return records, frames


def _take(
    item: tuple[Frame, "Future[list[DetectedFace]] | None"],
) -> tuple[Frame, list[DetectedFace] | None]:
    frame, future = item
    return frame, None if future is None else future.result()


def _identify(digest: str, frame: Frame, number: int) -> str:
    """Identical for the same face of the same footage at any sampling rate."""
    place = 0 if frame.time is None else round(frame.time * 1000)
    return hashlib.sha256(f"{digest} {place} {number}".encode("ascii")).hexdigest()[:16]


def _warp_back(
    masks: NDArray[numpy.float32], matrix: Matrix, cutout: VisionFrame
) -> NDArray[numpy.uint8]:
    """Masks of the aligned face, warped back to the cut-out: H x W x 3, BGR order."""
    height, width = cutout.shape[:2]
    # Outside the masks' area, the face counts as not occluded.
    placed = cv2.warpAffine(masks, matrix, (width, height), borderValue=(0.0, 1.0, 0.0))
    return numpy.asarray(placed.clip(0, 1) * 255 + 0.5, dtype=numpy.uint8)
