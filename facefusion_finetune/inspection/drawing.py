"""A drawing of a swapper's blocks: a self-contained SVG.

The target's path runs down the left, the identity's down the right; the layers where they meet are
in the middle. Names from the file are untrusted: they are shortened and escaped.
"""

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from facefusion_finetune.inspection.blocks import Block, Blocks
from facefusion_finetune.inspection.flow import Origin
from facefusion_finetune.inspection.inspect import Inspection
from facefusion_finetune.inspection.words import (
    clean,
    describe_output,
    format_count,
    name_layers,
    shorten,
)
from facefusion_finetune.swappers.graphs.inputs import SOURCE, TARGET

WIDTH = 1000
HEIGHT, GAP = 108, 28
"""Height of a block's box, and distance between two boxes, in pixels."""

INPUT_HEIGHT = 36
COLUMNS = {"left": (34, 236), "middle": (360, 270), "right": (730, 236)}
"""Left edge and width of each column, in pixels."""


@dataclass(frozen=True)
class Box:
    """A block, an input or the picture."""

    key: Origin
    """`target`, `source`, `picture`, or a block's number."""
    column: str
    kind: str
    """What its output depends on: `target`, `source`, `both` or `mask`."""
    title: str
    y: int
    height: int
    block: Block | None = None

    @property
    def x(self) -> int:
        """Left edge, in pixels."""
        return COLUMNS[self.column][0]

    @property
    def width(self) -> int:
        """In pixels."""
        return COLUMNS[self.column][1]

    @property
    def centre(self) -> float:
        """y of its centre."""
        return self.y + self.height / 2


def place_boxes(parts: Blocks) -> list[Box]:
    """Boxes of the inputs, of all blocks and of the picture, starting at y = 0."""
    boxes = [
        Box(TARGET, "left", "target", "target", 0, INPUT_HEIGHT),
        Box(SOURCE, "right", "source", "source", 0, INPUT_HEIGHT),
    ]
    start = INPUT_HEIGHT + GAP
    ends = {"left": start, "right": start, "middle": start + 20}
    # Masks go below everything else in their column.
    for block in sorted(parts.blocks, key=lambda one: _find_place(one)[1] == "mask"):
        column, kind = _find_place(block)
        boxes.append(Box(block.number, column, kind, block.role, ends[column], HEIGHT, block))
        ends[column] += HEIGHT + GAP
    boxes.append(Box("picture", "middle", "both", "swapped face", ends["middle"], INPUT_HEIGHT))
    return boxes


def _find_place(block: Block) -> tuple[str, str]:
    """Column of a block, and what its output depends on."""
    if block.depends_on == (TARGET,):
        return "left", "mask" if block.role == "mask network" else "target"
    if block.depends_on == (SOURCE,):
        return "right", "source"
    if block.role == "style vectors":
        return "right", "source"
    if block.state == "frozen" and block.role not in ("attention", "shared encoder"):
        return "right", "mask"
    return "middle", "both"


LANE = 12
"""Pixels between two parallel lines."""

