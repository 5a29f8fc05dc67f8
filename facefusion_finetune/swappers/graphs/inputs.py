"""A swapper's two inputs: what they are called, and the sizes that a file leaves free.

Files with dynamic axes run at any size, but are trained and used at one: that of their model card,
or the one their name tells, as in `reswapper_256.onnx`.
"""

import re
from dataclasses import replace
from pathlib import Path

from onnx import ModelProto, ValueInfoProto

from facefusion_finetune.damage import parse_json
from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.card import PREFIX
from facefusion_finetune.swappers.catalogue import FAMILIES
from facefusion_finetune.swappers.files.modelfile import ModelFile
from facefusion_finetune.swappers.known import KNOWN_SWAPPERS, KnownSwapper, find_origin

TARGET, SOURCE = "target", "source"
"""FaceFusion feeds a swapper's inputs by these names."""

SIDES = range(64, 1025, 32)
"""Numbers in a file's name that can be the size of its crops, in pixels."""


def find_known(path: Path) -> KnownSwapper | None:
    """The published swapper that a file's name starts with; None if there is none."""
    name = find_origin(path.stem, KNOWN_SWAPPERS)
    return None if name is None else KNOWN_SWAPPERS[name]


def find_free_shapes(
    file: ModelFile, size: tuple[int, int] | None = None
) -> dict[str, tuple[int, ...]]:
    """Shapes at batch 1 of those inputs whose sizes the file leaves free, by name.

    Args:
        file: A swapper.
        size: Width and height of its crops, if they are known from elsewhere.

    Raises:
        SwapperError: A size is free, and neither the file's card nor its name tells it.
    """
    found = {}
    for value in list_inputs(file):
        shape = _list_dims(value)
        if value.name in (TARGET, SOURCE) and min(shape[1:], default=1) < 1:
            usual = _find_usual(file, value.name, len(shape), size)
            if usual is None:
                raise SwapperError(
                    str(file.path),
                    f"it leaves the size of its input {value.name!r} free, and neither its name nor"
                    " a model card tells the size.",
                    "Start its name with that of the swapper it derives from, or put the size of"
                    " its crops there, as in reswapper_256.onnx.",
                )
            found[value.name] = tuple(
                have if have > 0 else want for have, want in zip(shape, usual, strict=True)
            )
    return found


def list_inputs(file: ModelFile) -> list[ValueInfoProto]:
    """A graph's inputs in the file's order, without initializers that are listed among them."""
    return [value for value in file.skeleton.graph.input if value.name not in file.tensors]


def name_inputs(file: ModelFile) -> ModelFile:
    """The model with its inputs called `target` and `source` in memory, if it is clear which is
    which; itself if they already are, or if it is not clear."""
    values = list_inputs(file)
    names = [value.name for value in values]
    known = [name for name in names if name in (TARGET, SOURCE)]
    ranks = [len(_list_dims(value)) for value in values]
    if len(names) != 2 or len(known) == 2 or not (known or sorted(ranks) == [2, 4]):
        return file
    if known:
        other = names[1 - names.index(known[0])]
        renamed = {other: SOURCE if known[0] == TARGET else TARGET}
    else:
        renamed = {names[ranks.index(4)]: TARGET, names[ranks.index(2)]: SOURCE}
    skeleton = ModelProto()
    skeleton.CopyFrom(file.skeleton)
    graph = skeleton.graph
    taken = {name for node in graph.node for name in node.output} | file.tensors.keys()
    if not taken.isdisjoint(renamed.values()):
        return file
    for value in graph.input:
        value.name = renamed.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    return replace(file, skeleton=skeleton)


def _list_dims(value: ValueInfoProto) -> list[int]:
    """Sizes of an input, 0 for free ones."""
    return [max(dim.dim_value, 0) for dim in value.type.tensor_type.shape.dim]


def _find_usual(
    file: ModelFile, name: str, rank: int, size: tuple[int, int] | None
) -> tuple[int, ...] | None:
    """The shape that an input of a swapper has; None if it is not known."""
    if name == SOURCE and rank == 2:
        return (1, 512)
    if rank != 4:
        return None
    known = find_known(file.path)
    if name == SOURCE:
        picture = FAMILIES[known.type].picture if known else None
        sides = picture.size if picture else None
    else:
        sides = size or _read_card_size(file) or _read_name(file.path, known)
    return None if sides is None else (1, 3, sides[1], sides[0])


def _read_card_size(file: ModelFile) -> tuple[int, int] | None:
    for entry in file.skeleton.metadata_props:
        if entry.key == f"{PREFIX}size":
            try:
                width, height = parse_json(entry.value)
            except (TypeError, ValueError):
                return None
            fits = all(type(number) is int and number > 0 for number in (width, height))
            return (width, height) if fits else None
    return None


def _read_name(path: Path, known: KnownSwapper | None) -> tuple[int, int] | None:
    if known is not None:
        return known.side, known.side
    numbers = [int(text) for text in re.findall(r"(?<!\d)\d{2,4}(?!\d)", path.stem)]
    side = next((number for number in numbers if number in SIDES), None)
    return None if side is None else (side, side)
