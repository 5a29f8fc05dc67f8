"""Every kind of layer: which get a branch, of what shape, and what is refused as one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import onnx
import onnxruntime
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.branches.gate import IdentityGate
from facefusion_finetune.swappers.branches.insert import add_branches
from facefusion_finetune.swappers.branches.select import select_branches
from facefusion_finetune.swappers.branches.split import has_branches, split_branches
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.files.modelfile import open_model
from facefusion_finetune.swappers.files.writeback import save_model
from facefusion_finetune.swappers.graphs.graph import SwapperGraph, read_swapper, select_layers

GATE = IdentityGate(numpy.eye(512, dtype=numpy.float32)[0], 0.2, 0.9)

SHAPES = {
    "spread": ((48, 8), (8, 10)),
    "gather": ((10, 8), (8, 64)),
    "grow": ((4, 4, 1, 1), (4, 6, 4, 4)),
    "uneven": ((5, 6, 3, 2), (5, 5, 1, 1)),
    "picture": ((3, 6, 1, 1), (3, 3, 1, 1)),
}
"""Of `down` and `up` at rank 8."""


def build_swapper(opset: int) -> ModelProto:
    """A swapper of a few pixels with all kinds of layers after the injection."""
    random = numpy.random.default_rng(0)
    tensors: list[TensorProto] = []

    def store(*shape: int) -> str:
        name = f"tensor_{len(tensors)}"
        array = random.standard_normal(shape) / numpy.sqrt(numpy.prod(shape[1:]))
        tensors.append(numpy_helper.from_array(array.astype(numpy.float32), name))
        return name

    def size(*sizes: int) -> str:
        name = f"tensor_{len(tensors)}"
        tensors.append(numpy_helper.from_array(numpy.array(sizes, numpy.int64), name))
        return name

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(kind, inputs, [output], name=output, **attributes)

    shared = store(5, 5, 1, 1)
    nodes = [
        node("Conv", ["target", store(3, 3, 3, 3)], "seen", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Gemm", ["source", store(512, 3), store(3)], "style"),
        node("Reshape", ["style", size(1, 3, 1, 1)], "column"),
        node("Mul", ["seen", "column"], "injected"),
        node("Reshape", ["injected", size(1, 48)], "row"),
        node("MatMul", ["row", store(48, 10)], "spread"),
        node("Gemm", ["spread", store(64, 10), store(64)], "gather", transB=1, alpha=0.5, beta=2.0),
        node("Reshape", ["gather", size(1, 4, 4, 4)], "map"),
        node(
            *("ConvTranspose", ["map", store(4, 6, 4, 4), store(6)], "grow"),
            strides=[2, 2],
            pads=[1, 1, 1, 1],
            kernel_shape=[4, 4],
        ),
        node("Conv", ["grow", store(5, 6, 3, 2)], "uneven", auto_pad="SAME_LOWER"),
        node("Conv", ["uneven", store(5, 1, 3, 3)], "grouped", group=5, pads=[1, 1, 1, 1]),
        node("Conv", ["grouped", shared], "first"),
        node("Conv", ["first", shared], "second"),
        node("Concat", ["second", "grow"], "both", axis=1),
        node("Slice", ["both", size(0), size(6), size(1)], "six")
        if opset >= 10
        else node("Slice", ["both"], "six", axes=[1], starts=[0], ends=[6]),
        node("Conv", ["six", store(3, 6, 1, 1)], "picture"),
    ]
    graph = helper.make_graph(
        nodes,
        "all",
        [
            helper.make_tensor_value_info("target", TensorProto.FLOAT, [1, 3, 8, 8]),
            helper.make_tensor_value_info("source", TensorProto.FLOAT, [1, 512]),
        ],
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, 8, 8])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _open(folder: Path, opset: int = 13) -> SwapperGraph:
    onnx.save(build_swapper(opset), str(folder / "base.onnx"))
    return read_swapper(folder / "base.onnx")


@pytest.mark.parametrize("opset", [9, 11, 13, 18, 21])
def test_each_kind_gets_a_branch_that_fits(opset: int, tmp_path: Path) -> None:
    base = _open(tmp_path, opset)
    chosen = select_layers(base, "all")
    assert {"grouped", "first", "second"} < {layer.node for layer in chosen}
    branched = add_branches(base, chosen, 8, GATE, 0)
    split = split_branches(branched.file)
    assert split is not None
    shapes = {
        branch.layer.name: tuple(
            branched.file.tensors[name].dims for name in (branch.down, branch.up)
        )
        for branch in split.branches.values()
    }
    assert shapes == SHAPES
    swapper = TorchSwapper(branched, select_branches(branched))
    random = numpy.random.default_rng(1)
    with torch.no_grad():
        for name, parameter in swapper.trained.items():
            if not name.endswith("/down"):
                drawn = random.standard_normal(tuple(parameter.shape)).astype(numpy.float32)
                parameter.copy_(torch.from_numpy(drawn))
    path = tmp_path / "tuned.onnx"
    save_model(branched.file, path, swapper.export_weights())
    onnx.checker.check_model(str(path), full_check=True)
    targets = random.uniform(0, 1, (4, 3, 8, 8)).astype(numpy.float32)
    sources = random.standard_normal((4, 512)).astype(numpy.float32)
    sources[:, 0] += [0, 12, 30, 100]
    assert len(set(GATE.measure_opening(sources))) == 4
    session = onnxruntime.InferenceSession(str(path))
    expected = numpy.concatenate(
        [
            session.run(None, {"target": target[None], "source": source[None]})[0]
            for target, source in zip(targets, sources, strict=True)
        ]
    )
    made = swapper.run(targets, sources)
    assert swapper.network.batchable == TorchSwapper(base, ()).network.batchable
    numpy.testing.assert_allclose(made, expected, atol=1e-4 * float(numpy.ptp(expected)))


def test_start_is_seeded_and_makes_as_much_as_the_layer(tmp_path: Path) -> None:
    base = _open(tmp_path)
    layers = select_layers(base, "all")
    first, same, other = (add_branches(base, layers, 8, GATE, seed).file for seed in (0, 0, 1))
    down = first.read_tensor("branch/0/down")
    assert (down == same.read_tensor("branch/0/down")).all()
    assert (down != other.read_tensor("branch/0/down")).any()
    weight = base.file.read_tensor(layers[0].owned[0].initializer)
    assert numpy.square(down).mean() == pytest.approx(numpy.square(weight).mean(), rel=0.2)
    assert not first.read_tensor("branch/0/up").any()


def test_layers_without_a_branch_are_named(tmp_path: Path) -> None:
    base = _open(tmp_path)
    left = [layer for layer in base.partition.candidates if layer.node in ("grouped", "first")]
    with pytest.raises(SwapperError, match="none of them can have a branch"):
        add_branches(base, left, 8, GATE, 0)


def test_rank_below_one_is_refused(tmp_path: Path) -> None:
    base = _open(tmp_path)
    with pytest.raises(SwapperError, match="below 1"):
        add_branches(base, select_layers(base, "all"), 0, GATE, 0)


def test_branched_base_is_refused(tmp_path: Path) -> None:
    base = _open(tmp_path)
    save_model(
        add_branches(base, select_layers(base, "all"), 2, GATE, 0).file, tmp_path / "it.onnx"
    )
    again = read_swapper(tmp_path / "it.onnx")
    with pytest.raises(SwapperError, match="already has branches"):
        add_branches(again, select_layers(again, "all"), 2, GATE, 0)


def test_base_has_no_branches_to_select(tmp_path: Path) -> None:
    with pytest.raises(SwapperError, match="it has no branches"):
        select_branches(_open(tmp_path))


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    base = _open(tmp_path)
    branched = add_branches(base, select_layers(base, "all"), 2, GATE, 0)
    weights = {"branch/0/up": numpy.zeros((3, 3), numpy.float32)}
    with pytest.raises(SwapperError, match="does not fit"):
        save_model(branched.file, tmp_path / "it.onnx", weights)
    with pytest.raises(SwapperError, match="not in the base file"):
        save_model(base.file, tmp_path / "it.onnx", weights)
    assert not (tmp_path / "it.onnx").exists()


def _find(model: ModelProto, name: str) -> Any:
    entries = [*model.graph.node, *model.graph.initializer]
    return next(entry for entry in entries if entry.name == name)


def _set(model: ModelProto, name: str, *values: float) -> None:
    tensor = _find(model, name)
    array = numpy.array(values, numpy.float32).reshape(tuple(tensor.dims))
    tensor.CopyFrom(numpy_helper.from_array(array, name))


def _add_node(model: ModelProto) -> None:
    model.graph.node.append(
        helper.make_node("Relu", ["branch/0/thin"], ["branch/0/more"], name="branch/0/more")
    )


def _borrow(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Relu", ["branch/gate/open"], ["more"], name="more"))


def _add_tensor(model: ModelProto) -> None:
    tensor = numpy_helper.from_array(numpy.zeros(3, numpy.float32), "branch/0/more")
    model.graph.initializer.insert(0, tensor)


def _open_for_all(model: ModelProto) -> None:
    _set(model, "branch/gate/shut", 1)


def _open_wider(model: ModelProto) -> None:
    _set(model, "branch/gate/wide", 100)


def _turn(model: ModelProto) -> None:
    _set(model, "branch/gate/span", -0.2)


def _lengthen(model: ModelProto) -> None:
    _set(model, "branch/gate/direction", *([1.0] * 512))


def _break(model: ModelProto) -> None:
    _set(model, "branch/gate/low", numpy.nan)


def _bypass(model: ModelProto) -> None:
    _find(model, "branch/0/gated").input[1] = "branch/0/wide"


def _change_kind(model: ModelProto) -> None:
    _find(model, "branch/0/gated").op_type = "Add"


def _renumber(model: ModelProto) -> None:
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [name.replace("branch/0/", "branch/7/") for name in names]
    for part in (*model.graph.node, *model.graph.initializer):
        part.name = part.name.replace("branch/0/", "branch/7/")


def _move_last(model: ModelProto) -> None:
    tensor = TensorProto()
    tensor.CopyFrom(_find(model, "branch/gate/low"))
    model.graph.initializer.remove(tensor)
    model.graph.initializer.append(tensor)


FAULTS = [_add_node, _borrow, _add_tensor, _open_for_all, _open_wider, _turn, _lengthen, _break]
FAULTS += [_bypass, _change_kind, _renumber, _move_last]


@pytest.mark.parametrize("fault", FAULTS)
def test_damaged_or_foreign_branches_are_refused(
    fault: Callable[[ModelProto], None], tmp_path: Path
) -> None:
    base = _open(tmp_path)
    path = tmp_path / "it.onnx"
    save_model(add_branches(base, select_layers(base, "all"), 2, GATE, 0).file, path)
    assert split_branches(open_model(path)) is not None
    model = onnx.load(str(path))
    fault(model)
    onnx.save(model, str(path))
    file = open_model(path)
    assert has_branches(file)
    with pytest.raises(SwapperError, match="its branches are damaged, or not made by") as caught:
        split_branches(file)
    assert caught.value.given == str(path)
