"""The training benchmark on narrow graphs: it measures what it says, and says what it misses."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.training import describe_cuda, describe_steps, find_missed, main
from benchmarks.training_cuda import measure_cuda
from benchmarks.training_material import write_base, write_recogniser
from benchmarks.training_steps import (
    BATCH,
    CHOICES,
    FRAME,
    WITH_IDENTITY,
    NaiveLoop,
    create_detector,
    create_loss,
    create_trained,
    measure_steps,
)
from facefusion_finetune.training.losses.recogniser import TorchRecogniser

NARROW = 1 / 64


@pytest.mark.slow
def test_steps_are_timed_in_turns(tmp_path: Path) -> None:
    figures = measure_steps(tmp_path, 1, NARROW)
    assert all(math.isfinite(value) and value > 0 for value in figures.values())
    for choice in CHOICES:
        expected = figures[f"{choice} direct"] / figures[f"{choice} cached"]
        assert figures[f"{choice} ratio"] == pytest.approx(expected)
    assert figures["detection"] < figures["naive"]
    assert len(describe_steps(figures)) == 1 + 2 * len(CHOICES)


@pytest.mark.slow
def test_the_naive_step_differentiates_everything_and_updates_the_layers(tmp_path: Path) -> None:
    trained = create_trained(write_base(tmp_path, NARROW), "last_2")
    recogniser = TorchRecogniser(write_recogniser(tmp_path, NARROW))
    before = {name: tensor.detach().clone() for name, tensor in trained.swapper.trained.items()}
    others = [
        parameter.detach().clone()
        for parameter in trained.swapper.parameters()
        if not parameter.requires_grad
    ]
    naive = NaiveLoop(trained, recogniser, create_loss(WITH_IDENTITY, recogniser))
    free = {id(parameter) for parameter in trained.swapper.trained.values()}
    naive.take_step()
    parameters = list(trained.swapper.parameters())
    assert all(parameter.grad is not None for parameter in parameters)
    for name, tensor in trained.swapper.trained.items():
        assert not torch.equal(tensor, before[name])
    rest = [parameter for parameter in parameters if id(parameter) not in free]
    assert all(torch.equal(now, then) for now, then in zip(rest, others, strict=True))
    assert 0 < naive.detecting < 60


def test_the_detector_has_the_multiplications_it_claims() -> None:
    total = 0
    side = FRAME
    for layer in create_detector():
        if isinstance(layer, torch.nn.Conv2d):
            side //= layer.stride[0]
            total += side**2 * layer.weight.numel()
    assert total == pytest.approx(7.2e9, rel=0.02)


@pytest.mark.slow
def test_the_part_for_a_gpu_runs_on_a_cpu_too(tmp_path: Path) -> None:
    figures = measure_cuda(tmp_path, "cpu", NARROW, crops=1, steps=40, batch=1, matrix=64)
    assert figures["cached"] == 1
    assert (tmp_path / "model.onnx").is_file()
    assert figures["images a second"] == pytest.approx(1 / figures["step seconds"])
    # Forward and backward of VGG19's first ten convolutions alone.
    assert figures["operations a step"] > 2 * 3 * 2e9
    assert "images per second" in describe_cuda(figures)


def test_missed_targets_are_named() -> None:
    good = {"last_2 ratio": 8.0, "decoder ratio": 2.0}
    good |= {f"{choice} naive ratio": 10.0 for choice in CHOICES}
    assert not find_missed(good)
    assert find_missed(good | {"decoder ratio": 1.9}) == ["decoder cache"]
    assert find_missed(good | {"last_2 naive ratio": 9.9}) == ["last_2 against the naive loop"]


def test_without_a_gpu_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["training", "--cuda"])
    main()
    assert "no CUDA device" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["training", "--cuda", "--json"])
    main()
    assert "skipped" in json.loads(capsys.readouterr().out)["cuda"]


def test_a_batch_is_what_the_docstring_says() -> None:
    assert f"batch {BATCH}" in (sys.modules[main.__module__].__doc__ or "")
