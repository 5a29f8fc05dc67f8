"""What stands out in a swapper, in words: why numbers are never trained, what is worth a sentence.

Names come from a file that anybody may have written: what cannot be printed is left out.
"""

from collections import Counter
from dataclasses import dataclass

from facefusion_finetune.inspection.blocks import (
    Block,
    count_numbers,
    list_numbers,
    simplify_reason,
)
from facefusion_finetune.swappers.convert.batching import is_batchable
from facefusion_finetune.swappers.graphs.graph import SwapperGraph
from facefusion_finetune.swappers.graphs.layers import Layer


@dataclass(frozen=True)
class Reason:
    """Why some numbers are never trained."""

    text: str
    layers: int
    parameters: int


def list_reasons(graph: SwapperGraph) -> tuple[Reason, ...]:
    """Why layers, and rows and biases of other layers, are never trained."""
    trace = graph.trace
    frozen: dict[str, list[Layer]] = {}
    for layer in graph.partition.layers:
        if layer.frozen is not None:
            frozen.setdefault(simplify_reason(layer.frozen), []).append(layer)
    reasons = []
    for text, layers in frozen.items():
        numbers = set[str]().union(*(list_numbers(trace, layer) for layer in layers))
        reasons.append(Reason(text, len(layers), count_numbers(trace, numbers)))
    candidates = graph.partition.candidates
    masked = [layer for layer in candidates if layer.mask_rows]
    if masked:
        rows = sum(len(layer.mask_rows) for layer in masked)
        lost = sum(count_numbers(trace, one.initializers) - one.parameters for one in masked)
        channels = f"{_count(rows, 'output channel')} that make{'s' if rows == 1 else ''} a mask"
        reasons.append(Reason(channels, len(masked), lost))
    biased = [layer for layer in candidates if _lacks_bias(graph, layer)]
    if biased:
        numbers = set[str]().union(
            *(list_numbers(trace, layer) - set(layer.initializers) for layer in biased)
        )
        lost = count_numbers(trace, numbers)
        reasons.append(Reason("a bias that other layers use, too", len(biased), lost))
    return tuple(reasons)


def list_notes(graph: SwapperGraph) -> tuple[str, ...]:
    """Sentences on what somebody who tunes the swapper should know."""
    partition = graph.partition
    notes = []
    if partition.decoder != partition.tail:
        tail = sum(layer.parameters for layer in partition.tail)
        notes.append(
            f"After the last injection there are only {tail} parameters to train, next to"
            " nothing: 'decoder' means the layers that make"
            f" {max(partition.stages) // 2} pixels or more."
        )
    uses = Counter(layer.owned[0].initializer for layer in partition.candidates)
    shared = sum(count > 1 for count in uses.values())
    if shared:
        notes.append(f"{_count(shared, 'weight')} of several layers: those are trained as one.")
    if graph.precision == "fp16":
        notes.append("Its weights are stored in 16 bits; training works on them in 32.")
    if not is_batchable(graph.trace):
        notes.append(
            "It is written for one sample at a time; training maps it over the samples of a batch."
        )
    if graph.file.is_linked:
        notes.append("Some of its weights lie in another file, which has to stay beside it.")
    return tuple(notes)


def _lacks_bias(graph: SwapperGraph, layer: Layer) -> bool:
    node = graph.trace.nodes[layer.index]
    return len(node.input) > 2 and node.input[2] != "" and len(layer.owned) < 2


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def clean(text: str) -> str:
    """A text without control characters, line breaks and marks that turn the direction."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def shorten(text: str, length: int) -> str:
    """A printable text of at most `length` characters; what is too much goes from the middle."""
    text = clean(text)
    if len(text) <= length:
        return text
    kept = max(0, length - 3)
    return f"{text[: kept - kept // 2]}...{text[len(text) - kept // 2 :]}"


def count(number: int) -> str:
    """A number with three digits and a unit: 138 M."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size * 0.9995:
            value = number / size
            digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
            return f"{value:.{digits}f} {unit}"
    return str(number)


def name_layers(block: Block, length: int) -> str:
    """Names of a block's first and last layer."""
    first, last = clean(block.layers[0].node), clean(block.layers[-1].node)
    if len(block.layers) == 1:
        return shorten(first, length)
    room = length - len(" .. ")
    half = room // 2
    if len(first) + len(last) > room:
        first, last = (
            shorten(first, max(half, room - len(last))),
            shorten(last, max(half, room - len(first))),
        )
    return f"{first} .. {last}"


def describe_shape(shape: tuple[int, ...]) -> str:
    """Height x width x channels of a map, or how many numbers a vector has."""
    if len(shape) == 3 and shape[1:] != (1, 1):
        return f"{shape[1]}x{shape[2]}x{shape[0]}"
    if len(shape) in (1, 3):
        return f"vector {shape[0]}"
    return "x".join(map(str, shape))


def describe_output(block: Block) -> list[str]:
    """What its first layer makes and, if that is something else, its last."""
    shapes = [describe_shape(shape) for shape in (block.first_output, block.last_output)]
    return shapes[:1] if shapes[0] == shapes[1] else [shapes[0], f"-> {shapes[1]}"]


def describe_inputs(block: Block) -> str:
    """Which of the two inputs it depends on."""
    return "both" if len(block.depends_on) == 2 else "".join(block.depends_on) or "neither"
