"""Every family with branches: the base until they are trained, and for whom they stay shut."""

from dataclasses import dataclass
from pathlib import Path

import numpy
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.branches.gate import IdentityGate
from facefusion_finetune.swappers.branches.insert import add_branches
from facefusion_finetune.swappers.branches.select import scale_branches, select_branches
from facefusion_finetune.swappers.branches.split import has_branches, read_identity_gate
from facefusion_finetune.swappers.convert.frontier import split_at_cut
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.convert.parity import get_parity_limit, measure_difference
from facefusion_finetune.swappers.files.modelfile import open_model
from facefusion_finetune.swappers.files.writeback import Weights, save_model
from facefusion_finetune.swappers.graphs.costs import measure_cost
from facefusion_finetune.swappers.graphs.graph import SwapperGraph, read_swapper, select_layers
from tests.support.families import ENTRIES, build, create_inputs, facts

Array = NDArray[numpy.float32]

VECTORS = [name for name, entry in ENTRIES.items() if len(entry.source_shape) == 2]
CORE = ["inswapper_128", "simswap_256", "ghost_2_256", "hififace_unofficial_256"]
CORE += ["hyperswap_1a_256"]
"""One of each topology; the others differ from them in size, depth or precision."""

PICTURES = [name for name in ENTRIES if name not in VECTORS]
WIDTH = 1 / 16
RANK = 4
OPEN, SHUT, AJAR = 0, 1, 2
"""Rows of the inputs: the person, two others, and somebody alike."""

ROUNDING = 1e-5
"""Of an output's range. onnxruntime joins a base's nodes where a branch keeps them apart."""


@dataclass
class World:
    """A base, and what became of it."""

    name: str
    base: SwapperGraph
    gate: IdentityGate
    branched: SwapperGraph
    swapper: TorchSwapper
    trained: Weights
    """With numbers in `up` as training would leave them."""
    targets: Array
    sources: Array
    """Four of each for a family of `CORE`, else two."""
    expected: list[Array]
    """The base's outputs for them."""
    made: list[Array]
    """Those of the trained file."""
    folder: Path

    @property
    def new(self) -> Path:
        """The branched file before training."""
        return self.folder / "new.onnx"

    @property
    def tuned(self) -> Path:
        """The branched file after training, linked to its base."""
        return self.folder / "tuned.onnx"


