"""Each term has the value that can be worked out by hand, for the pairs it makes sense for."""

import math
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch
from torch import Tensor

from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.errors import TrainingError
from facefusion_finetune.presets.preset import LossWeights
from facefusion_finetune.training.losses import perceptual
from facefusion_finetune.training.losses.recogniser import TorchRecogniser
from facefusion_finetune.training.losses.swap_loss import (
    SwapLoss,
    create_loss,
    high_pass,
    measure_identity_level,
)
from facefusion_finetune.training.pairs.pair_set import KINDS, Batch
from tests.support.loss_batches import (
    CENTROID,
    SIDE,
    create_batch,
    create_preset,
    draw_pictures,
)


class FixedRecogniser:
    """Sees a cosine of `cosine` to the centroid in every picture."""

    def __init__(self, cosine: float) -> None:
        self._vector = torch.zeros(512)
        self._vector[:2] = torch.tensor([cosine, math.sqrt(1 - cosine**2)])

    def __call__(self, crops: Tensor, matrices: Tensor) -> Tensor:
        return self._vector.expand(len(crops), 512) + 0 * crops.flatten(1)[:, :1]


def measure(output: Tensor, batch: Batch, term: str) -> Tensor:
    """(n,): the values of a term that needs no network."""
    total, terms = SwapLoss(create_preset(**{term: 1.0}), None, CENTROID)(output, batch)
    assert list(terms) == [term]
    assert torch.equal(total, terms[term])
    return total


