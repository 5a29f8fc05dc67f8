"""Which crops train and which are held out: by shot, never by random frame."""

import hashlib
from dataclasses import dataclass

from facefusion_finetune.dataset.manifest import CropRecord

HELD_OUT_SHARE = 0.25
GAP_SECONDS = 2.0
GAP_FRAMES = 2
"""For pictures without a time, or shots too short for `GAP_SECONDS`."""


@dataclass(frozen=True)
class Split:
    """Crops that train, crops that judge, and crops left out as the gap between them."""

    train: list[CropRecord]
    held_out: list[CropRecord]
    gap: list[CropRecord]
    by_shot: bool
    """Whether whole shots are held out; otherwise it is the end of the only shot."""


def split_by_shot(records: list[CropRecord]) -> Split:
    """Hold out at least a quarter of the kept crops and at least one whole shot.

    The choice follows from the shots' names alone, so that it is the same on every machine. With
    one shot, its last quarter is held out, after a gap.

    Args:
        records: All records of a person; those not kept are ignored.
    """
    kept = [record for record in records if record.kept]
    shots: dict[str, list[CropRecord]] = {}
    for record in kept:
        shots.setdefault(record.shot, []).append(record)
    if len(shots) < 2:
        return _split_by_time(kept)
    # The smallest shots may hold a frame or two only; ties break by digest, not by name order.
    order = sorted(shots, key=lambda shot: hashlib.sha256(shot.encode("utf-8")).hexdigest())
    largest = max(order, key=lambda shot: len(shots[shot]))
    held_out: list[CropRecord] = []
    for shot in order:
        if shot != largest and len(held_out) < HELD_OUT_SHARE * len(kept):
            held_out.extend(shots[shot])
    ids = {record.id for record in held_out}
    train = [record for record in kept if record.id not in ids]
    return Split(train, [record for record in kept if record.id in ids], [], True)


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
        if len(train) < len(before) / 2:
            train = before[:-GAP_FRAMES]
    else:
        train = before[:-GAP_FRAMES]
    ids = {record.id for record in train}
    return Split(train, held_out, [record for record in before if record.id not in ids], False)