MAX_LANES = {"left": 5, "right": 5, "corridor": 4, "outside": 2, "inside": 2}
"""Lanes per area; further lines share the last lane."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Arrow:
    """A line from one box to another."""

    kind: str
    """What it carries: `target`, `source`, `both` or `mask`."""
    points: tuple[Point, ...]
    label: str = ""
    starts_pointed: bool = False
    ends_pointed: bool = True


def route_arrows(boxes: Sequence[Box], parts: Blocks) -> list[Arrow]:
    """Arrows for all inputs of the blocks and of the picture."""
    router = _Router(boxes)
    sources = {box.key for box in boxes if box.column == "right" and box.kind == "source"}
    pairs: list[tuple[Origin, Origin]] = [
        (origin, block.number)
        for block in parts.blocks
        for origin in block.takes
        # After the last injection, a residual sum still depends on the identity.
        if block.injections or origin not in sources or router.is_side(block.number)
    ]
    pairs += [(origin, "picture") for origin in parts.picture_takes]
    labels = {}
    for block in parts.blocks:
        near = [origin for origin in block.takes if origin in sources]
        if block.injections and near:
            labels[near[-1], block.number] = f"{block.injections} x"
    return router.route(pairs, labels)


class _Router:
    """Assigns lanes next to the columns."""

    def __init__(self, boxes: Sequence[Box]) -> None:
        self.boxes = {box.key: box for box in boxes}
        self.rows: dict[str, list[Origin]] = {"left": [], "middle": [], "right": []}
        for box in boxes:
            self.rows[box.column].append(box.key)
        self.lanes: dict[str, dict[object, int]] = {area: {} for area in MAX_LANES}

    def is_side(self, key: Origin) -> bool:
        """Whether a box is in a side column."""
        return self.boxes[key].column != "middle"

    def route(
        self, pairs: Iterable[tuple[Origin, Origin]], labels: dict[tuple[Origin, int], str]
    ) -> list[Arrow]:
        """Arrows for pairs of boxes: (from, to)."""
        within, across, between = [], [], set()
        for start, end in pairs:
            columns = {self.boxes[start].column, self.boxes[end].column}
            if len(columns) == 1:
                within.append((start, end))
            elif "middle" in columns:
                between.add((start, end))
            else:
                across.append((start, end))
        arrows = [self._route_within(self.boxes[start], self.boxes[end]) for start, end in within]
        arrows += [self._route_across(self.boxes[start], self.boxes[end]) for start, end in across]
        return arrows + self._route_between(between, labels)

    def _route_within(self, start: Box, end: Box) -> Arrow:
        """Straight down to the next box; around other boxes on the column's outer side."""
        row = self.rows[start.column]
        if row.index(end.key) == row.index(start.key) + 1:
            middle = start.x + start.width / 2
            return Arrow(start.kind, ((middle, start.y + start.height), (middle, end.y)))
        area = "inside" if start.column == "middle" else "outside"
        away = (self._assign_lane(area, (start.column, start.key)) + 1) * LANE
        right = start.column == "right"
        edge = start.x + start.width if right else start.x
        lane = edge + away if right else edge - away
        leaving, arriving = start.y + start.height * 0.8, end.y + end.height * 0.2
        points = ((edge, leaving), (lane, leaving), (lane, arriving), (edge, arriving))
        return Arrow(start.kind, points)

    def _route_across(self, start: Box, end: Box) -> Arrow:
        """From the left column to the right one, above the middle column."""
        height = 16 + LANE * self._assign_lane("corridor", start.key)
        leaving, arriving = start.y + start.height * 0.3, end.y + end.height * 0.3
        first = start.x + start.width + LANE * (1 + self._assign_lane("left", start.key))
        second = end.x - LANE * (1 + self._assign_lane("right", ("across", start.key)))
        points = (
            (start.x + start.width, leaving),
            (first, leaving),
            (first, height),
            (second, height),
            (second, arriving),
            (end.x, arriving),
        )
        return Arrow(start.kind, points)

    def _route_between(
        self,
        pairs: set[tuple[Origin, Origin]],
        labels: dict[tuple[Origin, int], str],
    ) -> list[Arrow]:
        """Between a side box and those in the middle: a trunk with branches."""
        links = sorted(
            {(a, b) if self.is_side(a) else (b, a) for a, b in pairs},
            key=lambda link: (self.boxes[link[0]].y, self.boxes[link[1]].y),
        )
        ports: dict[tuple[Origin, str], list[Origin]] = {}
        for side, middle in links:
            ports.setdefault((middle, self.boxes[side].column), []).append(side)
        arrows = []
        for side, middle in links:
            side_box, middle_box = self.boxes[side], self.boxes[middle]
            row = ports[middle, side_box.column]
            height = middle_box.y + middle_box.height * (row.index(side) + 1) / (len(row) + 1)
            away = LANE * (1 + self._assign_lane(side_box.column, side))
            if side_box.column == "left":
                edge, end = side_box.x + side_box.width, middle_box.x
                lane = edge + away
            else:
                edge, end = side_box.x, middle_box.x + middle_box.width
                lane = edge - away
            points = (
                (edge, side_box.centre),
                (lane, side_box.centre),
                (lane, height),
                (end, height),
            )
            label = labels.get((side, middle), "") if isinstance(middle, int) else ""
            arrows.append(
                Arrow(
                    side_box.kind, points, label, (middle, side) in pairs, (side, middle) in pairs
                )
            )
        return arrows

    def _assign_lane(self, area: str, key: object) -> int:
        taken = self.lanes[area]
        return taken.setdefault(key, min(len(taken), MAX_LANES[area] - 1))


FONT = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
INK, FAINT = "#1f2328", "#59636e"
STROKES = {"target": "#0072b2", "source": "#c24e00", "both": "#6b3fa0", "mask": "#59636e"}
DASHES = {"target": "", "source": "7 4", "both": "", "mask": "2 4"}
"""Lines differ by dash pattern as well as by colour."""

