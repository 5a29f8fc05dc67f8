"""Inline SVG for the report: changes by figure and by pair.

For some figures lower is better, for others higher. The plots show gains, so that better is always
to the right or up. Colours are CSS classes that the page defines for light and dark mode; no
information is given by colour alone.
"""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from facefusion_finetune.evaluation.report import Better, ReportedFigure

WIDTH = 480
CENTRE = WIDTH / 2
HALF = 230.0
"""Distance from the zero line to the end of a forest plot's axis."""
LINE = 16
BAND = 14
LINE_LENGTH = 66
"""Characters of a title and its numbers that fit on a line."""

MAX_PERCENT = 1000.0
"""Larger changes are not shown as a percentage, as the value before was nearly 0."""

SHOWN_SHARE = 0.8
"""Share of the rows that fit on the axis, so that an outlier does not flatten the others."""

CLASSES = {"better": "good", "worse": "bad"}


@dataclass(frozen=True)
class Effect:
    """A change as a gain: positive is better, or higher for a figure that should stay the same."""

    mean: float
    interval: tuple[float, float] | None
    is_percent: bool
    """Whether it is a percentage of the value before; otherwise it is in the figure's unit."""

    @property
    def values(self) -> tuple[float, ...]:
        """The mean, followed by both ends of the interval if there is one."""
        return (self.mean, *(self.interval or ()))

    @property
    def extent(self) -> float:
        """Largest absolute value."""
        return max(map(abs, self.values))


def read_effect(figure: ReportedFigure) -> Effect | None:
    """The change of a figure, as a percentage of the value before if that is meaningful."""
    mean, low, high = figure.change.mean, figure.change.low, figure.change.high
    if mean is None:
        return None
    before = abs(figure.before or 0.0)
    largest = max(abs(value) for value in (mean, low, high) if value is not None)
    is_percent = before > 0 and 100 * largest <= MAX_PERCENT * before
    factor = (100 / before if is_percent else 1.0) * (-1 if figure.better == "less" else 1)
    interval = None
    if low is not None and high is not None:
        first, second = sorted((low * factor, high * factor))
        interval = (first, second)
    return Effect(mean * factor, interval, is_percent)


def describe_change(figure: ReportedFigure) -> str:
    """Describe the change that a figure's interval shows.

    Returns:
        `better`, `worse` or `changed` if the interval excludes zero, otherwise `no clear change`;
        `no interval` or `not measured` if it is missing.
    """
    effect = read_effect(figure)
    if effect is None:
        return "not measured"
    if effect.interval is None:
        return "no interval"
    low, high = effect.interval
    if low <= 0 <= high:
        return "no clear change"
    if figure.better == "same":
        return "changed"
    return "better" if low > 0 else "worse"


def choose_digits(*values: float | None) -> int:
    """Number of decimals, 0 to 5, that gives the largest value two significant digits."""
    largest = max((abs(value) for value in values if value is not None), default=0.0)
    return min(5, max(0, 1 - math.floor(math.log10(largest)))) if largest else 0


def format_number(value: float, digits: int, sign: str = "-") -> str:
    """Format with a true minus sign; with `sign` `+`, positive numbers get a sign; zero never."""
    text = f"{value:{sign}.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}") if float(text) else text.lstrip("+-")


def draw_forest(figures: Sequence[ReportedFigure]) -> str:
    """Forest plot: per figure, the gain with its 95 % interval, on a common axis in %.

    A figure that is not a percentage is drawn with a diamond, on its own scale. An arrow marks a
    row that extends beyond the axis.

    Args:
        figures: Figures in the order of the rows; each new `group` gets a heading.
    """
    effects = [read_effect(figure) for figure in figures]
    extents = [effect.extent for effect in effects if effect and effect.is_percent]
    limit = _choose_limit(extents)
    parts: list[str] = []
    top, group = 16.0, None
    for figure, effect in zip(figures, effects, strict=True):
        if figure.group != group:
            group = figure.group
            top += 24
            parts.append(_text(0, top - 5, group[:1].upper() + group[1:], "heading"))
        drawn, height = _draw_row(figure, effect, limit, top)
        parts.append(drawn)
        top += height
    share = f"{limit:g} % " if extents else ""
    for y in (12, top + 12):
        parts.append(_text(CENTRE - HALF, y, f"{share}worse", "tick"))
        parts.append(_text(CENTRE, y, "0", "tick", "middle"))
        parts.append(_text(CENTRE + HALF, y, f"{share}better", "tick", "end"))
    return _svg(WIDTH, top + 18, "forest", "Gain of every figure with its interval", parts)


