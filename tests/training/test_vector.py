"""The person's vector is tuned, and nothing else is."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.errors import FinetuneError, SwapperError, TrainingError
from facefusion_finetune.presets.preset import PairMix, Preset, VectorStage
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.graphs.graph import read_swapper
from facefusion_finetune.swappers.sessions import rgb_to_crops, scale_output
from facefusion_finetune.swappers.source import PersonSource, SourceMaker
from facefusion_finetune.training import vector as module
from facefusion_finetune.training.losses.swap_loss import SwapLoss
from facefusion_finetune.training.pairs.pair_set import KINDS, PairSet
from facefusion_finetune.training.vector import tune_vector
from tests.support.family_world import FamilyAnalyser
from tests.support.loss_batches import CENTROID, create_batch, create_preset

STAGE = VectorStage(steps=12, learning_rate=5e-3)
BATCH = 4
Swap = Callable[..., PersonSource]


class Bench:
    """A base, pairs whose truth is what it makes of a hidden person, and a first guess of that."""

    def __init__(self, analyser: DemoAnalyser, name: str, count: int = 8, **mix: float) -> None:
        self.options = analyser.get_swapper(name)
        graph = read_swapper(self.options.path)
        self.swapper = TorchSwapper(graph, graph.decoder)
        self.maker = SourceMaker(self.options, graph.emap)
        guess, hidden, *others = analyser.sample_other_vectors(6, 0)
        length = 20.0 if self.options.family.needs_converter else 1.0
        self.hidden = self._create_person(0.6 * guess + 0.8 * hidden, length)
        self.person = self._create_person(guess, length)
        sources = numpy.stack([self.maker.create_vector(other * length) for other in others])
        self.pairs = self._create_pairs(sources, count)
        preset = create_preset(l1=1.0)
        self.preset: Preset = preset.model_copy(
            update={"pairs": PairMix(**mix or {"cycle": 1}), "batch_size": BATCH}
        )
        self.loss = SwapLoss(self.preset, None, CENTROID)

    def tune(self, stage: VectorStage = STAGE, **changes: object) -> PersonSource:
        values: dict[str, object] = {"seed": 3, **vars(self), "stage": stage, **changes}
        values.pop("hidden")
        return tune_vector(**values)  # type: ignore[arg-type]

    def measure(self, person: PersonSource) -> float:
        """L1 of all pairs, driven by the person."""
        batch = self.pairs.select(range(len(self.pairs)), self.options, "cpu")
        source = torch.from_numpy(person.source).expand(len(batch.target), -1)
        output = self.swapper.run(batch.target.numpy(), source.numpy())
        made = torch.from_numpy(scale_output(output, self.options))
        return float(self.loss(made, batch)[0].mean())

    def _create_person(self, vector: numpy.ndarray, length: float) -> PersonSource:
        unit = (vector / numpy.linalg.norm(vector)).astype(numpy.float32).astype(numpy.float64)
        return PersonSource(unit * length, self.maker.create_vector(unit * length))

    def _create_pairs(self, sources: numpy.ndarray, count: int) -> PairSet:
        width, height = self.options.size
        noise = numpy.random.default_rng(0).integers(60, 190, (count, 8, 8, 3), numpy.uint8)
        inputs = noise.repeat(height // 8, axis=1).repeat(width // 8, axis=2)
        mean, deviation = (
            numpy.reshape(each, (3, 1, 1)).astype(numpy.float32)
            for each in (self.options.mean, self.options.standard_deviation)
        )
        targets = (inputs[..., ::-1].transpose(0, 3, 1, 2) / numpy.float32(255) - mean) / deviation
        made = self.swapper.run(targets, numpy.stack([self.hidden.source] * count))
        truths = rgb_to_crops(scale_output(made, self.options)).round().astype(numpy.uint8)
        rows = numpy.arange(count)
        masks = numpy.full((count, height, width), 255, numpy.uint8)
        return PairSet(
            kind=numpy.zeros(count, numpy.int64),
            crop=rows,
            target=rows,
            goal=rows + count,
            source=rows % len(sources),
            sources=sources,
            pictures=numpy.concatenate([inputs, truths]),
            prior_truths=numpy.zeros((0, 3, height, width), numpy.float16),
            anchors=numpy.zeros((0, 3, height // 8, width // 8), numpy.float32),
            face=masks,
            features=masks,
            matrix=numpy.eye(3, dtype=numpy.float32)[:2][None].repeat(count, axis=0),
        )


@pytest.fixture
def bench(analyser: DemoAnalyser) -> Bench:
    return Bench(analyser, "demo")


def _compare(first: numpy.ndarray, second: numpy.ndarray) -> float:
    return float(first @ second / numpy.linalg.norm(first) / numpy.linalg.norm(second))


def test_the_vector_goes_to_the_person_behind_the_truths(bench: Bench) -> None:
    seen: list[tuple[int, int, dict[str, float]]] = []
    before = {name: tensor.detach().clone() for name, tensor in bench.swapper.trained.items()}
    tuned = bench.tune(on_step=lambda *step: seen.append(step))
    assert bench.measure(tuned) < 0.6 * bench.measure(bench.person)
    near, first = (_compare(each.vector, bench.hidden.vector) for each in (tuned, bench.person))
    assert near > first + 0.01
    assert [step[:2] for step in seen] == [(done + 1, 12) for done in range(12)]
    assert seen[-1][2]["l1"] == seen[-1][2]["loss"] < seen[0][2]["loss"]
    for name, tensor in bench.swapper.trained.items():
        assert tensor.grad is None
        assert torch.equal(tensor, before[name])


def test_what_is_returned_is_what_is_deployed(bench: Bench) -> None:
    tuned = bench.tune()
    assert numpy.linalg.norm(tuned.vector) == pytest.approx(1, abs=1e-6)
    numpy.testing.assert_array_equal(tuned.vector, tuned.vector.astype(numpy.float32))
    numpy.testing.assert_array_equal(tuned.source, bench.maker.create_vector(tuned.vector))
    assert tuned.source.dtype == numpy.float32


def test_it_begins_at_the_persons_own_source(bench: Bench) -> None:
    first: list[float] = []
    stage = VectorStage(steps=1, learning_rate=1e-9)
    every = bench.preset.model_copy(update={"batch_size": 64})
    tuned = bench.tune(stage, preset=every, on_step=lambda *step: first.append(step[2]["loss"]))
    batch = bench.pairs.select(
        module.draw_batch(bench.pairs, every.pairs, 64, 3, 0), bench.options, "cpu"
    )
    sources = numpy.stack([bench.person.source] * 64)
    output = torch.from_numpy(bench.swapper.run(batch.target.numpy(), sources))
    assert first[0] == pytest.approx(float(bench.loss(output, batch)[0].mean()), rel=1e-4)
    numpy.testing.assert_allclose(tuned.source, bench.person.source, atol=1e-6)


def test_steps_keep_their_size(bench: Bench) -> None:
    """Where the length says nothing, it would grow and make every further step smaller."""
    lengths: list[float] = []
    hook = register_optimizer_step_pre_hook(
        lambda optimiser, *_: lengths.append(
            float(optimiser.param_groups[0]["params"][0].detach().norm())
        )
    )
    bench.tune(VectorStage(steps=4, learning_rate=0.05))
    hook.remove()
    assert lengths == pytest.approx([1, 1, 1, 1], abs=1e-5)


def test_autocast_does_not_round_the_source(bench: Bench) -> None:
    seen: list[Tensor] = []
    bench.swapper.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1].detach()[0]))
    with torch.autocast("cpu", torch.bfloat16):
        bench.tune(VectorStage(steps=1, learning_rate=1e-3))
    numpy.testing.assert_allclose(seen[0].numpy(), bench.person.source, atol=1e-6)


def test_the_seed_alone_decides(bench: Bench) -> None:
    first, again, other = bench.tune(), bench.tune(), bench.tune(seed=4)
    numpy.testing.assert_array_equal(first.vector, again.vector)
    assert not numpy.array_equal(first.vector, other.vector)


@pytest.mark.parametrize("name", ["hyperswap_1a_256", "simswap_256", "ghost_1_256"])
def test_families(name: str, footage: Path, tmp_path: Path) -> None:
    bench = Bench(FamilyAnalyser([footage], tmp_path), name, count=2)
    stage = VectorStage(steps=3, learning_rate=5e-3)
    tuned = bench.tune(stage, preset=bench.preset.model_copy(update={"batch_size": 2}))
    family = bench.options.family
    assert bench.measure(tuned) < bench.measure(bench.person)
    if family.needs_converter:
        numpy.testing.assert_array_equal(tuned.vector, bench.person.vector)
    else:
        assert numpy.linalg.norm(tuned.vector) == pytest.approx(1, abs=1e-6)
        numpy.testing.assert_array_equal(tuned.source, bench.maker.create_vector(tuned.vector))
    assert tuned.source.shape == (512,)
    assert tuned.source.dtype == numpy.float32
    lengths = [float(numpy.linalg.norm(each.source)) for each in (bench.person, tuned)]
    if family.source == "converted":
        assert lengths[0] != pytest.approx(lengths[1], rel=1e-6)
    else:
        assert lengths[0] == pytest.approx(lengths[1], rel=1e-5)


class Cramped:
    """A loss whose memory suffices for `limit` samples at once."""

    def __init__(self, loss: SwapLoss, limit: int) -> None:
        self._loss = loss
        self._limit = limit
        self.sizes: list[int] = []

    def __call__(self, output: Tensor, batch: object) -> tuple[Tensor, dict[str, Tensor]]:
        self.sizes.append(len(output))
        if len(output) > self._limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self._loss(output, batch)  # type: ignore[arg-type]


def test_too_little_memory_halves_the_parts(bench: Bench) -> None:
    cramped = Cramped(bench.loss, limit=1)
    tuned = bench.tune(loss=cramped)
    assert cramped.sizes[:6] == [4, 2, 1, 1, 1, 1]
    assert set(cramped.sizes[6:]) == {1}
    numpy.testing.assert_allclose(tuned.vector, bench.tune().vector, atol=1e-4)
    with pytest.raises(TrainingError, match="memory is too small for one sample"):
        bench.tune(loss=Cramped(bench.loss, limit=0))


def test_other_errors_are_not_hidden(bench: Bench) -> None:
    def fail(output: Tensor, batch: object) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        bench.tune(loss=fail)


def test_only_cycle_and_cross_pairs_are_used(bench: Bench) -> None:
    kinds = numpy.array([KINDS.index(kind) for kind in ("cycle", "self", "self", "cycle")] * 2)
    pairs = replace(bench.pairs, kind=kinds)
    seen: list[int] = []

    def listen(output: Tensor, batch: object) -> tuple[Tensor, dict[str, Tensor]]:
        seen.extend(batch.kind.tolist())  # type: ignore[attr-defined]
        return bench.loss(output, batch)  # type: ignore[arg-type]

    mixed = bench.preset.model_copy(update={"pairs": PairMix(cycle=1, self=5, cross=2, prior=3)})
    bench.tune(VectorStage(steps=2, learning_rate=1e-3), pairs=pairs, preset=mixed, loss=listen)
    assert set(seen) == {KINDS.index("cycle")}
    alone = bench.preset.model_copy(update={"pairs": PairMix(self=1, prior=1)})
    with pytest.raises(TrainingError, match="cycle or cross pairs, and there are none"):
        bench.tune(pairs=pairs, preset=alone)


def test_a_base_driven_by_a_picture_is_refused(bench: Bench) -> None:
    options: SwapperOptions = replace(bench.options, type="blendswap")
    with pytest.raises(SwapperError, match="driven by a picture") as caught:
        bench.tune(options=options)
    assert isinstance(caught.value, FinetuneError)
    assert "[vector]" in caught.value.todo


def test_a_loss_that_is_no_number(bench: Bench) -> None:
    def spoil(output: Tensor, batch: object) -> tuple[Tensor, dict[str, Tensor]]:
        return output.flatten(1).sum(dim=1) * float("nan"), {}

    with pytest.raises(TrainingError, match="vector, step 1: the loss became NaN or infinite"):
        bench.tune(loss=spoil)


def test_cross_pairs_pull_too(bench: Bench) -> None:
    """What a cross pair asks for reaches the vector."""
    batch = create_batch("cross", "cross")
    kinds = numpy.full(8, KINDS.index("cross"))
    anchors = batch.anchor.numpy()[[0] * 8]
    pairs = replace(bench.pairs, kind=kinds, anchors=anchors, goal=numpy.arange(8))
    preset = create_preset(anchor=1.0).model_copy(
        update={"pairs": PairMix(cross=1), "batch_size": BATCH}
    )
    values: list[float] = []
    bench.tune(
        pairs=pairs,
        preset=preset,
        loss=SwapLoss(preset, None, CENTROID),
        on_step=lambda *step: values.append(step[2]["anchor"]),
    )
    assert values[-1] < values[0]
