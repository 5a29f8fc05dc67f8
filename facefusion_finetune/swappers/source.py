"""What drives a swapper: a face's vector or picture as its source input.

No torch: FaceFusion's process can import this.
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
    """What stands for a person, as the card of the tuned model carries it."""

    vector: NDArray[numpy.float64]
    """(512,): the recogniser's. For a base with a converter at the mean length of the person's
    own vectors, else of length 1."""
    source: NDArray[Any]
    """(512,) float32, ready for the swapper, or its source picture, (h, w, 3), BGR bytes."""


class SourceMaker:
    """Makes source vectors of one base; opens its converter where it needs one.

    Args:
        options: Of the base.
        emap: The last initializer of its graph, if that is 512 x 512.

    Raises:
        SwapperError: The type is unknown, the converter cannot be opened, or there is no emap
            where one is needed.
    """

    def __init__(self, options: SwapperOptions, emap: NDArray[numpy.float32] | None) -> None:
        self.family = options.family
        self._emap = emap
        self._converter: onnxruntime.InferenceSession | None = None
        if self.family.needs_emap and emap is None:
            raise SwapperError(
                str(options.path),
                f"a swapper of the type {options.type!r} ends in a 512 x 512 matrix, this does"
                " not.",
                "Use the file as FaceFusion publishes it.",
            )
        if self.family.needs_converter:
            if options.converter is None:
                raise SwapperError(
                    f"base {options.name!r}",
                    f"a swapper of the type {options.type!r} needs an embedding converter.",
                    "Name the base as FaceFusion does.",
                )
            self._converter = create_session(options.converter, options.converter.stem)

    def create_vector(self, embedding: NDArray[Any]) -> NDArray[numpy.float32]:
        """(512,) recogniser's vector, at its own length, to the (512,) source vector."""
        row = create_source_vector(self.family, embedding, self._emap, self._convert)
        return row.reshape(-1)

    def _convert(self, row: NDArray[numpy.float32]) -> NDArray[numpy.float32]:
        assert self._converter is not None
        name = self._converter.get_inputs()[0].name
        return numpy.asarray(self._converter.run(None, {name: row})[0])


def restore_source(card: ModelCard, emap: NDArray[Any] | None) -> NDArray[Any]:
    """The source of the person in a card, without any converter.

    Args:
        card: Of a type that is known.
        emap: The last initializer of the tuned model, where its family needs it.

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