LABELS = {
    "frozen": "frozen",
    "candidate": "trainable",
    "decoder": "decoder",
    "tail": "pure tail",
}
TREATMENTS = {
    "frozen": ": ",
    "candidate": " with ",
    "decoder": ", trained with ",
    "tail": ", trained with ",
}
"""Text after the label in a box."""

FILLS = {"frozen": "#eef0f2", "candidate": "#e8f1fb", "decoder": "#fff3c4", "tail": "#d9f2e3"}
SMALL = 11
"""Font size of names and treatments."""
STRIPE = 14
"""Width in pixels of a box's patterned edge."""

TOP, LEGEND_HEIGHT, MARGIN = 78, 108, 24


def draw_swapper(inspection: Inspection) -> str:
    """The drawing as the text of an SVG file, `WIDTH` pixels wide."""
    boxes = place_boxes(inspection.parts)
    arrows = route_arrows(boxes, inspection.parts)
    bottom = TOP + max(box.y + box.height for box in boxes) + GAP
    height = bottom + LEGEND_HEIGHT
    name = shorten(inspection.graph.path.name, 60)
    names = {
        column: name_layers(inspection.blocks, _fit(_measure_room(width), SMALL), 1)
        for column, (_, width) in COLUMNS.items()
    }
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
        f' viewBox="0 0 {WIDTH} {height}" font-family={quoteattr(FONT)} role="img">',
        f"<title>{escape(name)}</title>",
        _define(),
        f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"'
        ' fill="#ffffff" stroke="#d0d7de"/>',
        _write(MARGIN, 34, name, 20, bold=True),
        _write(MARGIN, 56, _summarise(inspection), 13, colour=FAINT),
        f'<g transform="translate(0 {TOP})">',
        *(_draw_arrow(arrow) for arrow in arrows),
        *(part for box in boxes for part in _draw_box(box, inspection, names[box.column])),
        "</g>",
        f'<g transform="translate(0 {bottom})">',
        *_draw_legend(boxes, arrows),
        "</g>",
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _summarise(inspection: Inspection) -> str:
    width, height = inspection.graph.size
    whole = inspection.everything.cost
    return (
        f"crop {width} x {height} · {format_count(inspection.parameters)} parameters,"
        f" {format_count(whole.parameters)} trainable · {format_count(whole.macs)}"
        " multiplications per run · identity injected"
        f" {len(inspection.graph.partition.injections)} x"
    )


def _define() -> str:
    heads = "".join(
        f'<marker id="head-{kind}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="13"'
        f' markerHeight="13" markerUnits="userSpaceOnUse" orient="auto-start-reverse">'
        f'<path d="M0 0L10 5L0 10z" fill="{colour}"/></marker>'
        for kind, colour in STROKES.items()
    )
    pattern = '<pattern id="{}" width="{}" height="{}" patternUnits="userSpaceOnUse">{}</pattern>'
    line = '<path d="{}" stroke="#59636e" stroke-width="1.4" fill="none"/>'
    patterns = (
        pattern.format("fill-frozen", 6, 6, line.format("M-1 7L7 -1M-1 1L1 -1M5 7L7 5")),
        pattern.format("fill-candidate", 6, 6, line.format("M0 3H6")),
        pattern.format("fill-decoder", 6, 6, '<circle cx="3" cy="3" r="1.4" fill="#59636e"/>'),
        pattern.format("fill-tail", 6, 6, '<rect width="6" height="6" fill="#18794e"/>'),
    )
    return f"<defs>{heads}{''.join(patterns)}</defs>"


def _draw_arrow(arrow: Arrow) -> str:
    path = "M" + "L".join(f"{x:g} {y:g}" for x, y in arrow.points)
    dash = f' stroke-dasharray="{DASHES[arrow.kind]}"' if DASHES[arrow.kind] else ""
    width = 2.6 if arrow.kind == "both" else 1.8
    head = f' marker-end="url(#head-{arrow.kind})"' if arrow.ends_pointed else ""
    head += f' marker-start="url(#head-{arrow.kind})"' if arrow.starts_pointed else ""
    drawn = (
        f'<path d="{path}" fill="none" stroke="{STROKES[arrow.kind]}" stroke-width="{width}"'
        f' stroke-linejoin="round"{dash}{head}/>'
    )
    if arrow.label:
        x, y = arrow.points[-1]
        drawn += _write(
            x + 10, y - 5, arrow.label, 12, bold=True, colour=STROKES[arrow.kind], halo=True
        )
    return drawn