def draw_pairs(
    before: Sequence[float | None],
    after: Sequence[float | None],
    ids: Sequence[str],
    better: Better,
) -> str:
    """Bar plot: one bar per pair, from the largest gain to the largest loss, with a mean line.

    Args:
        before: (n,); pairs with a missing number are left out.
        after: (n,).
        ids: Names of the n pairs.
        better: The direction of improvement.

    Returns:
        The SVG; empty if no pair is left.
    """
    gains = zip(measure_gains(before, after, better), ids, strict=True)
    rows = sorted(((gain, name) for gain, name in gains if gain is not None), key=lambda r: -r[0])
    if not rows:
        return ""
    values = [gain for gain, _ in rows]
    high, low = max(0.0, values[0]), min(0.0, values[-1])
    left, top, tall = 52.0, 24.0, 170.0
    scale = tall / ((high - low) or 1.0)
    zero = top + high * scale
    step = (WIDTH - left) / len(rows)
    digits = choose_digits(high, low)
    up, down = ("more", "less") if better == "same" else ("better", "worse")
    parts = [_text(left, 13, f"up: {up}, down: {down}", "tick")]
    for value in (high, 0.0, low):
        # The ends are labelled if they do not overlap with the zero.
        if value == 0 or abs(value) * scale > LINE:
            label = format_number(value, digits, "+") if value else "0"
            parts.append(_text(left - 6, zero - value * scale + 4, label, "tick", "end"))
    for place, (gain, name) in enumerate(rows):
        side = "open" if better == "same" else CLASSES["better" if gain > 0 else "worse"]
        title = _tag("title", escape(f"{name}: {format_number(gain, digits, '+')}"))
        bar = (left + place * step, zero - max(gain, 0) * scale, max(step - 1, 0.7 * step))
        parts.append(_rect(*bar, abs(gain) * scale, f"bar {side}", title))
    mean = zero - math.fsum(values) / len(values) * scale
    parts.append(_line(left, zero, WIDTH, zero, "zero"))
    parts.append(_line(left, mean, WIDTH, mean, "mean"))
    return _svg(WIDTH, top + tall + 8, "pairs", f"Change of each of {len(rows)} pairs", parts)


def measure_gains(
    before: Sequence[float | None], after: Sequence[float | None], better: Better
) -> list[float | None]:
    """Each pair's gain, positive if it is better; None if a number is missing."""
    sign = -1 if better == "less" else 1
    pairs = zip(before, after, strict=True)
    return [None if a is None or b is None else sign * (b - a) for a, b in pairs]


def draw_levels(before: float | None, after: float | None, ceiling: float | None) -> str:
    """SVG of two bars and a line at the score of real frames; empty if a value is missing."""
    if before is None or after is None:
        return ""
    values = [0.0, before, after, *([] if ceiling is None else [ceiling])]
    left, wide = 50.0, 266.0
    scale = wide / ((max(values) - min(values)) or 1.0)
    zero = left - min(values) * scale
    parts = []
    for row, (name, value) in enumerate((("before", before), ("after", after))):
        start = zero + min(value, 0) * scale
        parts.append(_text(0, 15 + row * 20, name, "tick"))
        parts.append(_rect(start, 4 + row * 20, abs(value) * scale, 14, f"level {name}"))
    if ceiling is not None:
        x = zero + ceiling * scale
        parts.append(_line(x, 0, x, 44, "real"))
        anchor = "start" if x < left + wide / 2 else "end"
        parts.append(_text(x, 57, "real frames", "tick", anchor))
    return _svg(left + wide + 4, 44 if ceiling is None else 62, "levels", "Before and after", parts)


