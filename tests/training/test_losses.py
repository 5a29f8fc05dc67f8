"""Every term alone moves every trainable tensor; none of them is dead."""

import numpy
import pytest
import torch

from facefusion_finetune.faces.demo import DemoAnalyser
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.graphs.graph import read_swapper
from facefusion_finetune.training.losses import SwapLoss, compute_gradient_loss, high_pass
from facefusion_finetune.training.pairs import Batch
from facefusion_finetune.training.presets import LossWeights, parse_preset
from facefusion_finetune.training.recogniser import TorchRecogniser
from tests.support.demo_world import QUICK_PRESET


def _batch(is_person: bool = True) -> Batch:
    generator = torch.Generator().manual_seed(0)
    identity = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    return Batch(
        target=torch.rand(2, 3, 64, 64, generator=generator),
        source=torch.randn(2, 512, generator=generator) / 22,
        truth=torch.rand(2, 3, 64, 64, generator=generator),
        face=torch.ones(2, 1, 64, 64),
        matrix=identity.expand(2, 2, 3).clone(),
        is_person=torch.tensor([is_person, is_person]),
    )


def _loss(analyser: DemoAnalyser, **weights: float) -> SwapLoss:
    preset = parse_preset(QUICK_PRESET, "quick").model_copy(
        update={"losses": LossWeights(**weights)}
    )
    direction = torch.from_numpy(analyser.sample_other_vectors(1, 0)[0].astype(numpy.float32))
    return SwapLoss(preset, TorchRecogniser(analyser.get_recogniser()), direction)


@pytest.mark.parametrize("term", sorted(LossWeights.model_fields))
def test_each_term_alone_has_a_gradient_on_every_trainable_tensor(
    term: str, analyser: DemoAnalyser
) -> None:
    graph = read_swapper(analyser.get_swapper("demo").path)
    swapper = TorchSwapper(graph, graph.decoder)
    batch = _batch()
    total, terms = _loss(analyser, **{term: 1.0})(swapper(batch.target, batch.source), batch)
    total.backward()
    assert list(terms) == [term]
    assert len(swapper.trained) == 8
    for name, parameter in swapper.trained.items():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name


@pytest.mark.parametrize("term", ["l1", "high_pass", "perceptual"])
def test_perfect_output_costs_nothing(term: str, analyser: DemoAnalyser) -> None:
    batch = _batch()
    total, _ = _loss(analyser, **{term: 1.0})(batch.truth, batch)
    assert float(total) == pytest.approx(0, abs=1e-6)


def test_identity_asks_prior_pairs_for_nothing(analyser: DemoAnalyser) -> None:
    batch = _batch(is_person=False)
    output = batch.target.clone().requires_grad_(True)
    total, _ = _loss(analyser, identity=1.0)(output, batch)
    total.backward()
    assert total.item() == 0
    assert output.grad is not None
    assert float(output.grad.abs().max()) == 0


def test_identity_falls_when_followed(analyser: DemoAnalyser) -> None:
    batch = _batch()
    loss = _loss(analyser, identity=1.0)
    output = batch.target.clone().requires_grad_(True)
    first, _ = loss(output, batch)
    first.backward()
    assert output.grad is not None
    second, _ = loss((output - 0.02 * output.grad.sign()).detach(), batch)
    assert second.item() < first.item()


def test_face_counts_more_than_the_rest(analyser: DemoAnalyser) -> None:
    batch = _batch()
    half = torch.zeros(2, 1, 64, 64)
    half[..., :32] = 1
    batch = Batch(**{**vars(batch), "face": half})
    loss = _loss(analyser, l1=1.0)
    inside, outside = batch.truth.clone(), batch.truth.clone()
    inside[..., :32] += 0.1
    outside[..., 32:] += 0.1
    ratio = float(loss(inside, batch)[0]) / float(loss(outside, batch)[0])
    assert ratio == pytest.approx(1.4 / 0.4, rel=1e-4)


def test_high_pass_ignores_colour_and_sees_detail() -> None:
    flat = torch.full((1, 3, 16, 16), 0.4)
    assert float(high_pass(flat).abs().max()) < 1e-6
    dot = flat.clone()
    dot[..., 8, 8] = 1
    assert float(high_pass(dot).abs().max()) > 0.3
    assert float(compute_gradient_loss(flat + 0.2, flat)) == pytest.approx(0, abs=1e-6)
    assert float(compute_gradient_loss(dot, flat)) > 0.001
