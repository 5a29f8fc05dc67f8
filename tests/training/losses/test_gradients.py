"""Every term alone moves every trainable tensor, by every kind of pair that it applies to."""

import numpy
import pytest
import torch

from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.presets.preset import LossWeights
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.graphs.graph import read_swapper
from facefusion_finetune.training.losses.recogniser import TorchRecogniser
from facefusion_finetune.training.losses.swap_loss import APPLIES, SwapLoss
from facefusion_finetune.training.pairs.pair_set import KINDS
from tests.support.loss_batches import create_batch, create_preset

ASKED = {
    "l1": {"cycle", "self", "prior"},
    "high_pass": {"cycle", "self", "prior"},
    "ssim": {"cycle", "self"},
    "perceptual": {"cycle", "self", "prior"},
    "features": {"cycle", "self"},
    "identity": {"cycle", "self", "cross"},
    "anchor": {"cross"},
}
"""Which pairs each term makes sense for: those that have what it compares with."""

PLACES = [(term, kind) for term in ASKED for kind in KINDS]


def _create_loss(analyser: DemoAnalyser, term: str) -> SwapLoss:
    direction = torch.from_numpy(analyser.sample_other_vectors(1, 0)[0].astype(numpy.float32))
    return SwapLoss(
        create_preset(**{term: 1.0}), TorchRecogniser(analyser.get_recogniser()), direction
    )


@pytest.fixture(scope="module")
def swapper(analyser: DemoAnalyser) -> TorchSwapper:
    graph = read_swapper(analyser.get_swapper("demo").path)
    return TorchSwapper(graph, graph.decoder)


def test_every_term_is_of_some_kind() -> None:
    assert set(ASKED) == set(LossWeights.model_fields) - {"stay"}
    assert {term: set(kinds) for term, kinds in APPLIES.items()} == ASKED


@pytest.mark.parametrize(("term", "kind"), PLACES)
def test_each_term_alone(
    term: str, kind: str, analyser: DemoAnalyser, swapper: TorchSwapper
) -> None:
    batch = create_batch(kind, kind)
    output = swapper(batch.target, batch.source)
    total, terms = _create_loss(analyser, term)(output, batch)
    gradients = torch.autograd.grad(total.sum(), list(swapper.trained.values()))
    assert list(terms) == [term]
    assert len(gradients) == 8
    for name, gradient in zip(swapper.trained, gradients, strict=True):
        assert bool(torch.isfinite(gradient).all()), name
        assert (float(gradient.abs().max()) > 0) == (kind in ASKED[term]), name
    assert bool((total > 0).all()) == (kind in ASKED[term])


@pytest.mark.parametrize("term", ASKED)
def test_in_a_mixed_batch_only_its_own_kinds_get_a_gradient(
    term: str, analyser: DemoAnalyser
) -> None:
    batch = create_batch(*KINDS)
    output = batch.target.clone().requires_grad_(True)
    total, _ = _create_loss(analyser, term)(output, batch)
    (gradient,) = torch.autograd.grad(total.sum(), output)
    for row, kind in enumerate(KINDS):
        assert (float(gradient[row].abs().max()) > 0) == (kind in ASKED[term]), kind
        assert (float(total[row].detach()) > 0) == (kind in ASKED[term]), kind


def test_stay_pulls_every_tensor_back(analyser: DemoAnalyser) -> None:
    graph = read_swapper(analyser.get_swapper("demo").path)
    swapper = TorchSwapper(graph, graph.decoder)
    origin = {name: tensor.detach().clone() for name, tensor in swapper.trained.items()}
    assert SwapLoss.measure_stay(swapper.trained, origin).item() == 0
    with torch.no_grad():
        for tensor in swapper.trained.values():
            tensor.add_(0.01)
    SwapLoss.measure_stay(swapper.trained, origin).backward()
    for name, tensor in swapper.trained.items():
        assert tensor.grad is not None, name
        assert bool(torch.isfinite(tensor.grad).all()), name
        assert float(tensor.grad.min()) > 0, name