def _draw_box(
    box: Box, inspection: Inspection, names: Mapping[int, Sequence[str]]
) -> Iterator[str]:
    if box.block is None:
        yield (
            f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="18"'
            f' fill="#ffffff" stroke="{STROKES[box.kind]}" stroke-width="2"/>'
        )
        middle = box.x + box.width / 2
        yield _write(middle, box.y + 23, box.title, 14, bold=True, centred=True)
        return
    block = box.block
    yield (
        f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="4"'
        f' fill="{FILLS[block.state]}" stroke="{INK}"'
        f' stroke-width="{1 if block.state == "frozen" else 2}"/>'
    )
    yield (
        f'<rect x="{box.x}" y="{box.y}" width="{STRIPE}" height="{box.height}" rx="4"'
        f' fill="url(#fill-{block.state})"/>'
    )
    left, room = box.x + STRIPE + 8, _measure_room(box.width)
    lines = _list_lines(block, inspection, names[block.number], room)
    for line, (text, size, colour) in enumerate(lines):
        yield _write(left, box.y + 19 + line * 16, text, size, bold=line == 0, colour=colour)


def _measure_room(width: int) -> int:
    """Pixels of a box of that width that text may take."""
    return width - STRIPE - 14


def _list_lines(
    block: Block, inspection: Inspection, names: Sequence[str], room: float
) -> list[tuple[str, int, str]]:
    """Text, font size and colour of each line in a block's box."""
    output = " ".join(describe_output(block)).replace("->", "\N{RIGHTWARDS ARROW}")
    layers = f"{len(block.layers)} layer{'' if len(block.layers) == 1 else 's'}"
    figures = f"{layers} · {format_count(block.parameters)} · {format_count(block.macs)}"
    treatment = LABELS[block.state] + TREATMENTS[block.state]
    treatment += block.reason or ", ".join(inspection.name_choices_for(block))
    return [
        (shorten(f"{block.number}  {block.role}", _fit(room, 14)), 14, INK),
        (shorten(output, _fit(room, 12)), 12, INK),
        (shorten(figures, _fit(room, 12)), 12, INK),
        *((line, SMALL, FAINT) for line in names),
        *((line, SMALL, INK) for line in textwrap.wrap(clean(treatment), _fit(room, SMALL))[:2]),
    ]


def _fit(room: float, size: int) -> int:
    """How many characters of a font size are sure to fit."""
    return int(room / (size * 0.54))


def _draw_legend(boxes: Iterable[Box], arrows: Iterable[Arrow]) -> Iterator[str]:
    yield f'<path d="M{MARGIN} 8H{WIDTH - MARGIN}" stroke="#d0d7de"/>'
    used = {box.block.state for box in boxes if box.block is not None}
    for place, state in enumerate(state for state in LABELS if state in used):
        x = MARGIN + place * 150
        yield (
            f'<rect x="{x}" y="22" width="34" height="18" rx="3" fill="{FILLS[state]}"'
            f' stroke="{INK}"/><rect x="{x}" y="22" width="{STRIPE}" height="18" rx="3"'
            f' fill="url(#fill-{state})"/>'
        )
        yield _write(x + 42, 36, LABELS[state], 12)
    labels = {
        "target": "from the target",
        "source": "identity (source)",
        "both": "both",
        "mask": "mask, or never trained",
    }
    kinds = {arrow.kind for arrow in arrows}
    for place, kind in enumerate(kind for kind in labels if kind in kinds):
        x = MARGIN + place * 190
        yield _draw_arrow(Arrow(kind, ((x, 60), (x + 40, 60))))
        yield _write(x + 48, 64, labels[kind], 12)
    text = "In a box: output size of its first and last layer (height x width x channels); layers"
    yield _write(MARGIN, 88, f"{text} · parameters · multiplications.", 12, colour=FAINT)


def _write(
    x: float,
    y: float,
    text: str,
    size: int,
    bold: bool = False,
    centred: bool = False,
    halo: bool = False,
    colour: str = INK,
) -> str:
    style = ' font-weight="bold"' if bold else ""
    style += ' text-anchor="middle"' if centred else ""
    style += ' stroke="#ffffff" stroke-width="3" paint-order="stroke"' if halo else ""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}"{style}>{escape(text)}</text>'
    )
