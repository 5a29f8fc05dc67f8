"""`inspect`: blocks that a person understands, and figures that are right."""

import json
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree

import numpy
import onnx
import pytest
from onnx import TensorProto, helper

from facefusion_finetune.cli import main
from facefusion_finetune.inspection.drawing import draw_swapper
from facefusion_finetune.inspection.inspect import Inspection, inspect_swapper
from facefusion_finetune.inspection.words import format_count, shorten
from facefusion_finetune.presets.preset import list_presets, load_preset
from facefusion_finetune.swappers.files.bases import digest_file
from facefusion_finetune.swappers.graphs.graph import read_swapper
from tests.support.families import ENTRIES, build, facts
from tests.support.inswapper import build_inswapper, write_inswapper

PRESETS = {"balanced": "decoder", "fast": "last_3", "deep": "last_40"}
HOSTILE = '\x1b[31mred\r\n[bold]<&">\u202e' + "x" * 3000
DOCUMENTATION = Path(__file__).parents[2] / "docs" / "inspect.md"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run `inspect` as a user does: exit code, stdout, stderr."""

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["facefusion-finetune", "inspect", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_inswapper(tmp_path / "small.onnx").path


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory):
    """Inspect one of FaceFusion's swappers, as a small graph of the same layout."""
    folder = tmp_path_factory.mktemp("families")

    @lru_cache
    def inspect_family(name: str) -> Inspection:
        onnx.save(build(name), str(folder / f"{name}.onnx"))
        return inspect_swapper(read_swapper(folder / f"{name}.onnx"), PRESETS)

    return inspect_family


def rename(model: onnx.ModelProto, name: Callable[[int], str]) -> onnx.ModelProto:
    for index, node in enumerate(model.graph.node):
        node.name = name(index)
    return model


def describe(inspection: Inspection) -> list[tuple[str, str, int, int]]:
    return [
        (block.role, block.state, len(block.layers), block.injections)
        for block in inspection.blocks
    ]


def test_blocks_of_an_inswapper(families) -> None:
    assert describe(families("inswapper_128")) == [
        ("target encoder", "frozen", 5, 0),
        ("identity vector", "frozen", 12, 0),
        ("injected layers", "candidate", 11, 24),
        ("decoder", "tail", 1, 0),
        ("decoder", "tail", 3, 0),
    ]


def test_blocks_of_a_ghost(families) -> None:
    described = describe(families("ghost_1_256"))
    assert described[:6] == [
        ("target encoder", "frozen", 7, 0),
        ("target encoder", "frozen", 6, 0),
        ("identity map", "frozen", 1, 0),
        ("target features", "frozen", 24, 0),
        ("mask", "frozen", 12, 0),
        ("identity vector", "frozen", 24, 0),
    ]
    assert [row[:2] for row in described[6:]] == [
        *[("injected layers", "candidate")] * 6,
        ("injected layers", "decoder"),
        ("decoder", "tail"),
    ]


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        ("blendswap_256", {"source encoder", "identity vector", "mask network", "mask"}),
        ("hyperswap_1a_256", {"identity vector", "mask network", "target features"}),
        ("hififace_unofficial_256", {"target encoder", "identity vector", "mask"}),
        ("uniface_256", {"source encoder", "attention", "fixed layers", "decoder"}),
    ],
)
def test_parts_that_only_some_have(families, name: str, roles: set[str]) -> None:
    assert roles <= {block.role for block in families(name).blocks}


@pytest.mark.parametrize("name", ENTRIES)
def test_blocks_hold_every_layer_once(families, name: str) -> None:
    inspection = families(name)
    partition = inspection.graph.partition
    held = [layer.index for block in inspection.blocks for layer in block.layers]
    assert sorted(held) == [layer.index for layer in partition.layers]
    assert len(inspection.blocks) <= 24
    assert sum(block.injections for block in inspection.blocks) == len(partition.injections)
    firsts = [block.layers[0].index for block in inspection.blocks]
    assert firsts == sorted(firsts)
    tail = {
        layer.node for block in inspection.blocks if block.state == "tail" for layer in block.layers
    }
    assert tail == set(facts(name).tail) - set(facts(name).computed)
    for block in inspection.blocks:
        assert (block.reason is None) == (block.state != "frozen")
        trained = inspection.everything.count_in(block)
        assert trained == (0 if block.state == "frozen" else len(block.layers))
        assert bool(inspection.name_choices_for(block)) == bool(trained)


