"""Footage with planted faults, made from the bench's clips: what an extraction should drop.

Every frame is written as a picture into a folder named by its fault, so that a record's source says
what was done to it. The faults are as large as the words say, and no larger: see each function.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy

from facefusion_finetune.dataset.footage.sources import list_sources, read_frames
from facefusion_finetune.dataset.manifest import CropRecord
from facefusion_finetune.faces.protocol import DetectedFace, FaceAnalyser, VisionFrame

GOOD = "good"
OBJECT = numpy.array([200, 60, 30])
"""BGR of what is held before the face: no skin is blue."""

Generator = numpy.random.Generator
Plant = Callable[[VisionFrame, DetectedFace, Generator], VisionFrame]


def blur(frame: VisionFrame, face: DetectedFace, generator: Generator) -> VisionFrame:
    """Out of focus: a Gaussian of 5 % of the face's width."""
    return numpy.asarray(cv2.GaussianBlur(frame, (0, 0), 0.05 * _measure(face)[0]), numpy.uint8)


def move(frame: VisionFrame, face: DetectedFace, generator: Generator) -> VisionFrame:
    """Motion blur over a quarter of the face's width, in any direction."""
    length = max(3, int(0.25 * _measure(face)[0]) | 1)
    kernel = numpy.zeros((length, length), numpy.float32)
    kernel[length // 2] = 1
    middle = ((length - 1) / 2, (length - 1) / 2)
    turn = cv2.getRotationMatrix2D(middle, generator.uniform(0, 180), 1)
    kernel = cv2.warpAffine(kernel, turn, (length, length))
    return numpy.asarray(cv2.filter2D(frame, -1, kernel / kernel.sum()), numpy.uint8)


def darken(frame: VisionFrame, face: DetectedFace, generator: Generator) -> VisionFrame:
    """An eighth of the light, with the noise of a sensor."""
    return _convert(frame * 0.12 + generator.normal(0, 3, frame.shape))


def burn(frame: VisionFrame, face: DetectedFace, generator: Generator) -> VisionFrame:
    """Overexposed: most of the face is white."""
    return _convert(frame * 1.6 + 70.0)


def shrink(frame: VisionFrame, face: DetectedFace, generator: Generator) -> VisionFrame:
    """A face of 22 pixels."""
    scale = 22 / min(_measure(face))
    small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return numpy.asarray(small, numpy.uint8)


def rotate(frame: VisionFrame, face: DetectedFace, generator: Generator) -> VisionFrame:
    """Lying on one side, or upside down."""
    return numpy.rot90(frame, int(generator.integers(1, 4))).copy()


def occlude(frame: VisionFrame, face: DetectedFace, generator: Generator) -> VisionFrame:
    """A blue, mottled object before the lower or one side half of the face."""
    x1, y1, _, _ = face.bounding_box
    width, height = _measure(face)
    side = int(generator.integers(3))
    centre = ((0.5, 0.8), (0.15, 0.5), (0.85, 0.5))[side]
    axes = ((0.6, 0.32), (0.38, 0.6), (0.38, 0.6))[side]
    mask = numpy.zeros(frame.shape[:2], numpy.uint8)
    cv2.ellipse(
        mask,
        (int(x1 + centre[0] * width), int(y1 + centre[1] * height)),
        (int(axes[0] * width), int(axes[1] * height)),
        generator.uniform(-15, 15),
        0,
        360,
        (255,),
        -1,
    )
    mottles = generator.integers(0, 60, (12, 12, 3)).astype(numpy.uint8)
    mottles = cv2.resize(mottles, frame.shape[1::-1])
    return numpy.where(mask[..., None] > 0, _convert(OBJECT + mottles), frame)


def copy(frame: VisionFrame, face: DetectedFace, generator: Generator) -> VisionFrame:
    """The same picture at 85 % of its size, a little brighter, as a JPEG of quality 80."""
    small = cv2.resize(frame, None, fx=0.85, fy=0.85, interpolation=cv2.INTER_AREA)
    brighter = _convert(small * 1.04 + 2.0)
    content = cv2.imencode(".jpg", brighter, [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    return numpy.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), numpy.uint8)


FAULTS: dict[str, Plant] = {
    "blurred": blur,
    "moved": move,
    "dark": darken,
    "burnt": burn,
    "tiny": shrink,
    "rotated": rotate,
    "occluded": occlude,
    "duplicated": copy,
}

ANSWERS = {
    "blurred": {"blurred"},
    "moved": {"blurred", "landmarks uncertain"},
    "dark": {"too dark"},
    "burnt": {"too bright"},
    "tiny": {"too small"},
    "rotated": {"not upright", "landmarks uncertain"},
    "occluded": {"covered", "landmarks uncertain"},
    "duplicated": {"near-duplicate"},
    "another": {"another face"},
}
"""What may be said of each fault: a frame that is dropped for another reason was not understood."""


@dataclass
class Tally:
    """What became of the frames of one kind."""

    frames: int = 0
    unseen: int = 0
    """In which no face was found."""
    kept: int = 0
    named: int = 0
    """Dropped with a reason that fits."""

    @property
    def caught(self) -> float:
        """Share that was dropped: not found at all, or with a reason that fits."""
        return (self.unseen + self.named) / self.frames


def plant_footage(
    folder: Path,
    clips: list[Path],
    strangers: list[Path],
    analyser: FaceAnalyser,
    seed: int,
    every: int = 1,
) -> None:
    """Write good and spoilt frames of one person, and some of strangers.

    Args:
        folder: Gets a folder for each kind.
        clips: Of the person.
        strangers: Clips of other people; a quarter as many frames are taken.
        analyser: Says where the face is.
        seed: Of what is drawn.
        every: Of the sampled frames each so many-th is spoilt, once in each way.
    """
    generator = numpy.random.default_rng(seed)
    count = 0
    for clip, number, frame in _read(clips):
        faces = analyser.detect_faces(frame)
        if not faces:
            continue
        _write(folder, GOOD, clip, number, frame)
        if count % every == 0:
            for name, plant in FAULTS.items():
                _write(folder, name, clip, number, plant(frame, faces[0], generator))
        count += 1
    for place, (clip, number, frame) in enumerate(_read(strangers)):
        if place % 4 == 0 and place < count:
            _write(folder, "another", clip, number, frame)


def tally(folder: Path, records: list[CropRecord]) -> dict[str, Tally]:
    """Count what became of each kind of frame."""
    found: dict[str, list[CropRecord]] = {}
    for record in records:
        found.setdefault(record.source, []).append(record)
    tallies: dict[str, Tally] = {}
    for path in sorted(folder.rglob("*.png")):
        kind = path.parent.parent.name
        faces = found.get(str(path.resolve()), [])
        counted = tallies.setdefault(kind, Tally())
        counted.frames += 1
        counted.unseen += not faces
        is_kept = any(face.kept for face in faces)
        counted.kept += is_kept
        reasons = {reason for face in faces for reason in face.faults or [face.reason]}
        counted.named += bool(faces) and not is_kept and bool(reasons & ANSWERS.get(kind, set()))
    return tallies


def _read(clips: list[Path]) -> Iterator[tuple[Path, int, VisionFrame]]:
    for clip in clips:
        for frame in read_frames(list_sources([clip])[0]):
            yield clip, frame.number, frame.pixels


def _write(folder: Path, kind: str, clip: Path, number: int, frame: VisionFrame) -> None:
    path = folder / kind / clip.stem / f"frame-{number:04d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), frame)


def _measure(face: DetectedFace) -> tuple[float, float]:
    x1, y1, x2, y2 = (float(value) for value in face.bounding_box)
    return x2 - x1, y2 - y1


def _convert(values: numpy.ndarray) -> VisionFrame:
    return values.clip(0, 255).astype(numpy.uint8)


def see_object(prepare_vision_frame: Any, model_name: str) -> numpy.ndarray:
    """In place of FaceFusion's occluder network, whose weights are not here: it knows blue objects.

    Args:
        prepare_vision_frame: (1, H, W, 3), BGR, 0 to 1.
        model_name: Of the occluder.

    Returns:
        (H, W, 1): 1 where nothing lies in front of the face.
    """
    blue, _, red = numpy.moveaxis(prepare_vision_frame[0], -1, 0)
    return (blue - red < 0.15).astype(numpy.float32)[..., None]
