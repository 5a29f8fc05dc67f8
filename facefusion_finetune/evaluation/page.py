"""`report.html`: the report as one self-contained page.

The top says whether the tuned model is better; all figures follow below. The template escapes
everything from users and files; only this package's SVG is inserted unescaped.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from facefusion_finetune import home
from facefusion_finetune.evaluation.pictures import Picture
from facefusion_finetune.evaluation.plots import (
    choose_digits,
    describe_change,
    draw_forest,
    draw_levels,
    draw_pairs,
    format_number,
    measure_gains,
)
from facefusion_finetune.evaluation.report import (
    Better,
    Outcome,
    Report,
    ReportedFigure,
    Role,
    Verdict,
)
from facefusion_finetune.faces.images import encode_png

GROUPS = (
    "outcomes",
    "identity",
    "picture",
    "pose and expression",
    "other people",
    "motion and paste",
    "memory",
    "true swap",
)
"""Groups of figures in the order of the page."""

DIRECTIONS: dict[Better, str] = {
    "less": "lower is better",
    "more": "higher is better",
    "same": "should stay the same",
}

VERDICTS: dict[Verdict, tuple[str, str]] = {
    "better": ("\N{BLACK UP-POINTING TRIANGLE}", "Better"),
    "worse": ("\N{BLACK DOWN-POINTING TRIANGLE}", "Worse"),
    "no difference": ("=", "No difference"),
    "not judged": ("?", "Not judged"),
}
"""Symbol and word of each verdict."""

OUTCOMES: dict[Outcome, tuple[str, str, str]] = {
    "won": ("\N{CHECK MARK}", "better", "good"),
    "held": ("\N{CHECK MARK}", "passed", "good"),
    "open": ("?", "not certain", "open"),
    "not measured": ("?", "not measured", "open"),
    "lost": ("\N{BALLOT X}", "worse", "bad"),
    "failed": ("\N{BALLOT X}", "failed", "bad"),
}
"""Symbol, word and CSS class of each outcome of a check."""

ROLES: dict[Role, str] = {
    "primary": "primary outcome",
    "non-inferiority": "must not get worse",
    "condition": "required",
}

CHANGES = {
    "better": ("\N{BLACK UP-POINTING TRIANGLE}", "good"),
    "worse": ("\N{BLACK DOWN-POINTING TRIANGLE}", "bad"),
    "changed": ("!", "open"),
    "no clear change": ("=", "open"),
    "no interval": ("?", "open"),
    "not measured": ("?", "open"),
}
"""Symbol and CSS class of each result of `describe_change`."""


@dataclass(frozen=True)
class Row:
    """A figure as text; empty if there is no number."""

    title: str
    unit: str
    direction: str
    before: str
    after: str
    ceiling: str
    change: str
    interval: str
    word: str
    symbol: str
    kind: str
    pairs: str
    explanation: str
    levels: str
    """SVG: bars of before and after, with a line at the score of real frames."""


def write_page(path: Path, report: Report, pictures: list[Picture]) -> None:
    """Write the page atomically.

    Args:
        path: Path of `report.html`; its folder must exist.
        report: The report.
        pictures: Grids to embed in the page.

    Raises:
        OSError: The page cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("facefusion_finetune.evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    figures = sort_figures(report.figures)
    page = environment.get_template("report.html.j2").render(
        report=report,
        verdict=VERDICTS[report.verdict],
        outcomes=[describe_figure(figure) for figure in _choose_outcomes(report)],
        checks=[(check, OUTCOMES[check.outcome], ROLES[check.role]) for check in report.checks],
        forest=draw_forest(figures) if figures else "",
        pairs=_draw_all_pairs(report),
        groups=_group_rows(figures),
        pictures=[
            (picture, base64.b64encode(encode_png(picture.pixels)).decode("ascii"))
            for picture in pictures
        ],
    )
    home.write_text(path, page)


def sort_figures(figures: Mapping[str, ReportedFigure]) -> list[ReportedFigure]:
    """Sort figures by group in the page's order, then by `order`; unknown groups come last."""
    places = {group: place for place, group in enumerate(GROUPS)}
    return [
        figure
        for _, figure in sorted(
            figures.items(),
            key=lambda item: (
                places.get(item[1].group, len(GROUPS)),
                item[1].group,
                item[1].order,
                item[0],
            ),
        )
    ]


def describe_figure(figure: ReportedFigure) -> Row:
    """A figure as text, all its numbers with the same decimals."""
    before, after, ceiling = figure.before, figure.after, figure.ceiling
    mean, low, high = figure.change.mean, figure.change.low, figure.change.high
    digits = choose_digits(mean, low, high) or choose_digits(before, after)
    word = describe_change(figure)
    symbol, kind = CHANGES[word]
    has_interval = low is not None and high is not None
    return Row(
        title=figure.title,
        unit=figure.unit,
        direction=DIRECTIONS[figure.better],
        before=_write(before, digits),
        after=_write(after, digits),
        ceiling=_write(ceiling, digits),
        change=_write(mean, digits, "+"),
        interval=f"{_write(low, digits, '+')} to {_write(high, digits, '+')}"
        if has_interval
        else "",
        word=word,
        symbol=symbol,
        kind=kind,
        pairs=_count(figure.pairs, "pair") + ", " + _count(figure.blocks, "block"),
        explanation=figure.explanation,
        levels=draw_levels(before, after, ceiling),
    )


def _choose_outcomes(report: Report) -> list[ReportedFigure]:
    """The figures of the primary outcomes, or of the first group if there are none."""
    figures = report.figures
    names = [check.name for check in report.checks if check.role == "primary"]
    if names:
        return [figures[name] for name in names if name in figures]
    return [figure for figure in sort_figures(figures) if figure.group == GROUPS[0]]


def _group_rows(figures: Sequence[ReportedFigure]) -> list[tuple[str, list[Row]]]:
    groups: dict[str, list[Row]] = {}
    for figure in figures:
        groups.setdefault(figure.group, []).append(describe_figure(figure))
    return list(groups.items())


def _draw_all_pairs(report: Report) -> list[tuple[str, str, str]]:
    """Title, plot and caption of every figure with pairwise scores."""
    plots = []
    places = {name: figure.order for name, figure in report.figures.items()}
    for name in sorted(report.values, key=lambda name: (places.get(name, math.inf), name)):
        scores, figure = report.values[name], report.figures.get(name)
        before, after = scores.before, scores.after
        better: Better = figure.better if figure else "same"
        plot = draw_pairs(before, after, scores.ids, better)
        gains = [gain for gain in measure_gains(before, after, better) if gain is not None]
        if not plot:
            continue
        up, down = ("More", "less") if better == "same" else ("Better", "worse")
        higher, lower = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
        unit = f" The scale is in {figure.unit}." if figure and figure.unit else ""
        caption = f"{up} on {higher} of {len(gains)} pairs, {down} on {lower}.{unit}"
        plots.append((figure.title if figure else name, plot, caption))
    return plots


def _write(value: float | None, digits: int, sign: str = "-") -> str:
    return "" if value is None else format_number(value, digits, sign)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
