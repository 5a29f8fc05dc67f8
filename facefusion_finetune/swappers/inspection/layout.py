"""Where the boxes of a drawing go."""

from dataclasses import dataclass

from facefusion_finetune.swappers.graphs.partition import SOURCE, TARGET
from facefusion_finetune.swappers.inspection.blocks import Block, Blocks
from facefusion_finetune.swappers.inspection.flow import Origin

WIDTH = 1000
HEIGHT, GAP = 108, 28
"""Of a block's box, and between two, in pixels."""

INPUT_HEIGHT = 36
COLUMNS = {"left": (34, 236), "middle": (360, 270), "right": (730, 236)}
"""Left edge and width of each."""


@dataclass(frozen=True)
class Box:
    """A block, an input or the picture."""

    key: Origin
    """`target`, `source`, `picture`, or a block's number."""
    column: str
    kind: str
    """What flows out of it: `target`, `source`, `both` or `mask`."""
    title: str
    y: int
    height: int
    block: Block | None = None

    @property
    def x(self) -> int:
        """Left edge."""
        return COLUMNS[self.column][0]

    @property
    def width(self) -> int:
        """In pixels."""
        return COLUMNS[self.column][1]

    @property
    def centre(self) -> float:
        """Height of its middle."""
        return self.y + self.height / 2


def place_boxes(parts: Blocks) -> list[Box]:
    """Boxes of the inputs, of all blocks and of the picture, from y = 0 on."""
    boxes = [
        Box(TARGET, "left", "target", "target", 0, INPUT_HEIGHT),
        Box(SOURCE, "right", "source", "source", 0, INPUT_HEIGHT),
    ]
    start = INPUT_HEIGHT + GAP
    ends = {"left": start, "right": start, "middle": start + 20}
    # Masks stand below what they are no part of.
    for block in sorted(parts.blocks, key=lambda one: _find_place(one)[1] == "mask"):
        column, kind = _find_place(block)
        boxes.append(Box(block.number, column, kind, block.role, ends[column], HEIGHT, block))
        ends[column] += HEIGHT + GAP
    boxes.append(Box("picture", "middle", "both", "swapped face", ends["middle"], INPUT_HEIGHT))
    return boxes


def _find_place(block: Block) -> tuple[str, str]:
    """Column of a block, and what it gives to others."""
    if block.depends_on == (TARGET,):
        return "left", "mask" if block.role == "mask network" else "target"
    if block.depends_on == (SOURCE,):
        return "right", "source"
    if block.role == "style vectors":
        return "right", "source"
    if block.state == "frozen" and block.role != "attention":
        return "right", "mask"
    return "middle", "both"