def _draw_row(
    figure: ReportedFigure, effect: Effect | None, limit: float, top: float
) -> tuple[str, float]:
    """A row of the forest plot, and its height."""
    is_same = figure.better == "same"
    title = f"{figure.title}{' (should stay the same)' if is_same else ''}"
    numbers = _describe_effect(effect)
    parts = [_tag("title", escape(f"{title}: {numbers}"))]
    lines = textwrap.wrap(title, max(20, LINE_LENGTH - len(numbers))) or [""]
    for number, line in enumerate(lines):
        parts.append(_text(0, top + LINE * (number + 1) - 4, line, "name"))
    parts.append(_text(WIDTH, top + LINE - 4, numbers, "number", "end"))
    band = top + LINE * len(lines)
    for x, side in ((CENTRE - HALF, "worse"), (CENTRE, "better")):
        parts.append(_rect(x, band, HALF, BAND, f"side {'neutral' if is_same else side}"))
    parts.append(_line(CENTRE, band, CENTRE, band + BAND, "zero"))
    if effect:
        shown = limit if effect.is_percent else 1.25 * effect.extent or 1.0
        parts.append(_draw_effect(effect, shown, band + BAND / 2, describe_change(figure)))
    return _tag("g", "".join(parts), class_="row"), LINE * len(lines) + BAND + 9


def _draw_effect(effect: Effect, limit: float, y: float, word: str) -> str:
    """Interval, marker, and an arrow at each end of the axis it exceeds."""

    def place(value: float) -> float:
        return CENTRE + min(1.0, max(-1.0, value / limit)) * HALF

    side = CLASSES.get(word, "open")
    parts = []
    if effect.interval:
        low, high = effect.interval
        parts.append(_line(place(low), y, place(high), y, f"interval {side}"))
    for edge in (-1, 1):
        if max(edge * value for value in effect.values) > limit:
            path = f"M{CENTRE + edge * (HALF + 7):.2f} {y:.2f} l{-edge * 9} -5 v10 z"
            parts.append(_tag("path", class_=f"arrow {side}", d=path))
    if abs(effect.mean) <= limit:
        x = place(effect.mean)
        kind = f"marker {side} {'clear' if word in (*CLASSES, 'changed') else 'hollow'}"
        circle = _tag("circle", class_=kind, cx=x, cy=y, r=4.5)
        diamond = _tag("path", class_=kind, d=f"M{x:.2f} {y - 6:.2f} l6 6 -6 6 -6 -6 z")
        parts.append(circle if effect.is_percent else diamond)
    return "".join(parts)


def _describe_effect(effect: Effect | None) -> str:
    if effect is None:
        return "not measured"
    unit = " %" if effect.is_percent else ""
    digits = choose_digits(*effect.values)
    mean, *ends = (format_number(value, digits, "+") for value in effect.values)
    return f"{mean}{unit}" + (f" ({' to '.join(ends)})" if ends else "")


def _choose_limit(extents: Sequence[float]) -> float:
    """A round axis limit that most rows fit into."""
    ordered = sorted(extent for extent in extents if extent)
    if not ordered:
        return 1.0
    wanted = ordered[math.ceil(SHOWN_SHARE * len(ordered)) - 1]
    power = 10.0 ** math.floor(math.log10(wanted))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= wanted)


def _tag(tag: str, content: str = "", **attributes: str | float) -> str:
    """An element; `content` is markup, attributes are plain text; `_` in names becomes `-`."""
    written = "".join(
        f" {name.strip('_').replace('_', '-')}="
        + quoteattr(value if isinstance(value, str) else f"{value:.2f}")
        for name, value in attributes.items()
    )
    return f"<{tag}{written}>{content}</{tag}>" if content else f"<{tag}{written}/>"


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return _tag("text", escape(text), class_=kind, x=x, y=y, text_anchor=anchor)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return _tag("line", class_=kind, x1=x1, y1=y1, x2=x2, y2=y2)


def _rect(x: float, y: float, width: float, height: float, kind: str, content: str = "") -> str:
    return _tag("rect", content, class_=kind, x=x, y=y, width=width, height=height)


def _svg(width: float, height: float, kind: str, label: str, parts: Sequence[str]) -> str:
    box = f"0 0 {width:.0f} {height:.0f}"
    return _tag("svg", "".join(parts), class_=kind, viewBox=box, role="img", aria_label=label)
