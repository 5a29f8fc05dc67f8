"""The converted network computes what the file computes, and only the named layers move."""

from pathlib import Path

import numpy
import onnx
import pytest
import torch
from onnx import ModelProto, numpy_helper

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.convert import TorchSwapper, check_parity
from facefusion_finetune.swappers.graph import read_swapper, select_layers
from facefusion_finetune.swappers.sessions import create_session
from facefusion_finetune.swappers.writeback import save_model, set_metadata, write_back
from tests.support.inswapper import write_inswapper

generator = numpy.random.default_rng(0)
TARGETS = generator.uniform(0, 1, (3, 3, 64, 64)).astype(numpy.float32)
SOURCES = (generator.normal(size=(3, 512)) / 22).astype(numpy.float32)


def _initializers(model: ModelProto) -> list[tuple[str, bytes]]:
    return [(tensor.name, tensor.SerializeToString()) for tensor in model.graph.initializer]


def test_torch_and_onnxruntime_agree_at_any_batch(tmp_path: Path) -> None:
    options = write_inswapper(tmp_path / "swapper.onnx")
    swapper = TorchSwapper(read_swapper(options.path), [])
    session = create_session(options.path, "swapper")
    for count in (1, 2, 3):
        assert check_parity(swapper, session, TARGETS[:count], SOURCES[:count]) < 1e-5


def test_disagreement_is_refused(tmp_path: Path) -> None:
    options = write_inswapper(tmp_path / "swapper.onnx")
    graph = read_swapper(options.path)
    swapper = TorchSwapper(graph, graph.decoder)
    with torch.no_grad():
        swapper.trained["Conv_612.bias"].add_(0.05)
    with pytest.raises(SwapperError, match="PyTorch and onnxruntime differ"):
        check_parity(swapper, create_session(options.path, "swapper"), TARGETS, SOURCES)
    with torch.no_grad():
        swapper.trained["Conv_612.bias"].fill_(float("nan"))
    with pytest.raises(SwapperError, match="PyTorch and onnxruntime differ"):
        check_parity(swapper, create_session(options.path, "swapper"), TARGETS, SOURCES)


def test_gradients_reach_exactly_the_named_layers(tmp_path: Path) -> None:
    graph = read_swapper(write_inswapper(tmp_path / "swapper.onnx").path)
    swapper = TorchSwapper(graph, select_layers(graph, "last_3"))
    swapper.train()
    assert not any(module.training for module in swapper.modules())
    swapper(torch.from_numpy(TARGETS), torch.from_numpy(SOURCES)).square().sum().backward()
    moved = {id(parameter) for parameter in swapper.parameters() if parameter.grad is not None}
    assert moved == {id(parameter) for parameter in swapper.trained.values()}
    assert all(bool(parameter.grad.abs().sum() > 0) for parameter in swapper.trained.values())
    assert set(swapper.trained) == {
        f"Conv_{number}.{role}" for number in (594, 596, 612) for role in ("weight", "bias")
    }


def test_written_file_differs_in_trained_tensors_alone(tmp_path: Path) -> None:
    options = write_inswapper(tmp_path / "swapper.onnx")
    before = options.path.read_bytes()
    graph = read_swapper(options.path)
    swapper = TorchSwapper(graph, select_layers(graph, "last_2"))
    with torch.no_grad():
        for parameter in swapper.trained.values():
            parameter.add_(torch.randn_like(parameter) * 0.01)
    tuned = write_back(graph.model, swapper.export_weights())
    set_metadata(tuned, {"who": "jane"})
    save_model(tuned, tmp_path / "tuned.onnx")

    base, written = onnx.load_from_string(before), onnx.load(str(tmp_path / "tuned.onnx"))
    changed = [
        first[0]
        for first, second in zip(_initializers(base), _initializers(written), strict=True)
        if first != second
    ]
    assert set(changed) == set(swapper.trained)
    assert [name for name, _ in _initializers(base)] == [name for name, _ in _initializers(written)]
    assert list(base.graph.node) == list(written.graph.node)
    assert list(base.graph.input) == list(written.graph.input)
    assert list(base.graph.output) == list(written.graph.output)
    assert list(base.opset_import) == list(written.opset_import)
    assert base.ir_version == written.ir_version
    assert numpy_helper.to_array(written.graph.initializer[-1]).shape == (512, 512)
    assert {prop.key: prop.value for prop in written.metadata_props}["who"] == "jane"
    session = create_session(tmp_path / "tuned.onnx", "tuned")
    assert check_parity(swapper, session, TARGETS, SOURCES, limit=1e-4) < 1e-4
    assert options.path.read_bytes() == before


def test_weights_that_do_not_belong_are_refused(tmp_path: Path) -> None:
    graph = read_swapper(write_inswapper(tmp_path / "swapper.onnx").path)
    bias = numpy.zeros(3, dtype=numpy.float32)
    for weights, message in (
        ({"Conv_999.bias": bias}, "not in the base file"),
        ({"Conv_612.bias": numpy.zeros(4, dtype=numpy.float32)}, "does not fit"),
        ({"Conv_612.bias": bias + numpy.float32("nan")}, "not finite"),
    ):
        with pytest.raises(SwapperError, match=message):
            write_back(graph.model, weights)


def test_operator_without_converter_is_named(tmp_path: Path) -> None:
    options = write_inswapper(tmp_path / "swapper.onnx")
    model = onnx.load(str(options.path))
    next(node for node in model.graph.node if node.op_type == "Tanh").op_type = "Asinh"
    onnx.save(model, str(options.path))
    with pytest.raises(SwapperError, match="cannot be converted to PyTorch"):
        TorchSwapper(read_swapper(options.path), [])
