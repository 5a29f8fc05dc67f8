"""ONNX -> PyTorch, and the proof that both compute the same. The only user of onnx2torch."""

import warnings
from collections.abc import Sequence

import numpy
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper
from onnx2torch import convert as convert_onnx
from torch import Tensor, nn

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.graph import Layer, SwapperGraph

PARITY_LIMIT = 1e-3
"""Largest difference between torch and onnxruntime, as a share of the output's range."""

NODE_PREFIX = "node_"

# onnx2torch's Slice indexes with a list; the parity check would show if its meaning ever changed.
warnings.filterwarnings("ignore", message="Using a non-tuple sequence", category=UserWarning)


def convert_model(model: ModelProto, name: str) -> nn.Module:
    """Convert a whole ONNX graph; all weights frozen, in evaluation mode.

    Args:
        model: Left untouched; the conversion works on a copy.
        name: Of the file, for the error.

    Returns:
        A module whose child `node_<i>` is the graph's i-th node; its inputs are the graph's, in
        their order.

    Raises:
        SwapperError: An operator cannot be converted.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    for index, node in enumerate(copy.graph.node):
        node.name = f"{NODE_PREFIX}{index}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module: nn.Module = convert_onnx(copy)
    except (NotImplementedError, RuntimeError, ValueError, KeyError, IndexError) as error:
        raise SwapperError(
            name,
            f"its graph cannot be converted to PyTorch ({error}).",
            "Use the file as FaceFusion publishes it, not a simplified or re-exported one.",
        ) from error
    # The converter returns a module in training mode, which would move batch norm statistics.
    module.eval()
    return module.requires_grad_(False)


class TorchSwapper(nn.Module):
    """A swapper in PyTorch whose trainable tensors are known by initializer name.

    Call it with target crops (n, 3, H, W), normalised, and source vectors (n, 512).
    """

    def __init__(self, graph: SwapperGraph, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.network = convert_model(graph.model, graph.path.name)
        names = [value.name for value in graph.model.graph.input]
        self._target_first = names.index("target") < names.index("source")
        self.trained = {
            name: parameter
            for layer in layers
            for name, parameter in _find_parameters(self.network, graph, layer).items()
        }
        """Trainable parameters by initializer name."""
        for parameter in self.trained.values():
            parameter.requires_grad_(True)

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        """Swapped crops, (n, 3, H, W), in the file's own output range."""
        inputs = (target, source) if self._target_first else (source, target)
        output: Tensor = self.network(*inputs)
        return output

    def train(self, mode: bool = True) -> "TorchSwapper":
        """Stay in evaluation mode: normalisation layers keep the statistics of the file."""
        return super().train(False)

    def export_weights(self) -> dict[str, NDArray[numpy.float32]]:
        """Arrays of the trainable tensors by initializer name."""
        return {
            name: parameter.detach().cpu().numpy().copy()
            for name, parameter in self.trained.items()
        }

    def load_weights(self, weights: dict[str, NDArray[numpy.float32]]) -> None:
        """Set the trainable tensors from arrays by initializer name."""
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(torch.from_numpy(weights[name]))

    def run(
        self, targets: NDArray[numpy.float32], sources: NDArray[numpy.float32]
    ) -> NDArray[numpy.float32]:
        """Forward on arrays, without gradients; shapes as in `forward`."""
        device = next(self.parameters()).device
        with torch.no_grad():
            output = self(
                torch.from_numpy(targets).to(device), torch.from_numpy(sources).to(device)
            )
        return numpy.asarray(output.float().cpu().numpy())


def check_parity(
    swapper: TorchSwapper,
    session: onnxruntime.InferenceSession,
    targets: NDArray[numpy.float32],
    sources: NDArray[numpy.float32],
    limit: float = PARITY_LIMIT,
) -> float:
    """Compare the converted swapper, run as one batch, with onnxruntime, run one by one.

    Args:
        swapper: The converted network.
        session: Of the file it was converted from, or written back to.
        targets: (n, 3, H, W) normalised crops; real ones, since random noise hides faults.
        sources: (n, 512).
        limit: Largest allowed difference.

    Returns:
        The largest difference, as a share of the output's range.

    Raises:
        SwapperError: The difference is above `limit`, or not a number.
    """
    expected = run_session(session, targets, sources)
    output = swapper.run(targets, sources)
    spread = max(float(expected.max() - expected.min()), 1e-6)
    difference = float(numpy.abs(output - expected).max()) / spread
    if not difference <= limit:
        raise SwapperError(
            "the converted swapper",
            f"PyTorch and onnxruntime differ by {difference:.2g} of the output's range, more than"
            f" {limit:.0e}.",
            "Tuning would train another function than FaceFusion runs. Use the file as published.",
        )
    return difference


def run_session(
    session: onnxruntime.InferenceSession,
    targets: NDArray[numpy.float32],
    sources: NDArray[numpy.float32],
) -> NDArray[numpy.float32]:
    """Run a swapper file on each crop as the host does.

    Args:
        session: Of a swapper.
        targets: (n, 3, H, W).
        sources: (n, 512), or (1, 512) for all.

    Returns:
        (n, 3, H, W).
    """
    sources = numpy.broadcast_to(sources, (len(targets), sources.shape[1]))
    rows = [
        session.run(None, {"target": targets[i : i + 1], "source": sources[i : i + 1]})[0]
        for i in range(len(targets))
    ]
    return numpy.concatenate(rows)


def _find_parameters(
    network: nn.Module, graph: SwapperGraph, layer: Layer
) -> dict[str, nn.Parameter]:
    nodes = [node.name for node in graph.model.graph.node]
    index = nodes.index(layer.node)
    node = graph.model.graph.node[index]
    module = network.get_submodule(f"{NODE_PREFIX}{index}")
    if isinstance(module, nn.Sequential):
        module = module[-1]
    constants = {tensor.name: tensor for tensor in graph.model.graph.initializer}
    found = {}
    for role, name in zip(("weight", "bias"), node.input[1:], strict=False):
        if name not in layer.initializers:
            continue
        parameter = getattr(module, role, None)
        array = numpy_helper.to_array(constants[name])
        if not isinstance(parameter, nn.Parameter) or not numpy.array_equal(
            parameter.detach().numpy(), array
        ):
            raise SwapperError(
                graph.path.name,
                f"the weight {name!r} of node {layer.node!r} does not come out of the conversion"
                " as it went in.",
                "Use the file as FaceFusion publishes it.",
            )
        found[name] = parameter
    return found
