"""The partition rule against what the builders of all 13 swappers know of their graphs."""

from functools import lru_cache
from pathlib import Path

import numpy
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.graphs.graph import SwapperGraph, read_swapper, select_layers
from tests.support.disorder import simplify
from tests.support.families import ENTRIES, build, create_inputs, facts
from tests.support.inswapper import build_inswapper

STARTS_FROM_THE_SOURCE = {"ghost", "hyperswap"}
"""Families whose first block works on a map made of the source, which has seen no target yet."""

FOLDING = ("simswap_256", "blendswap_256", "hififace_unofficial_256", "hyperswap_1a_256")
"""Files with constants in nodes."""


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("families")

    @lru_cache
    def open_family(name: str) -> SwapperGraph:
        onnx.save(build(name), str(folder / f"{name}.onnx"))
        return read_swapper(folder / f"{name}.onnx")

    return open_family


def save_small(change, path: Path) -> SwapperGraph:
    """A small inswapper after `change` was made to it."""
    model = build_inswapper()
    change(model)
    onnx.save(model, str(path))
    return read_swapper(path)


@pytest.mark.parametrize("name", ENTRIES)
def test_finds_what_the_builder_knows(read, name: str) -> None:
    partition, known = read(name).partition, facts(name)
    nodes = [layer.node for layer in partition.layers]
    candidates = {layer.node for layer in partition.candidates}
    assert set(known.frozen) <= set(nodes)
    assert candidates.isdisjoint(known.frozen)
    assert candidates.isdisjoint(known.computed)
    tail = [node for node in nodes if node in known.tail and node not in known.computed]
    assert [layer.node for layer in partition.tail] == tail
    assert {layer.node: layer.mask_rows for layer in partition.layers if layer.mask_rows} == (
        known.mask_rows
    )


@pytest.mark.parametrize("name", [*FOLDING, "uniface_256"])
def test_simplified_file_is_divided_alike(read, name: str, tmp_path: Path) -> None:
    """What onnx-simplifier folds, as in the public model behind hififace, changes no answer."""
    plain, model, known = read(name), simplify(build(name)), facts(name)
    onnx.save(model, str(tmp_path / "simplified.onnx"))
    graph = read_swapper(tmp_path / "simplified.onnx")
    assert len(model.graph.node) < len(plain.file.skeleton.graph.node)
    # Weights that the file computed are folded: nothing keeps their layers from being trained.
    nodes = [layer.node for layer in graph.partition.layers]
    frozen = {layer.node for layer in graph.partition.layers if layer.frozen}
    assert frozen.isdisjoint(known.computed)
    assert frozen >= set(known.frozen)
    assert [layer.mask_rows for layer in graph.partition.tail] == [
        known.mask_rows.get(node, ()) for node in nodes if node in known.tail
    ]
    assert len(graph.partition.injections) == len(plain.partition.injections)


@pytest.mark.parametrize("name", ENTRIES)
def test_sees_every_injection(read, name: str) -> None:
    graph = read(name)
    partition, trace = graph.partition, graph.trace
    found = [trace.nodes[index].name for index in partition.injections]
    known = facts(name).injections
    unseen = [node for node in known if node not in found]
    others = [index for index in partition.injections if trace.nodes[index].name not in known]
    if ENTRIES[name].family in STARTS_FROM_THE_SOURCE:
        assert all(node.startswith("generator.0.block0.") for node in unseen)
        heights = {trace.values[trace.nodes[index].output[0]].shape[2] for index in others}
        assert heights == {2}
    else:
        assert (unseen, others) == ([], [])


@pytest.mark.parametrize("name", ["inswapper_128", "simswap_256", "ghost_1_256"])
def test_style_layers_see_the_source_alone(read, name: str) -> None:
    layers = {layer.node: layer for layer in read(name).partition.layers}
    for node in facts(name).style:
        assert layers[node].frozen == "depends on the source only"


@pytest.mark.parametrize("name", ["inswapper_128", "ghost_1_256", "hififace_unofficial_256"])
def test_colours_are_what_a_run_shows(read, name: str, tmp_path: Path) -> None:
    """What a layer works on changes with an input if, and only if, it has that colour."""
    graph = read(name)
    model = onnx.load(str(graph.path))
    layers = [layer for layer in graph.partition.layers if layer.frozen != "produces a mask"]
    taken = [graph.trace.nodes[layer.index].input[0] for layer in layers]
    inner = [tensor for tensor in dict.fromkeys(taken) if tensor not in ("target", "source")]
    model.graph.output.extend(helper.make_empty_tensor_value_info(tensor) for tensor in inner)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    inputs = create_inputs(name, 2)

    def run(target: int, source: int) -> list[numpy.ndarray]:
        rows = {"target": inputs["target"][[target]], "source": inputs["source"][[source]]}
        return session.run(inner, rows)

    plain, other_target, other_source = run(0, 0), run(1, 0), run(0, 1)
    for tensor, *values in zip(inner, plain, other_target, other_source, strict=True):
        seen = {"target"} if not numpy.array_equal(values[0], values[1]) else set()
        seen |= {"source"} if not numpy.array_equal(values[0], values[2]) else set()
        assert graph.partition.dependencies[tensor] == seen, tensor


