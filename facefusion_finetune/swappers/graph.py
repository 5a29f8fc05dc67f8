"""Read a swapper's ONNX graph: is it one, and which of its layers may be trained.

Source of the rule: follow what each tensor depends on. A layer after which the source is no longer
injected, on the way to the output, belongs to the decoder. No node names are needed.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from facefusion_finetune.errors import SwapperError

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators that carry a weight worth training."""

BASE_ADVICE = "Give one of FaceFusion's swappers, for example --base inswapper_128."


@dataclass(frozen=True)
class Layer:
    """A node with trainable initializers."""

    node: str
    """Name of the node."""
    initializers: tuple[str, ...]
    """Names of its weight and, where it has one, its bias."""
    parameters: int
    """How many numbers these hold."""


@dataclass(frozen=True)
class SwapperGraph:
    """A swapper in the inswapper layout."""

    path: Path
    model: ModelProto
    size: tuple[int, int]
    """Width and height of the target crop."""
    emap: NDArray[numpy.float32]
    """(512, 512): the last initializer."""
    decoder: tuple[Layer, ...]
    """Layers downstream of the last injection of the source, first one first."""


def read_swapper(path: Path) -> SwapperGraph:
    """Load an ONNX file and check that it is an inswapper.

    Raises:
        SwapperError: The file cannot be read, or is no swapper in the inswapper layout.
    """
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except FileNotFoundError as error:
        raise SwapperError(str(path), "there is no such file.", BASE_ADVICE) from error
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SwapperError(
            str(path), f"it is no valid ONNX file ({reason}).", BASE_ADVICE
        ) from error
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    inputs = {value.name: _shape(value) for value in graph.input if value.name not in constants}
    target, source = inputs.get("target", ()), inputs.get("source", ())
    if set(inputs) != {"target", "source"} or len(target) != 4 or target[1] != 3:
        found = ", ".join(f"{name} {list(shape)}" for name, shape in inputs.items()) or "none"
        raise SwapperError(
            str(path),
            "it is not a face swapper: that has the inputs 'target' [1, 3, H, W] and 'source',"
            f" this has {found}.",
            BASE_ADVICE,
        )
    emap = numpy_helper.to_array(graph.initializer[-1]) if graph.initializer else None
    if source[-1:] != (512,) or emap is None or emap.shape != (512, 512):
        raise SwapperError(
            str(path),
            "it is a face swapper of another layout: an inswapper takes a vector of 512 and ends"
            " in a 512 x 512 matrix.",
            "So far only inswapper_128 can be tuned.",
        )
    decoder = _find_decoder(model, constants)
    if not decoder:
        raise SwapperError(
            str(path),
            "no layer follows the last one that the source controls, so there is no decoder.",
            "So far only inswapper_128 can be tuned.",
        )
    return SwapperGraph(path, model, (target[3], target[2]), emap.astype(numpy.float32), decoder)


def select_layers(graph: SwapperGraph, choice: str) -> tuple[Layer, ...]:
    """The layers a preset names: `decoder`, or `last_N` for the N nearest to the output.

    Raises:
        SwapperError: The choice is unknown or asks for more layers than the decoder has.
    """
    if choice == "decoder":
        return graph.decoder
    count = choice.removeprefix("last_")
    if not choice.startswith("last_") or not count.isdecimal() or int(count) < 1:
        raise SwapperError(
            f"layers = {choice!r}", "there is no such choice.", "Use 'decoder' or 'last_N'."
        )
    if int(count) > len(graph.decoder):
        raise SwapperError(
            f"layers = {choice!r}",
            f"the decoder of {graph.path.name} has only {len(graph.decoder)} layers.",
            f"Use 'decoder' or at most 'last_{len(graph.decoder)}'.",
        )
    return graph.decoder[-int(count) :]


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)


def _find_decoder(model: ModelProto, constants: dict[str, TensorProto]) -> tuple[Layer, ...]:
    nodes = list(model.graph.node)
    colours: dict[str, frozenset[str]] = {name: frozenset({name}) for name in ("target", "source")}
    for node in nodes:
        merged = frozenset().union(*(colours.get(name, frozenset()) for name in node.input))
        colours.update(dict.fromkeys(node.output, merged))
    both = frozenset({"target", "source"})
    # Walk back from the output. An injection is a node where a tensor of the source alone meets
    # one that depends on the target; what lies upstream of it is not the decoder's.
    producers = {name: node for node in nodes for name in node.output}
    tail: set[str] = set()
    upstream: set[str] = set()
    pending = [value.name for value in model.graph.output]
    reached: set[str] = set()
    while pending:
        node = producers.get(pending.pop())
        if node is None or node.output[0] in reached:
            continue
        reached.add(node.output[0])
        kinds = [colours.get(name, frozenset()) for name in node.input]
        if frozenset({"source"}) in kinds:
            upstream.add(node.output[0])
            continue
        tail.add(node.output[0])
        pending.extend(name for name in node.input if name)
    blocked = _ancestors(upstream, producers)
    use = _count_uses(nodes)
    return tuple(
        layer
        for node in nodes
        if node.output[0] in tail - blocked
        and (layer := _read_layer(node, constants, use)) is not None
        and colours.get(node.input[0], frozenset()) == both
    )


def _ancestors(names: set[str], producers: dict[str, NodeProto]) -> set[str]:
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name in found:
            continue
        found.add(name)
        if name in producers:
            pending.extend(producers[name].input)
    return found


def _count_uses(nodes: list[NodeProto]) -> dict[str, int]:
    uses: dict[str, int] = {}
    for node in nodes:
        for name in node.input:
            uses[name] = uses.get(name, 0) + 1
    return uses


def _read_layer(
    node: NodeProto, constants: dict[str, TensorProto], uses: dict[str, int]
) -> Layer | None:
    """The node as a layer; None where it has no weight of its own to train."""
    if node.op_type not in WEIGHTED or len(node.input) < 2 or node.input[1] not in constants:
        return None
    names = tuple(name for name in node.input[1:] if name in constants and uses[name] == 1)
    if node.input[1] not in names:
        return None
    size = sum(int(numpy.prod(constants[name].dims)) for name in names)
    return Layer(node.name, names, size)
