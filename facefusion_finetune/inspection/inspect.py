"""What a person or a program may want to know about a swapper before tuning it.

Nothing is run: everything is derived from the graph.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.inspection.blocks import Block, Blocks, count_values, gather_blocks
from facefusion_finetune.inspection.findings import Reason, list_notes, list_reasons
from facefusion_finetune.inspection.promise import Promise, check_promise
from facefusion_finetune.swappers.convert.batching import is_batchable
from facefusion_finetune.swappers.files.bases import digest_file
from facefusion_finetune.swappers.files.modelfile import open_model
from facefusion_finetune.swappers.graphs.costs import Cost, measure_cost
from facefusion_finetune.swappers.graphs.graph import SwapperGraph, build_graph, select_layers
from facefusion_finetune.swappers.graphs.inputs import SOURCE, TARGET, list_inputs, name_inputs
from facefusion_finetune.swappers.graphs.layers import Layer


@dataclass(frozen=True)
class Choice:
    """A choice of layers to train: a value of a preset's `layers`."""

    name: str
    layers: tuple[Layer, ...]
    cost: Cost

    @property
    def live_share(self) -> float:
        """Share of the multiplications that run at each step once the cut is cached."""
        return self.cost.live_macs / max(1, self.cost.macs)

    @cached_property
    def nodes(self) -> frozenset[int]:
        """Indices of its layers' nodes."""
        return frozenset(layer.index for layer in self.layers)

    def count_in(self, block: Block) -> int:
        """How many of a block's layers it trains."""
        return sum(layer.index in self.nodes for layer in block.layers)


@dataclass(frozen=True)
class PresetUse:
    """A preset, and whether it suits the swapper."""

    name: str
    layers: str
    refusal: str | None
    """Why it cannot be used; None if it can."""


