"""Weights of 16 bits: proven to compute the same, or refused with the figure."""

from pathlib import Path

import numpy
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers import precision
from facefusion_finetune.swappers.branches.gate import IdentityGate
from facefusion_finetune.swappers.branches.insert import add_branches
from facefusion_finetune.swappers.branches.split import split_branches
from facefusion_finetune.swappers.files.modelfile import open_model
from facefusion_finetune.swappers.files.writeback import save_model
from facefusion_finetune.swappers.graphs.graph import read_swapper, select_layers
from facefusion_finetune.swappers.precision import create_inputs, write_fp16
from tests.support.families import ENTRIES, ONE_OF_EACH, build
from tests.support.inswapper import write_inswapper

HALF = [name for name, entry in ENTRIES.items() if entry.precision == "fp16"]


def test_inswapper_with_16_bits(tmp_path: Path) -> None:
    model = open_model(write_inswapper(tmp_path / "swapper.onnx").path)
    worst = write_fp16(model, tmp_path / "half.onnx", create_inputs(model))
    assert 0 < worst < precision.MAX_DIFFERENCE
    half = open_model(tmp_path / "half.onnx")
    assert half.size < 0.7 * model.size
    assert list(half.tensors) == list(model.tensors)
    onnx.checker.check_model(str(tmp_path / "half.onnx"), full_check=True)
    emap = onnx.numpy_helper.to_array(onnx.load(str(tmp_path / "half.onnx")).graph.initializer[-1])
    assert emap.dtype == numpy.float32
    assert (emap == model.read_tensor("buff2fs")).all()
    assert half.tensors["Conv_612.weight"].dtype == numpy.float16
    session = onnxruntime.InferenceSession(str(tmp_path / "half.onnx"))
    assert {value.type for value in [*session.get_inputs(), *session.get_outputs()]} == {
        "tensor(float)"
    }


@pytest.mark.parametrize("name", [name for name in ONE_OF_EACH if name != "inswapper_128"])
def test_other_families_with_16_bits(name: str, tmp_path: Path) -> None:
    onnx.save(build(name, precision="fp32"), str(tmp_path / "base.onnx"))
    model = open_model(tmp_path / "base.onnx")
    assert (
        write_fp16(model, tmp_path / "half.onnx", create_inputs(model)) < precision.MAX_DIFFERENCE
    )
    half = open_model(tmp_path / "half.onnx")
    assert half.size < 0.75 * model.size
    assert list(half.tensors)[-1] == list(model.tensors)[-1]


@pytest.mark.parametrize("name", ["simswap_256", "ghost_2_256", "hififace_unofficial_256"])
def test_branches_with_16_bits(name: str, tmp_path: Path) -> None:
    onnx.save(build(name, width=1 / 16, precision="fp32"), str(tmp_path / "base.onnx"))
    base = read_swapper(tmp_path / "base.onnx")
    gate = IdentityGate(numpy.eye(512, dtype=numpy.float32)[0], 0.3, 0.8)
    branched = add_branches(base, select_layers(base, "decoder"), 4, gate, 0)
    random = numpy.random.default_rng(0)
    weights = {
        key: (0.1 * random.standard_normal(stored.dims)).astype(numpy.float32)
        for key, stored in branched.file.tensors.items()
        if key.startswith("branch/") and key.endswith("/up")
    }
    save_model(branched.file, tmp_path / "tuned.onnx", weights)
    model = open_model(tmp_path / "tuned.onnx")
    inputs = create_inputs(model)
    assert (
        gate.measure_opening(numpy.concatenate([feed["source"] for feed in inputs])) == [1, 0]
    ).all()
    assert write_fp16(model, tmp_path / "half.onnx", inputs) < precision.MAX_DIFFERENCE
    onnx.checker.check_model(str(tmp_path / "half.onnx"), full_check=True)
    half = open_model(tmp_path / "half.onnx")
    assert set(half.tensors) >= set(weights)
    assert {half.tensors[key].dtype for key in weights} == {numpy.dtype(numpy.float16)}
    assert half.tensors["branch/gate/direction"].dtype == numpy.float32
    split = split_branches(half)
    assert split is not None
    assert len(split.branches) == len(weights)
    assert (split.gate.low, split.gate.high) == pytest.approx((0.3, 0.8))


@pytest.mark.parametrize("name", HALF)
def test_file_that_has_16_bits_already(name: str, tmp_path: Path) -> None:
    onnx.save(build(name), str(tmp_path / "base.onnx"))
    model = open_model(tmp_path / "base.onnx")
    with pytest.raises(SwapperError, match="already 16-bit"):
        write_fp16(model, tmp_path / "half.onnx", create_inputs(model))
    assert not (tmp_path / "half.onnx").exists()


def test_linked_file_becomes_a_plain_one(tmp_path: Path) -> None:
    base = open_model(write_inswapper(tmp_path / "swapper.onnx").path)
    save_model(base, tmp_path / "m.onnx", {}, {"a": "1"}, link="swapper.onnx")
    model = open_model(tmp_path / "m.onnx")
    assert model.is_linked
    write_fp16(model, tmp_path / "half.onnx", create_inputs(model))
    half = open_model(tmp_path / "half.onnx")
    assert not half.is_linked
    assert [(prop.key, prop.value) for prop in half.skeleton.metadata_props] == [("a", "1")]


def test_difference_is_refused_with_the_figure(tmp_path: Path) -> None:
    """A weight of 1e6 is the largest number of 16 bits, 65504, afterwards."""
    value = helper.make_tensor_value_info
    large = numpy_helper.from_array(numpy.full((4, 512), 1e6, numpy.float32), "w")
    small = numpy_helper.from_array(numpy.ones((512, 4), numpy.float32), "v")
    nodes = [
        helper.make_node("MatMul", ["source", "v"], ["a"], name="a"),
        helper.make_node("MatMul", ["a", "w"], ["output"], name="b"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [value("source", TensorProto.FLOAT, [1, 512])],
        [value("output", TensorProto.FLOAT, [1, 512])],
        [large, small],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    onnx.save(model, str(tmp_path / "m.onnx"))
    opened = open_model(tmp_path / "m.onnx")
    feed = {"source": numpy.linspace(-1, 1, 512, dtype=numpy.float32)[None] ** 2}
    with pytest.raises(SwapperError, match=r"differs by [0-9.e+inf]+ of its range") as caught:
        write_fp16(opened, tmp_path / "half.onnx", [feed])
    assert "without --precision fp16" in caught.value.todo
    assert not (tmp_path / "half.onnx").exists()


def test_inputs_are_drawn_alike_each_time(tmp_path: Path) -> None:
    model = open_model(write_inswapper(tmp_path / "swapper.onnx").path)
    (first, _), (again, _) = create_inputs(model), create_inputs(model)
    assert first["target"].shape == (1, 3, 64, 64)
    assert numpy.linalg.norm(first["source"]) == pytest.approx(1)
    assert all((first[name] == again[name]).all() for name in first)
