"""Attributes and inputs no swapper has are refused with a reason."""

from pathlib import Path

import numpy
import onnx
import pytest
from onnx import AttributeProto, ModelProto, TensorProto, helper

from facefusion_finetune.errors import SwapperError
from tests.support.hostile import (
    Spoil,
    bounded,
    convert,
    refuse,
    write,
)
from tests.support.tiny import (
    add_nodes,
    add_tensor,
    build_tiny,
    find_node,
    make_node,
    remove_attribute,
    set_attribute,
)


@pytest.mark.parametrize(
    ("kind", "name", "value", "message"),
    [
        ("Conv", "strides", [0, 0], "'strides' of node 'Conv_seen' has an impossible value"),
        ("Conv", "strides", [-1, 1], "impossible"),
        ("Conv", "strides", [1] * 30, "cannot be used"),
        ("Conv", "strides", [1] * 300, "too long"),
        ("Conv", "strides", [1 << 40, 1], "impossible"),
        ("Conv", "dilations", [0, 1], "impossible"),
        ("Conv", "dilations", [60_000, 60_000], "cannot be used"),
        ("Conv", "kernel_shape", [0, 3], "impossible"),
        ("Conv", "kernel_shape", [-3, 3], "impossible"),
        ("Conv", "kernel_shape", [5, 5], "cannot be used"),
        ("Conv", "group", 0, "impossible"),
        ("Conv", "group", -1, "impossible"),
        ("Conv", "group", 7, "does not fit"),
        ("Conv", "pads", [-1, 1, 1, 1], "impossible|cannot be used"),
        ("Conv", "pads", [1 << 40] * 4, "impossible"),
        ("Conv", "pads", [60_000] * 4, "would create a tensor of|cannot be used"),
        ("Conv", "pads", [1], "cannot be used"),
        ("Conv", "pads", "SAME", "wrong type"),
        ("Conv", "auto_pad", "NONSENSE", "does not fit"),
        ("Conv", "auto_pad", b"\xff\xfe", "is not ASCII text"),
        ("Conv", "colour", 3, "unknown attribute 'colour'"),
        ("Gemm", "transB", 0, "cannot be used"),
        ("Gemm", "transB", [1], "wrong type"),
        ("Reshape", "allowzero", 1.0, "wrong type"),
    ],
)
def test_attributes_that_lie(
    kind: str, name: str, value: object, message: str, tmp_path: Path
) -> None:
    model = build_tiny()
    set_attribute(find_node(model, kind), name, value)
    path = write(tmp_path, model)
    with bounded(), pytest.raises(SwapperError, match=message):
        convert(path)


def _lack(model: ModelProto) -> None:
    add_nodes(model, make_node("Transpose", ["style.weight"], ["turned"]))
    node = make_node("Cast", ["turned"], ["cast"], to=1)
    remove_attribute(node, "to")
    add_nodes(model, node, place=1)


def _double(model: ModelProto) -> None:
    node = find_node(model, "Conv")
    node.attribute.append(node.attribute[0])


def _type_alone(model: ModelProto) -> None:
    find_node(model, "Conv").attribute[0].type = AttributeProto.FLOAT


def _cast_to_text(model: ModelProto) -> None:
    add_nodes(model, make_node("Cast", ["shape"], ["text"], to=TensorProto.STRING))


def _transpose_wildly(model: ModelProto) -> None:
    add_nodes(model, make_node("Transpose", ["style.weight"], ["turned"], perm=[7, -9]))


def _split_into_nothing(model: ModelProto) -> None:
    outputs = [f"part{number}" for number in range(60)]
    add_nodes(model, make_node("Split", ["kept"], outputs, axis=1), place=2)


def _shuffle_by_nothing(model: ModelProto) -> None:
    add_nodes(model, make_node("DepthToSpace", ["kept"], ["deep"], blocksize=0), place=2)


def _shuffle_by_too_much(model: ModelProto) -> None:
    """A block's size of 2**40 ends onnx 1.22 by a division by zero."""
    node = make_node("DepthToSpace", ["kept"], ["deep"], blocksize=1 << 40)
    add_nodes(model, node, place=2)


def _split_into_more_than_it_says(model: ModelProto) -> None:
    """It ends onnx 1.22 by reading beyond a list."""
    model.opset_import[0].version = 18
    node = make_node("Split", ["kept"], ["one", "two"], axis=1, num_outputs=1)
    add_nodes(model, node, place=2)


def _flat_weight(model: ModelProto) -> None:
    add_tensor(model, "flat", numpy.ones(4, numpy.float32))
    add_nodes(model, make_node("Conv", ["flat", "flat"], ["wrong"]))


