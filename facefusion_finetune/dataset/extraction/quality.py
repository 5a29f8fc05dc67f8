"""From measurements to faults: which crops would teach a swapper nothing, or something wrong.

Limits that depend on a single picture apply to each crop when it is found. The landmarker's score
varies between landmarkers and people, so it is compared with the person's other crops.
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
CUT_OFF = "cut off by the border"
SIDEWAYS = "not upright"
NEAR_DUPLICATE = "near-duplicate"

MIN_FACE_SIZE = 32.0
"""Side of the bounding box in pixels, below which there is nothing to learn from a face."""

MIN_LANDMARKER_SCORE = 0.5
"""The host's own limit for trusting the 68 landmarks."""

MIN_SHARPNESS = 0.44
"""On the bench, sharp frames have 0.47 to 0.66; blurred by 5 % of the face's width, 0.20 to 0.34;
with motion blur of a quarter of it, 0.26 to 0.41."""

MIN_BRIGHTNESS = 40.0
MIN_CONTRAST = 8.0
MAX_DARK = 0.5
MAX_BRIGHT = 0.2
MIN_VISIBLE = 0.8
MAX_OUTSIDE, MAX_FACE_OUTSIDE = 0.25, 0.05
"""Of the aligned crop, and of the face in it. On the bench, the crops of one clip reach up to 9 %
beyond the frame, all others not at all, and no face does. Cut by the frame's sides, a face loses 1
to 9 % where a quarter of its crop is outside; by the lower border, 7 % with 15 % of the crop. At
the upper border, 25 % are hair and a part of the forehead."""
MAX_ROLL = 45.0
"""Degrees. FaceFusion's detector misses such faces, so they are never swapped."""

USUAL_SHARE = 0.9
"""Share of the person's usual landmarker score; below it, landmarks are hidden or wrong."""
TURNED_SHARE = 0.75
"""The same for a head that is turned away, which shows fewer landmarks."""
TURNED = 30.0
"""Degrees of yaw or pitch from which a head counts as turned away."""
ENOUGH_TO_COMPARE = 8
"""Number of crops of a person needed for a usual score."""


def find_alignment_fault(size: float, landmarker_score: float) -> str | None:
    """Why a face cannot be aligned well enough to be kept at all; None if it can.

    Args:
        size: Shorter side of the bounding box in pixels.
        landmarker_score: 0 to 1.
    """
    if size < MIN_FACE_SIZE:
        return TOO_SMALL
    return UNCERTAIN if landmarker_score < MIN_LANDMARKER_SCORE else None


def find_faults(measures: CropMeasures) -> list[str]:
    """The faults of a face's picture, in words; empty if there are none."""
    is_dark = measures.brightness < MIN_BRIGHTNESS or measures.dark > MAX_DARK
    is_cut_off = (measures.outside or 0) > MAX_OUTSIDE or (
        measures.face_outside or 0
    ) > MAX_FACE_OUTSIDE
    found = [
        (BLURRED, measures.sharpness < MIN_SHARPNESS and not is_dark),
        (TOO_DARK, is_dark),
        (TOO_BRIGHT, measures.bright > MAX_BRIGHT or _is_washed_out(measures)),
        (COVERED, measures.visible < MIN_VISIBLE and not is_cut_off),
        (CUT_OFF, is_cut_off),
        (SIDEWAYS, abs(measures.roll) > MAX_ROLL),
    ]
    return [fault for fault, is_there in found if is_there]


def find_unusual(records: Sequence[CropRecord], known: Sequence[CropRecord]) -> set[str]:
    """Ids of crops whose landmarks are much less certain than usual for the person.

    Args:
        records: New crops of the person without other faults.
        known: Crops of the person kept earlier.
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


def decide_crops(
    own: Sequence[CropRecord], kept: Sequence[CropRecord], takes: Mapping[str, str]
) -> list[CropRecord]:
    """Decide for each new crop of the person whether it is kept.

    Args:
        own: New crops, with the faults of their own pictures.
        kept: Crops of the person kept earlier.
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
    """Sort shots with large faces first, so that the larger of two copies is kept."""
    sizes: dict[str, list[float]] = {}
    for record in records:
        if record.measures is not None:
            sizes.setdefault(record.shot, []).append(record.measures.size)
    usual = {shot: statistics.median(values) for shot, values in sizes.items()}
    return sorted(records, key=lambda record: -usual.get(record.shot, 0.0))


def _is_washed_out(measures: CropMeasures) -> bool:
    return measures.contrast < MIN_CONTRAST and measures.brightness >= MIN_BRIGHTNESS


def _is_turned(record: CropRecord) -> bool:
    measures = record.measures
    if measures is None:
        return False
    return any(abs(angle) > TURNED for angle in (measures.yaw, measures.pitch) if angle is not None)