def test_l1_weighs_the_face_more_than_the_rest() -> None:
    face = torch.ones(3, 1, SIDE, SIDE)
    face[1] = 0
    face[2, ..., SIDE // 2 :] = 0
    batch = create_batch("cycle", "self", "prior", face=face)
    values = measure(batch.truth + 0.1, batch, "l1")
    assert values.tolist() == pytest.approx([0.14, 0.04, 0.09], rel=1e-4)


def test_high_pass_ignores_colour_and_sees_detail() -> None:
    face = torch.ones(2, 1, SIDE, SIDE)
    face[1] = 0
    batch = create_batch("cycle", "prior", face=face)
    assert measure(batch.truth + 0.2, batch, "high_pass").tolist() == pytest.approx(
        [0, 0], abs=1e-6
    )
    dotted = batch.truth.clone()
    dotted[..., 30, 30] += 0.5
    # The blur leaves 36 / 256 of a dot in place and spreads the rest.
    spread = 0.5 * 2 * (1 - 36 / 256) / SIDE**2
    assert measure(dotted, batch, "high_pass").tolist() == pytest.approx(
        [1.4 * spread, 0.4 * spread], rel=1e-3
    )
    assert float(high_pass(torch.full((1, 3, 16, 16), 0.4)).abs().max()) < 1e-6


def test_ssim_of_equal_and_of_flat_pictures() -> None:
    batch = create_batch("cycle", "self")
    assert measure(batch.truth, batch, "ssim").tolist() == pytest.approx([0, 0], abs=1e-5)
    flat = torch.full((2, 3, SIDE, SIDE), 0.5)
    batch = create_batch("cycle", "self", truth=flat)
    # Without any variance only the means are compared.
    expected = 1 - (2 * 0.5 * 0.7 + 1e-4) / (0.5**2 + 0.7**2 + 1e-4)
    assert measure(flat + 0.2, batch, "ssim").tolist() == pytest.approx([expected] * 2, rel=1e-3)


def test_ssim_weighs_the_face_more_than_the_rest() -> None:
    half = torch.zeros(2, 1, SIDE, SIDE)
    half[..., : SIDE // 2] = 1
    truth = draw_pictures(1)
    truth = torch.cat([truth, truth.flip(3)])
    output = truth.clone()
    output[0, ..., 12:20] = 0.5
    output[1] = output[0].flip(2)
    batch = create_batch("cycle", "cycle", truth=truth, face=half)
    inside, outside = measure(output, batch, "ssim").tolist()
    assert inside > 0.01
    assert inside / outside == pytest.approx(1.4 / 0.4, rel=1e-4)


def test_features_are_a_mean_over_eyes_and_mouth_alone() -> None:
    batch = create_batch("cycle", "self", "self")
    batch.features[2] = 0
    output = batch.truth.clone()
    output[..., SIDE // 2 :, :] += 0.7
    assert measure(output, batch, "features").tolist() == pytest.approx([0, 0, 0], abs=1e-7)
    output[..., : SIDE // 4, : SIDE // 2] += 0.2
    assert measure(output, batch, "features").tolist() == pytest.approx([0.1, 0.1, 0], rel=1e-4)


def test_anchor_is_blind_to_detail() -> None:
    batch = create_batch("cross", "cross")
    coarse = torch.nn.functional.interpolate(batch.anchor, scale_factor=8)
    checks = torch.tensor([[0.3, -0.3], [-0.3, 0.3]]).repeat(SIDE // 2, SIDE // 2)
    assert measure(coarse + checks, batch, "anchor").tolist() == pytest.approx([0, 0], abs=1e-6)
    assert measure(coarse - 0.1, batch, "anchor").tolist() == pytest.approx([0.1, 0.1], rel=1e-4)


@pytest.mark.parametrize(("level", "expected"), [(0.5, 0.0), (0.6, 0.0), (0.8, 0.2), (1.0, 0.4)])
def test_identity_asks_for_no_more_than_the_level(level: float, expected: float) -> None:
    loss = SwapLoss(create_preset(identity=2.0), FixedRecogniser(0.6), CENTROID, level)
    batch = create_batch("cycle", "prior", "cross", "self")
    total, terms = loss(batch.target, batch)
    wanted = [expected, 0, expected, expected]
    assert terms["identity"].tolist() == pytest.approx(wanted, abs=1e-6)
    assert total.tolist() == pytest.approx([2 * value for value in wanted], abs=1e-6)


def test_identity_level_is_the_worst_quarter_of_the_persons_own_frames() -> None:
    embeddings = numpy.zeros((3, 512))
    embeddings[0, 0], embeddings[1, 1], embeddings[2, 0] = 3, 1, 9
    # The first and the last see the mean of two directions at 45 degrees, the second nothing.
    assert measure_identity_level(embeddings) == pytest.approx(math.sqrt(0.5) / 2)
    # Compared across clips alone, nobody sees its own like.
    assert measure_identity_level(embeddings, ["a", "b", "a"]) == pytest.approx(0)


def test_identity_falls_when_followed(analyser: DemoAnalyser) -> None:
    direction = torch.from_numpy(analyser.sample_other_vectors(1, 0)[0].astype(numpy.float32))
    recogniser = TorchRecogniser(analyser.get_recogniser())
    loss = SwapLoss(create_preset(identity=1.0), recogniser, direction)
    batch = create_batch("cycle", "self")
    output = batch.target.clone().requires_grad_(True)
    first, _ = loss(output, batch)
    (gradient,) = torch.autograd.grad(first.sum(), output)
    second, _ = loss((output - 0.02 * gradient.sign()).detach(), batch)
    assert bool((second < first).all())
    low = SwapLoss(create_preset(identity=1.0), recogniser, direction, level=-1.0)
    (gradient,) = torch.autograd.grad(low(output, batch)[0].sum(), output)
    assert float(gradient.abs().max()) == 0


def test_weighted_terms_add_up(analyser: DemoAnalyser) -> None:
    weights = dict.fromkeys(("l1", "high_pass", "ssim", "perceptual", "features"), 0.5)
    weights |= {"identity": 0.2, "anchor": 0.25, "stay": 3.0}
    loss = SwapLoss(create_preset(**weights), TorchRecogniser(analyser.get_recogniser()), CENTROID)
    batch = create_batch(*KINDS)
    total, terms = loss(batch.target, batch)
    assert set(terms) == set(weights) - {"stay"}
    assert not any(values.requires_grad for values in terms.values())
    expected = sum(weights[name] * values for name, values in terms.items())
    assert torch.allclose(total, expected)


def test_parts_of_a_batch_add_up_to_the_whole(analyser: DemoAnalyser) -> None:
    weights = dict.fromkeys(set(LossWeights.model_fields) - {"stay"}, 0.5)
    loss = SwapLoss(create_preset(**weights), TorchRecogniser(analyser.get_recogniser()), CENTROID)
    batch = create_batch("cycle", "cycle", "prior", "cross", "self", "cycle")
    output = batch.target.clone().requires_grad_(True)
    whole, _ = loss(output, batch)
    (gradient,) = torch.autograd.grad(whole.sum() / 6, output)
    parts, gradients = [], torch.zeros_like(gradient)
    for rows in ((0, 1), (2, 3), (4, 5)):
        part = Batch(**{name: value[list(rows)] for name, value in vars(batch).items()})
        total, _ = loss(output[list(rows)], part)
        parts.append(total)
        gradients += torch.autograd.grad(total.sum() / 6, output)[0]
    torch.testing.assert_close(torch.cat(parts), whole)
    torch.testing.assert_close(gradients, gradient, rtol=1e-4, atol=1e-7)


def test_autocast_reaches_the_networks_alone(analyser: DemoAnalyser) -> None:
    weights = dict.fromkeys(set(LossWeights.model_fields) - {"stay"}, 0.5)
    loss = SwapLoss(create_preset(**weights), TorchRecogniser(analyser.get_recogniser()), CENTROID)
    batch = create_batch(*KINDS)
    _, exact = loss(batch.target, batch)
    with torch.autocast("cpu", torch.bfloat16):
        total, coarse = loss(batch.target, batch)
    assert total.dtype == torch.float32
    changed = {name for name in exact if not torch.equal(exact[name], coarse[name])}
    assert changed == {"perceptual", "identity"}
    for name in changed:
        torch.testing.assert_close(coarse[name], exact[name], rtol=0.05, atol=0.02)


def test_a_batch_that_nothing_is_asked_of_still_has_a_gradient() -> None:
    batch = create_batch("cross", "cross")
    output = batch.target.clone().requires_grad_(True)
    total, terms = SwapLoss(create_preset(l1=1.0), None, CENTROID)(output, batch)
    assert total.tolist() == terms["l1"].tolist() == [0, 0]
    (gradient,) = torch.autograd.grad(total.sum(), output)
    assert float(gradient.abs().max()) == 0


def test_stay_is_relative_to_the_size_of_each_tensor() -> None:
    origin = {"a": torch.full((4,), 1.0), "b": torch.full((2, 2), -20.0)}
    trained = {"a": torch.full((4,), 1.1), "b": torch.full((2, 2), -20.0)}
    # 0.1^2 over the floor under tensors that are small beside the rest, 1 % of (1 + 400) / 2.
    assert float(SwapLoss.measure_stay(trained, origin)) == pytest.approx(
        0.01 / 2.005 / 2, rel=1e-3
    )
    origin["b"] = trained["b"] = torch.full((2, 2), -2.0)
    assert float(SwapLoss.measure_stay(trained, origin)) == pytest.approx(0.005, rel=1e-3)
    trained["b"] = torch.full((2, 2), -2.4)
    assert float(SwapLoss.measure_stay(trained, origin)) == pytest.approx(0.025, rel=1e-3)


def test_stay_of_tensors_that_began_at_zero_is_a_number() -> None:
    zero = {"a": torch.zeros(3)}
    assert float(SwapLoss.measure_stay(zero, zero)) == 0
    assert float(SwapLoss.measure_stay({"a": torch.ones(3)}, zero)) == pytest.approx(1)


def test_networks_are_opened_only_where_they_are_needed(
    analyser: DemoAnalyser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    batch = create_batch(*KINDS)
    missing = replace(analyser.get_recogniser(), path=tmp_path / "missing.onnx")
    vector = CENTROID.numpy()
    create_loss(create_preset(l1=1.0), missing, vector, 0.5, "cpu")(batch.target, batch)
    for terms in ({"identity": 0.1}, {"perceptual": 0.1}):
        loss = create_loss(create_preset(**terms), analyser.get_recogniser(), vector, 0.9, "cpu")
        assert float(loss(batch.target, batch)[0].sum()) > 0
    monkeypatch.setenv(perceptual.VGG_VARIABLE, str(tmp_path / "vgg.pth"))
    create_loss(create_preset(l1=1.0), missing, vector, 0.5, "cpu")
    with pytest.raises(TrainingError, match=r"vgg\.pth: file not found"):
        create_loss(create_preset(perceptual=1.0), missing, vector, 0.5, "cpu")
