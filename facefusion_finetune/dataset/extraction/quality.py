"""From measures to faults: which crops teach a swapper something wrong, or nothing.

Limits that depend on one picture alone hold for each crop as it is found. How sure the landmarker
is differs between landmarkers and people, so that this is judged against the person's own other
crops.
"""

import statistics
from collections.abc import Mapping, Sequence

from facefusion_finetune.dataset.duplicates import find_copies
from facefusion_finetune.dataset.manifest import CropMeasures, CropRecord

TOO_SMALL = "too small"
UNCERTAIN = "landmarks uncertain"
BLURRED = "blurred"
TOO_DARK = "too dark"
TOO_BRIGHT = "too bright"
COVERED = "covered"
SIDEWAYS = "not upright"
NEAR_DUPLICATE = "near-duplicate"

SMALLEST_FACE = 32.0
"""Side of the bounding box in pixels under which a face holds nothing to learn from."""

LOWEST_LANDMARKER_SCORE = 0.5
"""The host's own limit for trusting the 68 points."""

LEAST_SHARPNESS = 0.44
"""On the bench sharp frames have 0.47 to 0.66, the same blurred by 5 % of the face's width 0.20 to
0.34, moved by a quarter of it 0.26 to 0.41."""

LEAST_BRIGHTNESS = 40.0
LEAST_CONTRAST = 8.0
MOST_DARK = 0.5
MOST_BRIGHT = 0.2
LEAST_VISIBLE = 0.8
MOST_ROLL = 45.0
"""Degrees. FaceFusion's detector misses such faces, so that no swap will ever ask for them."""

USUAL_SHARE = 0.9
"""Of the person's usual landmarker score, under which the face is hidden or the points are off."""
TURNED_SHARE = 0.75
"""The same for a head that is turned away, of which the landmarker sees less."""
TURNED = 30.0
"""Degrees of yaw or pitch from which a head counts as turned away."""
ENOUGH_TO_COMPARE = 8
"""Crops of a person from which on there is something usual."""


def find_alignment_fault(size: float, landmarker_score: float) -> str | None:
    """Why a face cannot be aligned well enough to be kept at all; None if it can.

    Args:
        size: Shorter side of the bounding box in pixels.
        landmarker_score: 0 to 1.
    """
    if size < SMALLEST_FACE:
        return TOO_SMALL
    return UNCERTAIN if landmarker_score < LOWEST_LANDMARKER_SCORE else None


def find_faults(measures: CropMeasures) -> list[str]:
    """What is wrong with the picture of a face, in words; empty if nothing is."""
    is_dark = measures.brightness < LEAST_BRIGHTNESS or measures.dark > MOST_DARK
    found = [
        (BLURRED, measures.sharpness < LEAST_SHARPNESS and not is_dark),
        (TOO_DARK, is_dark),
        (TOO_BRIGHT, measures.bright > MOST_BRIGHT or _is_washed_out(measures)),
        (COVERED, measures.visible < LEAST_VISIBLE),
        (SIDEWAYS, abs(measures.roll) > MOST_ROLL),
    ]
    return [fault for fault, is_there in found if is_there]


def find_unusual(records: Sequence[CropRecord], known: Sequence[CropRecord]) -> set[str]:
    """Ids of crops whose landmarks are much less certain than the person's usually are.

    Args:
        records: New crops of the person that have no other fault.
        known: Crops of the person that were kept earlier.
    """
    scores = [record.landmarker_score for record in [*records, *known]]
    if len(scores) < ENOUGH_TO_COMPARE:
        return set()
    usual = statistics.median(scores)
    return {
        record.id
        for record in records
        if record.landmarker_score < usual * (TURNED_SHARE if _is_turned(record) else USUAL_SHARE)
    }


def judge_crops(
    own: Sequence[CropRecord], kept: Sequence[CropRecord], takes: Mapping[str, str]
) -> list[CropRecord]:
    """Say of each new crop of the person whether it is kept.

    Args:
        own: With the faults of their own pictures.
        kept: Crops of the person that were kept earlier.
        takes: See `find_copies`.
    """
    fine = [record for record in own if not record.faults]
    unusual = find_unusual(fine, kept)
    good = [record for record in fine if record.id not in unusual]
    copies = find_copies(_put_largest_first(good), kept, takes)
    decided = []
    for record in own:
        extra = [UNCERTAIN] if record.id in unusual else []
        extra += [NEAR_DUPLICATE] if record.id in copies else []
        decided.append(record.decide(record.faults + extra, None))
    return decided


def _put_largest_first(records: list[CropRecord]) -> list[CropRecord]:
    """Of two copies the larger one is kept: shots with the largest faces come first."""
    sizes: dict[str, list[float]] = {}
    for record in records:
        if record.measures is not None:
            sizes.setdefault(record.shot, []).append(record.measures.size)
    usual = {shot: statistics.median(values) for shot, values in sizes.items()}
    return sorted(records, key=lambda record: -usual.get(record.shot, 0.0))


def _is_washed_out(measures: CropMeasures) -> bool:
    return measures.contrast < LEAST_CONTRAST and measures.brightness >= LEAST_BRIGHTNESS


def _is_turned(record: CropRecord) -> bool:
    measures = record.measures
    if measures is None:
        return False
    return any(abs(angle) > TURNED for angle in (measures.yaw, measures.pitch) if angle is not None)
