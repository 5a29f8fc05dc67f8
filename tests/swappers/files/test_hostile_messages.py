"""Bytes that protobuf would choke on, and graphs that are long to understand."""

from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
from onnx import ModelProto, TensorProto, numpy_helper

from facefusion_finetune.swappers.files import wire
from facefusion_finetune.swappers.graphs.graph import read_swapper, select_layers
from tests.support.hostile import (
    Spoil,
    bounded,
    refuse,
    write,
)
from tests.support.tiny import (
    add_nodes,
    add_tensor,
    build_tiny,
    find_node,
    make_node,
)


def _nest_messages(depth: int, number: int) -> bytes:
    content = b""
    for _ in range(depth):
        content = wire.encode_field(number, content)
    return content


GRAPH_NODE, NODE_ATTRIBUTE, ATTRIBUTE_TENSOR, ATTRIBUTE_INTS = 1, 5, 5, 8


def _add_to_graph(content: bytes) -> bytes:
    """The tiny model with further fields of its graph. Two graphs would be refused as such."""
    model = build_tiny()
    graph = model.graph.SerializeToString() + content
    model.ClearField("graph")
    return model.SerializeToString() + wire.encode_field(wire.MODEL_GRAPH, graph)


def _add_node(content: bytes) -> bytes:
    return _add_to_graph(wire.encode_field(GRAPH_NODE, content))


def _list_tensor(field: int, kind: int, content: bytes) -> bytes:
    tensor = TensorProto(dims=[len(content)], data_type=kind, name="listed").SerializeToString()
    return _add_to_graph(
        wire.encode_field(wire.GRAPH_INITIALIZER, tensor + wire.encode_field(field, content))
    )


MESSAGES: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "its size is 0 bytes"),
    "one byte": (lambda: b"\x08", "does not end"),
    "text": (lambda: b"Not found: 404\n", "not a valid ONNX file"),
    "zeros": (lambda: bytes(1000), "impossible number 0"),
    "ones": (lambda: b"\xff" * 1000, "does not end"),
    "no graph": (lambda: ModelProto(ir_version=8).SerializeToString(), "it contains 0 graphs"),
    "two graphs": (lambda: build_tiny().SerializeToString() + b"\x3a\x00", "it contains 2 graphs"),
    "graph as a number": (lambda: wire.encode_number(7, 1), "it contains 0 graphs"),
    "groups": (lambda: b"\x3b" * 100_000, "wire type 3"),
    "groups inside": (lambda: _add_to_graph(b"\x0b" * 100_000), "wire type 3"),
    "length beyond": (lambda: b"\x3a\xff\xff\xff\xff\x0f", "extends beyond its message"),
    "length of 2**64": (lambda: b"\x3a" + b"\xff" * 9 + b"\x01", "extends beyond its message"),
    "nested graphs": (lambda: _add_node(_nest_messages(3_000, 5)), "not a valid ONNX file"),
    "nested types": (
        lambda: _add_to_graph(
            wire.encode_field(13, wire.encode_field(2, _nest_messages(3_000, 4)))
        ),
        "a sequence",
    ),
    "millions of empty nodes": (lambda: _add_to_graph(b"\x0a\x00" * 3_000_000), "fields"),
    "millions of empty attributes": (lambda: _add_node(b"\x2a\x00" * 3_000_000), "fields"),
    "millions of empty inputs": (lambda: _add_node(b"\x0a\x00" * 3_000_000), "fields"),
    "millions of numbers": (
        lambda: _add_node(wire.encode_field(5, b"\x40\x01" * 3_000_000)),
        "fields",
    ),
    "millions of dims": (
        lambda: _add_to_graph(wire.encode_field(5, b"\x08\x01" * 3_000_000)),
        "fields",
    ),
    "millions of packed dims": (
        lambda: _add_to_graph(wire.encode_field(5, wire.encode_field(1, b"\x01" * 3_000_000))),
        "too long",
    ),
    "hundreds of thousands of nodes in ten": (
        lambda: _add_to_graph(wire.encode_field(GRAPH_NODE, b"\x2a\x00" * 60_000) * 10),
        "fields",
    ),
    "long list of long numbers": (
        lambda: _list_tensor(7, TensorProto.INT64, b"\x01" * 40_000_000),
        "too many values outside raw data",
    ),
    "list of long numbers": (
        lambda: _list_tensor(7, TensorProto.INT64, b"\x01" * 15_000_000),
        "no layer|takes|nothing|DID NOT",
    ),
    "attribute of numbers": (
        lambda: _add_node(wire.encode_field(5, wire.encode_field(8, b"\x01" * 40_000_000))),
        "too many values outside raw data",
    ),
    "long name": (lambda: _add_node(wire.encode_field(3, b"a" * 10_000_000)), "is too long"),
    "name that is no text": (lambda: _add_node(wire.encode_field(3, b"\xff\xfe")), "is not UTF-8"),
    "long notes": (lambda: _add_node(wire.encode_field(6, b"a" * 10_000_000)), "is too long"),
    "huge unknown field": (lambda: _add_node(wire.encode_field(99, bytes(200 << 20))), "larger"),
    "many large unknown fields": (
        lambda: wire.encode_field(99, bytes(40 << 20)) * 5,
        "larger than any swapper's",
    ),
}


