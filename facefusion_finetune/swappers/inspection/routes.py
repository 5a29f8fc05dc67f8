"""How the arrows of a drawing run between its boxes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from facefusion_finetune.swappers.inspection.blocks import Blocks
from facefusion_finetune.swappers.inspection.flow import Origin
from facefusion_finetune.swappers.inspection.layout import Box

LANE = 12
"""Pixels between two lines that run side by side."""

MOST_LANES = {"left": 5, "right": 5, "corridor": 4, "outside": 2, "inside": 2}
"""Where there is no room for more lines they share the last lane."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Arrow:
    """A line from one box to another."""

    kind: str
    """What flows: `target`, `source`, `both` or `mask`."""
    points: tuple[Point, ...]
    label: str = ""
    starts_pointed: bool = False
    ends_pointed: bool = True


def route_arrows(boxes: Sequence[Box], parts: Blocks) -> list[Arrow]:
    """Arrows for all that blocks, and the picture, take from others."""
    router = _Router(boxes)
    sources = {box.key for box in boxes if box.column == "right" and box.kind == "source"}
    pairs: list[tuple[Origin, Origin]] = [
        (origin, block.number)
        for block in parts.blocks
        for origin in block.takes
        # Past the last injection a residual sum still remembers the identity.
        if block.injections or origin not in sources or router.is_aside(block.number)
    ]
    pairs += [(origin, "picture") for origin in parts.picture_takes]
    labels = {}
    for block in parts.blocks:
        near = [origin for origin in block.takes if origin in sources]
        if block.injections and near:
            labels[near[-1], block.number] = f"{block.injections} x"
    return router.route(pairs, labels)


class _Router:
    """Hands out lanes beside the columns."""

    def __init__(self, boxes: Sequence[Box]) -> None:
        self.boxes = {box.key: box for box in boxes}
        self.rows: dict[str, list[Origin]] = {"left": [], "middle": [], "right": []}
        for box in boxes:
            self.rows[box.column].append(box.key)
        self.lanes: dict[str, dict[object, int]] = {area: {} for area in MOST_LANES}

    def is_aside(self, key: Origin) -> bool:
        """Whether a box stands in a column at the side."""
        return self.boxes[key].column != "middle"

    def route(
        self, pairs: Iterable[tuple[Origin, Origin]], labels: dict[tuple[Origin, int], str]
    ) -> list[Arrow]:
        """Arrows for pairs of boxes, from and to."""
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
        """Straight down to the next box, around others on the column's outer side."""
        row = self.rows[start.column]
        if row.index(end.key) == row.index(start.key) + 1:
            middle = start.x + start.width / 2
            return Arrow(start.kind, ((middle, start.y + start.height), (middle, end.y)))
        area = "inside" if start.column == "middle" else "outside"
        away = (self._take_lane(area, (start.column, start.key)) + 1) * LANE
        right = start.column == "right"
        edge = start.x + start.width if right else start.x
        lane = edge + away if right else edge - away
        leaving, arriving = start.y + start.height * 0.8, end.y + end.height * 0.2
        points = ((edge, leaving), (lane, leaving), (lane, arriving), (edge, arriving))
        return Arrow(start.kind, points)

    def _route_across(self, start: Box, end: Box) -> Arrow:
        """From the left column to the right one, above the middle."""
        height = 16 + LANE * self._take_lane("corridor", start.key)
        leaving, arriving = start.y + start.height * 0.3, end.y + end.height * 0.3
        first = start.x + start.width + LANE * (1 + self._take_lane("left", start.key))
        second = end.x - LANE * (1 + self._take_lane("right", ("across", start.key)))
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
        """Between a box at the side and those in the middle: a trunk with branches."""
        links = sorted(
            {(a, b) if self.is_aside(a) else (b, a) for a, b in pairs},
            key=lambda link: (self.boxes[link[0]].y, self.boxes[link[1]].y),
        )
        ports: dict[tuple[Origin, str], list[Origin]] = {}
        for side, middle in links:
            ports.setdefault((middle, self.boxes[side].column), []).append(side)
        arrows = []
        for side, middle in links:
            aside, inner = self.boxes[side], self.boxes[middle]
            row = ports[middle, aside.column]
            height = inner.y + inner.height * (row.index(side) + 1) / (len(row) + 1)
            away = LANE * (1 + self._take_lane(aside.column, side))
            if aside.column == "left":
                edge, end = aside.x + aside.width, inner.x
                lane = edge + away
            else:
                edge, end = aside.x, inner.x + inner.width
                lane = edge - away
            points = ((edge, aside.centre), (lane, aside.centre), (lane, height), (end, height))
            label = labels.get((side, middle), "") if isinstance(middle, int) else ""
            arrows.append(
                Arrow(aside.kind, points, label, (middle, side) in pairs, (side, middle) in pairs)
            )
        return arrows

    def _take_lane(self, area: str, key: object) -> int:
        taken = self.lanes[area]
        return taken.setdefault(key, min(len(taken), MOST_LANES[area] - 1))