@pytest.mark.parametrize("name", ENTRIES)
def test_choices_contain_each_other(read, name: str) -> None:
    graph = read(name)
    partition = graph.partition
    most = max(partition.depths.values()) + 1
    everything = {layer.index for layer in partition.candidates}
    for kind, numbers in (("last", range(1, most + 1)), ("stage", partition.stages)):
        former: set[int] = set()
        for number in numbers:
            chosen = {layer.index for layer in select_layers(graph, f"{kind}_{number}")}
            assert former < chosen
            former = chosen
        assert former == everything
    assert set(partition.tail) <= set(partition.candidates)
    assert sum(layer.parameters for layer in partition.decoder) >= 0.001 * sum(
        layer.parameters for layer in partition.candidates
    )


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("last_99", "has only"),
        ("last_0", "no such choice"),
        ("stage_512", "has no such layer"),
        ("Conv_590", "no such choice"),
        ("last_²", "no such choice"),
    ],
)
def test_choices_that_cannot_be(read, choice: str, message: str) -> None:
    with pytest.raises(SwapperError, match=message):
        select_layers(read("inswapper_128"), choice)


def test_tail_next_to_nothing_is_no_decoder(read) -> None:
    partition = read("ghost_1_256").partition
    assert {layer.height for layer in partition.decoder} == {128, 256}
    assert {layer.height for layer in partition.tail} == {256}


def test_layers_that_share_a_weight_are_trained_as_one(tmp_path: Path) -> None:
    def share(model: onnx.ModelProto) -> None:
        nodes = {node.name: node for node in model.graph.node}
        convs = [nodes[f"Conv_{number}"] for number in (242, 287)]
        convs[1].input[1] = convs[0].input[1]

    graph = save_small(share, tmp_path / "shared.onnx")
    chosen = {layer.node for layer in graph.partition.candidates}
    assert {"Conv_242", "Conv_287"} <= chosen
    depth = graph.partition.depths
    by_name = {layer.node: layer for layer in graph.partition.candidates}
    last = depth[by_name["Conv_287"].index] + 1
    names = {layer.node for layer in select_layers(graph, f"last_{last}")}
    assert {"Conv_242", "Conv_287"} <= names


def test_weight_shared_with_the_encoder_is_frozen(tmp_path: Path) -> None:
    def share(model: onnx.ModelProto) -> None:
        nodes = {node.name: node for node in model.graph.node}
        nodes["Conv_107"].input[1] = nodes["Conv_62"].input[1]

    graph = save_small(share, tmp_path / "shared.onnx")
    layer = next(layer for layer in graph.partition.layers if layer.node == "Conv_107")
    assert layer.frozen == "shares its weight with Conv_62, which cannot be trained"


def test_bias_shared_by_two_layers_is_left_alone(tmp_path: Path) -> None:
    def share(model: onnx.ModelProto) -> None:
        nodes = {node.name: node for node in model.graph.node}
        nodes["Conv_287"].input[2] = nodes["Conv_242"].input[2]

    graph = save_small(share, tmp_path / "shared.onnx")
    for node in ("Conv_242", "Conv_287"):
        layer = next(layer for layer in graph.partition.candidates if layer.node == node)
        assert [owned.role for owned in layer.owned] == ["weight"]


def test_product_of_two_tensors_sees_both(read) -> None:
    layers = {layer.node: layer for layer in read("uniface_256").partition.layers}
    energy = layers["mix.energy"]
    assert energy.depends_on == {"source", "target"}
    assert energy.frozen == "has a weight that depends on the inputs"


def test_second_branch_that_ends_nowhere_is_frozen(tmp_path: Path) -> None:
    def branch(model: onnx.ModelProto) -> None:
        last = next(node for node in model.graph.node if node.name == "Conv_612")
        weight = numpy.ones((1, 3, 1, 1), numpy.float32)
        model.graph.initializer.insert(0, numpy_helper.from_array(weight, "branch"))
        model.graph.node.append(
            helper.make_node("Conv", [last.output[0], "branch"], ["nowhere"], "Branch")
        )
        model.graph.output.append(
            helper.make_tensor_value_info("nowhere", TensorProto.FLOAT, [1, 1, 64, 64])
        )

    graph = save_small(branch, tmp_path / "branch.onnx")
    layer = next(layer for layer in graph.partition.layers if layer.node == "Branch")
    assert layer.frozen == "does not reach the picture"
