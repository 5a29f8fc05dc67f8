"""What holds for every swapper, tried on random ones."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy
import onnx
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.convert.parity import (
    check_parity,
    get_parity_limit,
    measure_difference,
)
from facefusion_finetune.swappers.files import wire
from facefusion_finetune.swappers.files.messages import check_messages
from facefusion_finetune.swappers.files.modelfile import open_model
from facefusion_finetune.swappers.files.writeback import save_model
from facefusion_finetune.swappers.graphs.graph import SwapperGraph, read_swapper, select_layers
from facefusion_finetune.swappers.sessions import create_session, run_session
from tests.support.random_graphs import BLOCKS, Plan, build_random, create_inputs

SAMPLES = 3
BATCH_LIMIT = 1e-4
"""Share of the output's range by which a sample may differ in a batch."""
RATE = 1e-2

plans = st.builds(
    Plan,
    seed=st.integers(0, 1 << 30),
    opset=st.integers(11, 21),
    half=st.sampled_from((False, False, False, True)),
    size=st.sampled_from((16, 24, 32)),
    picture=st.sampled_from((False, False, True)),
    blocks=st.lists(st.sampled_from(sorted(BLOCKS)), min_size=1, max_size=8).map(tuple),
    constants=st.booleans(),
)


class Tally:
    """How many graphs are taken; those that are refused say why."""

    def __init__(self) -> None:
        self.taken = 0
        self.refused: list[str] = []

    @contextmanager
    def count(self) -> Iterator[None]:
        """One graph."""
        try:
            yield
        except SwapperError as error:
            self.refused.append(str(error))
        else:
            self.taken += 1

    def check(self, least: int) -> None:
        """Most of them have to be taken, or nothing was tried."""
        assert self.taken >= least, (self.taken, self.refused[:5])
        assert len(self.refused) * 10 <= self.taken, self.refused[:5]


@contextmanager
def written(plan: Plan) -> Iterator[tuple[onnx.ModelProto, Path]]:
    """A random swapper, and its file in a folder of its own."""
    model = build_random(plan)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random.onnx"
        path.write_bytes(model.SerializeToString())
        yield model, path


def test_torch_does_what_onnxruntime_does() -> None:
    tally = Tally()

    @settings(max_examples=150)
    @given(plans)
    def check(plan: Plan) -> None:
        with written(plan) as (model, path), tally.count():
            graph = read_swapper(path)
            swapper = TorchSwapper(graph, select_layers(graph, "all"))
            inputs = create_inputs(model, SAMPLES)
            targets, sources = inputs["target"], inputs["source"]
            session = create_session(path, "random")
            check_parity(swapper, session, targets, sources, get_parity_limit(graph))
            whole = swapper.run(targets, sources)
            rows = [swapper.run(targets[i : i + 1], sources[i : i + 1]) for i in range(SAMPLES)]
            assert measure_difference(whole, numpy.concatenate(rows)) < BATCH_LIMIT

    check()
    tally.check(130)


def _train(graph: SwapperGraph, swapper: TorchSwapper, inputs: dict[str, torch.Tensor]) -> None:
    """One step, after which exactly the chosen tensors have a gradient."""
    swapper.train()
    output = swapper(inputs["target"], inputs["source"])
    (output - output.detach() + torch.linspace(-1, 1, output.shape[-1])).square().mean().backward()
    trained = {id(parameter) for parameter in swapper.trained.values()}
    assert trained == {id(one) for one in swapper.parameters() if one.grad is not None}
    assert trained == {id(one) for one in swapper.parameters() if one.requires_grad}
    with torch.no_grad():
        for parameter in swapper.trained.values():
            assert parameter.grad is not None
            parameter.sub_(RATE * parameter.grad.sign() * parameter.abs().mean())


