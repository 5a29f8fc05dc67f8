"""The drawing of a swapper: well-formed, complete, and safe to open."""

import re
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import onnx
import pytest

from facefusion_finetune.inspection.drawing import (
    WIDTH,
    Arrow,
    Box,
    draw_swapper,
    place_boxes,
    route_arrows,
)
from facefusion_finetune.inspection.inspect import Inspection, inspect_swapper
from facefusion_finetune.swappers.graphs.graph import read_swapper
from tests.support.families import ONE_OF_EACH, build
from tests.support.inswapper import build_inswapper

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory):
    """Inspect one of FaceFusion's swappers, as a small graph of the same layout."""
    folder = tmp_path_factory.mktemp("families")
    return lru_cache(lambda name: look(build(name), folder / f"{name}.onnx"))


def look(model: onnx.ModelProto, path: Path) -> Inspection:
    onnx.save(model, str(path))
    return inspect_swapper(read_swapper(path), {"balanced": "decoder"})


def read_texts(drawing: str) -> list[str]:
    return [text.text or "" for text in ElementTree.fromstring(drawing).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_shows_every_block(families, name: str) -> None:
    inspection = families(name)
    drawing = draw_swapper(inspection)
    root = ElementTree.fromstring(drawing)
    assert root.get("width") == str(WIDTH)
    texts = read_texts(drawing)
    for block in inspection.blocks:
        assert f"{block.number}  {block.role}" in texts
        if block.injections:
            assert f"{block.injections} x" in texts
    assert {"target", "source", "swapped face", f"{name}.onnx"} <= set(texts)


def test_needs_nothing_else(families) -> None:
    drawing = draw_swapper(families("inswapper_128"))
    for forbidden in ("<script", "href", "<image", "<style", "@font-face", "<foreignObject"):
        assert forbidden not in drawing
    assert set(re.findall(r"https?://[^\"]+", drawing)) == {"http://www.w3.org/2000/svg"}
    assert 'fill="#ffffff"' in drawing.splitlines()[3]


def test_states_differ_in_more_than_colour(families) -> None:
    drawing = draw_swapper(families("ghost_1_256"))
    texts = " ".join(read_texts(drawing))
    for state, label in (
        ("frozen", "frozen"),
        ("candidate", "trainable with"),
        ("decoder", "decoder, trained with"),
        ("tail", "pure tail, trained with"),
    ):
        assert f"url(#fill-{state})" in drawing
        assert label in texts
    dashes = set(re.findall(r'stroke-dasharray="([^"]+)"', drawing))
    assert len(dashes) == 2


def test_names_are_escaped_and_shortened(tmp_path: Path) -> None:
    model = build_inswapper()
    for index, node in enumerate(model.graph.node):
        node.name = f'<&">]]><script>alert({index})</script>\x00\x08\ud7ff\u202e' + "W" * 5000
    path = tmp_path / "a & <b> 'c' \"d\".onnx"
    drawing = draw_swapper(look(model, path))
    assert "<script" not in drawing
    texts = read_texts(drawing)
    assert path.name in texts
    assert any(text.startswith('<&"') for text in texts)
    assert max(len(text) for text in texts if "W" in text) <= 45
    assert len(drawing) < 40_000


def test_file_name_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "bad\udcff.onnx"
    with path.open("wb") as file:
        file.write(build_inswapper().SerializeToString())
    inspection = inspect_swapper(read_swapper(path), {})
    draw_swapper(inspection).encode("utf-8")


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_boxes_and_lines_have_room(families, name: str) -> None:
    inspection = families(name)
    boxes = place_boxes(inspection.parts)
    for column in ("left", "middle", "right"):
        row = sorted((box for box in boxes if box.column == column), key=lambda box: box.y)
        for upper, lower in pairwise(row):
            assert upper.y + upper.height < lower.y
    for arrow in route_arrows(boxes, inspection.parts):
        assert all(0 < x < WIDTH for x, _ in arrow.points)
        assert not any(_crosses(arrow, box) for box in boxes)


def _crosses(arrow: Arrow, box: Box) -> bool:
    """Whether a line runs through the inside of a box."""
    for (x1, y1), (x2, y2) in pairwise(arrow.points):
        left, right = sorted((x1, x2))
        top, bottom = sorted((y1, y2))
        beside = right <= box.x or left >= box.x + box.width
        if not (beside or bottom <= box.y or top >= box.y + box.height):
            return True
    return False


def test_identity_arrows_end_at_injected_blocks(families) -> None:
    inspection = families("inswapper_128")
    boxes = place_boxes(inspection.parts)
    arrows = [arrow for arrow in route_arrows(boxes, inspection.parts) if arrow.label]
    assert [(arrow.kind, arrow.label) for arrow in arrows] == [("source", "24 x")]
    (x, y) = arrows[0].points[-1]
    box = next(box for box in boxes if box.block and box.block.injections)
    assert x == box.x + box.width
    assert box.y < y < box.y + box.height
