"""One source after another: content check, frames, faces, cut-outs on disk, records."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy
from numpy.typing import NDArray

from facefusion_finetune import home
from facefusion_finetune.dataset import sources
from facefusion_finetune.dataset.cutouts import cut_out, find_cutout_box
from facefusion_finetune.dataset.manifest import CropRecord, cutout_name, masks_name
from facefusion_finetune.errors import FootageError, UnreadableError
from facefusion_finetune.faces.align import fit_similarity
from facefusion_finetune.faces.protocol import DetectedFace, FaceAnalyser, FaceMasks, VisionFrame

SMALLEST_FACE = 32.0
"""Side of the bounding box in pixels under which a face holds nothing to learn from."""

LOWEST_LANDMARKER_SCORE = 0.5
"""The host's own limit for trusting the 68 points."""

MASK_TEMPLATE = "ffhq_512"
"""The view face parsers are trained on; an analyser without it gives its first one."""

MASK_TEMPLATE_SIZE = (512, 512)


@dataclass
class ExtractionResult:
    """What an extraction found."""

    frames: int = 0
    faces: int = 0
    kept: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    others: int = 0
    known_sources: int = 0
    """Sources that were extracted before and add nothing."""
    unreadable: list[str] = field(default_factory=list)
    """Files in the given folders that could not be decoded, with the reason."""
    shots: int = 0
    total_kept: int = 0
    """Kept crops of the person, over all extractions."""


class Collector:
    """Finds the faces of one source after another and writes their cut-outs."""

    def __init__(self, analyser: FaceAnalyser, folder: Path, result: ExtractionResult) -> None:
        self._analyser = analyser
        self._folder = folder
        self._result = result
        self._templates = analyser.warp_templates()
        self._sequence = ""
        self._shots = sources.ShotCounter()
        self._shot_name = ""
        self._shot_number = -1

    def collect(
        self, source: sources.Source, digest: str, frames_per_second: float
    ) -> list[CropRecord]:
        """Records of every face in a source; cut-outs of the usable ones lie in the folder.

        Raises:
            FootageError: The content is refused, or a file the user named cannot be read.
        """
        if source.sequence != self._sequence:
            self._sequence = source.sequence
            self._shots = sources.ShotCounter()
            self._shot_number = -1
        try:
            if self._analyser.is_blocked(source.path):
                raise FootageError(
                    str(source.path),
                    "FaceFusion's content check refuses it.",
                    "Leave it out; nothing of it was kept.",
                )
            found = []
            for frame in sources.read_frames(source, frames_per_second):
                self._result.frames += 1
                shot = self._name_shot(frame.pixels, digest)
                for number, face in enumerate(self._analyser.detect_faces(frame.pixels)):
                    found.append(self._record(source, digest, shot, frame, number, face))
            return found
        except UnreadableError as error:
            if source.explicit:
                raise
            self._result.unreadable.append(str(error))
            return []

    def _name_shot(self, pixels: VisionFrame, digest: str) -> str:
        number = self._shots.count(pixels)
        if number != self._shot_number:
            self._shot_number = number
            self._shot_name = f"{digest[:12]}#{number}"
        return self._shot_name

    def _record(
        self,
        source: sources.Source,
        digest: str,
        shot: str,
        frame: sources.Frame,
        number: int,
        face: DetectedFace,
    ) -> CropRecord:
        key = f"{digest} {frame.number} {number}"
        identifier = hashlib.sha256(key.encode("ascii")).hexdigest()[:16]
        height, width = frame.pixels.shape[:2]
        box = find_cutout_box(face.landmark_5, self._templates, (width, height))
        fault = _find_fault(face)
        sha256 = ""
        if not fault:
            cutout = cut_out(frame.pixels, box)
            landmark_5 = face.landmark_5 - numpy.asarray(box[:2])
            masks = self._create_masks(cutout, landmark_5)
            sha256 = _write_png(self._folder / cutout_name(identifier), cutout)
            _write_png(self._folder / masks_name(identifier), masks)
        x1, y1, x2, y2 = (float(value) for value in face.bounding_box)
        return CropRecord(
            id=identifier,
            source=str(source.path),
            source_sha256=digest,
            frame=frame.number,
            time=frame.time,
            shot=shot,
            offset=(box[0], box[1]),
            size=(box[2] - box[0], box[3] - box[1]),
            bounding_box=(x1, y1, x2, y2),
            landmark_5=[(float(x), float(y)) for x, y in face.landmark_5],
            landmark_68=[(float(x), float(y)) for x, y in face.landmark_68],
            detector_score=face.detector_score,
            landmarker_score=face.landmarker_score,
            embedding=face.embedding.astype(numpy.float32),
            kept=not fault,
            reason=fault or "the person",
            sha256=sha256,
        )

    def _create_masks(
        self, cutout: VisionFrame, landmark_5: NDArray[numpy.float64]
    ) -> NDArray[numpy.uint8]:
        """Masks of the aligned face, laid back into the cut-out: H x W x 3, BGR order."""
        template = MASK_TEMPLATE if MASK_TEMPLATE in self._templates else min(self._templates)
        crop, _ = self._analyser.warp_face(cutout, landmark_5, template, MASK_TEMPLATE_SIZE)
        masks: FaceMasks = self._analyser.create_masks(crop)
        stacked = numpy.dstack([masks.features, masks.visible, masks.face])
        back = fit_similarity(self._templates[template] * MASK_TEMPLATE_SIZE, landmark_5)
        height, width = cutout.shape[:2]
        # Beyond the masks' view nothing is known to lie in front of the face.
        placed = cv2.warpAffine(stacked, back, (width, height), borderValue=(0.0, 1.0, 0.0))
        return numpy.asarray(placed.clip(0, 1) * 255 + 0.5, dtype=numpy.uint8)


def _find_fault(face: DetectedFace) -> str:
    x1, y1, x2, y2 = face.bounding_box
    if min(x2 - x1, y2 - y1) < SMALLEST_FACE:
        return "too small"
    if face.landmarker_score < LOWEST_LANDMARKER_SCORE:
        return "landmarks uncertain"
    return ""


def _write_png(path: Path, pixels: NDArray[numpy.uint8]) -> str:
    success, buffer = cv2.imencode(".png", pixels)
    if not success:
        raise OSError(f"a picture of shape {pixels.shape} cannot be encoded")
    content = buffer.tobytes()
    home.write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()
