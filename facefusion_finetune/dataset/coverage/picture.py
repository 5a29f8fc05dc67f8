"""The coverage as one picture: a map of the poses with faces, bar charts, and advice."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from facefusion_finetune.dataset.coverage import drawing
from facefusion_finetune.dataset.coverage.measure import PITCHES, YAWS, Coverage, find_cell
from facefusion_finetune.dataset.coverage.text import (
    SIDES_NOTE,
    count,
    describe_shot,
    describe_spread,
    list_bars,
    sort_shots,
    summarise,
)
from facefusion_finetune.dataset.manifest import CropRecord
from facefusion_finetune.people.profile import Person

WIDTH = 1200
MARGIN = 40
INNER = WIDTH - 2 * MARGIN
TITLE, HEADING, TEXT, SMALL = 32, 20, 17, 15
"""Font sizes in pixels."""

HEAD_HEIGHT = 136
CELL = 140
CELL_GAP = 4
FACE = 104
MAP_HEAD = 48
MAP_FOOT = 44
LABELS = INNER - len(YAWS) * (CELL + CELL_GAP) + CELL_GAP
"""Width of the map's labels."""
PALE, DEEP = (216, 231, 243), (8, 72, 130)
"""Colours of the map's cells: for the fewest and the most crops."""
FULL = 50
"""Smallest crop count for the deepest colour: with few crops, no cell counts as full."""
LIGHT_INK = 0.62
"""Share of the deepest colour from which light text is easier to read than dark text."""

ROW = 26
BAR_HEIGHT = 14
PANEL_GAP = 36
PANEL_HEAD = 34
PANEL_FOOT = 24
PANEL_COLUMNS = 4
MAX_LABEL_WIDTH = 210
"""In pixels, and at most `LABEL_SHARE` of the panel, so that the bar stays visible."""
LABEL_SHARE = 0.6
MAX_LISTED = 8
"""Shots and reasons that are listed; the rest are summed up."""
ADVICE_LINE = 26
ADVICE_GAP = 6
ADVICE_INDENT = 28


@dataclass(frozen=True)
class Bar:
    """One row of a panel."""

    label: str
    number: int
    value: str
    """Text after the bar."""


@dataclass(frozen=True)
class Panel:
    """A group of bars with a common scale."""

    title: str
    bars: list[Bar]
    columns: int = 1
    """How many of `PANEL_COLUMNS` it takes."""

    @property
    def height(self) -> int:
        """In pixels."""
        return PANEL_HEAD + ROW * len(self.bars) + PANEL_FOOT


def draw_coverage(
    person: Person, records: Sequence[CropRecord], coverage: Coverage, advice: Sequence[str]
) -> bytes:
    """Draw a person's coverage.

    Args:
        person: The person. One cut-out is read for each non-empty cell of the map.
        records: All records of the person.
        coverage: Coverage of these records.
        advice: What to film next.

    Returns:
        A PNG file, `WIDTH` pixels wide.
    """
    rows = [_list_kinds(coverage), _list_origins(coverage)]
    heights = [max(panel.height for panel in row) for row in rows]
    paragraphs = [drawing.wrap(text, TEXT, INNER - ADVICE_INDENT) for text in advice]
    lines = sum(len(paragraph) for paragraph in paragraphs)
    map_height = MAP_HEAD + len(PITCHES) * (CELL + CELL_GAP) + MAP_FOOT
    advice_height = PANEL_HEAD + lines * ADVICE_LINE + len(paragraphs) * ADVICE_GAP
    height = HEAD_HEIGHT + map_height + sum(heights) + advice_height + MARGIN
    picture = Image.new("RGB", (WIDTH, height), drawing.PAPER)
    draw = ImageDraw.Draw(picture)
    _draw_head(draw, person.name, coverage)
    _draw_map(picture, draw, HEAD_HEIGHT, coverage, _find_faces(person, records))
    top = HEAD_HEIGHT + map_height
    for row, row_height in zip(rows, heights, strict=True):
        _draw_panels(draw, top, row)
        top += row_height
    _draw_advice(draw, top, paragraphs)
    return drawing.encode_drawing(picture)


