"""Counts what a person's crops show, to find what the footage lacks.

Left and right are the person's own, facing the camera: turning to one's left is turning to the
picture's right.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any

import numpy

from facefusion_finetune.dataset.manifest import CropMeasures, CropRecord

YAW_EDGES = (-45.0, -25.0, -10.0, 10.0, 25.0, 45.0)
"""Degrees between the columns. From 45 degrees, the far eye is hidden or nearly so."""

YAWS = (
    ("profile", "right"),
    ("turned", "right"),
    ("slightly", "right"),
    ("frontal", ""),
    ("slightly", "left"),
    ("turned", "left"),
    ("profile", "left"),
)
"""Columns in picture order: its left, where yaw is negative, is the person's right."""

PITCH_EDGES = (-20.0, 10.0)
"""Degrees between the rows. On the bench footage, people looking straight at the camera measure -17
to 9, since the measurement assumes an average face."""

PITCHES = ("looking up", "level", "looking down")
LEVEL = 1
"""The row that is neither up nor down."""

EYES_CLOSED, EYES_OPEN = 0.14, 0.19
"""Opening of the less open eye; open eyes measure 0.20 or more on the bench footage."""

MOUTH_CLOSED, MOUTH_OPEN = 0.08, 0.25
"""Opening below which the mouth is closed, and from which it is open."""

UNEVEN_LIGHT = 0.15
"""Difference between the face's halves from which the light counts as directional."""

DARK_SHARE, DARK_LUMA = 0.2, 50.0
BRIGHT_SHARE, BRIGHT_LUMA = 0.05, 200.0
"""Exposure is classified by black and overexposed parts and by extremes only, since the mean
brightness of a well-lit face depends on the skin."""

GLASSES_SHARE = 0.02
"""Share of the face behind glasses from which glasses count as worn."""

EYES = ("open", "half", "closed")
MOUTH = ("closed", "slightly", "open")
LIGHT = ("even", "your right", "your left", "above", "below")
EXPOSURE = ("dark", "good", "bright")
GLASSES = ("with", "without")
UNKNOWN = "unknown"
BLURRED = "blurred"
"""The quality check's name for this fault."""


@dataclass(frozen=True)
class Spread:
    """Distribution of a measurement over the crops: `low` to `high` is 80 % of them."""

    low: float
    median: float
    high: float


@dataclass(frozen=True)
class Shot:
    """The kept crops of one shot."""

    number: int
    """From 1, in the order they were found."""
    name: str
    """As in the manifest."""
    source: str
    """Name of the file, or of the folder for several pictures."""
    crops: int
    start: float | None
    """Seconds into the video; None for pictures."""
    end: float | None


@dataclass(frozen=True)
class Coverage:
    """Counts over a person's kept crops, unless stated otherwise."""

    kept: int
    rejected: int
    """Crops of the person that are not used for training."""
    reasons: dict[str, int]
    """Number of rejected crops by reason, most frequent first; a crop can have several."""
    blurred: int
    """Blurred crops of the person, kept or not."""
    others: int
    """Faces of other people."""
    pose: tuple[tuple[int, ...], ...]
    """One row per `PITCHES`, one column per `YAWS`."""
    pose_unknown: int
    eyes: dict[str, int]
    """By `EYES` and `UNKNOWN`; the following likewise."""
    mouth: dict[str, int]
    light: dict[str, int]
    """Direction the light comes from."""
    exposure: dict[str, int]
    glasses: dict[str, int]
    same_light: int
    """Crops with the most frequent combination of light and exposure."""
    size: Spread | None
    """Shorter side of the face's box, in frame pixels; None if nothing was measured."""
    sharpness: Spread | None
    """0 is blurred, 1 sharp."""
    outside: Spread | None
    """Share of the aligned crop that lies outside the frame; None if nothing was measured."""
    shots: tuple[Shot, ...]

    def count_yaw(self, column: int) -> int:
        """Crops in a column of the map."""
        return sum(row[column] for row in self.pose)

    def count_pitch(self, row: int) -> int:
        """Crops in a row of the map."""
        return sum(self.pose[row])