def test_one_step_there_and_back() -> None:
    tally = Tally()

    @settings(max_examples=150)
    @given(plans, st.integers(0, 1 << 16))
    def check(plan: Plan, choice: int) -> None:
        with written(plan) as (base, path), tally.count():
            graph = read_swapper(path)
            chosen = graph.partition.candidates[choice % len(graph.partition.candidates)]
            weight = chosen.owned[0].initializer
            layers = [one for one in graph.partition.candidates if weight in one.initializers]
            swapper = TorchSwapper(graph, layers)
            arrays = create_inputs(base, SAMPLES)
            _train(graph, swapper, {name: torch.from_numpy(a) for name, a in arrays.items()})
            tuned_path = path.with_name("tuned.onnx")
            save_model(graph.file, tuned_path, swapper.export_weights())

            tuned = onnx.load(str(tuned_path))
            onnx.checker.check_model(tuned, full_check=True)
            names = set(swapper.trained)
            pairs = zip(base.graph.initializer, tuned.graph.initializer, strict=True)
            for old, new in pairs:
                assert (old.name, old.dims, old.data_type) == (new.name, new.dims, new.data_type)
                assert old.name in names or old == new
            for model in (base, tuned):
                del model.graph.initializer[:]
            assert base.SerializeToString() == tuned.SerializeToString()
            session = create_session(tuned_path, "tuned")
            expected = run_session(session, arrays["target"], arrays["source"])
            made = swapper.run(arrays["target"], arrays["source"])
            assert measure_difference(made, expected) <= get_parity_limit(graph)

    check()
    tally.check(130)


def test_untouched_weights_give_the_same_bytes() -> None:
    @settings(max_examples=100)
    @given(plans)
    def check(plan: Plan) -> None:
        with written(plan) as (_, path):
            graph = read_swapper(path)
            swapper = TorchSwapper(graph, select_layers(graph, "all"))
            copy = path.with_name("copy.onnx")
            for weights in ({}, swapper.export_weights()):
                save_model(graph.file, copy, weights)
                assert copy.read_bytes() == path.read_bytes()

    check()


def test_linked_files_give_the_same_pictures() -> None:
    linked = 0

    @settings(max_examples=60)
    @given(plans)
    def check(plan: Plan) -> None:
        nonlocal linked
        with written(plan) as (model, path):
            file = open_model(path)
            short, back = path.with_name("linked.onnx"), path.with_name("back.onnx")
            path.with_name("base.bin").write_bytes(path.read_bytes())
            save_model(file, short, link="base.bin")
            again = open_model(short)
            linked += again.is_linked
            for name in file.tensors:
                assert file.read_tensor(name).tobytes() == again.read_tensor(name).tobytes()
            save_model(again, back)
            assert not open_model(back).is_linked
            inputs = create_inputs(model, 1)
            made = [
                run_session(create_session(one, one.name), inputs["target"], inputs["source"])
                for one in (path, short, back)
            ]
            assert made[0].tobytes() == made[1].tobytes() == made[2].tobytes()

    check()
    assert linked >= 20


def _find_ancestors(model: onnx.ModelProto) -> dict[str, set[str]]:
    """Inputs of the graph that each tensor depends on, worked out in another way: no colours of
    nodes, but everything that can be reached from an input."""
    depends: dict[str, set[str]] = {}
    for start in ("target", "source"):
        reached = {start}
        for node in model.graph.node:
            # The sizes of a tensor do not depend on what is in it.
            if node.op_type != "Shape" and reached.intersection(node.input):
                reached.update(node.output)
        for name in reached:
            depends.setdefault(name, set()).add(start)
    return depends


def _find_descendants(model: onnx.ModelProto, index: int) -> list[onnx.NodeProto]:
    reached = set(model.graph.node[index].output)
    found = []
    for node in list(model.graph.node)[index + 1 :]:
        if node.op_type != "Shape" and reached.intersection(node.input):
            reached.update(node.output)
            found.append(node)
    return found