def choose_typical(records: Sequence[CropRecord]) -> dict[tuple[int, int], CropRecord]:
    """The sharpest kept crop of each non-empty cell of the map."""
    best: dict[tuple[int, int], tuple[float, CropRecord]] = {}
    for record in records:
        cell = find_cell(record) if record.kept else None
        if cell is None or record.measures is None:
            continue
        sharpness = record.measures.sharpness
        if cell not in best or sharpness > best[cell][0]:
            best[cell] = (sharpness, record)
    return {cell: record for cell, (_, record) in best.items()}


def _find_faces(
    person: Person, records: Sequence[CropRecord]
) -> dict[tuple[int, int], Image.Image]:
    faces = {
        cell: drawing.read_face(person, record, FACE)
        for cell, record in choose_typical(records).items()
    }
    return {cell: face for cell, face in faces.items() if face is not None}


def _draw_head(draw: ImageDraw.ImageDraw, name: str, coverage: Coverage) -> None:
    title = drawing.shorten(f"What the crops of {name} show", TITLE, INNER)
    drawing.write(draw, (MARGIN, 64), title, TITLE)
    drawing.write(draw, (MARGIN, 95), f"{summarise(coverage)}.", TEXT, drawing.FAINT)
    if coverage.size is not None:
        quality = f"The face is {describe_spread(coverage.size, 0)} pixels wide, its sharpness"
        quality += (
            f" {describe_spread(coverage.sharpness, 2)} of 1; in brackets: 80 % of the crops."
        )
        drawing.write(draw, (MARGIN, 120), quality, TEXT, drawing.FAINT)