def test_vectors_of_both_inputs(tmp_path: Path) -> None:
    """Of a swapper that mixes a vector of the target into the identity before it is injected."""
    model = build_inswapper()
    names = [node.name for node in model.graph.node]
    features = model.graph.node[names.index("Conv_62")].output[0]
    style = model.graph.node[names.index("Gemm_73")]
    channels = onnx.numpy_helper.to_array(
        next(one for one in model.graph.initializer if one.name == "Conv_62.weight")
    ).shape[0]
    weight = numpy.ones((channels, 512), numpy.float32)
    model.graph.initializer.insert(0, onnx.numpy_helper.from_array(weight, "look"))
    style.input[0] = "mixed"
    mixing = [
        helper.make_node("GlobalAveragePool", [features], ["pooled"], "Pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "Flatten"),
        helper.make_node("Gemm", ["flat", "look"], ["looked"], "Look"),
        helper.make_node("Add", ["looked", "source"], ["mixed"], "Mix"),
    ]
    for node in reversed(mixing):
        model.graph.node.insert(names.index("Gemm_73"), node)
    onnx.save(model, str(tmp_path / "mixed.onnx"))
    inspection = inspect_swapper(read_swapper(tmp_path / "mixed.onnx"), PRESETS)
    found = {block.role: [layer.node for layer in block.layers] for block in inspection.blocks}
    assert found["target vector"] == ["Look"]
    assert found["style vectors"] == ["Gemm_73"]
    numbers = {block.role: block.number for block in inspection.blocks}
    style_block = inspection.blocks[numbers["style vectors"] - 1]
    assert style_block.takes == ("source", numbers["target vector"])
    assert style_block.state == "candidate"
    assert "Look" in draw_swapper(inspection)


def test_figures_of_the_small_inswapper(run, small: Path) -> None:
    """Every number against the file itself, read by onnx."""
    model = onnx.load(str(small))
    sizes = {tensor.name: tensor for tensor in model.graph.initializer}
    used = {name for node in model.graph.node for name in node.input}
    numbers = sum(
        int(onnx.numpy_helper.to_array(tensor).size)
        for name, tensor in sizes.items()
        if name in used and tensor.data_type == TensorProto.FLOAT
    )
    tail = ["Conv_590", "Conv_594", "Conv_596", "Conv_612"]
    trained = sum(
        int(onnx.numpy_helper.to_array(sizes[f"{node}.{part}"]).size)
        for node in tail
        for part in ("weight", "bias")
    )
    code, out, err = run(small, "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert found["file"] == {
        "path": str(small),
        "name": "small.onnx",
        "bytes": small.stat().st_size,
        "external_bytes": 0,
        "sha256": digest_file(small),
        "opset": 11,
        "precision": "fp32",
        "emap": True,
        "linked": False,
    }
    assert found["crop"] == {"width": 64, "height": 64}
    assert found["source"] == {"kind": "vector", "shape": [512]}
    assert found["parameters"] == numbers
    decoder = next(row for row in found["choices"] if row["choice"] == "decoder")
    assert (decoder["layers"], decoder["parameters"]) == (4, trained)
    assert decoder["presets"] == ["fast"]
    assert decoder["cache_bytes_fp32"] == 2 * decoder["cache_bytes_fp16"]
    whole = next(row for row in found["choices"] if row["choice"] == "all")
    assert found["trainable_parameters"] == whole["parameters"]
    assert found["trainable_layers"] == whole["layers"]
    assert sum(block["layers"] for block in found["blocks"]) == found["layers"]
    assert sum(block["multiplications"] for block in found["blocks"]) == found["multiplications"]
    assert sum(block["trainable_parameters"] for block in found["blocks"]) == whole["parameters"]
    last = found["blocks"][-1]
    assert last["last_layer"] == "Conv_612"
    assert last["last_output"] == [3, 64, 64]
    assert last["trained_by"]["last_3"] == 3
    assert sorted(last["presets"]) == ["balanced", "fast", "reconstruction", "thorough"]
    assert found["picture_takes"] == [last["number"]]
    frozen = sum(row["layers"] for row in found["never_trained"])
    assert frozen == found["layers"] - found["trainable_layers"]


def test_every_key_is_documented(run, small: Path) -> None:
    text = DOCUMENTATION.read_text("utf-8")

    def check(value: object) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                if not key.startswith(("stage_", "last_")) and key not in (
                    "decoder",
                    "tail",
                    "all",
                ):
                    assert f"`{key}`" in text, key
                check(inner)
        elif isinstance(value, list):
            for inner in value:
                check(inner)

    check(json.loads(run(small, "--json")[1]))


def test_presets_are_those_of_the_package(run, small: Path) -> None:
    found = json.loads(run(small, "--json")[1])
    assert found["presets"] == [
        {"preset": name, "layers": load_preset(name).layers, "refusal": None}
        for name in list_presets()
    ]


def test_preset_that_does_not_fit(small: Path) -> None:
    inspection = inspect_swapper(read_swapper(small), PRESETS)
    refusals = {preset.name: preset.refusal for preset in inspection.presets}
    assert refusals["fast"] is None
    assert "trainable layers in a row" in (refusals["deep"] or "")
    assert any(note.startswith("The preset deep cannot be used") for note in inspection.notes)


def test_what_is_never_trained(families, tmp_path: Path) -> None:
    reasons = {reason.text: reason.layers for reason in families("hififace_unofficial_256").reasons}
    assert reasons["1 output channel producing a mask"] == 1
    assert reasons["produces a mask"] == 1

    model = build_inswapper()
    nodes = {node.name: node for node in model.graph.node}
    nodes["Conv_287"].input[2] = nodes["Conv_242"].input[2]
    nodes["Conv_197"].input[1] = nodes["Conv_152"].input[1]
    nodes["Conv_107"].input[1] = nodes["Conv_62"].input[1]
    onnx.save(model, str(tmp_path / "shared.onnx"))
    inspection = inspect_swapper(read_swapper(tmp_path / "shared.onnx"), PRESETS)
    reasons = {reason.text: reason.layers for reason in inspection.reasons}
    assert reasons["a bias shared with other layers"] == 2
    assert reasons["shares its weight with a layer that is not trained"] == 1
    assert "1 weight shared by several layers, which are trained together." in inspection.notes


def test_notes(families) -> None:
    notes = " ".join(families("hyperswap_1a_256").notes)
    assert "'decoder' means the layers whose output is at least 128 pixels high" in notes
    assert "weights are 16-bit" in notes
    assert "one sample at a time" in " ".join(families("uniface_256").notes)
    assert families("simswap_256").notes[:-1] == ()


@pytest.mark.parametrize("name", ["inswapper_128", "hyperswap_1a_256"])
def test_table_fits_a_pipe(run, families, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    code, out, err = run(families(name).graph.path)
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out
    for text in (
        "Choices of trainable layers",
        "balanced",
        "Layers that are never trained",
        "target encoder",
    ):
        assert text in out
    assert "\N{HORIZONTAL ELLIPSIS}" not in out


def test_names_of_strangers_do_not_reach_the_terminal(run, tmp_path: Path) -> None:
    model = rename(build_inswapper(), lambda index: f"{HOSTILE}{index}")
    onnx.save(model, str(tmp_path / "hostile.onnx"))
    code, out, _ = run(tmp_path / "hostile.onnx", "--graph", tmp_path / "hostile.svg")
    assert code == 0
    assert not any(letter in out for letter in "\x1b\r\u202e")
    assert max(map(len, out.splitlines()[:-1])) <= 80
    found = json.loads(run(tmp_path / "hostile.onnx", "--json")[1])
    assert found["blocks"][0]["first_layer"].startswith(HOSTILE)
    assert ElementTree.parse(tmp_path / "hostile.svg").getroot().tag.endswith("svg")


def test_graph_with_json_leaves_stdout_to_it(run, small: Path, tmp_path: Path) -> None:
    drawing = tmp_path / "small.svg"
    drawing.write_text("the former one")
    code, out, err = run(small, "--json", "--graph", drawing)
    assert (code, err) == (0, "")
    assert json.loads(out)["layers"] > 0
    assert drawing.read_text("utf-8").startswith("<svg")
    code, out, _ = run(small, "--graph", drawing)
    assert (code, out.splitlines()[-1]) == (0, f"drawn: {drawing}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.onnx", "small.svg"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["inswapper_128"], 2, ".assets/models/inswapper_128.onnx"),
        (["missing.onnx"], 1, "no such file"),
        (["{small}", "--graph", "{small}"], 2, "the drawing is an SVG file"),
        (["{small}", "--graph", "{folder}/none/x.svg"], 1, "it cannot be written"),
        (["{folder}"], 1, "not a valid ONNX"),
        (["{other}"], 1, "it is not a face swapper"),
        ([], 2, "Missing argument"),
    ],
)
def test_wrong_use(
    run, small: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    value = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 112, 112])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 3, 112, 112])
    node = helper.make_node("Relu", ["input"], ["output"])
    other = helper.make_model(
        helper.make_graph([node], "recogniser", [value], [output]),
        opset_imports=[helper.make_opsetid("", 11)],
        ir_version=6,
    )
    onnx.save(other, str(tmp_path / "other.onnx"))
    places = {"small": small, "folder": tmp_path, "other": tmp_path / "other.onnx"}
    before = small.read_bytes()
    ended, out, err = run(*(argument.format(**places) for argument in arguments))
    assert (ended, out) == (code, "")
    assert message in " ".join(err.split())
    assert "Traceback" not in err
    assert small.read_bytes() == before


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 k"),
        (25427, "25.4 k"),
        (999_499, "999 k"),
        (999_500, "1.00 M"),
        (138_333_444, "138 M"),
        (174_600_000_000, "175 G"),
    ],
)
def test_numbers_in_few_characters(number: int, text: str) -> None:
    assert format_count(number) == text


def test_long_texts_are_shortened_in_the_middle() -> None:
    assert shorten("abcdefghij", 7) == "ab...ij"
    assert shorten("abc", 7) == "abc"
    assert shorten("a\nb\x00\u202e", 9) == "a?b??"
    assert len(shorten("x" * 5000, 30)) == 30
