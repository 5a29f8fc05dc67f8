"""The converted network computes what the file computes, and only the named layers move."""

from pathlib import Path

import numpy
import onnx
import pytest
import torch

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.convert.parity import check_parity
from facefusion_finetune.swappers.files.writeback import save_model
from facefusion_finetune.swappers.graphs.graph import read_swapper, select_layers
from facefusion_finetune.swappers.sessions import create_session
from tests.support.inswapper import write_inswapper

generator = numpy.random.default_rng(0)
TARGETS = generator.uniform(0, 1, (3, 3, 64, 64)).astype(numpy.float32)
SOURCES = (generator.normal(size=(3, 512)) / 22).astype(numpy.float32)


def test_torch_and_onnxruntime_agree_at_any_batch(tmp_path: Path) -> None:
    options = write_inswapper(tmp_path / "swapper.onnx")
    swapper = TorchSwapper(read_swapper(options.path), [])
    session = create_session(options.path, "swapper")
    for count in (1, 2, 3):
        assert check_parity(swapper, session, TARGETS[:count], SOURCES[:count], 1e-5) < 1e-5


def test_disagreement_is_refused(tmp_path: Path) -> None:
    options = write_inswapper(tmp_path / "swapper.onnx")
    graph = read_swapper(options.path)
    swapper = TorchSwapper(graph, graph.decoder)
    with torch.no_grad():
        swapper.trained["Conv_612.bias"].add_(0.05)
    session = create_session(options.path, "swapper")
    with pytest.raises(SwapperError, match=r"differ by .* first at node 'Conv_612'"):
        check_parity(swapper, session, TARGETS, SOURCES, 1e-3)
    with torch.no_grad():
        swapper.trained["Conv_594.bias"].fill_(float("nan"))
    with pytest.raises(SwapperError, match="first at node 'Conv_594'"):
        check_parity(swapper, session, TARGETS, SOURCES, 1e-3)


def test_mixed_up_batch_is_told_apart_from_a_wrong_node(tmp_path: Path) -> None:
    options = write_inswapper(tmp_path / "swapper.onnx")
    swapper = TorchSwapper(read_swapper(options.path), [])
    forward = swapper.network.forward
    swapper.network.forward = lambda *inputs: forward(*inputs).flip(0)  # type: ignore[method-assign]
    with pytest.raises(SwapperError, match="samples of a batch are mixed up"):
        check_parity(swapper, create_session(options.path, "it"), TARGETS, SOURCES, 1e-3)


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


def test_weights_that_do_not_belong_are_refused(tmp_path: Path) -> None:
    graph = read_swapper(write_inswapper(tmp_path / "swapper.onnx").path)
    bias = numpy.zeros(3, dtype=numpy.float32)
    for weights, message in (
        ({"Conv_999.bias": bias}, "not in the base file"),
        ({"Conv_612.bias": numpy.zeros(4, dtype=numpy.float32)}, "does not fit"),
        ({"Conv_612.bias": bias + numpy.float32("nan")}, "not finite"),
    ):
        with pytest.raises(SwapperError, match=message):
            save_model(graph.file, tmp_path / "tuned.onnx", weights)
        assert not (tmp_path / "tuned.onnx").exists()


def test_operator_without_converter_is_named(tmp_path: Path) -> None:
    options = write_inswapper(tmp_path / "swapper.onnx")
    model = onnx.load(str(options.path))
    next(node for node in model.graph.node if node.op_type == "Tanh").op_type = "Asinh"
    onnx.save(model, str(options.path))
    with pytest.raises(SwapperError, match="cannot be converted to PyTorch"):
        TorchSwapper(read_swapper(options.path), [])