def test_rule_which_layers_may_be_trained() -> None:
    frozen_kinds: set[str] = set()

    @settings(max_examples=250)
    @given(plans)
    def check(plan: Plan) -> None:
        with written(plan) as (model, path):
            graph = read_swapper(path)
            depends = _find_ancestors(model)
            partition = graph.partition
            candidates = {layer.index: layer for layer in partition.candidates}
            for layer in partition.layers:
                node = model.graph.node[layer.index]
                worked_on = set().union(*(depends.get(name, set()) for name in node.input))
                if layer.frozen is None:
                    assert worked_on == {"target", "source"}
                    after = _find_descendants(model, layer.index)
                    assert any("output" in one.output for one in after) or "output" in node.output
                    users = [n for n in model.graph.node if layer.owned[0].tensor in n.input]
                    assert all(list(model.graph.node).index(n) in candidates for n in users)
                else:
                    frozen_kinds.add(layer.frozen.split(" ")[0])
                # What was seen of one input alone is never touched.
                if worked_on != {"target", "source"}:
                    assert layer.frozen is not None
            for layer in partition.candidates:
                after = _find_descendants(model, layer.index)
                inner = [
                    one
                    for one in partition.candidates
                    if model.graph.node[one.index] in after and one is not layer
                ]
                assert (partition.depths[layer.index] == 0) == (not inner)
                assert all(
                    partition.depths[layer.index] > partition.depths[one.index] for one in inner
                )
            for layer in partition.tail:
                for node in _find_descendants(model, layer.index):
                    kinds = [depends.get(name, set()) for name in node.input if name in depends]
                    assert {"source"} not in kinds, "an injection follows the tail"
            assert set(partition.tail) <= set(partition.candidates)
            assert set(partition.decoder) <= set(partition.candidates)
            count = max(partition.depths.values()) + 1
            assert partition.select_last(count) == partition.candidates
            assert not partition.select_last(0)

    check()
    assert {"depends", "has"} <= frozen_kinds


# Bytes

fields = st.one_of(
    st.tuples(st.integers(1, (1 << 29) - 1), st.integers(0, (1 << 64) - 1)),
    st.tuples(st.integers(1, (1 << 29) - 1), st.binary(max_size=300)),
)


@settings(max_examples=300)
@given(st.lists(fields, max_size=20))
def test_fields_are_read_as_they_were_written(pairs: list[tuple[int, int | bytes]]) -> None:
    data = b"".join(
        wire.encode_number(number, value)
        if isinstance(value, int)
        else wire.encode_field(number, value)
        for number, value in pairs
    )
    found = list(wire.read_fields(data, 0, len(data)))
    assert [field.number for field in found] == [number for number, _ in pairs]
    for field, (_, value) in zip(found, pairs, strict=True):
        if isinstance(value, int):
            assert (field.wire, field.value) == (wire.VARINT, value)
        else:
            assert (field.wire, data[field.body : field.end]) == (wire.LENGTH, value)
    edges = [0, *(field.end for field in found)]
    assert [field.start for field in found] == edges[:-1]
    assert edges[-1] == len(data)


@settings(max_examples=500)
@given(st.binary(max_size=400))
def test_any_bytes_are_fields_or_refused(data: bytes) -> None:
    for read in (lambda: list(wire.read_fields(data, 0, len(data))), lambda: check_messages(data)):
        with suppress(wire.WireError):
            read()


@settings(max_examples=100)
@given(st.binary(max_size=1000), st.lists(st.tuples(st.integers(0, 1100), st.integers(0, 1100))))
def test_bytes_of_a_file_are_its_bytes(data: bytes, parts: list[tuple[int, int]]) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        view = wire.FileBytes(file)
        assert len(view) == len(data)
        for start, end in parts:
            assert view[start:end] == data[start:end]


def test_long_parts_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "long"
    content = numpy.random.default_rng(0).bytes(5 * wire.BLOCK_BYTES)
    path.write_bytes(content)
    with path.open("rb") as file:
        view = wire.FileBytes(file)
        for start in (0, 100, wire.BLOCK_BYTES - 1, 3 * wire.BLOCK_BYTES, 5 * wire.BLOCK_BYTES - 3):
            for length in (1, 3, wire.BLOCK_BYTES, wire.BLOCK_BYTES + 1, 3 * wire.BLOCK_BYTES):
                assert view[start : start + length] == content[start : start + length]
