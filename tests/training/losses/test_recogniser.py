"""The recogniser in PyTorch sees what the file sees, through the same warp."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.catalogue import RecogniserOptions
from facefusion_finetune.swappers.sessions import create_session, embed_crops
from facefusion_finetune.training.losses.recogniser import TorchRecogniser
from tests.support.loss_batches import draw_pictures

IDENTITY = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])


def _pictures(count: int, size: int) -> numpy.ndarray:
    noise = numpy.random.default_rng(2).uniform(0, 255, (count, size, size, 3))
    blurred = [cv2.GaussianBlur(picture, (0, 0), 2) for picture in noise]
    return numpy.stack(blurred).round().astype(numpy.uint8)


def _tensor(pictures: numpy.ndarray) -> torch.Tensor:
    rgb = numpy.ascontiguousarray(pictures[..., ::-1].transpose(0, 3, 1, 2))
    return torch.from_numpy(rgb.astype(numpy.float32) / 255)


def test_vectors_equal_those_of_the_file(analyser: DemoAnalyser) -> None:
    options = analyser.get_recogniser()
    pictures = _pictures(3, options.size[0])
    expected = embed_crops(create_session(options.path, options.name), options, pictures)
    expected /= numpy.linalg.norm(expected, axis=1, keepdims=True)
    vectors = TorchRecogniser(options)(_tensor(pictures), IDENTITY.expand(3, 2, 3))
    numpy.testing.assert_allclose(vectors.numpy(), expected, atol=1e-4)


def test_warp_equals_opencv(analyser: DemoAnalyser) -> None:
    options = analyser.get_recogniser()
    pictures = _pictures(1, 96)
    matrix = numpy.array([[0.55, 0.08, 3.2], [-0.07, 0.6, 6.1]])
    expected = cv2.warpAffine(
        pictures[0].astype(numpy.float32), matrix, options.size, borderMode=cv2.BORDER_REPLICATE
    )
    recogniser = TorchRecogniser(options)
    warped = recogniser.warp(_tensor(pictures), torch.from_numpy(matrix[None]).float())
    values = warped[0].permute(1, 2, 0).numpy() * options.standard_deviation + options.mean
    assert numpy.abs(values[..., ::-1] - expected).mean() < 0.6


def test_stages_are_found(analyser: DemoAnalyser) -> None:
    options = analyser.get_recogniser()
    features = TorchRecogniser(options).compute_features(draw_pictures(2), IDENTITY.expand(2, 2, 3))
    assert [feature.shape[2] for feature in features] == [
        options.size[0] // 2,
        options.size[0] // 4,
    ]


def test_features_are_those_on_the_way_to_the_vector(analyser: DemoAnalyser) -> None:
    recogniser = TorchRecogniser(analyser.get_recogniser())
    crops = draw_pictures(2)
    matrices = IDENTITY.expand(2, 2, 3)
    seen: list[torch.Tensor] = []
    for module in recogniser.network.network.children():
        module.register_forward_hook(lambda module, inputs, output: seen.append(output))
    recogniser(crops, matrices)
    on_the_way = list(seen)
    seen.clear()
    features = recogniser.compute_features(crops, matrices)
    assert len(seen) < len(on_the_way)
    for feature in features:
        assert any(torch.equal(feature, other) for other in on_the_way)


def test_under_autocast_only_the_network_is_coarse(analyser: DemoAnalyser) -> None:
    recogniser = TorchRecogniser(analyser.get_recogniser())
    crops = _tensor(_pictures(2, 96))
    matrices = torch.tensor([[[0.6, 0.1, 3.0], [-0.1, 0.7, 2.0]]]).expand(2, 2, 3)
    warped, exact = recogniser.warp(crops, matrices), recogniser(crops, matrices)
    features = recogniser.compute_features(crops, matrices)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(recogniser.warp(crops, matrices), warped)
        coarse = recogniser(crops, matrices)
        assert not torch.equal(recogniser.compute_features(crops, matrices)[0], features[0])
    assert coarse.dtype == torch.float32
    assert not torch.equal(coarse, exact)
    assert torch.nn.functional.cosine_similarity(coarse, exact).min().item() > 0.99


def test_batch_of_one_that_is_baked_in(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    weight = numpy.random.default_rng(0).normal(size=(48, 512)).astype(numpy.float32)
    graph = helper.make_graph(
        [
            helper.make_node("AveragePool", ["input"], ["p"], kernel_shape=[4, 4], strides=[4, 4]),
            helper.make_node("Reshape", ["p", "shape"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weight"], ["output"]),
        ],
        "recogniser",
        [value("input", TensorProto.FLOAT, [1, 3, 16, 16])],
        [value("output", TensorProto.FLOAT, [1, 512])],
        [
            numpy_helper.from_array(numpy.array([1, 48]), "shape"),
            numpy_helper.from_array(weight, "weight"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    onnx.save(model, str(tmp_path / "r.onnx"))
    options = RecogniserOptions("r", tmp_path / "r.onnx", "demo_64", (16, 16), 127.5, 127.5)
    crops = draw_pictures(3, size=(16, 16)).requires_grad_(True)
    vectors = TorchRecogniser(options)(crops, IDENTITY.expand(3, 2, 3))
    alone = TorchRecogniser(options)(crops[1:2], IDENTITY)
    assert torch.allclose(vectors[1:2], alone, atol=1e-5)
    vectors.sum().backward()
    assert crops.grad is not None
    assert float(crops.grad.abs().max()) > 0


def test_missing_file(analyser: DemoAnalyser, tmp_path: Path) -> None:
    with pytest.raises(SwapperError, match="no such file"):
        TorchRecogniser(replace(analyser.get_recogniser(), path=tmp_path / "missing.onnx"))
