"""Files that leave sizes free, or call their inputs otherwise."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy
import onnx
import onnxruntime
import pytest
from onnx import ModelProto

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.runs.base import open_base, resolve_base
from facefusion_finetune.swappers.branches.gate import IdentityGate
from facefusion_finetune.swappers.branches.insert import add_branches
from facefusion_finetune.swappers.branches.select import select_branches
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.convert.parity import measure_difference
from facefusion_finetune.swappers.files.modelfile import open_model
from facefusion_finetune.swappers.files.writeback import save_model
from facefusion_finetune.swappers.graphs.graph import read_swapper
from facefusion_finetune.swappers.precision import create_inputs as draw_inputs
from facefusion_finetune.swappers.precision import write_fp16
from tests.support.disorder import free_sizes
from tests.support.families import build, create_inputs
from tests.support.family_world import FamilyAnalyser
from tests.support.inswapper import build_inswapper, run_inswapper

EVERY_AXIS = (0, 1, 2, 3)
"""What ReSwapper's own export leaves free."""


def save(model: ModelProto, path: Path) -> Path:
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("axes", [EVERY_AXIS, (2, 3), (0, 3)])
@pytest.mark.parametrize("name", ["reswapper_64-1567500", "64px", "mine-64x64"])
def test_size_of_a_file_that_leaves_it_free(name: str, axes: tuple[int, ...], tmp_path: Path):
    plain = read_swapper(save(build_inswapper(), tmp_path / "plain.onnx"))
    graph = read_swapper(save(free_sizes(build_inswapper(), *axes), tmp_path / f"{name}.onnx"))
    assert (graph.size, graph.source_shape) == ((64, 64), (512,))
    assert graph.partition.layers == plain.partition.layers
    assert graph.trace.values == plain.trace.values


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("inswapper_128", (128, 128)),
        ("inswapper_128_mine", (128, 128)),
        ("inswapper_128-reswapper_256", (128, 128)),
        ("reswapper_256-1567500_original", (256, 256)),
        ("reswapper-192", (192, 192)),
    ],
)
def test_name_tells_the_size(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    path = save(free_sizes(build_inswapper(), 2, 3), tmp_path / f"{name}.onnx")
    assert read_swapper(path).size == size


def test_size_that_is_given_comes_before_the_name(tmp_path: Path) -> None:
    path = save(free_sizes(build_inswapper(), 2, 3), tmp_path / "reswapper_256.onnx")
    assert read_swapper(path, (96, 64)).size == (96, 64)


def test_size_in_the_card_comes_before_the_name(tmp_path: Path) -> None:
    model = free_sizes(build_inswapper(), 2, 3)
    model.metadata_props.add(key="facefusion_finetune.size", value=json.dumps([64, 64]))
    assert read_swapper(save(model, tmp_path / "jane-128.onnx")).size == (64, 64)


@pytest.mark.parametrize("value", ["[64]", "64", '["64", 64]', "[-64, 64]", "[true, true]", "["])
def test_damaged_size_in_the_card_does_not_count(value: str, tmp_path: Path) -> None:
    model = free_sizes(build_inswapper(), 2, 3)
    model.metadata_props.add(key="facefusion_finetune.size", value=value)
    assert read_swapper(save(model, tmp_path / "jane-128.onnx")).size == (128, 128)


@pytest.mark.parametrize("name", ["reswapper-1567500", "mine", "swap_2048", "swap_100", "jane-2"])
def test_size_that_nothing_tells(name: str, tmp_path: Path) -> None:
    path = save(free_sizes(build_inswapper(), *EVERY_AXIS), tmp_path / f"{name}.onnx")
    with pytest.raises(SwapperError, match="leaves the size of its input 'target' free") as caught:
        read_swapper(path)
    assert "as in reswapper_256.onnx" in caught.value.todo


def test_free_source_picture(tmp_path: Path) -> None:
    """Only the name can tell how large it is."""
    model = free_sizes(build("blendswap_256"), 2, 3)
    graph = read_swapper(save(model, tmp_path / "blendswap_256_mine.onnx"))
    assert (graph.size, graph.source_shape) == ((256, 256), (3, 112, 112))
    with pytest.raises(SwapperError, match="leaves the size of its input 'source' free"):
        read_swapper(save(model, tmp_path / "faceswap_256.onnx"))


@pytest.mark.parametrize("axes", [EVERY_AXIS, (2, 3)])
def test_free_file_is_tuned_and_stays_free(axes: tuple[int, ...], tmp_path: Path) -> None:
    path = save(free_sizes(build_inswapper(), *axes), tmp_path / "reswapper_64.onnx")
    graph = read_swapper(path)
    swapper = TorchSwapper(graph, graph.decoder)
    weights = {name: array * 1.25 for name, array in swapper.export_weights().items()}
    save_model(graph.file, tmp_path / "tuned_64.onnx", weights)
    before, after = onnx.load(str(path)), onnx.load(str(tmp_path / "tuned_64.onnx"))
    assert (before.graph.input, before.graph.output) == (after.graph.input, after.graph.output)
    tuned = read_swapper(tmp_path / "tuned_64.onnx")
    network = TorchSwapper(tuned, tuned.decoder)
    generator = numpy.random.default_rng(0)
    target = generator.uniform(0, 1, (1, 3, 64, 64)).astype(numpy.float32)
    source = (generator.normal(size=(1, 512)) / 22).astype(numpy.float32)
    output = network.run(target, source)
    assert measure_difference(output, run_inswapper(tmp_path / "tuned_64.onnx")) < 1e-5
    assert measure_difference(output, run_inswapper(path)) > 1e-2


def test_branches_and_16_bits_of_a_free_file(tmp_path: Path) -> None:
    path = save(free_sizes(build_inswapper(), 0, 2, 3), tmp_path / "reswapper_64.onnx")
    graph = read_swapper(path)
    gate = IdentityGate(numpy.eye(512, dtype=numpy.float32)[0], 0.3, 0.8)
    branched = add_branches(graph, graph.decoder, 2, gate, seed=3)
    assert branched.size == (64, 64)
    assert len(select_branches(branched)) == 2 * len(graph.decoder)
    model = open_model(path)
    shapes = {name: array.shape for name, array in draw_inputs(model)[0].items()}
    assert shapes == {"target": (1, 3, 64, 64), "source": (1, 512)}
    assert write_fp16(model, tmp_path / "half_64.onnx", draw_inputs(model)) < 2e-2


def test_free_base_by_its_path_and_by_its_name(tmp_path: Path) -> None:
    analyser = FamilyAnalyser([], tmp_path)
    model = free_sizes(build("inswapper_128", width=1 / 16), *EVERY_AXIS)
    path = save(model, tmp_path / "reswapper_128-1567500.onnx")
    options = resolve_base(str(path), analyser)
    assert (options.type, options.size) == ("inswapper", (128, 128))
    save(model, tmp_path / "inswapper_128.onnx")
    options = resolve_base("inswapper_128", analyser)
    assert open_base(options, analyser).size == (128, 128)
    inputs = create_inputs("inswapper_128")
    assert onnxruntime.InferenceSession(str(path)).run(None, inputs)[0].shape == (1, 3, 128, 128)


def rename(**names: str) -> Callable[[ModelProto], ModelProto]:
    def change(model: ModelProto) -> ModelProto:
        for value in model.graph.input:
            value.name = names.get(value.name, value.name)
        for node in model.graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]
        return model

    return change


@pytest.mark.parametrize(
    ("family", "change", "names"),
    [
        ("hififace_unofficial_256", rename(source="vsid"), "'target' and 'vsid'"),
        ("inswapper_128", rename(target="image"), "'image' and 'source'"),
        ("ghost_1_256", rename(target="Xt", source="id"), "'Xt' and 'id'"),
    ],
)
def test_inputs_that_facefusion_cannot_feed(
    family: str, change: Callable[[ModelProto], ModelProto], names: str, tmp_path: Path
) -> None:
    path = save(change(build(family, width=1 / 16)), tmp_path / "other.onnx")
    with pytest.raises(SwapperError, match="FaceFusion feeds a swapper's inputs by") as caught:
        read_swapper(path)
    assert f"its inputs are called {names}." in caught.value.why


def test_two_pictures_with_other_names_are_no_swapper(tmp_path: Path) -> None:
    model = rename(target="a", source="b")(build("uniface_256", width=1 / 16))
    with pytest.raises(SwapperError, match="not a face swapper"):
        read_swapper(save(model, tmp_path / "other.onnx"))