@pytest.mark.parametrize("attack", MESSAGES)
def test_messages_that_are_none(attack: str, tmp_path: Path) -> None:
    create, message = MESSAGES[attack]
    path = write(tmp_path, create())
    if attack == "list of long numbers":
        with bounded():
            read_swapper(path)
        return
    refuse(path, message)


def _share_all(model: ModelProto) -> None:
    """One weight and one bias of thousands of convolutions."""
    model.graph.initializer.append(numpy_helper.from_array(numpy.ones((4, 4, 1, 1), "f"), "one"))
    nodes = [
        make_node("Conv", [f"x{n}" if n else "mixed", "one", "first.bias"], [f"x{n + 1}"])
        for n in range(4_500)
    ]
    add_nodes(model, *nodes, place=5)
    find_node(model, "Conv", 4_501).input[0] = "x4500"


def _share_through_diamonds(model: ModelProto) -> None:
    """The ways from a bias to its users double at each step."""
    nodes, last = [], "last.bias"
    for number in range(45):
        nodes += [
            make_node("Identity", [last], [f"left{number}"]),
            make_node("Identity", [last], [f"right{number}"]),
            make_node("Max", [f"left{number}", f"right{number}"], [f"joined{number}"]),
        ]
        last = f"joined{number}"
    add_nodes(model, *nodes)


def _pick_often(model: ModelProto) -> None:
    """Thousands of slices of a large picture with many channels."""
    add_tensor(model, "scales", numpy.array([1, 1, 32, 32], numpy.float32))
    add_tensor(model, "other", numpy.ones((3, 4, 3, 3), numpy.float32))
    for name, value in (("start", [0]), ("end", [1]), ("axis", [1])):
        add_tensor(model, name, numpy.array(value))
    nodes = [
        make_node("Resize", ["mixed", "", "scales"], ["big"]),
        make_node("Conv", ["big", "other"], ["wide"], pads=[1] * 4),
    ]
    nodes += [make_node("Slice", ["wide", "start", "end", "axis"], [f"cut{n}"]) for n in range(900)]
    nodes += [
        make_node("Add", [f"cut{n - 1}" if n == 1 else f"sum{n - 1}", f"cut{n}"], [f"sum{n}"])
        for n in range(1, 900)
    ]
    nodes.append(make_node("ReduceMean", ["sum899"], ["mean"], axes=[1, 2, 3]))
    nodes.append(make_node("Add", ["mixed", "mean"], ["moved"]))
    add_nodes(model, *nodes, place=5)
    find_node(model, "Conv", 2).input[0] = "moved"


@pytest.mark.parametrize("spoil", [_share_all, _share_through_diamonds, _pick_often])
def test_graphs_that_are_long_to_understand(spoil: Spoil, tmp_path: Path) -> None:
    """They are of no harm, and therefore taken, but not for long."""
    model = build_tiny()
    spoil(model)
    path = write(tmp_path, model)
    with bounded():
        graph = read_swapper(path)
        select_layers(graph, "all")
        select_layers(graph, "decoder")
