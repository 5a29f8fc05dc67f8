"""Tracks faces: the same person in consecutive frames of one shot."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from facefusion_finetune.dataset.manifest import CropRecord
from facefusion_finetune.faces.protocol import DetectedFace

MIN_OVERLAP = 0.3
"""Intersection over union from which two boxes may be one face that moved."""

MAX_GAP = 2
"""Samples in which a face may be undetected without ending its track."""

LIKENESS_SHARE = 0.5
"""Share of the same-person cosine required: a face that turns away changes its embedding; another
face in its place, after an undetected cut, changes it more."""

ALONE_SHARE = 0.25
"""The same in a video, for the only face in the picture if it has hardly moved."""

ALONE_OVERLAP = 0.5
"""Overlap from which a face counts as having hardly moved."""


@dataclass(frozen=True)
class _Track:
    name: str
    box: NDArray[numpy.float64]
    direction: NDArray[numpy.float64]
    sample: int


class Tracker:
    """Follows the faces of one shot after another."""

    def __init__(self, same_person_cosine: float) -> None:
        """Start without faces.

        Args:
            same_person_cosine: See `FaceAnalyser`.
        """
        self._same_person_cosine = same_person_cosine
        self._shot = ""
        self._tracks: list[_Track] = []
        self._sample = 0

    def follow(
        self,
        shot: str,
        faces: Sequence[DetectedFace | CropRecord],
        ids: Sequence[str],
        is_video: bool,
    ) -> list[str]:
        """Assign the faces of the next frame to tracks; returns their names, including new ones.

        Args:
            shot: Name of the frame's shot; tracks end with it.
            faces: In any order; records must have an embedding.
            ids: Ids of the faces. A track is named after its first face.
            is_video: Whether cuts between all frames were detected.
        """
        if shot != self._shot:
            self._shot, self._tracks, self._sample = shot, [], 0
        self._sample += 1
        alive = [track for track in self._tracks if self._sample - track.sample <= MAX_GAP + 1]
        boxes = [numpy.asarray(face.bounding_box, dtype=numpy.float64) for face in faces]
        directions = [_find_direction(face) for face in faces]
        is_alone = is_video and len(faces) == len(alive) == 1
        pairs = []
        for place, track in enumerate(alive):
            for number, direction in enumerate(directions):
                overlap = measure_overlap(track.box, boxes[number])
                share = ALONE_SHARE if is_alone and overlap >= ALONE_OVERLAP else LIKENESS_SHARE
                if float(track.direction @ direction) > share * self._same_person_cosine:
                    pairs.append((overlap, place, number))
        pairs.sort(reverse=True)
        names = [""] * len(faces)
        taken: set[int] = set()
        for overlap, place, number in pairs:
            if overlap < MIN_OVERLAP or place in taken or names[number]:
                continue
            taken.add(place)
            names[number] = alive[place].name
            alive[place] = _Track(names[number], boxes[number], directions[number], self._sample)
        for number, name in enumerate(names):
            if not name:
                names[number] = ids[number]
                alive.append(_Track(ids[number], boxes[number], directions[number], self._sample))
        self._tracks = alive
        return names


def _find_direction(face: DetectedFace | CropRecord) -> NDArray[numpy.float64]:
    vector = numpy.zeros(512) if face.embedding is None else face.embedding.astype(numpy.float64)
    direction: NDArray[numpy.float64] = vector / max(float(numpy.linalg.norm(vector)), 1e-12)
    return direction


def measure_overlap(first: NDArray[numpy.float64], second: NDArray[numpy.float64]) -> float:
    """Intersection over union of two boxes (x1, y1, x2, y2)."""
    low = numpy.maximum(first[:2], second[:2])
    high = numpy.minimum(first[2:], second[2:])
    shared = float(numpy.prod((high - low).clip(0)))
    both = sum(float(numpy.prod(box[2:] - box[:2])) for box in (first, second)) - shared
    return shared / both if both > 0 else 0.0
