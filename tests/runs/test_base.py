"""Which base a name or a file means, and that it is what it says."""

from dataclasses import replace
from pathlib import Path

import numpy
import onnx
import pytest

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.runs.base import open_base, resolve_base
from facefusion_finetune.swappers.branches.gate import IdentityGate
from facefusion_finetune.swappers.branches.insert import add_branches
from facefusion_finetune.swappers.files.writeback import save_model
from facefusion_finetune.swappers.graphs.graph import read_swapper, select_layers
from tests.support.families import build
from tests.support.family_world import FamilyAnalyser


@pytest.fixture(scope="module")
def world(footage: Path, tmp_path_factory: pytest.TempPathFactory) -> FamilyAnalyser:
    return FamilyAnalyser([footage], tmp_path_factory.mktemp("swappers"))


def _write(path: Path, name: str) -> Path:
    onnx.save(build(name), str(path))
    return path


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("simswap_256_mine.onnx", "simswap_256"),
        ("blendswap_256.onnx", "blendswap_256"),
        ("inswapper_128_fp16-2.onnx", "inswapper_128_fp16"),
    ],
)
def test_a_file_is_fed_as_the_model_its_name_begins_with(
    world: FamilyAnalyser, tmp_path: Path, file: str, name: str
) -> None:
    path = _write(tmp_path / file, name)
    options = resolve_base(str(path), world)
    known = world.get_swapper(name)
    assert options == replace(known, name=path.stem, path=path)
    assert open_base(options, world).source_shape == known.family.source_shape


def test_any_other_file_must_have_the_layout_of_an_inswapper(
    world: FamilyAnalyser, tmp_path: Path
) -> None:
    path = _write(tmp_path / "inswapper_1280.onnx", "inswapper_128")
    options = resolve_base(str(path), world)
    assert (options.type, options.template, options.size) == (
        "inswapper",
        "arcface_128",
        (128, 128),
    )
    assert options.licence == "unknown: that of the given file"
    path = _write(tmp_path / "mine.onnx", "hyperswap_1a_256")
    with pytest.raises(SwapperError, match="neither its name nor its layout") as caught:
        resolve_base(str(path), world)
    assert "Start the file's name with that of the model it derives from" in caught.value.todo
    assert "uniface_256" in caught.value.todo


def test_a_file_under_another_models_name_is_refused(world: FamilyAnalyser, tmp_path: Path) -> None:
    for file, name in (
        ("simswap_unofficial_512_x", "simswap_256"),
        ("uniface_256_x", "blendswap_256"),
    ):
        path = _write(tmp_path / f"{file}.onnx", name)
        with pytest.raises(SwapperError, match=r"it takes crops of \[256, 256\] and a source of"):
            open_base(resolve_base(str(path), world), world)


def test_a_template_the_analyser_lacks_is_said(world: FamilyAnalyser) -> None:
    options = replace(world.get_swapper("hyperswap_1a_256"), template="dfl_whole_face")
    with pytest.raises(SwapperError, match="has no face alignment template 'dfl_whole_face'"):
        open_base(options, world)


def test_a_gated_model_is_no_base(world: FamilyAnalyser, tmp_path: Path) -> None:
    base = read_swapper(_write(tmp_path / "inswapper_128.onnx", "inswapper_128"))
    gate = IdentityGate(numpy.eye(512, dtype=numpy.float32)[0], 0.3, 0.7)
    gated = add_branches(base, select_layers(base, "decoder"), 2, gate, 0)
    path = tmp_path / "inswapper_128_ada.onnx"
    save_model(gated.file, path)
    with pytest.raises(SwapperError, match="it is a tuned model, not a base"):
        open_base(resolve_base(str(path), world), world)
