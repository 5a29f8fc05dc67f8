"""What training costs, against runs of the same graphs: keeping the cut has to be exact."""

from itertools import pairwise
from pathlib import Path

import numpy
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.graphs.costs import measure_cost
from facefusion_finetune.swappers.graphs.graph import SwapperGraph, read_swapper, select_layers
from tests.support.families import build, create_inputs
from tests.support.inswapper import write_inswapper

Arrays = dict[str, NDArray[numpy.generic]]

CASES = [
    ("inswapper_128", "decoder"),
    ("inswapper_128", "last_2"),
    ("inswapper_128", "all"),
    ("simswap_256", "last_3"),
    ("ghost_1_256", "decoder"),
    ("ghost_3_256", "tail"),
    ("blendswap_256", "stage_256"),
    ("hyperswap_1a_256", "decoder"),
    ("hififace_unofficial_256", "decoder"),
    ("hififace_unofficial_256", "stage_32"),
    ("uniface_256", "last_3"),
]


def run(model: onnx.ModelProto, outputs: list[str], inputs: Arrays) -> Arrays:
    """What a model makes, computed node by node as written, on one thread."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    made = session.run(outputs, inputs)
    return dict(zip(outputs, made, strict=True))


def expose(model: onnx.ModelProto, names: tuple[str, ...]) -> onnx.ModelProto:
    """The model with inner tensors as outputs, too."""
    model.graph.output.extend(
        helper.make_empty_tensor_value_info(name)
        for name in names
        if name not in ("target", "source")
    )
    return model


def build_rest(graph: SwapperGraph, model: onnx.ModelProto, given: Arrays) -> onnx.ModelProto:
    """The nodes that have to run when the cut is given."""
    known, wanted, nodes = set(given), {graph.trace.output}, []
    for node in reversed(model.graph.node):
        if any(name in wanted and name not in known for name in node.output):
            nodes.insert(0, node)
            wanted.update(filter(None, node.input))
    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )
        for name, array in given.items()
    ]
    initializers = [tensor for tensor in model.graph.initializer if tensor.name in wanted]
    output = [value for value in model.graph.output if value.name == graph.trace.output]
    return helper.make_model(
        helper.make_graph(nodes, "rest", inputs, output, initializers),
        opset_imports=list(model.opset_import),
        ir_version=model.ir_version,
    )


@pytest.mark.parametrize(("name", "choice"), CASES)
def test_keeping_the_cut_is_exact(name: str, choice: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.onnx"
    # Of 16-bit files onnxruntime rounds what is an output, and computes the rest at 32.
    onnx.save(build(name, precision="fp32"), str(path))
    graph = read_swapper(path)
    layers = select_layers(graph, choice)
    cost = measure_cost(graph.trace, layers)
    inputs = {key: array[:1] for key, array in create_inputs(name).items()}
    whole = expose(onnx.load(str(path)), cost.cut)
    inner = [key for key in cost.cut if key not in inputs]
    made = run(whole, [graph.trace.output, *inner], inputs)
    kept = {key: inputs[key] if key in inputs else made[key] for key in cost.cut}
    rest = build_rest(graph, onnx.load(str(path)), kept)
    output = run(rest, [graph.trace.output], kept)[graph.trace.output]
    numpy.testing.assert_array_equal(output, made[graph.trace.output])
    assert cost.cut_bytes == sum(array.size for array in kept.values()) * 4

    # Other weights give another picture and the same cut.
    for tensor in whole.graph.initializer:
        if tensor.name in {initializer for layer in layers for initializer in layer.initializers}:
            values = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(values * values.dtype.type(1.5), tensor.name))
    changed = run(whole, [graph.trace.output, *inner], inputs)
    for key in inner:
        numpy.testing.assert_array_equal(changed[key], made[key])
    assert not numpy.array_equal(changed[graph.trace.output], made[graph.trace.output])


def test_figures_of_the_small_inswapper(tmp_path: Path) -> None:
    """By the formulas for convolutions, from the weights' own sizes."""
    graph = read_swapper(write_inswapper(tmp_path / "small.onnx").path)
    shapes = {
        layer.node: (graph.trace.values[graph.trace.nodes[layer.index].output[0]].shape, layer)
        for layer in graph.decoder
    }
    expected = 0
    for shape, layer in shapes.values():
        weight = graph.file.tensors[layer.initializers[0]].dims
        assert layer.parameters == numpy.prod(weight) + weight[0]
        assert layer.macs == numpy.prod(shape) * numpy.prod(weight[1:])
        expected += layer.macs
    cost = measure_cost(graph.trace, graph.decoder)
    assert cost.live_macs == expected
    assert cost.parameters == sum(layer.parameters for layer in graph.decoder)
    # Before the picture is enlarged for the first decoder layer, not after.
    first = graph.trace.nodes[graph.decoder[0].index].input[0]
    enlarged = graph.trace.values[first].count * 4
    assert cost.cut_bytes * 4 == enlarged


@pytest.mark.parametrize("name", ["inswapper_128", "ghost_1_256", "hififace_unofficial_256"])
def test_more_layers_never_run_less(name: str, tmp_path: Path) -> None:
    onnx.save(build(name), str(tmp_path / "model.onnx"))
    graph = read_swapper(tmp_path / "model.onnx")
    costs = []
    for count in range(1, 100):
        try:
            costs.append(measure_cost(graph.trace, select_layers(graph, f"last_{count}")))
        except SwapperError:
            break
    assert len(costs) > 3
    assert costs[0].live_macs < costs[-1].live_macs
    for fewer, more in pairwise(costs):
        assert fewer.live_macs <= more.live_macs <= more.macs
        assert fewer.parameters < more.parameters


@pytest.mark.parametrize("name", ["ghost_1_256", "hififace_unofficial_256", "uniface_256"])
def test_live_multiplications_are_those_of_the_rest(name: str, tmp_path: Path) -> None:
    onnx.save(build(name), str(tmp_path / "model.onnx"))
    graph = read_swapper(tmp_path / "model.onnx")
    for choice in ("decoder", "last_1", "all"):
        cost = measure_cost(graph.trace, select_layers(graph, choice))
        given = {key: numpy.zeros(graph.trace.values[key].shape, "f4") for key in cost.cut}
        rest = build_rest(graph, onnx.load(str(graph.path)), given)
        made = {name for node in rest.graph.node for name in node.output}
        layers = graph.partition.layers
        assert cost.live_macs == sum(
            layer.macs for layer in layers if graph.trace.nodes[layer.index].output[0] in made
        )
        assert cost.macs == sum(layer.macs for layer in layers)
