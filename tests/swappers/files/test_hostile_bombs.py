"""Little on disk, much in memory or time: refused before anything makes room."""

from pathlib import Path

import numpy
import pytest
from onnx import ModelProto, numpy_helper

from tests.support.hostile import (
    Spoil,
    refuse,
    write,
)
from tests.support.tiny import (
    add_nodes,
    add_tensor,
    build_tiny,
    make_node,
)


def _fill(model: ModelProto, *shape: int, kind: str = "ConstantOfShape") -> None:
    add_tensor(model, "sizes", numpy.array(shape))
    add_nodes(model, make_node(kind, ["sizes"], ["bomb"]))


def _expand(*shape: int, of: str = "first.bias", place: int = 0) -> Spoil:
    def spoil(model: ModelProto) -> None:
        add_tensor(model, "sizes", numpy.array(shape))
        add_nodes(model, make_node("Expand", [of, "sizes"], ["bomb"]), place=place)

    return spoil


def _tile(of: str, repeats: list[int], place: int = 0) -> Spoil:
    def spoil(model: ModelProto) -> None:
        add_tensor(model, "repeats", numpy.array(repeats))
        add_nodes(model, make_node("Tile", [of, "repeats"], ["bomb"]), place=place)

    return spoil


def _resize(scale: float) -> Spoil:
    def spoil(model: ModelProto) -> None:
        add_tensor(model, "scales", numpy.array([1, 1, scale, scale], numpy.float32))
        add_nodes(model, make_node("Resize", ["kept", "", "scales"], ["bomb"]), place=2)

    return spoil


def _resize_to(*sizes: int) -> Spoil:
    def spoil(model: ModelProto) -> None:
        add_tensor(model, "sizes", numpy.array(sizes))
        add_nodes(model, make_node("Resize", ["kept", "", "", "sizes"], ["bomb"]), place=2)

    return spoil


def _pad(size: int) -> Spoil:
    def spoil(model: ModelProto) -> None:
        add_tensor(model, "pads", numpy.array([0, 0, size, size, 0, 0, size, size]))
        add_nodes(model, make_node("Pad", ["kept", "pads"], ["bomb"]), place=2)

    return spoil


def _range(limit: float, delta: float, kind: type) -> Spoil:
    def spoil(model: ModelProto) -> None:
        for name, value in (("start", 0), ("limit", limit), ("delta", delta)):
            add_tensor(model, name, numpy.array(value, kind))
        add_nodes(model, make_node("Range", ["start", "limit", "delta"], ["bomb"]))

    return spoil


def _double_up(kind: str, of: str, times: int) -> Spoil:
    """A tensor that is joined with itself, or summed, again and again."""

    def spoil(model: ModelProto) -> None:
        nodes, last = [], of
        for number in range(times):
            rest = {"axis": 0} if kind == "Concat" else {}
            nodes.append(make_node(kind, [last, last], [f"doubled{number}"], **rest))
            last = f"doubled{number}"
        place = 0 if of != "kept" else 2
        add_nodes(model, *nodes, place=place)

    return spoil


def _sum_up(model: ModelProto) -> None:
    """Too large to be kept, so that each one is worked out twice for the next."""
    last = add_tensor(model, "large", numpy.zeros(5_000, numpy.float32))
    nodes = []
    for number in range(30):
        nodes += [
            make_node("Identity", [last], [f"left{number}"]),
            make_node("Identity", [last], [f"right{number}"]),
            make_node("Add", [f"left{number}", f"right{number}"], [f"both{number}"]),
        ]
        last = f"both{number}"
    add_nodes(model, *nodes)


def _many_constants(count: int, size: int) -> Spoil:
    def spoil(model: ModelProto) -> None:
        add_tensor(model, "sizes", numpy.array([size]))
        value = numpy_helper.from_array(numpy.ones(1, numpy.float32))
        add_nodes(
            model,
            *(
                make_node("ConstantOfShape", ["sizes"], [f"filled{number}"], value=value)
                for number in range(count)
            ),
        )

    return spoil


def _many_weights(model: ModelProto) -> None:
    """One large constant that is the weight of many convolutions, each with a copy."""
    add_tensor(model, "sizes", numpy.array([2048, 2048, 3, 3]))
    fill = make_node("ConstantOfShape", ["sizes"], ["weight"])
    add_tensor(model, "first", numpy.array([1, 2048, 1, 1]))
    expand = make_node("Expand", ["style", "first"], ["wide0"])
    add_nodes(model, fill)
    nodes = [
        make_node("Conv", [f"wide{number}", "weight"], [f"wide{number + 1}"], pads=[1] * 4)
        for number in range(100)
    ]
    start = make_node("ReduceMean", ["style"], ["mean"], axes=[1], keepdims=1)
    expand.input[0] = "mean"
    add_nodes(model, start, expand, *nodes, place=6)


def _many_activations(model: ModelProto) -> None:
    add_tensor(model, "scales", numpy.array([1, 1, 300, 300], numpy.float32))
    nodes = [make_node("Resize", ["kept", "", "scales"], ["big0"])]
    nodes += [make_node("Relu", [f"big{n}"], [f"big{n + 1}"]) for n in range(60)]
    add_nodes(model, *nodes, place=2)


