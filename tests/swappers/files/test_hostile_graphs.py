"""Tensors and graphs that lie are refused with a reason."""

from pathlib import Path

import pytest
from onnx import ModelProto, TensorProto, helper

from tests.support.disorder import reverse_nodes
from tests.support.hostile import (
    Spoil,
    refuse,
    write,
)
from tests.support.tiny import (
    add_nodes,
    build_tiny,
    find_node,
    find_tensor,
    make_node,
)


def _set_dims(*dims: int) -> Spoil:
    def spoil(model: ModelProto) -> None:
        tensor = find_tensor(model, "last.weight")
        del tensor.dims[:]
        tensor.dims.extend(dims)

    return spoil


def _set_type(kind: int) -> Spoil:
    def spoil(model: ModelProto) -> None:
        find_tensor(model, "last.weight").data_type = kind

    return spoil


def _spoil_text(model: ModelProto) -> None:
    tensor = find_tensor(model, "first.bias")
    tensor.ClearField("raw_data")
    tensor.data_type = TensorProto.STRING
    tensor.string_data.extend([b"a"] * 4)


def _spoil_constant(model: ModelProto) -> None:
    value = TensorProto(dims=[1 << 30], data_type=TensorProto.FLOAT, raw_data=bytes(8))
    add_nodes(model, make_node("Constant", [], ["huge"], value=value))


def _spoil_twice(model: ModelProto) -> None:
    find_tensor(model, "first.bias").float_data.extend([1.0] * 4)


def _spoil_list(model: ModelProto) -> None:
    tensor = find_tensor(model, "shape")
    tensor.ClearField("raw_data")
    tensor.int64_data.extend([1] * 3)


TENSORS: dict[str, tuple[Spoil, str]] = {
    "product overflows": (_set_dims(1 << 31, 1 << 31, 4), "impossible shape"),
    "a dim of 2**62": (_set_dims(1 << 62), "impossible shape"),
    "product of 2**64": (_set_dims(1 << 16, 1 << 16, 1 << 16, 1 << 16), "impossible shape"),
    "negative": (_set_dims(-3, -4, 3, 3), "impossible shape"),
    "more than there is": (_set_dims(3, 4, 30, 30), "needs 43200 bytes but has 432"),
    "less than there is": (_set_dims(3, 4, 3, 2), "needs 288 bytes but has 432"),
    "rank 1000": (_set_dims(*[1] * 1000), "too many fields|impossible shape"),
    "rank 20": (_set_dims(*[1] * 20), "impossible shape"),
    "no type": (_set_type(0), "unknown type 0"),
    "unknown type": (_set_type(99), "unknown type 99"),
    "4 bits": (_set_type(TensorProto.INT4), "unknown type"),
    "complex": (_set_type(TensorProto.COMPLEX64), "unknown type"),
    "text": (_spoil_text, "a string tensor"),
    "constant": (_spoil_constant, "too few values"),
    "numbers twice": (_spoil_twice, "has them twice"),
    "short list": (_spoil_list, "too few values|cannot be decoded"),
}


@pytest.mark.parametrize("attack", TENSORS)
def test_tensors_that_lie(attack: str, tmp_path: Path) -> None:
    spoil, message = TENSORS[attack]
    model = build_tiny()
    spoil(model)
    refuse(write(tmp_path, model), message)


def _close_cycle(model: ModelProto) -> None:
    find_node(model, "Relu").input[0] = "output"


def _close_cycle_reversed(model: ModelProto) -> None:
    _close_cycle(model)
    reverse_nodes(model)


def _feed_itself(model: ModelProto) -> None:
    find_node(model, "Relu").input[0] = "kept"


def _close_long_cycle(model: ModelProto) -> None:
    names = [f"{'x' * 500}{number}" for number in range(500)]
    chain = zip(names, [*names[1:], names[0]], strict=True)
    add_nodes(model, *(make_node("Relu", [first], [second]) for first, second in chain))


def _miss_tensor(model: ModelProto) -> None:
    find_node(model, "Relu").input[0] = "nowhere"


def _double_initializer(model: ModelProto) -> None:
    model.graph.initializer.append(find_tensor(model, "first.bias"))


def _nameless_initializer(model: ModelProto) -> None:
    find_tensor(model, "first.bias").name = ""


def _double_node_name(model: ModelProto) -> None:
    find_node(model, "Relu").name = find_node(model, "Conv").name


def _double_output(model: ModelProto) -> None:
    find_node(model, "Relu").output[0] = "seen"


def _shadow(model: ModelProto) -> None:
    find_node(model, "Relu").output[0] = "last.bias"


def _double_graph_output(model: ModelProto) -> None:
    model.graph.output.append(model.graph.output[0])


def _drop_output(model: ModelProto) -> None:
    del model.graph.output[:]


def _nameless_output(model: ModelProto) -> None:
    model.graph.output[0].name = ""


def _output_of_an_input(model: ModelProto) -> None:
    model.graph.output[0].name = "target"


def _double_input(model: ModelProto) -> None:
    model.graph.input[1].name = "target"


def _nameless_input(model: ModelProto) -> None:
    model.graph.input[1].name = ""


def _drop_nodes(model: ModelProto) -> None:
    del model.graph.node[:]


def _omit_input(model: ModelProto) -> None:
    find_node(model, "Conv").input[1] = ""


def _omit_output(model: ModelProto) -> None:
    node = make_node("Split", ["kept"], ["", "half"], axis=1)
    add_nodes(model, node, place=2)


def _too_many_inputs(model: ModelProto) -> None:
    find_node(model, "Relu").input.append("style.weight")