@dataclass(frozen=True)
class Inspection:
    """A swapper as the partition rule sees it."""

    graph: SwapperGraph
    sha256: str
    parts: Blocks
    choices: tuple[Choice, ...]
    presets: tuple[PresetUse, ...]
    promise: Promise | None
    """What the file's name promises; None if that is not one of a published swapper."""

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks, in the order they run in."""
        return self.parts.blocks

    @cached_property
    def everything(self) -> Choice:
        """All trainable layers."""
        return next(choice for choice in self.choices if choice.name == "all")

    @cached_property
    def parameters(self) -> int:
        """Number of weights and biases that the graph uses."""
        graph = self.graph
        return count_values(
            graph.trace,
            (
                name
                for name, stored in graph.file.tensors.items()
                if name in graph.trace.users and stored.dtype.kind == "f"
            ),
        )

    @cached_property
    def batchable(self) -> bool:
        """Whether the graph works on a batch without changes."""
        return is_batchable(self.graph.trace)

    @property
    def external_bytes(self) -> int:
        """Size of the weights that are in other files."""
        payloads = (stored.payload for stored in self.graph.file.tensors.values())
        path = self.graph.path
        return sum(one.length for one in payloads if one is not None and one.path != path)

    def list_choices_for(self, block: Block) -> list[Choice]:
        """Choices that train layers of a block."""
        return [choice for choice in self.choices if choice.count_in(block)]

    @cached_property
    def distinct(self) -> tuple[tuple[Choice, ...], ...]:
        """Choices in groups that train the same layers."""
        groups: dict[frozenset[int], list[Choice]] = {}
        for choice in self.choices:
            groups.setdefault(choice.nodes, []).append(choice)
        return tuple(map(tuple, groups.values()))

    def name_choices_for(self, block: Block) -> list[str]:
        """Short list of choices that train layers of a block: one of each group, the narrowest of
        the stages, and `all` only if nothing else trains them."""
        groups = [group for group in self.distinct if group[0].count_in(block)]
        stages = [one for group in groups for one in group if one.name.startswith("stage_")]
        return [
            group[0].name
            for group in groups
            if stages[0] in group or not group[0].name.startswith(("stage_", "all"))
        ]

    def list_presets_of(self, choice: Choice) -> list[str]:
        """Names of the presets that use a choice."""
        return [preset.name for preset in self.presets if preset.layers == choice.name]

    @cached_property
    def reasons(self) -> tuple[Reason, ...]:
        """Why parameters are never trained."""
        return list_reasons(self.graph)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Other notes, as sentences."""
        refused = (
            f"The preset {preset.name} cannot be used: {preset.refusal}"
            for preset in self.presets
            if preset.refusal is not None
        )
        return (*list_notes(self.graph), *refused)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data; docs/inspect.md explains the keys."""
        graph, whole = self.graph, self.everything
        width, height = graph.size
        return {
            "file": {
                "path": str(graph.path),
                "name": graph.path.name,
                "bytes": graph.file.size,
                "external_bytes": self.external_bytes,
                "sha256": self.sha256,
                "opset": graph.trace.opset,
                "precision": graph.precision,
                "emap": graph.emap is not None,
                "linked": graph.file.is_linked,
            },
            "promise": None
            if self.promise is None
            else {
                "swapper": self.promise.swapper,
                "differences": list(self.promise.differences),
            },
            "crop": {"width": width, "height": height},
            "source": {
                "kind": "picture" if len(graph.source_shape) == 3 else "vector",
                "shape": list(graph.source_shape),
            },
            "batchable": self.batchable,
            "layers": len(graph.partition.layers),
            "trainable_layers": len(whole.layers),
            "parameters": self.parameters,
            "trainable_parameters": whole.cost.parameters,
            "multiplications": whole.cost.macs,
            "injections": len(graph.partition.injections),
            "blocks": [self._describe_block(block) for block in self.blocks],
            "picture_takes": list(self.parts.picture_takes),
            "choices": [self._describe_choice(choice) for choice in self.choices],
            "presets": [
                {"preset": one.name, "layers": one.layers, "refusal": one.refusal}
                for one in self.presets
            ],
            "never_trained": [
                {"reason": one.text, "layers": one.layers, "parameters": one.parameters}
                for one in self.reasons
            ],
            "notes": list(self.notes),
        }

    def _describe_block(self, block: Block) -> dict[str, Any]:
        choices = self.list_choices_for(block)
        return {
            "number": block.number,
            "role": block.role,
            "state": block.state,
            "reason": block.reason,
            "depends_on": list(block.depends_on),
            "layers": len(block.layers),
            "first_layer": block.layers[0].node,
            "last_layer": block.layers[-1].node,
            "first_output": list(block.first_output),
            "last_output": list(block.last_output),
            "parameters": block.parameters,
            "trainable_parameters": count_trainable(block.layers),
            "multiplications": block.macs,
            "injections": block.injections,
            "takes": list(block.takes),
            "trained_by": {choice.name: choice.count_in(block) for choice in choices},
            "presets": [name for choice in choices for name in self.list_presets_of(choice)],
        }

    def _describe_choice(self, choice: Choice) -> dict[str, Any]:
        return {
            "choice": choice.name,
            "layers": len(choice.layers),
            "parameters": choice.cost.parameters,
            "live_multiplications": choice.cost.live_macs,
            "live_share": round(choice.live_share, 6),
            "cache_tensors": len(choice.cost.cut),
            "cache_bytes_fp32": choice.cost.cut_bytes,
            "cache_bytes_fp16": choice.cost.cut_bytes // 2,
            "presets": self.list_presets_of(choice),
        }


def inspect_file(path: Path, presets: Mapping[str, str]) -> Inspection:
    """Inspect a file.

    Unlike for training, its inputs may have other names than `target` and `source`, as long as it
    is clear which is which.

    Args:
        path: A swapper.
        presets: As in `inspect_swapper`.

    Raises:
        SwapperError: The file cannot be read, is refused, or is not a face swapper.
        OSError: It can no longer be read.
    """
    file = open_model(path)
    names = tuple(value.name for value in list_inputs(file))
    return inspect_swapper(build_graph(name_inputs(file)), presets, names)


def inspect_swapper(
    graph: SwapperGraph, presets: Mapping[str, str], inputs: tuple[str, ...] = (TARGET, SOURCE)
) -> Inspection:
    """Inspect a swapper.

    Args:
        graph: The swapper.
        presets: The `layers` of each preset, by the preset's name.
        inputs: Names of its inputs in the file.

    Raises:
        OSError: The file can no longer be read.
    """
    partition = graph.partition
    names = ["decoder", *(["tail"] if partition.tail else []), *presets.values()]
    names += [*(f"stage_{height}" for height in partition.stages), "all"]
    choices, refusals = [], {}
    for name in dict.fromkeys(names):
        try:
            layers = select_layers(graph, name)
        except SwapperError as error:
            refusals[name] = error.why
        else:
            choices.append(Choice(name, layers, measure_cost(graph.trace, layers)))
    uses = tuple(PresetUse(name, layers, refusals.get(layers)) for name, layers in presets.items())
    return Inspection(
        graph,
        digest_file(graph.path),
        gather_blocks(graph.trace, partition),
        tuple(choices),
        uses,
        check_promise(graph, inputs),
    )


def count_trainable(layers: Iterable[Layer]) -> int:
    """Number of trainable parameters of some layers; a shared weight counts once."""
    counted = {one.owned[0].initializer: one.parameters for one in layers if one.frozen is None}
    return sum(counted.values())
