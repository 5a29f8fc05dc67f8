"""What drives a swapper: a face's embedding or picture as its source input.

No torch, so that FaceFusion's process can import this.
"""

from dataclasses import dataclass
from typing import Any

import numpy
import onnxruntime
from numpy.typing import NDArray

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.card import ModelCard
from facefusion_finetune.swappers.catalogue import FAMILIES, SwapperOptions
from facefusion_finetune.swappers.sessions import create_session
from facefusion_finetune.swappers.vectors import create_source_vector


@dataclass(frozen=True)
class PersonSource:
    """What represents a person, as the tuned model's card carries it."""

    vector: NDArray[numpy.float64]
    """(512,): the person's face embedding. Its norm is 1, or, for a base with a converter, the
    mean norm of the person's own vectors."""
    source: NDArray[Any]
    """(512,) float32, ready for the swapper, or its source picture, (h, w, 3), BGR uint8."""


class SourceMaker:
    """Makes source vectors for one base; opens its converter if it needs one.

    Args:
        options: The base's options.
        emap: The last initializer of its graph, if it is 512 x 512.

    Raises:
        SwapperError: The type is unknown, the converter cannot be opened, or a required emap is
            missing.
    """

    def __init__(self, options: SwapperOptions, emap: NDArray[numpy.float32] | None) -> None:
        self.family = options.family
        self._emap = emap
        self._converter: onnxruntime.InferenceSession | None = None
        if self.family.needs_emap and emap is None:
            raise SwapperError(
                str(options.path),
                f"a swapper of type {options.type!r} must end in a 512 x 512 matrix, and this file"
                " does not.",
                "Use the file as FaceFusion publishes it.",
            )
        if self.family.needs_converter:
            if options.converter is None:
                raise SwapperError(
                    f"base {options.name!r}",
                    f"a swapper of type {options.type!r} needs an embedding converter.",
                    "Give the base by its FaceFusion name.",
                )
            self._converter = create_session(options.converter, options.converter.stem)

    def create_vector(self, embedding: NDArray[Any]) -> NDArray[numpy.float32]:
        """The (512,) source vector for a (512,) face embedding of the recogniser's own norm."""
        row = create_source_vector(self.family, embedding, self._emap, self._convert)
        return row.reshape(-1)

    def _convert(self, row: NDArray[numpy.float32]) -> NDArray[numpy.float32]:
        assert self._converter is not None
        name = self._converter.get_inputs()[0].name
        return numpy.asarray(self._converter.run(None, {name: row})[0])


def restore_source(card: ModelCard, emap: NDArray[Any] | None) -> NDArray[Any]:
    """The source of the person in a card, without a converter.

    Args:
        card: A card of a known type.
        emap: The tuned model's last initializer, if its family needs it.

    Returns:
        As in `PersonSource.source`.

    Raises:
        RegistryError: The card lacks what its type needs.
    """
    family = FAMILIES[card.type]
    if family.picture is not None:
        return card.get_picture(family.picture.size)
    if family.needs_converter:
        return card.get_source()
    return create_source_vector(family, card.get_vector(), emap).reshape(-1)
