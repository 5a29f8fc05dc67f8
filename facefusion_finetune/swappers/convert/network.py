"""A swapper in PyTorch whose trainable tensors are addressed by initializer name."""

from collections.abc import Callable, Sequence

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.convert.convert import convert_graph, node_module
from facefusion_finetune.swappers.graphs.graph import SwapperGraph
from facefusion_finetune.swappers.graphs.inputs import TARGET
from facefusion_finetune.swappers.graphs.layers import Layer, Owned, rearrange, undo_rearrangement


class TorchSwapper(nn.Module):
    """A swapper with some trainable layers.

    Call it with target crops (n, 3, H, W), normalised, and sources (n, 512) or (n, 3, h, w).
    """

    def __init__(self, graph: SwapperGraph, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.network = convert_graph(graph.trace)
        self.graph = graph
        self._target_first = graph.trace.inputs[0] == TARGET
        self.places: dict[str, list[tuple[nn.Module, Owned, Layer]]] = {}
        """Modules that use a trainable initializer, by its name."""
        for layer in layers:
            for owned in layer.owned:
                module = node_module(self.network, layer.index)
                self.places.setdefault(owned.initializer, []).append((module, owned, layer))
        self.trained = {name: self._unfreeze(places) for name, places in self.places.items()}
        """Trainable parameters by initializer name, in the layout that their nodes take."""

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        """Swapped crops, (n, 3, H, W), in the file's own output range."""
        output: Tensor = self.network(
            *((target, source) if self._target_first else (source, target))
        )
        return output

    def train(self, mode: bool = True) -> "TorchSwapper":
        """Stay in evaluation mode: normalisation layers keep the file's statistics."""
        return super().train(False)

    def count_inputs(self, name: str) -> int:
        """Number of inputs that each output of a trained weight sums over (its fan-in)."""
        module, owned, layer = self.places[name][0]
        shape = getattr(module, owned.role).shape
        if layer.kind == "Conv":
            return int(shape[1:].numel())
        if layer.kind == "ConvTranspose":
            return int(shape[0] * shape[2:].numel())
        made = self.graph.trace.nodes[layer.index].output[0]
        return layer.macs // max(1, self.graph.trace.values[made].count)

    def export_weights(self) -> dict[str, NDArray[numpy.float32]]:
        """Arrays of the trainable tensors by initializer name, laid out as in the file."""
        exported = {}
        for name, places in self.places.items():
            module, owned, _ = places[0]
            values = getattr(module, owned.role).detach().cpu().numpy()
            exported[name] = undo_rearrangement(self.graph.trace, name, owned.tensor, values).copy()
        return exported

    def run(
        self, targets: NDArray[numpy.float32], sources: NDArray[numpy.float32]
    ) -> NDArray[numpy.float32]:
        """Run on arrays, without gradients; shapes as in `forward`.

        Raises:
            SwapperError: PyTorch cannot run the graph.
        """
        device = next(self.parameters(), torch.empty(0)).device
        inputs = (torch.from_numpy(array).to(device) for array in (targets, sources))
        try:
            with torch.no_grad():
                output = self(*inputs)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, IndexError, TypeError, AttributeError) as error:
            raise SwapperError(
                self.graph.path.name,
                f"PyTorch cannot run it ({error}).",
                "Use the file as FaceFusion publishes it.",
            ) from error
        return numpy.asarray(output.float().cpu().numpy())

    def _unfreeze(self, places: list[tuple[nn.Module, Owned, Layer]]) -> nn.Parameter:
        """Make a parameter trainable; modules that share an initializer share the parameter."""
        module, owned, layer = places[0]
        parameter = getattr(module, owned.role, None)
        name = owned.initializer
        array = self.graph.file.read_tensor(name).astype(numpy.float32)
        expected = rearrange(self.graph.trace, name, owned.tensor, array)
        if not isinstance(parameter, nn.Parameter) or not numpy.array_equal(
            parameter.detach().numpy(), expected
        ):
            raise SwapperError(
                self.graph.path.name,
                f"the weight {name!r} of node {layer.node!r} was changed by the conversion to"
                " PyTorch.",
                "Use the file as FaceFusion publishes it.",
            )
        for other, same, _ in places[1:]:
            setattr(other, same.role, parameter)
        parameter.requires_grad_(True)
        if layer.mask_rows:
            parameter.register_hook(_freeze_rows(layer, owned))  # type: ignore[no-untyped-call]
        return parameter


def find_channel_axis(kind: str) -> int:
    """The weight axis that indexes output channels, for a layer of this kind."""
    return 1 if kind == "ConvTranspose" else 0


def _freeze_rows(layer: Layer, owned: Owned) -> Callable[[Tensor], Tensor]:
    axis = find_channel_axis(layer.kind) if owned.role == "weight" else 0
    rows = torch.tensor(layer.mask_rows)

    def freeze(gradient: Tensor) -> Tensor:
        return gradient.index_fill(axis, rows.to(gradient.device), 0.0)

    return freeze