@pytest.fixture(scope="module", params=VECTORS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    name = request.param
    folder = tmp_path_factory.mktemp(name)
    path = folder / "base.onnx"
    path.write_bytes(build(name, width=WIDTH).SerializeToString())
    base = read_swapper(path)
    inputs = create_inputs(name, 4 if name in CORE else 2)
    targets, sources = inputs["target"], inputs["source"]
    gate = IdentityGate(sources[OPEN].copy(), 0.3, 0.8)
    sources[OPEN] *= 3
    sources[AJAR:3] = gate.direction + 1.2 * sources[AJAR:3]
    branched = add_branches(base, select_layers(base, "decoder"), RANK, gate, seed=0)
    save_model(branched.file, folder / "new.onnx")
    swapper = TorchSwapper(branched, select_branches(branched))
    trained = _train(swapper)
    save_model(branched.file, folder / "tuned.onnx", trained, link=path.name)
    expected, made = (_run(file, targets, sources) for file in (path, folder / "tuned.onnx"))
    return World(
        *(name, base, gate, branched, swapper, trained, targets, sources, expected, made, folder)
    )


def _train(swapper: TorchSwapper) -> Weights:
    """Random numbers in `up`, but for the rows of a mask."""
    generator = torch.Generator().manual_seed(0)
    for name, places in swapper.places.items():
        _, owned, layer = places[0]
        parameter = swapper.trained[name]
        if name.endswith(("/up", "/bias")):
            drawn = 0.1 * torch.randn(parameter.shape, generator=generator)
            axis = 1 if layer.kind == "ConvTranspose" and owned.role == "weight" else 0
            drawn.index_fill_(axis, torch.tensor(layer.mask_rows, dtype=torch.int64), 0)
            with torch.no_grad():
                parameter.copy_(drawn)
    return swapper.export_weights()


def _run(path: Path, targets: Array, sources: Array, exact: bool = True) -> list[Array]:
    """All outputs, row by row; `exact` without joining nodes."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    levels = onnxruntime.GraphOptimizationLevel
    if exact:
        options.graph_optimization_level = levels.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options)
    made = [
        session.run(None, {"target": target[None], "source": source[None]})
        for target, source in zip(targets, sources, strict=True)
    ]
    return [numpy.concatenate(parts) for parts in zip(*made, strict=True)]


def test_untrained_is_the_base(world: World) -> None:
    new = _run(world.new, world.targets[:1], world.sources[:1])
    for first, second in zip(new, world.expected, strict=True):
        numpy.testing.assert_array_equal(first, second[:1])


@pytest.mark.parametrize("world", CORE, indirect=True)
def test_untrained_is_the_base_in_a_stock_session(world: World) -> None:
    made = [
        _run(path, world.targets[:1], world.sources[:1], exact=False)[0]
        for path in (world.new, world.base.path)
    ]
    assert measure_difference(*made) < ROUNDING


def test_opens_for_the_person_alone(world: World) -> None:
    shares = world.gate.measure_opening(world.sources)
    assert shares[OPEN] == 1
    for first, second in zip(world.made, world.expected, strict=True):
        numpy.testing.assert_array_equal(first[shares == 0], second[shares == 0])
    assert shares[SHUT] == 0
    moved = world.made[0] - world.expected[0]
    assert (numpy.abs(moved[shares > 0]).max((1, 2, 3)) > 1e-3).all()


def test_torch_computes_what_onnxruntime_does(world: World) -> None:
    """Sources in one batch, each with a gate of its own."""
    limit = get_parity_limit(world.base)
    output = world.swapper.run(world.targets, world.sources)
    assert measure_difference(output, world.made[0]) < limit


@pytest.mark.parametrize("world", CORE, indirect=True)
def test_batch_is_one_run_where_it_was_one(world: World) -> None:
    shares = world.gate.measure_opening(world.sources)
    assert len(set(shares)) == 3
    assert 0.5 < shares[AJAR] < 1
    before = TorchSwapper(world.base, ())
    assert world.swapper.network.batchable == before.network.batchable


def test_gradients_reach_the_branches_and_nothing_else(world: World) -> None:
    swapper = world.swapper
    swapper.zero_grad()
    inputs = (torch.from_numpy(array[[OPEN]]) for array in (world.targets, world.sources))
    swapper(*inputs).square().mean().backward()
    trained = {id(parameter) for parameter in swapper.trained.values()}
    assert {id(p) for p in swapper.parameters() if p.grad is not None} == trained
    assert all(bool(p.grad.abs().max() > 0) for p in swapper.trained.values())
    count = len(select_layers(world.base, "decoder"))
    parts = {name.rpartition("/")[2] for name in swapper.trained}
    assert len(swapper.trained) == 3 * count
    assert parts == {"down", "up", "bias"}


@pytest.mark.parametrize("world", CORE, indirect=True)
def test_shut_gate_stops_the_gradient(world: World) -> None:
    swapper = world.swapper
    swapper.zero_grad()
    inputs = (torch.from_numpy(array[[SHUT]]) for array in (world.targets, world.sources))
    swapper(*inputs).square().mean().backward()
    assert all(not bool(p.grad.any()) for p in swapper.trained.values() if p.grad is not None)


def _restore_names(base: ModelProto, made: ModelProto) -> None:
    """Take new nodes and initializers off, and give layers their outputs' names back."""
    outputs = {node.output[0] for node in base.graph.node}
    for node in made.graph.node:
        if not node.name.startswith("branch/") and node.output[0] not in outputs:
            number = node.output[0].split("/")[1]
            sums = [one for one in made.graph.node if one.name == f"branch/{number}/sum"]
            node.output[0] = sums[0].output[0]
    for part in (made.graph.node, made.graph.initializer):
        kept = [entry for entry in part if not entry.name.startswith("branch/")]
        del part[:]
        part.extend(kept)


@pytest.mark.parametrize("world", CORE, indirect=True)
def test_file_is_the_base_and_branches(world: World) -> None:
    base = onnx.load(str(world.base.path))
    for path in (world.new, world.tuned):
        onnx.checker.check_model(str(path), full_check=True)
        made = onnx.load(str(path))
        assert made.graph.initializer[-1] == base.graph.initializer[-1]
        if path == world.tuned:
            for tensor in made.graph.initializer:
                tensor.ClearField("external_data")
                tensor.ClearField("data_location")
        _restore_names(base, made)
        assert made == base
    added = sum(array.astype(numpy.float32).nbytes for array in world.trained.values())
    assert world.new.stat().st_size - world.base.path.stat().st_size < added + 20_000
    file = open_model(world.tuned)
    inside = [one for one in file.tensors.values() if one.payload and one.payload.path == file.path]
    large = {one.name for one in inside if one.payload and one.payload.length >= 4096}
    assert {name for name in large if not name.startswith("branch/")} <= {list(file.tensors)[-1]}


@pytest.mark.parametrize("world", CORE, indirect=True)
def test_branches_are_found_again(world: World) -> None:
    layers = select_branches(world.branched)
    again = read_swapper(world.tuned)
    found = select_branches(again)
    assert [layer.owned for layer in found] == [layer.owned for layer in layers]
    assert [layer.mask_rows for layer in found] == [layer.mask_rows for layer in layers]
    gate = read_identity_gate(again.file)
    assert gate is not None
    assert (gate.direction == world.gate.direction).all()
    assert (gate.low, gate.high) == pytest.approx((0.3, 0.8))
    assert has_branches(again.file)
    assert not has_branches(world.base.file)
    assert read_identity_gate(world.base.file) is None
    emap = again.emap
    assert (emap is None) == (not ENTRIES[world.name].emap)
    if emap is not None:
        numpy.testing.assert_array_equal(emap, world.base.emap)


@pytest.mark.parametrize("world", CORE, indirect=True)
def test_strength_mixes_base_and_tuned(world: World) -> None:
    made = {}
    for strength in (0.0, 0.5):
        path = world.folder / f"strength-{strength}.onnx"
        save_model(world.branched.file, path, scale_branches(world.trained, strength))
        made[strength] = _run(path, world.targets[:1], world.sources[:1])[0]
    base, tuned = world.expected[0][:1], world.made[0][:1]
    numpy.testing.assert_array_equal(made[0.0], base)
    half = measure_difference(made[0.5], base)
    assert 0 < half < measure_difference(tuned, base)
    same = scale_branches(world.trained, 1.0)
    assert all((same[name] == world.trained[name]).all() for name in world.trained)


@pytest.mark.parametrize("world", CORE, indirect=True)
def test_costs_keep_a_gate_of_four_bytes(world: World) -> None:
    layers = select_branches(world.branched)
    cost = measure_cost(world.branched.trace, layers)
    base = measure_cost(world.base.trace, select_layers(world.base, "decoder"))
    gates = [name for name in cost.cut if name.startswith("branch/")]
    assert len(gates) == 1
    assert set(cost.cut) - set(gates) == set(base.cut)
    assert cost.cut_bytes == base.cut_bytes + 4
    assert cost.live_macs > base.live_macs
    rows = sum(len(layer.mask_rows) * (RANK + 1) for layer in layers)
    assert cost.parameters == sum(array.size for array in world.trained.values()) - rows
    frontier = split_at_cut(world.swapper, cost.cut)
    inputs = [torch.from_numpy(array[:1]) for array in (world.targets, world.sources)]
    with torch.no_grad():
        live = frontier.run_live(frontier.run_frozen(*inputs))
    assert measure_difference(live.numpy(), world.made[0][:1]) < get_parity_limit(world.base)


def test_mask_stays_while_training(tmp_path: Path) -> None:
    """A layer that makes picture and mask; rank 1 looks like a mask itself."""
    name = next(name for name in VECTORS if facts(name).mask_rows)
    path = tmp_path / "base.onnx"
    path.write_bytes(build(name, width=WIDTH).SerializeToString())
    base, inputs = read_swapper(path), create_inputs(name)
    layers = [layer for layer in base.partition.candidates if layer.mask_rows]
    branched = add_branches(base, layers, 1, IdentityGate(inputs["source"][0], 0.3, 0.8), 0)
    assert select_branches(branched)[-1].mask_rows == layers[0].mask_rows
    swapper = TorchSwapper(branched, select_branches(branched))
    optimiser = torch.optim.AdamW(swapper.trained.values(), lr=0.05)
    for _ in range(2):
        optimiser.zero_grad()
        output = swapper(*(torch.from_numpy(inputs[key]) for key in ("target", "source")))
        output.square().mean().backward()
        optimiser.step()
    save_model(branched.file, tmp_path / "tuned.onnx", swapper.export_weights())
    (picture, mask), (old_picture, old_mask) = (
        _run(file, inputs["target"], inputs["source"]) for file in (tmp_path / "tuned.onnx", path)
    )
    numpy.testing.assert_array_equal(mask, old_mask)
    assert numpy.abs(picture - old_picture).max() > 1e-2


@pytest.mark.parametrize("name", PICTURES)
def test_picture_as_source_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "base.onnx"
    path.write_bytes(build(name, width=WIDTH).SerializeToString())
    base = read_swapper(path)
    gate = IdentityGate(numpy.eye(512, dtype=numpy.float32)[0], 0.3, 0.8)
    with pytest.raises(SwapperError, match="cannot be gated: its source is a picture") as caught:
        add_branches(base, select_layers(base, "last_1"), RANK, gate, 0)
    assert "without `gated`" in caught.value.todo
