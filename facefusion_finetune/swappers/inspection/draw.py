"""A swapper's blocks as a picture: an SVG that needs nothing else.

The target's way runs down the left, the identity's down the right; where they meet stands in the
middle. Names in the file are untrusted: they are shortened, and escaped.
"""

import textwrap
from collections.abc import Iterable, Iterator
from xml.sax.saxutils import escape, quoteattr

from facefusion_finetune.swappers.inspection import words
from facefusion_finetune.swappers.inspection.blocks import Block
from facefusion_finetune.swappers.inspection.inspect import Inspection
from facefusion_finetune.swappers.inspection.layout import GAP, WIDTH, Box, place_boxes
from facefusion_finetune.swappers.inspection.routes import Arrow, route_arrows

FONT = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
INK, PALE = "#1f2328", "#59636e"
STROKES = {"target": "#0072b2", "source": "#c24e00", "both": "#6b3fa0", "mask": "#59636e"}
DASHES = {"target": "", "source": "7 4", "both": "", "mask": "2 4"}
"""What flows, told apart by its line as well as by its colour."""

LABELS = {
    "frozen": "frozen",
    "candidate": "may be trained",
    "decoder": "decoder",
    "tail": "pure tail",
}
TREATMENTS = {
    "frozen": ": ",
    "candidate": " by ",
    "decoder": ", trained by ",
    "tail": ", trained by ",
}
"""What follows the label in a box."""

FILLS = {"frozen": "#eef0f2", "candidate": "#e8f1fb", "decoder": "#fff3c4", "tail": "#d9f2e3"}
STRIPE = 14
"""Width in pixels of a box's patterned edge."""

TOP, LEGEND_HEIGHT, MARGIN = 78, 108, 24


def draw_swapper(inspection: Inspection) -> str:
    """The drawing as the text of an SVG file, `WIDTH` pixels wide."""
    boxes = place_boxes(inspection.parts)
    arrows = route_arrows(boxes, inspection.parts)
    bottom = TOP + max(box.y + box.height for box in boxes) + GAP
    height = bottom + LEGEND_HEIGHT
    name = words.shorten(inspection.graph.path.name, 60)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
        f' viewBox="0 0 {WIDTH} {height}" font-family={quoteattr(FONT)} role="img">',
        f"<title>{escape(name)}</title>",
        _define(),
        f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"'
        ' fill="#ffffff" stroke="#d0d7de"/>',
        _write(MARGIN, 34, name, 20, bold=True),
        _write(MARGIN, 56, _summarise(inspection), 13, colour=PALE),
        f'<g transform="translate(0 {TOP})">',
        *(_draw_arrow(arrow) for arrow in arrows),
        *(part for box in boxes for part in _draw_box(box, inspection)),
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
        f"crop {width} x {height} · {words.count(inspection.parameters)} parameters,"
        f" {words.count(whole.parameters)} may be trained · {words.count(whole.macs)}"
        f" multiplications a run · identity injected {len(inspection.graph.partition.injections)} x"
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


def _draw_box(box: Box, inspection: Inspection) -> Iterator[str]:
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
    left, room = box.x + STRIPE + 8, box.width - STRIPE - 14
    for line, (text, size, colour) in enumerate(_list_lines(block, inspection, room)):
        yield _write(left, box.y + 19 + line * 16, text, size, bold=line == 0, colour=colour)


def _list_lines(block: Block, inspection: Inspection, room: float) -> list[tuple[str, int, str]]:
    """Text, font size and colour of each line in a block's box."""
    output = " ".join(words.describe_output(block)).replace("->", "\N{RIGHTWARDS ARROW}")
    layers = f"{len(block.layers)} layer{'' if len(block.layers) == 1 else 's'}"
    figures = f"{layers} · {words.count(block.parameters)} · {words.count(block.macs)}"
    treatment = LABELS[block.state] + TREATMENTS[block.state]
    treatment += block.reason or ", ".join(inspection.name_choices_for(block))
    small = _fit(room, 11)
    return [
        (words.shorten(f"{block.number}  {block.role}", _fit(room, 14)), 14, INK),
        (words.shorten(output, _fit(room, 12)), 12, INK),
        (words.shorten(figures, _fit(room, 12)), 12, INK),
        (words.name_layers(block, small), 11, PALE),
        *((line, 11, INK) for line in textwrap.wrap(words.clean(treatment), small)[:2]),
    ]


def _fit(room: float, size: int) -> int:
    """How many letters of a size are sure to have room."""
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
        "target": "made of the target",
        "source": "identity (source)",
        "both": "both",
        "mask": "mask, or what is never trained",
    }
    kinds = {arrow.kind for arrow in arrows}
    for place, kind in enumerate(kind for kind in labels if kind in kinds):
        x = MARGIN + place * 190
        yield _draw_arrow(Arrow(kind, ((x, 60), (x + 40, 60))))
        yield _write(x + 48, 64, labels[kind], 12)
    text = (
        "In a box: size of what its first and last layer make (height x width x channels); layers"
    )
    yield _write(MARGIN, 88, f"{text} · parameters · multiplications.", 12, colour=PALE)


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
