"""Names that are too long are shortened so that what differs stays."""

from pathlib import Path
from xml.etree import ElementTree

import onnx
import pytest
from onnx import ModelProto

from facefusion_finetune.inspection.drawing import draw_swapper
from facefusion_finetune.inspection.inspect import Inspection, inspect_swapper
from facefusion_finetune.inspection.words import name_layers, shorten, shorten_names
from facefusion_finetune.swappers.graphs.graph import read_swapper
from tests.support.families import build

BLOCKS = [f"/net/ups/ups.{number}/conv{part}/Conv" for number in range(4) for part in "12"]


def name_like_torch(model: ModelProto) -> ModelProto:
    """Nodes called after the modules they come from, as torch does since 1.13."""
    for index, node in enumerate(model.graph.node):
        scope = node.name.replace(".", "/") if "." in node.name else f"rest/{index}"
        node.name = f"/model/{scope}/{node.op_type}"
    return model


def inspect(name: str, folder: Path) -> Inspection:
    path = folder / f"{name}.onnx"
    onnx.save(name_like_torch(build(name)), str(path))
    return inspect_swapper(read_swapper(path), {"balanced": "decoder"})


def test_what_differs_stays() -> None:
    assert shorten_names([BLOCKS[:2], BLOCKS[2:4], BLOCKS[4:5]], 18) == {
        "/net/ups/ups.0/conv1/Conv": "...0/conv1/Conv",
        "/net/ups/ups.0/conv2/Conv": "...0/conv2/Conv",
        "/net/ups/ups.1/conv1/Conv": "...1/conv1/Conv",
        "/net/ups/ups.1/conv2/Conv": "...1/conv2/Conv",
        "/net/ups/ups.2/conv1/Conv": "...2/conv1/Conv",
    }
    names = ["generator.block1.attention.query", "generator.block2.attention.query"]
    assert [*shorten_names([names], 16).values()] == ["...block1.att...", "...block2.att..."]


@pytest.mark.parametrize("length", [14, 18, 21, 35])
@pytest.mark.parametrize(
    "names",
    [
        BLOCKS,
        ["/net/style.0/conv/Conv", "/net/style.1/conv/Conv", "/net/style.10/conv/Conv"],
        ["generator.block1.attention.query.conv", "generator.block2.attention.query.conv"],
        [f"/a{'b' * 40}/{number}/{'c' * 60}/Conv" for number in range(12)],
        [f"{'x' * 80}{number}" for number in range(30)],
        [f"{number}{'x' * 80}" for number in range(30)],
        [f"/same/{number}/end" for number in range(30)],
    ],
)
def test_different_names_stay_different(names: list[str], length: int) -> None:
    pairs = [names[place : place + 2] for place in range(0, len(names), 2)]
    for rows in ([names], pairs, [[name] for name in names]):
        short = shorten_names(rows, length)
        assert list(short) == names
        assert len({*short.values()}) == len(names)
        assert max(map(len, short.values())) <= length


def test_short_names_stay_whole_and_hopeless_ones_are_cut() -> None:
    names = ["Conv_1", "Conv_2", *("a" * 100 + letter + "a" * 900 for letter in "bc")]
    short = shorten_names([names], 12)
    assert list(short.values()) == ["Conv_1", "Conv_2", "aaaaa...aaaa", "aaaaa...aaaa"]
    assert shorten(names[2], 12) == "aaaaa...aaaa"


@pytest.mark.parametrize("name", ["ghost_1_256", "simswap_256", "hyperswap_1a_256"])
def test_layers_of_newer_exporters_can_be_told_apart(name: str, tmp_path: Path) -> None:
    inspection = inspect(name, tmp_path)
    for length, lines in ((21, 2), (35, 1)):
        named = name_layers(inspection.blocks, length, lines)
        assert {*named} == {block.number for block in inspection.blocks}
        shown = [" ".join(rows) for rows in named.values()]
        assert len({*shown}) == len(shown)
        for block in inspection.blocks:
            rows = named[block.number]
            assert len(rows) <= lines
            assert max(map(len, rows)) <= length
            ends = " ".join(rows).split(" .. ")
            assert len({*ends}) == min(2, len(block.layers))
    drawing = ElementTree.fromstring(draw_swapper(inspection))
    texts = [element.text for element in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert {rows[0] for rows in name_layers(inspection.blocks, 40, 1).values()} & {*texts}


def test_names_that_fit_share_a_line(tmp_path: Path) -> None:
    onnx.save(build("inswapper_128"), str(tmp_path / "swapper.onnx"))
    blocks = inspect_swapper(read_swapper(tmp_path / "swapper.onnx"), {}).blocks
    assert [*name_layers(blocks, 21, 2).values()][:3] == [
        ["Conv_40 .. Conv_62"],
        ["Gemm_73 .. Gemm_568"],
        ["Conv_107 .. Conv_557"],
    ]
