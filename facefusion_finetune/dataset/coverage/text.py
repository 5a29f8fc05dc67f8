"""The coverage in words, and as text for a terminal."""

import unicodedata

from facefusion_finetune.dataset.coverage.measure import (
    PITCHES,
    UNKNOWN,
    YAWS,
    Coverage,
    Shot,
    Spread,
)

LABEL = 13
CELL = 9
"""Width of a label and of a map cell in characters: the map fits 80 columns."""
BAR = 20
"""Length of the longest bar in characters."""
MAX_LISTED_SHOTS = 12
SIDES_NOTE = "Left and right are your own as you face the camera: your left is the picture's right."


def describe(name: str, coverage: Coverage) -> str:
    """A small map of the poses, then the other counts, as lines.

    Args:
        name: The person's name.
        coverage: Coverage of the person's crops.
    """
    lines = [f"{name}: {summarise(coverage)}.", "", *_draw_map(coverage), ""]
    for title, counts in list_bars(coverage).items():
        words = (f"{kind} {number}" for kind, number in counts.items())
        lines.append(f"{title:<{LABEL}}{', '.join(words)}")
    lines.append(f"{'face size':<{LABEL}}{describe_spread(coverage.size, 0)} pixels")
    lines.append(f"{'sharpness':<{LABEL}}{describe_spread(coverage.sharpness, 2)}")
    lines.append(f"{'outside':<{LABEL}}{describe_spread(coverage.outside, 2)} of the crop")
    if coverage.reasons:
        words = (f"{reason} {number}" for reason, number in coverage.reasons.items())
        lines.append(f"{'rejected':<{LABEL}}{', '.join(words)}")
    return "\n".join([*lines, *_list_shots(coverage)])


def summarise(coverage: Coverage) -> str:
    """The amount of crops, in one line."""
    text = f"{count(coverage.kept, 'crop')} kept in {count(len(coverage.shots), 'shot')}"
    if coverage.rejected:
        text += f", {coverage.rejected} rejected"
    if coverage.others:
        text += f", {count(coverage.others, 'face')} of others skipped"
    return text


def count(number: int, noun: str) -> str:
    """A number with its noun, in the plural if needed."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def list_bars(coverage: Coverage) -> dict[str, dict[str, int]]:
    """The counts by kind, by title; `unknown` only if there are any."""
    bars = {
        "eyes": coverage.eyes,
        "mouth": coverage.mouth,
        "light from": coverage.light,
        "exposure": coverage.exposure,
        "glasses": coverage.glasses,
    }
    return {
        title: {kind: number for kind, number in counts.items() if number or kind != UNKNOWN}
        for title, counts in bars.items()
    }


def describe_time(seconds: float) -> str:
    """Minutes, seconds and tenths: `1:02.5`."""
    tenths = round(seconds * 10)
    return f"{tenths // 600}:{tenths % 600 // 10:02d}.{tenths % 10}"


def describe_shot(shot: Shot) -> str:
    """Its number of crops, and their time range in the video."""
    text = count(shot.crops, "crop")
    if shot.start is None or shot.end is None:
        return text
    return f"{text}, {describe_time(shot.start)} to {describe_time(shot.end)}"


def sort_shots(coverage: Coverage) -> list[Shot]:
    """The shots, largest first."""
    return sorted(coverage.shots, key=lambda shot: -shot.crops)


def describe_spread(spread: Spread | None, digits: int) -> str:
    """The median, and the range of 80 % of the crops."""
    if spread is None:
        return UNKNOWN
    low, median, high = (
        f"{value:.{digits}f}" for value in (spread.low, spread.median, spread.high)
    )
    return f"{median} ({low} to {high})"


def to_printable(text: str) -> str:
    """Replace line ends, escape sequences and lone surrogates in file names by `?`."""
    text = unicodedata.normalize("NFC", text)
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _draw_map(coverage: Coverage) -> list[str]:
    """Rows of counts; an empty cell is a dash, so that it stands out among numbers."""
    head = [
        " " * LABEL + "".join(f"{words[part]:>{CELL}}" for words in YAWS).rstrip()
        for part in (0, 1)
    ]
    rows = [
        f"{label:<{LABEL}}" + "".join(f"{number or '-':>{CELL}}" for number in row)
        for label, row in zip(PITCHES, coverage.pose, strict=True)
    ]
    unknown = [f"{UNKNOWN:<{LABEL}}{coverage.pose_unknown}"] if coverage.pose_unknown else []
    return [*head, *rows, *unknown, SIDES_NOTE]


def _list_shots(coverage: Coverage) -> list[str]:
    largest = max((shot.crops for shot in coverage.shots), default=0)
    lines = [""] if coverage.shots else []
    for shot in sort_shots(coverage)[:MAX_LISTED_SHOTS]:
        bar = "#" * max(1, round(BAR * shot.crops / largest))
        label = f"shot {shot.number}"
        source = to_printable(shot.source)
        lines.append(f"{label:<{LABEL}}{bar:<{BAR}}  {describe_shot(shot)}, {source}")
    more = sort_shots(coverage)[MAX_LISTED_SHOTS:]
    if more:
        crops = sum(shot.crops for shot in more)
        lines.append(f"and {len(more)} more shots with {crops} crops")
    return lines