MISUSES: dict[str, tuple[Spoil, str]] = {
    "required attribute missing": (_lack, r"lacks one of the attributes \['to'\]"),
    "attribute twice": (_double, "'pads' twice"),
    "type says otherwise": (_type_alone, "wrong type"),
    "cast to text": (_cast_to_text, "not numeric"),
    "wild axes": (_transpose_wildly, "cannot be used"),
    "split into nothing": (_split_into_nothing, "cannot be used"),
    "split into more": (_split_into_more_than_it_says, "as many outputs as num_outputs says"),
    "block of nothing": (_shuffle_by_nothing, "'blocksize' of node 'DepthToSpace_deep' has an imp"),
    "block of too much": (
        _shuffle_by_too_much,
        "'blocksize' of node 'DepthToSpace_deep' has an imp",
    ),
    "weight without axes": (_flat_weight, "cannot be used"),
}


@pytest.mark.parametrize("attack", MISUSES)
def test_operators_used_wrongly(attack: str, tmp_path: Path) -> None:
    spoil, message = MISUSES[attack]
    model = build_tiny()
    spoil(model)
    refuse(write(tmp_path, model), message)


def _type_of(kind: str, number: int = 1) -> onnx.TypeProto:
    plain = helper.make_tensor_type_proto(number, [1, 3, 16, 16])
    return {
        "tensor": plain,
        "sequence": helper.make_sequence_type_proto(plain),
        "optional": helper.make_optional_type_proto(plain),
        "map": helper.make_map_type_proto(TensorProto.INT64, plain),
        "sparse": helper.make_sparse_tensor_type_proto(number, [1, 3, 16, 16]),
        "nothing": onnx.TypeProto(),
        "no shape": helper.make_tensor_type_proto(number, None),
        "open": helper.make_tensor_type_proto(number, [1, 3, "h", "w"]),
        "negative": helper.make_tensor_type_proto(number, [1, 3, -16, -16]),
        "huge": helper.make_tensor_type_proto(number, [1, 3, 1 << 20, 1 << 20]),
        "overflowing": helper.make_tensor_type_proto(number, [1, 3, 1 << 62, 1 << 62]),
        "many axes": helper.make_tensor_type_proto(number, [1] * 1000),
        "one channel": helper.make_tensor_type_proto(number, [1, 1, 16, 16]),
        "batch of 4": helper.make_tensor_type_proto(number, [4, 3, 16, 16]),
    }[kind]


@pytest.mark.parametrize("name", ["target", "source"])
@pytest.mark.parametrize(
    ("kind", "number", "message"),
    [
        ("tensor", TensorProto.INT64, "cannot be used|no face swapper|not a face swapper"),
        ("tensor", TensorProto.FLOAT16, "cannot be used|not a face swapper"),
        ("tensor", TensorProto.DOUBLE, "cannot be used|not a face swapper"),
        ("tensor", TensorProto.STRING, "not numeric"),
        ("tensor", TensorProto.BFLOAT16, "not numeric"),
        ("tensor", 0, "not numeric"),
        ("tensor", 99, "not numeric"),
        ("sequence", 1, "a sequence, which no swapper needs"),
        ("optional", 1, "an optional value, which no swapper needs"),
        ("map", 1, "a map, which no swapper needs"),
        ("sparse", 1, "sparse values, which no swapper needs"),
        ("nothing", 1, "has no fixed size"),
        ("no shape", 1, "has no fixed size"),
        ("open", 1, "leaves the size of its input .* free"),
        ("negative", 1, "leaves the size of its input .* free"),
        ("huge", 1, "has no fixed size, is too large"),
        ("overflowing", 1, "has no fixed size, is too large"),
        ("many axes", 1, "cannot be used|absurd"),
        ("one channel", 1, "cannot be used|not a face swapper"),
        ("batch of 4", 1, "cannot be used|not a face swapper"),
    ],
)
def test_inputs_of_odd_types(
    name: str, kind: str, number: int, message: str, tmp_path: Path
) -> None:
    model = build_tiny()
    entry = next(value for value in model.graph.input if value.name == name)
    entry.type.CopyFrom(_type_of(kind, number))
    refuse(write(tmp_path, model), message)


def test_halves_and_whole_numbers_through_casts(tmp_path: Path) -> None:
    """Where the rest of the graph fits, the inputs' own type is what is looked at."""
    for number in (TensorProto.INT64, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.UINT8):
        model = build_tiny()
        model.graph.input[0].type.tensor_type.elem_type = number
        find_node(model, "Conv").input[0] = "cast"
        add_nodes(model, make_node("Cast", ["target"], ["cast"], to=1))
        refuse(write(tmp_path, model), "not a face swapper: a swapper has the 32-bit inputs")
    model = build_tiny()
    find_node(model, "Sigmoid").output[0] = "full"
    model.graph.node.append(make_node("Cast", ["full"], ["output"], to=TensorProto.FLOAT16))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    refuse(write(tmp_path, model), "not a face swapper: a swapper has the 32-bit inputs")


def test_swapper_that_ignores_an_input(tmp_path: Path) -> None:
    model = build_tiny()
    find_node(model, "Conv", 1).input[0] = "kept"
    refuse(write(tmp_path, model), "nothing to tune")
    model = build_tiny()
    model.graph.input[1].name = "vector"
    find_node(model, "Gemm").input[0] = "vector"
    refuse(write(tmp_path, model), "its inputs are called .target. and .vector.\\.")
