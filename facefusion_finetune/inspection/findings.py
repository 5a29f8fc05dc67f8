"""What is worth knowing about a swapper: why parameters stay frozen, and other notes."""

from collections import Counter
from dataclasses import dataclass

from facefusion_finetune.inspection.blocks import (
    count_values,
    list_float_constants,
    simplify_reason,
)
from facefusion_finetune.swappers.convert.batching import is_batchable
from facefusion_finetune.swappers.graphs.graph import SwapperGraph
from facefusion_finetune.swappers.graphs.inputs import TARGET, find_free_shapes
from facefusion_finetune.swappers.graphs.layers import Layer


@dataclass(frozen=True)
class Reason:
    """Why some parameters are never trained."""

    text: str
    layers: int
    parameters: int


def list_reasons(graph: SwapperGraph) -> tuple[Reason, ...]:
    """Why layers, and rows and biases of trainable layers, are never trained."""
    trace = graph.trace
    frozen: dict[str, list[Layer]] = {}
    for layer in graph.partition.layers:
        if layer.frozen is not None:
            frozen.setdefault(simplify_reason(layer.frozen), []).append(layer)
    reasons = []
    for text, layers in frozen.items():
        numbers = set[str]().union(*(list_float_constants(trace, layer) for layer in layers))
        reasons.append(Reason(text, len(layers), count_values(trace, numbers)))
    candidates = graph.partition.candidates
    masked = [layer for layer in candidates if layer.mask_rows]
    if masked:
        rows = sum(len(layer.mask_rows) for layer in masked)
        lost = sum(count_values(trace, one.initializers) - one.parameters for one in masked)
        channels = f"{_count(rows, 'output channel')} producing a mask"
        reasons.append(Reason(channels, len(masked), lost))
    biased = [layer for layer in candidates if _lacks_bias(graph, layer)]
    if biased:
        numbers = set[str]().union(
            *(list_float_constants(trace, layer) - set(layer.initializers) for layer in biased)
        )
        lost = count_values(trace, numbers)
        reasons.append(Reason("a bias shared with other layers", len(biased), lost))
    return tuple(reasons)


def list_notes(graph: SwapperGraph) -> tuple[str, ...]:
    """Sentences on what someone who tunes the swapper should know."""
    partition = graph.partition
    notes = []
    if TARGET in find_free_shapes(graph.file, graph.size):
        width, height = graph.size
        notes.append(
            f"It leaves height and width free; {width} x {height} is what its name or its model"
            " card says."
        )
    if partition.decoder != partition.tail:
        tail = sum(layer.parameters for layer in partition.tail)
        notes.append(
            f"Only {tail} trainable parameters come after the last injection, so 'decoder' means"
            f" the layers whose output is at least {max(partition.stages) // 2} pixels high."
        )
    uses = Counter(layer.owned[0].initializer for layer in partition.candidates)
    shared = sum(count > 1 for count in uses.values())
    if shared:
        notes.append(
            f"{_count(shared, 'weight')} shared by several layers, which are trained together."
        )
    if graph.precision == "fp16":
        notes.append("Its weights are 16-bit; training works on 32-bit copies.")
    if not is_batchable(graph.trace):
        notes.append("It takes one sample at a time; training maps it over the samples of a batch.")
    if graph.file.is_linked:
        notes.append("Some of its weights are in another file, which must stay in the same folder.")
    return tuple(notes)


def _lacks_bias(graph: SwapperGraph, layer: Layer) -> bool:
    node = graph.trace.nodes[layer.index]
    return len(node.input) > 2 and node.input[2] != "" and len(layer.owned) < 2


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
