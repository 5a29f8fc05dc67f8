"""The loop: early stop, faults, processes, and rates that suit narrow and wide layers alike."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from facefusion_finetune.errors import TrainingError, is_out_of_memory
from facefusion_finetune.presets.preset import parse_preset
from facefusion_finetune.runs.observer import Observer
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.graphs.graph import read_swapper
from facefusion_finetune.training.engine.checkpoint import load_checkpoint
from facefusion_finetune.training.engine.schedule import (
    compute_learning_rate,
    group_by_scale,
    scale_learning_rates,
)
from tests.support.demo_world import QUICK_PRESET
from tests.support.inswapper import write_inswapper
from tests.support.tiny_training import TinyWorld, are_same, measure_difference, spoil_once
from tests.support.waiting import HANGS


def test_a_whole_run(tmp_path: Path) -> None:
    world = TinyWorld(tmp_path, steps=60)
    before = world.validate()
    world.train()
    assert world.validate() < before / 2
    lines = world.read_metrics()
    assert [line["step"] for line in lines] == list(range(1, 61))
    assert {"loss", "l1", "stay", "learning_rate", "gradient_norm", "seconds"} <= set(lines[0])
    assert world.previews == list(range(5, 61, 5))
    assert world.notes == []
    assert world.values[-1]["seconds_left"] == 0 < world.values[-2]["seconds_left"]
    first = lines[0]
    assert abs(first["loss"] - first["l1"]) < 1e-6, "nothing has moved from the origin yet"
    assert lines[-1]["loss"] > lines[-1]["l1"]


def test_clock_that_is_set_back_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = TinyWorld(tmp_path / "calm").train()
    world = TinyWorld(tmp_path / "changed")
    now, real = [0.0], time.time

    def set_back(step: int) -> None:
        now[0] -= 3600
        assert time.time() < real()

    monkeypatch.setattr(time, "time", lambda: real() + now[0])
    assert are_same(world.train(on_step=set_back), calm)
    lines = world.read_metrics()
    assert [line["step"] for line in lines] == list(range(1, 13))
    assert min(line["seconds"] for line in lines) > 0
    left = [values["seconds_left"] for values in world.values]
    assert min(left) == left[-1] == 0


@pytest.mark.parametrize("step", [6, 12])
def test_killed_between_checkpoint_and_preview(tmp_path: Path, step: int) -> None:
    def kill(done: int) -> None:
        if done == step:
            raise KeyboardInterrupt

    world = TinyWorld(tmp_path, checkpoint_every=3, preview_every=3)
    with pytest.raises(KeyboardInterrupt):
        world.create_trainer().train(False, Observer(), kill)
    assert load_checkpoint(world.run.checkpoint_path).step == step
    world = TinyWorld(tmp_path, checkpoint_every=3, preview_every=3)
    world.train(resume=True)
    assert world.previews == list(range(step, 13, 3))


def _scale(swapper: TorchSwapper, rate: str) -> dict[str, float]:
    preset = parse_preset(QUICK_PRESET.replace("absolute", rate), "quick")
    return scale_learning_rates(swapper, preset)


def _worst_change(swapper: TorchSwapper, rate: float, scales: dict[str, float]) -> dict[str, float]:
    """How far one Adam step can move a layer's output, in its output's typical size."""
    changes = {}
    for name, tensor in swapper.trained.items():
        if tensor.ndim > 1:
            inputs = torch.randn(
                4096, tensor[0].numel(), generator=torch.Generator().manual_seed(0)
            )
            typical = (inputs @ tensor.detach().flatten(1).T).std()
            step = rate * scales[name] * inputs.abs().sum(dim=1).mean()
            changes[name] = float(step / typical)
    return changes


@pytest.mark.parametrize("factor", [1.0, 0.1])
def test_relative_rate_bounds_the_change_of_every_layer(tmp_path: Path, factor: float) -> None:
    graph = read_swapper(write_inswapper(tmp_path / "swapper.onnx").path)
    swapper = TorchSwapper(graph, graph.decoder)
    with torch.no_grad():
        for tensor in swapper.trained.values():
            tensor.mul_(factor)
    relative = _worst_change(swapper, 0.05, _scale(swapper, "relative"))
    assert len(relative) == 4
    for change in relative.values():
        assert 0.03 < change < 0.05
    absolute = _worst_change(swapper, 1e-3, _scale(swapper, "absolute"))
    assert max(absolute.values()) > 0.2


def test_bias_takes_its_layers_scale(tmp_path: Path) -> None:
    graph = read_swapper(write_inswapper(tmp_path / "swapper.onnx").path)
    swapper = TorchSwapper(graph, graph.decoder)
    scales = _scale(swapper, "relative")
    for layer in graph.decoder:
        weight, bias = layer.initializers
        assert scales[weight] == scales[bias] > 0
    groups = group_by_scale(scales)
    assert sorted(name for _, names in groups for name in names) == sorted(scales)
    assert all(scales[name] == scale for scale, names in groups for name in names)


def test_rate_rises_and_falls() -> None:
    preset = parse_preset(QUICK_PRESET, "quick").model_copy(update={"warm_up": 0.2})
    rates = [compute_learning_rate(preset, 50, step) for step in range(50)]
    top = rates.index(max(rates))
    assert 9 <= top <= 10
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < rates[top] / 100


def test_parts_of_a_batch_add_up_to_it(tmp_path: Path) -> None:
    whole = TinyWorld(tmp_path / "whole").train()
    parts = TinyWorld(tmp_path / "parts")

    def refuse(step: int, output: torch.Tensor) -> torch.Tensor:
        if len(output) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return output

    parts.feed.spoil = refuse
    assert 0 < measure_difference(whole, parts.train()) < 1e-6
    assert parts.feed.runs[0][1] == parts.feed.draw(0), "the whole batch is tried once"
    assert {len(rows) for _, rows in parts.feed.runs[1:]} == {2}
    assert ["2 samples at a time" in note for note in parts.notes] == [True]
    assert load_checkpoint(parts.run.checkpoint_path).progress.micro_batch == 2


def test_one_sample_that_does_not_fit(tmp_path: Path) -> None:
    world = TinyWorld(tmp_path)

    def refuse(step: int, output: torch.Tensor) -> torch.Tensor:
        raise MemoryError

    world.feed.spoil = refuse
    with pytest.raises(TrainingError, match="not even one sample fits"):
        world.train()
    assert [len(rows) for _, rows in world.feed.runs] == [4, 2, 1]


def test_other_errors_are_not_taken_for_a_lack_of_memory(tmp_path: Path) -> None:
    world = TinyWorld(tmp_path)

    def fail(step: int, output: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("shapes do not match")

    world.feed.spoil = fail
    with pytest.raises(RuntimeError, match="shapes do not match"):
        world.train()
    wrapped = ValueError("it cannot be run")
    assert not is_out_of_memory(wrapped)
    wrapped.__cause__ = torch.OutOfMemoryError("out")
    assert is_out_of_memory(wrapped)


def test_an_injected_fault_is_survived(tmp_path: Path) -> None:
    world = TinyWorld(tmp_path, validate_every=4, patience=99)
    spoil_once(world, 7)
    weights = world.train()
    assert all(bool(tensor.isfinite().all()) for tensor in weights.values())
    lines = world.read_metrics()
    notes = [line for line in lines if "note" in line]
    assert [(line["step"], line["rate_factor"]) for line in notes] == [(6, 0.5)]
    assert "the loss became NaN or infinite" in world.notes[0]
    steps = [line["step"] for line in lines if "loss" in line]
    assert steps == list(range(1, 13)), "no step is logged twice"
    rates = {line["step"]: line["learning_rate"] for line in lines if "loss" in line}
    preset = world.preset
    assert rates[6] == compute_learning_rate(preset, 12, 5)
    assert rates[7] == compute_learning_rate(preset, 12, 6) / 2
    assert load_checkpoint(world.run.checkpoint_path).progress.rate_factor == 0.5
    again = [step for step, _ in world.feed.runs]
    assert again == [*range(8), *range(6, 12)]


def test_a_gradient_that_is_no_number(tmp_path: Path) -> None:
    world = TinyWorld(tmp_path, stay=0)
    weight = world.swapper.trained["two.weight"]
    calls = 0

    def spoil(gradient: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return gradient * float("inf") if calls == 2 else gradient

    weight.register_hook(spoil)
    weights = world.train()
    assert all(bool(tensor.isfinite().all()) for tensor in weights.values())
    assert "Step 2: the gradient became NaN or infinite" in world.notes[0]
    assert "from step 0" in world.notes[0]


def test_a_fault_that_stays(tmp_path: Path) -> None:
    world = TinyWorld(tmp_path)
    world.feed.spoil = lambda step, output: output / 0 if step == 7 else output
    with pytest.raises(TrainingError, match="became NaN or infinite") as caught:
        world.train()
    assert "step 8" in caught.value.given
    assert len(world.notes) == 3
    saved = load_checkpoint(world.run.checkpoint_path)
    assert (saved.step, saved.progress.rate_factor) == (6, 0.125)
    assert all(bool(tensor.isfinite().all()) for tensor in saved.weights.values())


def _let_scale(world: TinyWorld, scale: float) -> None:
    """Train as in fp16, with a gradient scaler, but in fp32: the CPU has no fp16."""
    world.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=100)
    world.accelerator.native_amp = True
    world.accelerator.state._mixed_precision = "fp16"
    world.accelerator.autocast = contextlib.nullcontext  # type: ignore[method-assign]


def test_gradient_scaler_finds_its_scale_without_a_fault(tmp_path: Path) -> None:
    plain = TinyWorld(tmp_path / "plain", steps=40).train()
    scaled = TinyWorld(tmp_path / "scaled", steps=40)
    _let_scale(scaled, 2.0**16)
    assert measure_difference(scaled.train(), plain) < 1e-4
    # So large that the first gradients are infinite in half precision: steps are left out.
    wild = TinyWorld(tmp_path / "wild", steps=40)
    _let_scale(wild, 2.0**30)
    for tensor in wild.swapper.trained.values():
        tensor.register_hook(lambda gradient: gradient.half().float())
    wild.train()
    assert wild.notes == []
    saved = load_checkpoint(wild.run.checkpoint_path)
    assert 1 < saved.progress.scaler["scale"] < 2.0**30
    assert 20 < float(saved.moments["step/one.bias"]) < 40, "some steps were left out"
    path = wild.run.checkpoint_path
    path.with_stem("previous").replace(path)
    again = TinyWorld(tmp_path / "wild", steps=40)
    _let_scale(again, 2.0**16)
    assert (
        measure_difference(
            again.train(resume=True), {n: t.detach() for n, t in wild.swapper.trained.items()}
        )
        == 0
    )


def test_gradient_that_no_scale_makes_finite_is_a_fault(tmp_path: Path) -> None:
    world = TinyWorld(tmp_path, stay=0)
    _let_scale(world, 4.0)
    weight = world.swapper.trained["two.weight"]
    weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(TrainingError, match="the gradient became NaN or infinite"):
        world.train()


def test_early_stop_picks_the_best(tmp_path: Path) -> None:
    world = TinyWorld(tmp_path, steps=40, validate_every=2, patience=3, ema=0)
    scores = iter([0.9, 0.8, 0.5, 0.6, 0.7, 0.65, 0.1])
    seen = []

    def validate() -> float:
        seen.append({n: t.detach().clone() for n, t in world.swapper.trained.items()})
        return next(scores)

    weights = world.train(validate=validate)
    assert len(seen) == 6, "three validations after the best one"
    assert measure_difference(weights, seen[2]) == 0
    assert "Early stopping after step 10" in world.notes[0]
    assert "weights of step 4: best validation score, 0.5000 (base: 0.9000)." in (world.notes[1])
    assert load_checkpoint(world.run.checkpoint_path).step == 10
    stopped = TinyWorld(tmp_path, steps=40, validate_every=2, patience=3, ema=0)
    assert measure_difference(stopped.train(resume=True, validate=lambda: 0.0), weights) == 0
    assert stopped.feed.runs == [], "a stopped run does not continue"


def test_nothing_better_than_the_base(tmp_path: Path) -> None:
    world = TinyWorld(tmp_path, steps=6, validate_every=2)
    scores = iter([0.1, 0.5, 0.4, float("nan")])
    world.train(validate=lambda: next(scores))
    assert "Using the averaged weights of step 4:" in world.notes[-1]
    assert "None was better than the base (0.1000)" in world.notes[-1]
    assert [line.get("score") for line in world.read_metrics()][:5] == [0.1, None, 0.5, None, 0.4]


def test_looking_needs_the_average_in_place_and_leaves_the_last_weights(tmp_path: Path) -> None:
    plain = TinyWorld(tmp_path / "plain").train()
    world = TinyWorld(tmp_path / "looked", validate_every=5, patience=99)
    last = {}

    def validate() -> float:
        last.update({n: t.detach().clone() for n, t in world.swapper.trained.items()})
        return -float(len(world.feed.runs))

    assert measure_difference(world.train(validate=validate), plain) == 0
    assert measure_difference(last, plain) == 0


@pytest.mark.slow
def test_two_processes_compute_the_same(tmp_path: Path) -> None:
    alone = TinyWorld(tmp_path / "alone", validate_every=6, steps=9).train()
    # On a machine without a GPU accelerate starts several processes only through MPI, torchrun also
    # without it.
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "tests.support.tiny_training"]
    done = subprocess.run(
        [sys.executable, *command, str(tmp_path / "many"), "validate_every=6", "steps=9"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
        timeout=HANGS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    many = torch.load(tmp_path / "many" / "final.pt", weights_only=True)
    assert measure_difference(alone, many) < 1e-6
    saved = load_checkpoint(tmp_path / "many" / "checkpoints" / "last.safetensors")
    assert saved.progress.micro_batch == 2, "each has half of the four samples"


def test_more_processes_than_samples(tmp_path: Path) -> None:
    world = TinyWorld(tmp_path, batch_size=1)

    class Many:
        num_processes = 2

        def __getattr__(self, name: str) -> object:
            return getattr(world.accelerator, name)

    from facefusion_finetune.training.engine.gradients import Gradients

    with pytest.raises(TrainingError, match="some processes would be idle"):
        Gradients(Many(), None, None, 0, None, world.swapper.trained, 1, print)  # type: ignore[arg-type]
