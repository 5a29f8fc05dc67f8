"""A model with branches on its way: linked, verified, activated, sent, taken in, or refused."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper

from facefusion_finetune.errors import RegistryError, UsageError
from facefusion_finetune.host.models import hash_path
from facefusion_finetune.people.profile import Person, load_person
from facefusion_finetune.registry import bases, store, transfer
from facefusion_finetune.runs.run import Run
from facefusion_finetune.swappers.branches.gate import IdentityGate
from facefusion_finetune.swappers.branches.insert import add_branches
from facefusion_finetune.swappers.branches.split import read_identity_gate
from facefusion_finetune.swappers.card import encode_metadata
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.files.bases import bases_directory
from facefusion_finetune.swappers.files.modelfile import open_model
from facefusion_finetune.swappers.graphs.graph import SwapperGraph, read_swapper, select_layers
from tests.support.runs import create_finished_run, list_names

generator = numpy.random.default_rng(0)
TARGET = generator.uniform(0, 1, (1, 3, 64, 64)).astype(numpy.float32)
DIRECTION, OTHER = numpy.linalg.qr(generator.normal(size=(512, 2)))[0].T.astype(numpy.float32)
GATE = IdentityGate(DIRECTION, 0.25, 0.75)
RANK = 40

Fault = Callable[[ModelProto], None]


@pytest.fixture
def branched(options: SwapperOptions) -> SwapperGraph:
    base = read_swapper(options.path)
    return add_branches(base, select_layers(base, "decoder"), RANK, GATE, 0)


@pytest.fixture
def run(person: Person, options: SwapperOptions, branched: SwapperGraph) -> Run:
    made = create_finished_run(person, options, proven=True)
    card = store.read_card(made.model_path)
    random = numpy.random.default_rng(1)
    weights = {
        name: random.normal(0, 0.05, stored.dims).astype(numpy.float32)
        for name, stored in branched.file.tensors.items()
        if name.startswith("branch/") and name.endswith(("/up", "/bias"))
    }
    note = bases.write_run_model(
        branched.file,
        card.base_sha256,
        card.base_name,
        made.model_path,
        weights,
        encode_metadata(card),
    )
    assert note is None
    return made


def _answer(path: Path, source: NDArray[numpy.float32]) -> NDArray[numpy.float32]:
    feed = {"target": TARGET, "source": source[None]}
    output: NDArray[numpy.float32] = onnxruntime.InferenceSession(str(path)).run(None, feed)[0]
    return output


def _assert_gated(path: Path, base: Path, tolerance: float = 1e-5) -> None:
    shut = numpy.abs(_answer(path, OTHER) - _answer(base, OTHER)).max()
    opened = numpy.abs(_answer(path, DIRECTION) - _answer(base, DIRECTION)).max()
    assert shut <= tolerance
    assert opened > 0.05


def test_linked_to_the_base_as_published(run: Run, options: SwapperOptions) -> None:
    model, base = open_model(run.model_path), open_model(options.path)
    (beside,) = run.directory.glob("*.base")
    assert beside.read_bytes() == options.path.read_bytes()
    assert list(model.tensors)[-1] == list(base.tensors)[-1]
    own = 0
    for name, stored in model.tensors.items():
        assert stored.payload is not None
        if name.startswith("branch/"):
            assert stored.payload.path == model.path
            own += stored.payload.length
        else:
            assert model.read_tensor(name).tobytes() == base.read_tensor(name).tobytes()
            if stored.payload.length >= 4096 and name != list(base.tensors)[-1]:
                assert stored.payload.path == beside
    emap = base.tensors[list(base.tensors)[-1]]
    assert emap.payload is not None
    assert model.size < own + emap.payload.length + 60_000
    _assert_gated(run.model_path, options.path)


def test_active_model_is_verified_and_drawn_with(
    person: Person, run: Run, options: SwapperOptions, tmp_path: Path
) -> None:
    path = store.activate(person, run, tmp_path / "facefusion")
    assert store.verify(path).person == "ada"
    _assert_gated(path, options.path)
    last = onnx.load(str(path)).graph.initializer[-1]
    emap = open_model(options.path).read_tensor(last.name)
    numpy.testing.assert_array_equal(numpy_helper.to_array(last), emap)


@pytest.mark.parametrize("standalone", [False, True])
def test_taken_in_elsewhere_it_is_linked_again(
    elsewhere: Callable[..., Path], options: SwapperOptions, standalone: bool, tmp_path: Path
) -> None:
    path = elsewhere(standalone=standalone)
    sent = open_model(path) if standalone else None
    imported = transfer.import_model(path, None, [tmp_path])
    assert imported.note is None
    made = open_model(imported.run.model_path)
    assert made.is_linked
    if sent is not None:
        assert list(made.tensors) == list(sent.tensors)
        for name in sent.tensors:
            assert made.read_tensor(name).tobytes() == sent.read_tensor(name).tobytes()
    _assert_gated(imported.run.model_path, options.path)
    ada = load_person("ada")
    active = store.activate(ada, imported.run, tmp_path / "facefusion", force=True)
    assert store.verify(active).version == 1


def test_base_of_a_large_standalone_file_is_found(
    elsewhere: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Branches may be larger than what else a plain file has beyond its base."""
    path = elsewhere(standalone=True)
    added = path.stat().st_size - (tmp_path / "demo.onnx").stat().st_size
    monkeypatch.setattr(transfer, "SLACK", added // 2)
    assert transfer.import_model(path, None, [tmp_path]).note is None


def test_without_its_base_it_stays_whole(
    elsewhere: Callable[..., Path], options: SwapperOptions, tmp_path: Path
) -> None:
    imported = transfer.import_model(elsewhere(standalone=True), None, [])
    assert imported.note is not None
    _assert_gated(imported.run.model_path, options.path)


def test_at_less_strength_it_changes_less_and_is_not_judged(
    elsewhere: Callable[..., Path],
    run: Run,
    person: Person,
    options: SwapperOptions,
    tmp_path: Path,
) -> None:
    none = tmp_path / "none.onnx"
    transfer.export_model(person, run, none, strength=0)
    whole = numpy.abs(_answer(run.model_path, DIRECTION) - _answer(options.path, DIRECTION)).max()
    assert numpy.abs(_answer(none, DIRECTION) - _answer(options.path, DIRECTION)).max() < 1e-5
    half = elsewhere(strength=0.5)
    change = numpy.abs(_answer(half, DIRECTION) - _answer(options.path, DIRECTION)).max()
    assert 0.2 * whole < change < 0.9 * whole
    _assert_gated(half, options.path)
    result = store.read_card(half).judge_result
    assert (result["proven"], result["verdict"]) == (False, "not judged at strength 0.5")
    assert transfer.import_model(half, None, [tmp_path]).note is None


@pytest.mark.parametrize(
    ("choices", "why"),
    [
        ({"strength": 1.5}, "it is out of range"),
        ({"strength": 0.5, "half": True}, "cannot be combined"),
    ],
)
def test_strength_that_cannot_be_written(
    run: Run, person: Person, tmp_path: Path, choices: dict[str, Any], why: str
) -> None:
    output = tmp_path / "sent.onnx"
    with pytest.raises(UsageError, match=why):
        transfer.export_model(person, run, output, **choices)
    assert not output.exists()


def test_model_without_a_gate_has_no_strength(
    person: Person, options: SwapperOptions, tmp_path: Path
) -> None:
    plain = create_finished_run(person, options, proven=True)
    with pytest.raises(UsageError, match="its strength cannot be changed"):
        transfer.export_model(person, plain, tmp_path / "sent.onnx", strength=0.5)


def test_with_16_bits_it_is_gated_still(
    elsewhere: Callable[..., Path], options: SwapperOptions, tmp_path: Path
) -> None:
    path = elsewhere(half=True)
    model = open_model(path)
    assert model.tensors["branch/0/up"].dtype == numpy.float16
    gate = read_identity_gate(model)
    assert gate is not None
    assert (gate.direction == GATE.direction).all()
    _assert_gated(path, options.path, tolerance=0.02)
    imported = transfer.import_model(path, None, [tmp_path])
    assert imported.note is not None
    _assert_gated(imported.run.model_path, options.path, tolerance=0.02)


def _add_node(model: ModelProto) -> None:
    """A foreign node: a picture that is worked on once more."""
    output = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = ["foreign" if name == output else name for name in node.output]
    model.graph.node.append(helper.make_node("Relu", ["foreign"], [output], name="foreign"))


def _add_tensor(model: ModelProto) -> None:
    tensor = numpy_helper.from_array(numpy.zeros(3, numpy.float32), "foreign")
    model.graph.initializer.insert(0, tensor)


def _open_for_all(model: ModelProto) -> None:
    (tensor,) = (one for one in model.graph.initializer if one.name == "branch/gate/shut")
    tensor.CopyFrom(numpy_helper.from_array(numpy.array(1, numpy.float32), tensor.name))


def _drop_gate(model: ModelProto) -> None:
    (node,) = (one for one in model.graph.node if one.name == "branch/0/gated")
    node.op_type = "Add"


FOREIGN = "its graph differs from that of demo, which it is linked to"
DAMAGED = "its branches are damaged, or not made by facefusion-finetune"
FAULTS = [(_add_node, FOREIGN), (_add_tensor, FOREIGN)]
FAULTS += [(_open_for_all, DAMAGED), (_drop_gate, DAMAGED)]


def _spoil(path: Path, fault: Fault) -> None:
    model = onnx.load(str(path), load_external_data=False)
    fault(model)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(("fault", "message"), FAULTS)
def test_foreign_or_damaged_nodes_are_found_by_verify(
    person: Person, run: Run, tmp_path: Path, fault: Fault, message: str
) -> None:
    path = store.activate(person, run, tmp_path / "facefusion")
    _spoil(path, fault)
    hash_path(path).write_text(f"{zlib.crc32(path.read_bytes()):08x}")
    with pytest.raises(RegistryError, match=message):
        store.verify(path)


@pytest.mark.parametrize(("fault", "message"), FAULTS)
def test_foreign_or_damaged_nodes_are_not_taken_in(
    elsewhere: Callable[..., Path], tmp_path: Path, fault: Fault, message: str
) -> None:
    path = elsewhere()
    _spoil(path, fault)
    with pytest.raises(RegistryError, match=message) as caught:
        transfer.import_model(path, None, [tmp_path])
    assert caught.value.given == str(path)
    assert list_names(load_person("ada").directory) == ["person.toml"]
    assert list_names(bases_directory()) == []


@pytest.mark.parametrize("fault", [_open_for_all, _drop_gate])
def test_damaged_branches_of_a_standalone_file_are_not_taken_in(
    elsewhere: Callable[..., Path], tmp_path: Path, fault: Fault
) -> None:
    path = elsewhere(standalone=True)
    _spoil(path, fault)
    with pytest.raises(RegistryError, match=DAMAGED):
        transfer.import_model(path, None, [tmp_path])
    assert list_names(load_person("ada").directory) == ["person.toml"]