def measure_coverage(records: Sequence[CropRecord]) -> Coverage:
    """Count what a person's records show.

    Args:
        records: All records of a person, in the order of the manifest. Crops extracted before
            measurements existed count as unknown.
    """
    kept = [record for record in records if record.kept]
    rejected = [record for record in records if record.is_person and not record.kept]
    measures = [record.measures for record in kept]
    measured = [values for values in measures if values is not None]
    cells = Counter(find_cell(record) for record in kept)
    reasons = Counter(reason for record in rejected for reason in _list_reasons(record))
    lights = Counter((find_light(values), find_exposure(values)) for values in measured)
    return Coverage(
        kept=len(kept),
        rejected=len(rejected),
        reasons=dict(reasons.most_common()),
        blurred=sum(BLURRED in record.faults for record in records),
        others=sum(not record.is_person for record in records),
        pose=tuple(
            tuple(cells[row, column] for column in range(len(YAWS))) for row in range(len(PITCHES))
        ),
        pose_unknown=cells[None],
        eyes=_count(EYES, measures, find_eyes),
        mouth=_count(MOUTH, measures, find_mouth),
        light=_count(LIGHT, measures, find_light),
        exposure=_count(EXPOSURE, measures, find_exposure),
        glasses=_count(GLASSES, measures, find_glasses),
        same_light=max(lights.values(), default=0),
        size=_spread([values.size for values in measured]),
        sharpness=_spread([values.sharpness for values in measured]),
        outside=_spread([values.outside for values in measured if values.outside is not None]),
        shots=list_shots(kept),
    )


def find_cell(record: CropRecord) -> tuple[int, int] | None:
    """Row and column of the map; None if the pose is unknown."""
    measures = record.measures
    if measures is None or measures.yaw is None or measures.pitch is None:
        return None
    row = int(numpy.searchsorted(PITCH_EDGES, measures.pitch))
    return row, int(numpy.searchsorted(YAW_EDGES, measures.yaw))


def find_eyes(measures: CropMeasures) -> str:
    """One of `EYES`, or unknown. The less open eye counts: a turned head narrows the other one,
    which then measures as too open."""
    openings = [opening for opening in measures.eye_opening if opening is not None]
    if not openings:
        return UNKNOWN
    opening = min(openings)
    return "closed" if opening < EYES_CLOSED else "half" if opening < EYES_OPEN else "open"


def find_mouth(measures: CropMeasures) -> str:
    """One of `MOUTH`, or unknown."""
    opening = measures.mouth_opening
    if opening is None:
        return UNKNOWN
    return "closed" if opening < MOUTH_CLOSED else "slightly" if opening < MOUTH_OPEN else "open"


def find_light(measures: CropMeasures) -> str:
    """One of `LIGHT`: where it comes from."""
    across, down = measures.light
    if max(abs(across), abs(down)) < UNEVEN_LIGHT:
        return "even"
    if abs(across) >= abs(down):
        return "your left" if across > 0 else "your right"
    return "below" if down > 0 else "above"


def find_exposure(measures: CropMeasures) -> str:
    """One of `EXPOSURE`."""
    if measures.dark >= DARK_SHARE or measures.brightness < DARK_LUMA:
        return "dark"
    is_bright = measures.bright >= BRIGHT_SHARE or measures.brightness > BRIGHT_LUMA
    return "bright" if is_bright else "good"


def find_glasses(measures: CropMeasures) -> str:
    """One of `GLASSES`, or unknown."""
    if measures.glasses is None:
        return UNKNOWN
    return "with" if measures.glasses >= GLASSES_SHARE else "without"


def list_shots(kept: Iterable[CropRecord]) -> tuple[Shot, ...]:
    """The shots of kept records, in the order they were found."""
    groups: dict[str, list[CropRecord]] = {}
    for record in kept:
        groups.setdefault(record.shot, []).append(record)
    shots = []
    for number, (name, records) in enumerate(groups.items(), 1):
        times = [record.time for record in records if record.time is not None]
        first = PurePath(records[0].source)
        # Several pictures of one shot share their folder.
        source = first.name if times or len(records) == 1 else f"{first.parent.name}/"
        start, end = (min(times), max(times)) if times else (None, None)
        shots.append(Shot(number, name, source, len(records), start, end))
    return tuple(shots)


def to_dict(coverage: Coverage) -> dict[str, Any]:
    """Plain data for JSON. The pose map includes the edges of its rows and columns in degrees."""
    values = asdict(coverage)
    values["pose"] = {
        "columns": [" ".join(words).strip() for words in YAWS],
        "column_edges": list(YAW_EDGES),
        "rows": list(PITCHES),
        "row_edges": list(PITCH_EDGES),
        "counts": [list(row) for row in coverage.pose],
        UNKNOWN: values.pop("pose_unknown"),
    }
    return values


def _list_reasons(record: CropRecord) -> list[str]:
    if record.choice == "rejected":
        return ["rejected by hand"]
    return record.faults or [record.reason]


def _count(
    kinds: Sequence[str],
    measures: Iterable[CropMeasures | None],
    find: Callable[[CropMeasures], str],
) -> dict[str, int]:
    found = Counter(UNKNOWN if values is None else find(values) for values in measures)
    return {kind: found[kind] for kind in (*kinds, UNKNOWN)}


def _spread(values: Sequence[float]) -> Spread | None:
    if not values:
        return None
    return Spread(*(float(value) for value in numpy.percentile(values, (10, 50, 90))))
