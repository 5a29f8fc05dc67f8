"""Crops that show nearly the same picture, wherever they were taken.

The same footage comes back as another compression, another size, a little brighter. Such copies
teach nothing new, and a copy that trains gives away the one that judges. Frames of one take that
follow each other can be as alike as copies are; they are no copies as long as anything moves.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy
from numpy.typing import NDArray

from facefusion_finetune.dataset.manifest import FINGERPRINT_SIDE, CropRecord

NEARLY_EQUAL = 3.5
"""Mean difference of two fingerprints, each at contrast `CONTRAST`, under which they are one
picture. On the bench copies lie below 2.9, pictures of one person in one room from another clip
above 3.2."""

SAME_LIGHT = 3.0
"""Mean grey-level difference of two thumbnails as they are under which they count as one picture:
what another compression of the same frame leaves."""

STANDING_STILL = 0.3
"""The same for two frames of one take: nothing moves."""

MOST_HASH_BITS = 24
"""Of the `HASH_BITS` of the perceptual hash that may differ between copies."""

LEAST_COSINE = 0.95
"""Of the vectors of two copies."""

CONTRAST = 40.0

HASH_SIDE = 16
HASH_BITS = HASH_SIDE**2 - 1


def create_fingerprint(crop: NDArray[numpy.uint8]) -> NDArray[numpy.uint8]:
    """(FINGERPRINT_SIDE, FINGERPRINT_SIDE) grey thumbnail of an aligned BGR crop."""
    size = (FINGERPRINT_SIDE, FINGERPRINT_SIDE)
    grey = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
    return numpy.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), dtype=numpy.uint8)


class Pictures:
    """Pictures to be compared with, added one by one."""

    def __init__(self, room: int) -> None:
        """Make room.

        Args:
            room: How many will be added at the most.
        """
        self._count = 0
        self._values = numpy.zeros((room, FINGERPRINT_SIDE**2), dtype=numpy.float32)
        self._signs = numpy.zeros((room, HASH_BITS), dtype=numpy.float32)

    def add(self, fingerprint: NDArray[numpy.uint8]) -> None:
        """Add a picture; its number is how many there were."""
        self._values[self._count] = _normalise(fingerprint)
        self._signs[self._count] = _hash(fingerprint)
        self._count += 1

    def find(
        self, fingerprint: NDArray[numpy.uint8], numbers: NDArray[numpy.int64]
    ) -> tuple[NDArray[numpy.int64], NDArray[numpy.float32]]:
        """Those of the pictures with these numbers that look the same at first sight.

        Returns:
            Their numbers, and how different each is: below `NEARLY_EQUAL` for a copy.
        """
        # Signs that agree minus signs that do not, so that one product counts the bits.
        agreement = (self._signs[: self._count] @ _hash(fingerprint))[numbers]
        likely = numbers[agreement >= HASH_BITS - 2 * MOST_HASH_BITS]
        differences = numpy.abs(self._values[likely] - _normalise(fingerprint)).mean(axis=1)
        return likely, differences


def find_near_duplicates(
    crops: NDArray[numpy.uint8], others: NDArray[numpy.uint8]
) -> NDArray[numpy.bool_]:
    """Which crops show nearly the same picture as one of the others, in the same light.

    Args:
        crops: (n, H, W, 3), aligned.
        others: (m, H, W, 3), aligned alike.

    Returns:
        (n,).
    """
    if not len(crops) or not len(others):
        return numpy.zeros(len(crops), dtype=numpy.bool_)
    known = _shrink(others)
    return numpy.array(
        [bool((numpy.abs(known - row).mean(axis=1) < SAME_LIGHT).any()) for row in _shrink(crops)]
    )


def find_copies(
    records: Sequence[CropRecord], known: Sequence[CropRecord], takes: Mapping[str, str]
) -> dict[str, str]:
    """Which new crops show what another crop shows already.

    Args:
        records: New crops of the person, those to be preferred first.
        known: Crops that were kept earlier.
        takes: What a crop's source belongs to, by path; see `Source.take`.

    Returns:
        By id of the copy, the id of the crop it repeats.
    """
    first_new = len(known)
    pictures = Pictures(len(known) + len(records))
    directions = numpy.zeros((len(known) + len(records), 512), dtype=numpy.float32)
    groups = numpy.zeros(len(known) + len(records), dtype=numpy.int64)
    codes: dict[tuple[str, str], int] = {}
    latest: dict[int, int] = {}
    repeated: set[tuple[int, int]] = set()
    kept: list[str] = []
    copies: dict[str, str] = {}
    for place, record in enumerate([*known, *records]):
        if record.fingerprint is None or record.embedding is None:
            continue
        count = len(kept)
        direction = record.embedding / numpy.linalg.norm(record.embedding)
        key = (record.shot, takes.get(record.source, record.source))
        group = codes.setdefault(key, len(codes))
        if place >= first_new:
            is_likely = directions[:count] @ direction > LEAST_COSINE
            # Of its own take only the frame before it can be a copy: by standing still.
            is_likely &= groups[:count] != group
            alike, differences = pictures.find(record.fingerprint, numpy.flatnonzero(is_likely))
            # The frames of a take are all different, so that a picture repeats one of them only.
            found = [
                (float(difference), int(number))
                for number, difference in zip(alike, differences, strict=True)
                if difference < NEARLY_EQUAL and (int(number), group) not in repeated
            ]
            if group in latest:
                before = numpy.array([latest[group]])
                _, differences = pictures.find(record.fingerprint, before)
                if (differences < STANDING_STILL).any():
                    found.append((0.0, latest[group]))
            if found:
                _, number = min(found)
                repeated.add((number, group))
                copies[record.id] = kept[number]
                continue
        pictures.add(record.fingerprint)
        directions[count], groups[count], latest[group] = direction, group, count
        kept.append(record.id)
    return copies


def _shrink(crops: NDArray[numpy.uint8]) -> NDArray[numpy.float32]:
    """(n, FINGERPRINT_SIDE ** 2 * 3)."""
    size = (FINGERPRINT_SIDE, FINGERPRINT_SIDE)
    small = [cv2.resize(crop, size, interpolation=cv2.INTER_AREA) for crop in crops]
    return numpy.stack(small).reshape(len(crops), -1).astype(numpy.float32)


def _normalise(fingerprint: NDArray[numpy.uint8]) -> NDArray[numpy.float32]:
    """(side ** 2,): whatever the brightness and the contrast were."""
    values = fingerprint.astype(numpy.float32).reshape(-1)
    values -= values.mean()
    normalised: NDArray[numpy.float32] = values * (CONTRAST / max(float(values.std()), 1.0))
    return normalised


def _hash(fingerprint: NDArray[numpy.uint8]) -> NDArray[numpy.float32]:
    """(HASH_BITS,) of 1 and -1: the low frequencies against their median, a perceptual hash."""
    waves = cv2.dct(fingerprint.astype(numpy.float32))[:HASH_SIDE, :HASH_SIDE].reshape(-1)[1:]
    signs: NDArray[numpy.float32] = numpy.where(waves > numpy.median(waves), 1, -1).astype(
        numpy.float32
    )
    return signs