def _set_domain(kind: str, domain: str) -> Spoil:
    def spoil(model: ModelProto) -> None:
        node = find_node(model, "Conv")
        node.op_type, node.domain = kind, domain
        model.opset_import.append(helper.make_opsetid(domain, 1))

    return spoil


def _set_kind(kind: str) -> Spoil:
    def spoil(model: ModelProto) -> None:
        find_node(model, "Relu").op_type = kind

    return spoil


def _set_opset(*versions: int) -> Spoil:
    def spoil(model: ModelProto) -> None:
        del model.opset_import[:]
        model.opset_import.extend(helper.make_opsetid("", version) for version in versions)

    return spoil


def _set_ir(version: int) -> Spoil:
    def spoil(model: ModelProto) -> None:
        model.ir_version = version

    return spoil


def _add_function(model: ModelProto) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    model.functions.append(
        helper.make_function("f", "F", ["x"], ["y"], [node], list(model.opset_import))
    )


def _add_training(model: ModelProto) -> None:
    model.training_info.add()


def _add_sparse(model: ModelProto) -> None:
    model.graph.sparse_initializer.add().dims.extend([1 << 40])


def _add_branch(kind: str, *attributes: str) -> Spoil:
    def spoil(model: ModelProto) -> None:
        body = helper.make_graph([], "body", [], [])
        node = make_node(kind, ["kept"], ["branched"], **dict.fromkeys(attributes, body))
        add_nodes(model, node, place=2)

    return spoil


def _nest(depth: int) -> Spoil:
    def spoil(model: ModelProto) -> None:
        inner = helper.make_graph([], "leaf", [], [])
        for _ in range(depth):
            node = helper.make_node("If", ["x"], ["y"], then_branch=inner)
            inner = helper.make_graph([node], "level", [], [])
        model.graph.node.extend(inner.node)

    return spoil


GRAPHS: dict[str, tuple[Spoil, str]] = {
    "cyclic": (_close_cycle, r"cyclic: 'Relu_kept' -> 'Add_mixed' -> 'Conv_made' -> 'Sigmoid_"),
    "cyclic out of order": (
        _close_cycle_reversed,
        r"the graph is cyclic: 'Sigmoid_output' -> 'Relu",
    ),
    "feeds itself": (_feed_itself, r"the graph is cyclic: 'Relu_kept' -> 'Relu_kept'"),
    "long cycle": (_close_long_cycle, r"-> 496 more -> "),
    "incomplete": (_miss_tensor, "'Relu_kept' uses 'nowhere', which no node produces"),
    "initializer doubled": (_double_initializer, "two initializers are named 'first.bias'"),
    "initializer without name": (_nameless_initializer, "two initializers are named ''"),
    "node name doubled": (_double_node_name, "two nodes share a name"),
    "output doubled": (_double_output, "has no output, or one that already exists"),
    "weight made again": (_shadow, "has no output, or one that already exists"),
    "graph output doubled": (_double_graph_output, "outputs are missing, duplicated"),
    "no graph output": (_drop_output, "outputs are missing"),
    "graph output without name": (_nameless_output, "outputs are missing"),
    "graph output is an input": (_output_of_an_input, "produced by no node"),
    "input doubled": (_double_input, "two inputs share a name"),
    "input without name": (_nameless_input, "or one has no name"),
    "no nodes": (_drop_nodes, "it has 0 nodes"),
    "required input left out": (_omit_input, "lacks a required input or output"),
    "required output left out": (_omit_output, "lacks a required input or output"),
    "too many inputs": (_too_many_inputs, "wrong number of inputs"),
    "microsoft": (_set_domain("FusedConv", "com.microsoft"), "'com.microsoft', which are refused"),
    "learning": (_set_domain("Scaler", "ai.onnx.ml"), "'ai.onnx.ml', which are refused"),
    "unknown operator": (_set_kind("Frobnicate"), "unknown operator 'Frobnicate'"),
    "abolished operator": (_set_kind("Upsample"), "deprecated operator|wrong number"),
    "operator nobody needs": (_set_kind("NonZero"), "'NonZero', which no swapper needs"),
    "sequence": (_set_kind("SequenceConstruct"), "which no swapper needs"),
    "operator called ''": (_set_kind(""), "unknown operator ''"),
    "opset 99": (_set_opset(99), r"its opset \[99\] is unknown"),
    "opset 0": (_set_opset(0), r"its opset \[0\] is unknown"),
    "opset -1": (_set_opset(-1), r"its opset \[-1\] is unknown"),
    "no opset": (_set_opset(), "its opset missing is unknown"),
    "two opsets": (_set_opset(11, 17), r"its opset \[11, 17\] is unknown"),
    "IR version": (_set_ir(99), "IR version 99 is unknown"),
    "function": (_add_function, "functions of its own"),
    "training": (_add_training, "training steps"),
    "sparse": (_add_sparse, "sparse weights"),
    "If": (_add_branch("If", "then_branch", "else_branch"), "a graph inside a node"),
    "Loop": (_add_branch("Loop", "body"), "a graph inside a node"),
    "Scan": (_add_branch("Scan", "body"), "a graph inside a node"),
    "hidden graph": (_add_branch("Relu", "body"), "a graph inside a node"),
    "nested 30 deep": (_nest(30), "a graph inside a node"),
}


@pytest.mark.parametrize("attack", GRAPHS)
def test_graphs_that_are_none(attack: str, tmp_path: Path) -> None:
    spoil, message = GRAPHS[attack]
    model = build_tiny()
    spoil(model)
    refuse(write(tmp_path, model), message)
