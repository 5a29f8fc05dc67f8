"""The network of a run: the base converted to PyTorch and checked, then made trainable.

Either layers of the base itself are trained, or branches in parallel to them, scaled by an identity
gate.
"""

from dataclasses import dataclass

import numpy
import onnxruntime
from accelerate import Accelerator
from numpy.typing import NDArray

from facefusion_finetune.runs.base_swapper import BaseSwapper
from facefusion_finetune.runs.context import RunContext
from facefusion_finetune.runs.sources import SourceTable
from facefusion_finetune.swappers.branches.gate import create_identity_gate
from facefusion_finetune.swappers.branches.insert import add_branches
from facefusion_finetune.swappers.branches.select import select_branches
from facefusion_finetune.swappers.convert.lora import add_low_rank
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.convert.parity import check_parity, get_parity_limit
from facefusion_finetune.swappers.graphs.graph import SwapperGraph, select_layers
from facefusion_finetune.swappers.graphs.layers import Layer
from facefusion_finetune.swappers.sessions import create_session, normalise_crops
from facefusion_finetune.swappers.source import PersonSource
from facefusion_finetune.swappers.vectors import prepare_source_inputs

PARITY_CROPS = 4


@dataclass(frozen=True)
class Sample:
    """A few inputs on which the networks of the run must agree."""

    targets: NDArray[numpy.float32]
    """(n, 3, H, W), normalised as the swapper's input."""
    sources: NDArray[numpy.float32]
    """(n, ...)."""


@dataclass(frozen=True)
class ConvertedBase:
    """G0, the frozen base, in PyTorch and as an onnxruntime session of its file."""

    torch: TorchSwapper
    session: onnxruntime.InferenceSession
    layers: tuple[Layer, ...]
    """The preset's trainable layers; already trainable in `torch` without an identity gate."""
    targets: NDArray[numpy.float32]
    """(n, 3, H, W), the sample's inputs."""
    swapper: BaseSwapper

    def sample(self, person: PersonSource) -> Sample:
        """The sample, driven by the person."""
        sources = numpy.stack([person.source] * len(self.targets))
        return Sample(self.targets, prepare_source_inputs(sources))


@dataclass(frozen=True)
class TunableNetwork:
    """The swapper being trained, and the graph its weights are written back to."""

    graph: SwapperGraph
    """The base's graph, with branches if the preset is gated."""
    torch: TorchSwapper


def convert_base(
    context: RunContext, person: PersonSource, accelerator: Accelerator
) -> ConvertedBase:
    """Convert the base, and check that PyTorch and onnxruntime give the same outputs.

    Raises:
        SwapperError: The base cannot be converted, or the outputs differ.
    """
    options, graph, preset = context.options, context.graph, context.run.config.preset
    layers = select_layers(graph, preset.layers)
    network = TorchSwapper(graph, () if preset.gated else layers)
    network.to(accelerator.device)
    crops = numpy.stack([crop.crop for crop in context.crops.train[:PARITY_CROPS]])
    base = ConvertedBase(
        network,
        create_session(options.path, options.name),
        layers,
        normalise_crops(crops, options),
        BaseSwapper(network.run, options),
    )
    sample = base.sample(person)
    check_parity(network, base.session, sample.targets, sample.sources, get_parity_limit(graph))
    return base


def create_trainable(
    context: RunContext, base: ConvertedBase, sources: SourceTable, accelerator: Accelerator
) -> TunableNetwork:
    """Create the parameters the preset trains: gated branches, low-rank factors, or the layers.

    Args:
        context: The run's context.
        base: The converted base.
        sources: The identity gate opens for the person's sources and stays closed for others'.
        accelerator: Has the device.

    Raises:
        SwapperError: The person's sources cannot be distinguished from other people's.
    """
    config = context.run.config
    preset = config.preset
    if not preset.gated:
        if preset.lora_rank:
            add_low_rank(base.torch, preset.lora_rank, config.seed)
            base.torch.to(accelerator.device)
        return TunableNetwork(context.graph, base.torch)
    own, strangers = (prepare_source_inputs(rows) for rows in (sources.own, sources.others))
    gate = create_identity_gate(own, sources.person.source, strangers)
    graph = add_branches(context.graph, base.layers, preset.lora_rank, gate, config.seed)
    network = TorchSwapper(graph, select_branches(graph))
    network.to(accelerator.device)
    return TunableNetwork(graph, network)
