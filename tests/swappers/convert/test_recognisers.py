"""ArcFace recognisers of any opset: the same vectors as the file, gradients to the picture."""

from pathlib import Path

import numpy
import onnxruntime
import pytest
import torch

from facefusion_finetune.swappers.catalogue import RecogniserOptions
from facefusion_finetune.swappers.convert.convert import convert_graph
from facefusion_finetune.swappers.convert.parity import measure_difference
from facefusion_finetune.swappers.files.modelfile import open_model
from facefusion_finetune.swappers.graphs.shapes import trace_graph
from facefusion_finetune.training.losses.recogniser import TorchRecogniser
from tests.support.families import build_recogniser
from tests.support.loss_batches import draw_pictures

OPSETS = range(11, 19)
PICTURES = numpy.random.default_rng(0).uniform(-1, 1, (3, 3, 112, 112)).astype(numpy.float32)


def _write(folder: Path, opset: int) -> Path:
    path = folder / f"recogniser_{opset}.onnx"
    path.write_bytes(build_recogniser(opset=opset).SerializeToString())
    return path


@pytest.mark.parametrize("opset", OPSETS)
def test_vectors_and_gradients(opset: int, tmp_path: Path) -> None:
    path = _write(tmp_path, opset)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    expected = numpy.concatenate(
        [session.run(None, {name: PICTURES[i : i + 1]})[0] for i in range(len(PICTURES))]
    )
    network = convert_graph(trace_graph(open_model(path)))
    pictures = torch.from_numpy(PICTURES).requires_grad_(True)
    vectors = network(pictures)
    assert measure_difference(vectors.detach().numpy(), expected) < 1e-3
    vectors.square().sum().backward()
    assert pictures.grad is not None
    assert bool((pictures.grad.abs().amax((1, 2, 3)) > 0).all())
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("opset", [11, 18])
def test_gradient_is_the_slope(opset: int, tmp_path: Path) -> None:
    network = convert_graph(trace_graph(open_model(_write(tmp_path, opset))))
    generator = torch.Generator().manual_seed(0)
    picture = torch.from_numpy(PICTURES[:1]).requires_grad_(True)
    weight = torch.randn(1, 512, generator=generator)
    (network(picture) * weight).sum().backward()
    assert picture.grad is not None
    direction = picture.grad / picture.grad.norm()
    with torch.no_grad():
        ends = [(network(picture + step * direction) * weight).sum() for step in (-1e-2, 1e-2)]
    slope = float(ends[1] - ends[0]) / 2e-2
    assert slope == pytest.approx(float(picture.grad.norm()), rel=0.05)


def test_stages_are_found(tmp_path: Path) -> None:
    path = _write(tmp_path, 13)
    recogniser = TorchRecogniser(RecogniserOptions("r", path, "a", (112, 112), 127.5, 127.5))
    matrices = torch.tensor([[[0.8, 0.0, 3.0], [0.0, 0.8, 3.0]]]).expand(2, 2, 3)
    features = recogniser.compute_features(draw_pictures(2, size=(128, 128)), matrices)
    assert [feature.shape[2] for feature in features] == [56, 28]
