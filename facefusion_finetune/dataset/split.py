"""Splits crops into training and held-out crops: by shot, never by random frame."""

import hashlib
import math
from dataclasses import dataclass

from facefusion_finetune.dataset.manifest import CropRecord
from facefusion_finetune.errors import DatasetError

HELD_OUT_SHARE = 0.25
GAP_SECONDS = 2.0
GAP_FRAMES = 2
"""For pictures without a timestamp."""
ENOUGH_SHOTS = 4
"""Held-out shots; with fewer, the evaluation's intervals become very wide."""
ADVISED_SHOTS = 5
"""With fewer shots, the model's quality in other light and surroundings remains unknown."""


@dataclass(frozen=True)
class Split:
    """Training crops, held-out crops, and crops left out as a gap between them."""

    train: list[CropRecord]
    held_out: list[CropRecord]
    gap: list[CropRecord]
    by_shot: bool
    """Whether whole shots are held out; otherwise, the end of the only shot is."""


def split_by_shot(records: list[CropRecord]) -> Split:
    """Hold out at least a quarter of the kept crops, and one shot in three up to `ENOUGH_SHOTS`.

    The choice depends only on the shots' names, so it is the same on every machine. With a single
    shot, its last quarter is held out, after a gap.

    Args:
        records: All records of a person; those not kept are ignored.
    """
    kept = [record for record in records if record.kept]
    shots: dict[str, list[CropRecord]] = {}
    for record in kept:
        shots.setdefault(record.shot, []).append(record)
    if len(shots) < 2:
        return _split_by_time(kept)
    # Small shots may have only a frame or two, so the order is by digest, not by size or name.
    order = sorted(shots, key=lambda shot: hashlib.sha256(shot.encode("utf-8")).hexdigest())
    largest = max(order, key=lambda shot: len(shots[shot]))
    held_out: list[CropRecord] = []
    needed = min(ENOUGH_SHOTS, len(shots) // 3)
    for number, shot in enumerate(shot for shot in order if shot != largest):
        if number < needed or len(held_out) < HELD_OUT_SHARE * len(kept):
            held_out.extend(shots[shot])
    ids = {record.id for record in held_out}
    train = [record for record in kept if record.id not in ids]
    return Split(train, [record for record in kept if record.id in ids], [], True)


def find_dependent(records: list[CropRecord], train: set[str], held_out: set[str]) -> set[str]:
    """Ids of held-out crops that are not independent of the training crops.

    These are the same crop, a frame of the same shot less than `GAP_SECONDS` away, or, for pictures
    without a timestamp, one at most `GAP_FRAMES` pictures away in the same shot.

    Args:
        records: All records of a person.
        train: Ids of the training crops.
        held_out: Ids of the held-out crops.
    """
    ordered = sorted(records, key=lambda record: (record.source, record.frame))
    shots: dict[str, list[CropRecord]] = {}
    for record in ordered:
        if record.kept:
            shots.setdefault(record.shot, []).append(record)
    dependent = set(train & held_out)
    for shot in shots.values():
        places = [(place, record) for place, record in enumerate(shot) if record.id in train]
        dependent.update(
            record.id
            for place, record in enumerate(shot)
            if record.id in held_out
            and any(_are_near(record, other, place - there) for there, other in places)
        )
    return dependent


def _are_near(first: CropRecord, second: CropRecord, places: int) -> bool:
    if first.time is not None and second.time is not None:
        return abs(first.time - second.time) < GAP_SECONDS
    return abs(places) <= GAP_FRAMES


def require_split(
    name: str, records: list[CropRecord], train: int, held_out: int, needed: int
) -> None:
    """Make sure that there are enough training crops, and held-out crops.

    Args:
        name: The person's name, for the error message.
        records: All records of the person.
        train: Number of training crops.
        held_out: Number of held-out crops.
        needed: Number of training crops required.

    Raises:
        DatasetError: There are not; the message says how much footage is missing.
    """
    if train >= needed and held_out:
        return
    kept = [record for record in records if record.kept]
    if not kept:
        raise DatasetError(
            f"person {name!r}",
            "nothing was extracted yet, so there is nothing to train on.",
            f"Extract footage first: facefusion-finetune extract {name} SOURCE.",
        )
    shots = len({record.shot for record in kept})
    why = (
        f"of its {len(kept)} crops in {shots} shot(s), {train} can be used for training and"
        f" {held_out} are held out, but {needed} training crops and at least one held-out shot"
        " are needed"
    )
    if shots == 1:
        seconds = _find_missing_seconds(kept, needed)
        more = f"film at least {seconds:.0f} s more of this one, or " if seconds else ""
        why += f"; with one shot, {GAP_SECONDS:.0f} s between the two parts are also lost"
        todo = f"Best: extract a second shot (another place, light or day). Or {more}add pictures."
    else:
        # A quarter of what is added will be held out.
        missing = max(1, math.ceil((needed - train) / (1 - HELD_OUT_SHARE)))
        todo = (
            f"Extract at least {missing} more usable crops that differ from the existing ones,"
            " preferably from new shots, or use a preset that needs fewer."
        )
    raise DatasetError(f"person {name!r}", f"there is no usable held-out split: {why}.", todo)


def _find_missing_seconds(kept: list[CropRecord], needed: int) -> float:
    """Seconds by which the only shot is too short; 0 if its pictures have no timestamps."""
    times = sorted(record.time for record in kept if record.time is not None)
    if len(times) < 2 or times[-1] <= times[0]:
        return 0.0
    length = times[-1] - times[0]
    step = length / (len(times) - 1)
    return max(1.0, (needed * step + GAP_SECONDS) / (1 - HELD_OUT_SHARE) - length)


def _split_by_time(kept: list[CropRecord]) -> Split:
    ordered = sorted(kept, key=lambda record: (record.source, record.frame))
    count = max(1, round(HELD_OUT_SHARE * len(ordered))) if len(ordered) > 1 else 0
    before, held_out = ordered[: len(ordered) - count], ordered[len(ordered) - count :]
    if not held_out:
        return Split(before, [], [], False)
    start = held_out[0].time
    if start is not None:
        train = [
            record
            for record in before
            if record.time is not None and record.time <= start - GAP_SECONDS
        ]
    else:
        train = before[:-GAP_FRAMES]
    ids = {record.id for record in train}
    return Split(train, held_out, [record for record in before if record.id not in ids], False)
