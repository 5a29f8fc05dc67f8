"""Finds crops that show nearly the same picture, whatever their source.

The same footage may be given again with other compression, another size or other brightness. Such
copies add nothing, and a training crop that copies a held-out one leaks it. Consecutive frames of
one take can be as similar as copies; they are not copies as long as anything moves.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy
from numpy.typing import NDArray

from facefusion_finetune.dataset.manifest import FINGERPRINT_SIDE, CropRecord

COPY_DIFFERENCE = 3.5
"""Mean difference of two fingerprints, each normalised to contrast `CONTRAST`, below which they are
copies. On the bench, copies are below 2.9, pictures of one person in one room from different clips
above 3.2."""

DUPLICATE_DIFFERENCE = 3.0
"""Mean grey-level difference of two thumbnails, without normalisation, below which they count as
one picture: about what recompressing a frame causes."""

STILL_DIFFERENCE = 0.3
"""The same as `COPY_DIFFERENCE`, for consecutive frames of one take in which nothing moves."""

MAX_HASH_BITS = 24
"""How many of the perceptual hash's `HASH_BITS` may differ between copies."""

MIN_COSINE = 0.95
"""Of the embeddings of two copies."""

CONTRAST = 40.0

HASH_SIDE = 16
HASH_BITS = HASH_SIDE**2 - 1


def create_fingerprint(crop: NDArray[numpy.uint8]) -> NDArray[numpy.uint8]:
    """(FINGERPRINT_SIDE, FINGERPRINT_SIDE) grey thumbnail of an aligned BGR crop."""
    size = (FINGERPRINT_SIDE, FINGERPRINT_SIDE)
    grey = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
    return numpy.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), dtype=numpy.uint8)


class FingerprintIndex:
    """Fingerprints to compare with, added one by one."""

    def __init__(self, capacity: int) -> None:
        """Allocate memory.

        Args:
            capacity: The largest number of fingerprints.
        """
        self._count = 0
        self._values = numpy.zeros((capacity, FINGERPRINT_SIDE**2), dtype=numpy.float32)
        self._signs = numpy.zeros((capacity, HASH_BITS), dtype=numpy.float32)

    def add(self, fingerprint: NDArray[numpy.uint8]) -> None:
        """Add a fingerprint; its number is the count before."""
        self._values[self._count] = _normalise(fingerprint)
        self._signs[self._count] = _hash(fingerprint)
        self._count += 1

    def find(
        self, fingerprint: NDArray[numpy.uint8], numbers: NDArray[numpy.int64]
    ) -> tuple[NDArray[numpy.int64], NDArray[numpy.float32]]:
        """Find similar pictures among those with the given numbers.

        Returns:
            Numbers of the candidates, and their differences: below `COPY_DIFFERENCE` for a copy.
        """
        # Matching signs minus differing ones, so that one product counts the bits.
        agreement = (self._signs[: self._count] @ _hash(fingerprint))[numbers]
        likely = numbers[agreement >= HASH_BITS - 2 * MAX_HASH_BITS]
        differences = numpy.abs(self._values[likely] - _normalise(fingerprint)).mean(axis=1)
        return likely, differences


def find_near_duplicates(
    crops: NDArray[numpy.uint8], others: NDArray[numpy.uint8]
) -> NDArray[numpy.bool_]:
    """Which crops show nearly the same picture as one of the others, in the same light.

    Args:
        crops: (n, H, W, 3), aligned.
        others: (m, H, W, 3), aligned in the same way.

    Returns:
        (n,).
    """
    if not len(crops) or not len(others):
        return numpy.zeros(len(crops), dtype=numpy.bool_)
    known = _shrink(others)
    return numpy.array(
        [
            bool((numpy.abs(known - row).mean(axis=1) < DUPLICATE_DIFFERENCE).any())
            for row in _shrink(crops)
        ]
    )


def find_copies(
    records: Sequence[CropRecord], known: Sequence[CropRecord], takes: Mapping[str, str]
) -> dict[str, str]:
    """Which new crops are copies of other crops.

    Args:
        records: New crops of the person, in order of preference.
        known: Crops kept earlier.
        takes: The take of each source, by path; see `Source.take`.

    Returns:
        The id of the original crop, by id of the copy.
    """
    first_new = len(known)
    pictures = FingerprintIndex(len(known) + len(records))
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
            is_likely = directions[:count] @ direction > MIN_COSINE
            # In its own take, only the previous frame can be a copy: when nothing moves.
            is_likely &= groups[:count] != group
            alike, differences = pictures.find(record.fingerprint, numpy.flatnonzero(is_likely))
            # The frames of a take all differ, so a picture can copy only one of them.
            found = [
                (float(difference), int(number))
                for number, difference in zip(alike, differences, strict=True)
                if difference < COPY_DIFFERENCE and (int(number), group) not in repeated
            ]
            if group in latest:
                before = numpy.array([latest[group]])
                _, differences = pictures.find(record.fingerprint, before)
                if (differences < STILL_DIFFERENCE).any():
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
    """(side ** 2,): independent of brightness and contrast."""
    values = fingerprint.astype(numpy.float32).reshape(-1)
    values -= values.mean()
    normalised: NDArray[numpy.float32] = values * (CONTRAST / max(float(values.std()), 1.0))
    return normalised


def _hash(fingerprint: NDArray[numpy.uint8]) -> NDArray[numpy.float32]:
    """(HASH_BITS,) of 1 and -1: a perceptual hash, the low frequencies against their median."""
    waves = cv2.dct(fingerprint.astype(numpy.float32))[:HASH_SIDE, :HASH_SIDE].reshape(-1)[1:]
    signs: NDArray[numpy.float32] = numpy.where(waves > numpy.median(waves), 1, -1).astype(
        numpy.float32
    )
    return signs