def _draw_map(
    picture: Image.Image,
    draw: ImageDraw.ImageDraw,
    top: int,
    coverage: Coverage,
    faces: dict[tuple[int, int], Image.Image],
) -> None:
    largest = max(max(row) for row in coverage.pose)
    for column, (turn, side) in enumerate(YAWS):
        middle = MARGIN + LABELS + column * (CELL + CELL_GAP) + CELL / 2
        where = f"to your {side}" if side else ""
        # A one-line label goes next to the cells.
        lines = [turn, where] if where else ["", turn]
        for line, text in enumerate(lines):
            drawing.write(draw, (middle, top + 20 + 19 * line), text, SMALL, align="m")
    for row, label in enumerate(PITCHES):
        y = top + MAP_HEAD + row * (CELL + CELL_GAP)
        drawing.write(draw, (MARGIN, y + CELL / 2 + 5), label, SMALL)
        for column in range(len(YAWS)):
            x = MARGIN + LABELS + column * (CELL + CELL_GAP)
            number = coverage.pose[row][column]
            _draw_cell(draw, x, y, number, largest)
            face = faces.get((row, column))
            if face is not None:
                picture.paste(face, (x + (CELL - FACE) // 2, y + 8))
    note = SIDES_NOTE
    if coverage.pose_unknown:
        note += f" Not in the map: {count(coverage.pose_unknown, 'crop')} with unknown pose."
    y = top + MAP_HEAD + len(PITCHES) * (CELL + CELL_GAP) + 18
    drawing.write(draw, (MARGIN + LABELS, y), note, SMALL, drawing.FAINT)


def _draw_cell(draw: ImageDraw.ImageDraw, x: int, y: int, number: int, largest: int) -> None:
    corners = (x, y, x + CELL - 1, y + CELL - 1)
    if not number:
        draw.rectangle(corners, fill=drawing.PAPER, outline=drawing.LINE)
        drawing.write(draw, (x + CELL / 2, y + CELL / 2 + 5), "none", SMALL, drawing.FAINT, "m")
        return
    # The square root keeps a cell with few crops visible next to one with thousands.
    share = (number / max(largest, FULL)) ** 0.5
    shade = tuple(round(low + share * (high - low)) for low, high in zip(PALE, DEEP, strict=True))
    draw.rectangle(corners, fill="#{:02x}{:02x}{:02x}".format(*shade))
    colour = drawing.PAPER if share > LIGHT_INK else drawing.INK
    drawing.write(draw, (x + CELL / 2, y + CELL - 8), str(number), TEXT, colour, "m")


def _list_kinds(coverage: Coverage) -> list[Panel]:
    return [
        Panel(
            title[0].upper() + title[1:],
            [
                Bar(kind, number, str(number) if number else "none")
                for kind, number in kinds.items()
            ],
        )
        for title, kinds in list_bars(coverage).items()
        if title != "glasses"
    ]


def _list_origins(coverage: Coverage) -> list[Panel]:
    """Shots, glasses, and reasons for rejection."""
    shots = [
        Bar(f"{shot.number}  {shot.source}", shot.crops, describe_shot(shot))
        for shot in sort_shots(coverage)[:MAX_LISTED]
    ]
    more = sort_shots(coverage)[MAX_LISTED:]
    if more:
        crops = sum(shot.crops for shot in more)
        # A bar for their sum would dwarf those of single shots.
        shots.append(Bar(f"{len(more)} more shots", 0, f"{crops} crops in all"))
    glasses = [
        Bar(kind, number, str(number) if number else "none")
        for kind, number in list_bars(coverage)["glasses"].items()
    ]
    listed = list(coverage.reasons.items())
    reasons = [Bar(reason, number, str(number)) for reason, number in listed[:MAX_LISTED]]
    if listed[MAX_LISTED:]:
        number = sum(number for _, number in listed[MAX_LISTED:])
        reasons.append(Bar("other reasons", number, str(number)))
    return [
        Panel("Shots", shots or [Bar("none yet", 0, "")], columns=2),
        Panel("Glasses", glasses),
        Panel("Rejected", reasons or [Bar("nothing", 0, "none")]),
    ]


def _draw_panels(draw: ImageDraw.ImageDraw, top: int, panels: Sequence[Panel]) -> None:
    column = (INNER + PANEL_GAP) / PANEL_COLUMNS
    left = float(MARGIN)
    for panel in panels:
        _draw_panel(draw, left, top, panel.columns * column - PANEL_GAP, panel)
        left += panel.columns * column


def _draw_panel(
    draw: ImageDraw.ImageDraw, left: float, top: int, width: float, panel: Panel
) -> None:
    drawing.write(draw, (left, top + 18), panel.title, HEADING)
    room = min(MAX_LABEL_WIDTH, LABEL_SHARE * width)
    labels = [drawing.shorten(bar.label, SMALL, room) for bar in panel.bars]
    start = left + max(drawing.measure_text(label, SMALL) for label in labels) + 12
    end = left + width - max(drawing.measure_text(bar.value, SMALL) for bar in panel.bars) - 10
    longest = max(1, *(bar.number for bar in panel.bars), 1)
    for place, (label, bar) in enumerate(zip(labels, panel.bars, strict=True)):
        y = top + PANEL_HEAD + place * ROW
        drawing.write(draw, (left, y + BAR_HEIGHT), label, SMALL)
        draw.rectangle((start, y + 2, end, y + BAR_HEIGHT + 2), fill=drawing.EMPTY)
        if bar.number:
            reach = start + max(2.0, (end - start) * bar.number / longest)
            draw.rectangle((start, y + 2, reach, y + BAR_HEIGHT + 2), fill=drawing.BLUE)
        drawing.write(draw, (left + width, y + BAR_HEIGHT), bar.value, SMALL, drawing.FAINT, "r")


def _draw_advice(draw: ImageDraw.ImageDraw, top: int, paragraphs: Sequence[Sequence[str]]) -> None:
    drawing.write(draw, (MARGIN, top + 18), "What to film next", HEADING)
    y = top + PANEL_HEAD + ADVICE_LINE // 2
    for number, lines in enumerate(paragraphs, 1):
        if len(paragraphs) > 1:
            drawing.write(draw, (MARGIN, y), str(number), TEXT, drawing.BLUE)
        for line in lines:
            indent = ADVICE_INDENT if len(paragraphs) > 1 else 0
            drawing.write(draw, (MARGIN + indent, y), line, TEXT)
            y += ADVICE_LINE
        y += ADVICE_GAP
