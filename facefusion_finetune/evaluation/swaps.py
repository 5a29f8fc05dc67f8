"""Base and tuned model, run on the same material."""

from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from facefusion_finetune.evaluation.material import Material
from facefusion_finetune.runs.base_swapper import BaseSwapper
from facefusion_finetune.swappers.sessions import rgb_to_crops

Pictures = NDArray[numpy.float32]
"""(n, H, W, 3), BGR, 0 to 255."""


@dataclass(frozen=True)
class Swaps:
    """What one model makes of the material."""

    held_out: Pictures
    """The person back on held-out frames."""
    trained: Pictures
    """The person back on training frames."""
    targets: Pictures
    """The person on the targets."""
    others: Pictures | None
    """Other people on some of the targets, in the order of `Material.rows`."""


def make_swaps(model: BaseSwapper, source: NDArray[Any], material: Material) -> Swaps:
    """Run a model on everything it is judged on.

    Args:
        model: Base or tuned.
        source: The person's, as in `PersonSource.source`.
        material: What to run on.
    """

    def swap(crops: NDArray[numpy.uint8], sources: NDArray[Any]) -> Pictures:
        return numpy.asarray(rgb_to_crops(model.swap(crops, sources)), dtype=numpy.float32)

    def swap_person(crops: NDArray[numpy.uint8]) -> Pictures:
        return swap(crops, numpy.repeat(source[None], len(crops), axis=0))

    targets = numpy.stack([target.crop for target in material.targets])
    others = None
    if material.others is not None:
        rows, people = material.rows.T
        others = swap(targets[rows], material.others[people])
    return Swaps(
        held_out=swap_person(material.held_out.inputs),
        trained=swap_person(material.trained.inputs),
        targets=swap_person(targets),
        others=others,
    )