def _absurd_work(model: ModelProto) -> None:
    add_tensor(model, "wide", numpy.array([1, 4, 4096, 4096]))
    nodes = [make_node("Expand", ["style", "wide"], ["square0"])]
    nodes += [make_node("MatMul", [f"square{n}"] * 2, [f"square{n + 1}"]) for n in range(40)]
    add_nodes(model, *nodes, place=5)


def _huge_window(model: ModelProto) -> None:
    add_tensor(model, "scales", numpy.array([1, 1, 256, 256], numpy.float32))
    nodes = [
        make_node("Resize", ["kept", "", "scales"], ["big"]),
        make_node(*("MaxPool", ["big"], ["pooled"]), kernel_shape=[2047, 2047], pads=[1023] * 4),
    ]
    add_nodes(model, *nodes, place=2)


def _many_nodes(model: ModelProto) -> None:
    nodes = [make_node("Identity", ["shape"], [f"copy{number}"]) for number in range(10_001)]
    add_nodes(model, *nodes)


def _long_chain(model: ModelProto) -> None:
    nodes = [
        make_node("Identity", [f"copy{number}" if number else "shape"], [f"copy{number + 1}"])
        for number in range(5_000)
    ]
    add_nodes(model, *nodes)


def _long_large_chain(model: ModelProto) -> None:
    add_tensor(model, "copy0", numpy.zeros((100, 100), numpy.float32))
    nodes = [
        make_node("Transpose", [f"copy{number}"], [f"copy{number + 1}"]) for number in range(5_000)
    ]
    add_nodes(model, *nodes)


def _deep_rank(model: ModelProto) -> None:
    axes = add_tensor(model, "axes", numpy.array([0]))
    nodes = [
        make_node("Unsqueeze", [f"deep{number}" if number else "kept", axes], [f"deep{number + 1}"])
        for number in range(100)
    ]
    add_nodes(model, *nodes, place=2)


BOMBS: dict[str, tuple[Spoil, str]] = {
    "fill": (lambda model: _fill(model, 1 << 20, 1 << 12), "would create a"),
    "fill 2**62": (lambda model: _fill(model, 1 << 31, 1 << 31), "would create a"),
    "fill beyond": (
        lambda model: _fill(model, *[1 << 30] * 5),
        "would create a|overflow|cannot be",
    ),
    "fill negative": (lambda model: _fill(model, -5), "cannot be used"),
    "expand": (_expand(1 << 14, 1 << 14, 4), "would create a"),
    "expand what is seen": (
        _expand(1 << 10, 1 << 10, 16, 16, of="kept", place=2),
        "cannot be|create",
    ),
    "tile": (_tile("first.bias", [1 << 28]), "would create a"),
    "tile what is seen": (_tile("kept", [1, 1, 1 << 12, 1 << 12], 2), "would create a tensor"),
    "tile beyond": (_tile("kept", [1 << 60] * 4, 2), "cannot be used"),
    "tile negative": (_tile("kept", [1, 1, -1, 1], 2), "cannot be used"),
    "resize": (_resize(1e4), "would create a tensor"),
    "resize beyond": (_resize(1e30), "cannot be used"),
    "resize to nothing": (_resize(1e-9), "cannot be used"),
    "resize by nan": (_resize(float("nan")), "cannot be used"),
    "resize to": (_resize_to(1, 4, 1 << 20, 1 << 20), "would create a tensor"),
    "resize to less than nothing": (_resize_to(1, 4, -16, 16), "cannot be used"),
    "pad": (_pad(1 << 20), "would create a tensor"),
    "pad beyond": (_pad(1 << 62), "cannot be used"),
    "pad to nothing": (_pad(-8), "cannot be used"),
    "range": (_range(1 << 40, 1, numpy.int64), "would create a|cannot be used"),
    "range by nothing": (_range(10, 0, numpy.int64), "cannot be used"),
    "range of halves": (_range(1e30, 1e-30, numpy.float32), "would create a|cannot be used"),
    "join": (_double_up("Concat", "style.weight", 40), "would create a"),
    "join what is seen": (_double_up("Concat", "kept", 60), "would create a tensor"),
    "sum": (_sum_up, "takes too much work to compute"),
    "many fills": (_many_constants(9_000, 4_096), "constants are larger"),
    "long chain": (_long_chain, "more than 100 nodes in a row compute one constant"),
    "long chain of large ones": (
        _long_large_chain,
        "more than 100 nodes in a row compute one constant",
    ),
    "weights": (_many_weights, "weights of all nodes are larger"),
    "activations": (_many_activations, "the outputs of all nodes are larger"),
    "work": (_absurd_work, "multiplications, more than any swapper"),
    "window": (_huge_window, "multiplications, more than any swapper|cannot be used"),
    "nodes": (_many_nodes, "it has 10008 nodes"),
    "rank": (_deep_rank, "would create a tensor of"),
}


@pytest.mark.parametrize("attack", BOMBS)
def test_bombs(attack: str, tmp_path: Path) -> None:
    spoil, message = BOMBS[attack]
    model = build_tiny()
    spoil(model)
    path = write(tmp_path, model)
    assert path.stat().st_size < 2 << 20
    refuse(path, message)
