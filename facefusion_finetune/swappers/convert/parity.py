"""Checks, on real crops, that the PyTorch network computes the same as onnxruntime."""

import tempfile
from pathlib import Path

import numpy
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import helper
from torch import Tensor, fx

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.convert.convert import node_number
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.files import wire
from facefusion_finetune.swappers.files.writeback import write_model
from facefusion_finetune.swappers.graphs.graph import SwapperGraph
from facefusion_finetune.swappers.sessions import create_session, run_session

PARITY_LIMITS = {"fp32": 1e-3, "fp16": 2e-2}
"""Largest difference between torch and onnxruntime, as a share of the output's range."""

Array = NDArray[numpy.float32]


def get_parity_limit(graph: SwapperGraph) -> float:
    """The limit for the swapper's precision."""
    return PARITY_LIMITS[graph.precision]


def check_parity(
    swapper: TorchSwapper,
    session: onnxruntime.InferenceSession,
    targets: Array,
    sources: Array,
    limit: float,
) -> float:
    """Compare a converted swapper, run as one batch, with onnxruntime, run sample by sample.

    Args:
        swapper: The converted network.
        session: A session of the file it was converted from, or was written back to.
        targets: (n, 3, H, W) normalised crops; real ones, since random noise hides errors.
        sources: (n, 512) or (n, 3, h, w).
        limit: Largest allowed difference, as a share of the output's range.

    Returns:
        The largest difference, as a share of the output's range.

    Raises:
        SwapperError: The difference is above `limit`, or NaN; the message names the first node
            that differs.
    """
    expected = run_session(session, targets, sources)
    difference = measure_difference(swapper.run(targets, sources), expected)
    if not difference <= limit:
        node = find_difference(swapper, targets[:1], sources[:1], limit)
        raise SwapperError(
            "the converted swapper",
            f"PyTorch and onnxruntime differ by {difference:.2g} of the output's range, more than"
            f" {limit:.0e}, {node}.",
            "Training would tune a different function from the one FaceFusion runs. Use the file as"
            " published.",
        )
    return difference


def measure_difference(output: Array, expected: Array) -> float:
    """Largest difference between two arrays, as a share of the second one's range."""
    spread = max(float(expected.max() - expected.min()), 1e-6)
    return float(numpy.abs(output - expected).max()) / spread


def find_difference(swapper: TorchSwapper, target: Array, source: Array, limit: float) -> str:
    """Describe the first node of the base file whose values differ, for one sample."""
    trace = swapper.graph.trace
    names = [name for node in trace.nodes.values() for name in node.output if name]
    expected = dict(zip(names, _run_all(swapper.graph, names, target, source), strict=True))
    network = swapper.network.network
    assert isinstance(network, fx.GraphModule)
    recorder = _Recorder(network)
    given = {"target": torch.from_numpy(target), "source": torch.from_numpy(source)}
    with torch.no_grad():
        recorder.run(*(given[name] for name in trace.inputs))
    for index, node in trace.nodes.items():
        for name, values in zip(node.output, recorder.made.get(index, ()), strict=False):
            if name and not measure_difference(values.numpy(), expected[name]) <= limit:
                return f"first at node {node.name or index!r} ({node.op_type})"
    return "although every node agrees for one sample: samples of a batch are mixed up"


class _Recorder(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.made: dict[int, list[Tensor]] = {}

    def run_node(self, n: fx.Node) -> object:
        result = super().run_node(n)
        if n.op == "call_module":
            made = list(result) if isinstance(result, tuple | list) else [result]
            self.made[node_number(str(n.target))] = made
        return result


def _run_all(graph: SwapperGraph, names: list[str], target: Array, source: Array) -> list[Array]:
    """onnxruntime's outputs of every node, from a copy of the file."""
    values = graph.trace.values
    known = {value.name for value in graph.file.skeleton.graph.output}
    outputs = onnx.GraphProto(
        output=[
            helper.make_tensor_value_info(name, values[name].data_type, values[name].shape)
            for name in names
            if name not in known
        ]
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "all.onnx"
        with path.open("wb") as file:
            write_model(graph.file, file)
            # Protobuf merges two graph fields of one message into one graph.
            file.write(wire.encode_field(wire.MODEL_GRAPH, outputs.SerializeToString()))
        session = create_session(path, graph.path.name)
        made: list[Array] = session.run(names, {"target": target, "source": source})
    return made
