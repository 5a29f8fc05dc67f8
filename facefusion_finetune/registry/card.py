"""The model card: what a tuned model is, carried inside the file and beside it.

The same entries stand in the ONNX file's `metadata_props` and in the `.json` beside it. Code that
runs inside FaceFusion reads them, so this module needs numpy alone.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from facefusion_finetune.errors import RegistryError

PREFIX = "facefusion_finetune."
FORMAT = 1


@dataclass(frozen=True)
class ModelCard:
    """What a tuned model is, from which base and licence, and how it was judged."""

    person: str
    version: int
    base_name: str
    base_sha256: str
    base_vendor: str
    base_licence: str
    type: str
    template: str
    size: tuple[int, int]
    mean: tuple[float, float, float]
    standard_deviation: tuple[float, float, float]
    person_vector: tuple[float, ...]
    """512 numbers: the unit vector of the person that is fed when no source image is given."""
    consent_digest: str
    dataset_digest: str
    preset: str
    package_version: str
    created: str
    """ISO 8601, UTC."""
    judge_result: dict[str, Any]
    label: str = "tuned face swapper: output is synthetic"

    @property
    def name(self) -> str:
        """`NAME-VERSION`, the stem of the model's files."""
        return f"{self.person}-{self.version}"

    def get_vector(self) -> NDArray[numpy.float64]:
        """(512,): the person's vector."""
        return numpy.asarray(self.person_vector, dtype=numpy.float64)


def encode_metadata(card: ModelCard) -> dict[str, str]:
    """The card as `metadata_props` entries: JSON values, the vector as base64 of float32."""
    vector = numpy.asarray(card.person_vector, dtype="<f4")
    values = asdict(card) | {
        "person_vector": base64.b64encode(vector.tobytes()).decode("ascii"),
        "format": FORMAT,
    }
    return {PREFIX + key: json.dumps(value, sort_keys=True) for key, value in values.items()}


def decode_metadata(entries: Mapping[str, str], origin: str) -> ModelCard:
    """Read a card back from `metadata_props` entries (foreign keys are ignored).

    Args:
        entries: Keys and values of the ONNX file's metadata.
        origin: Name of the file, for the error.

    Raises:
        RegistryError: The entries are missing or damaged, or of a newer format.
    """
    own = {
        key.removeprefix(PREFIX): value for key, value in entries.items() if key.startswith(PREFIX)
    }
    try:
        values = {key: json.loads(value) for key, value in own.items()}
        if values.pop("format") != FORMAT:
            raise ValueError("unknown format")
        vector = numpy.frombuffer(base64.b64decode(values["person_vector"]), dtype="<f4")
        if vector.shape != (512,) or not numpy.isfinite(vector).all():
            raise ValueError("person_vector is not 512 numbers")
        values["person_vector"] = tuple(float(number) for number in vector)
        for key in ("size", "mean", "standard_deviation"):
            values[key] = tuple(values[key])
        return ModelCard(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise RegistryError(
            origin,
            f"the file carries no model card that can be read ({error}).",
            "Use a model made by facefusion-finetune of this version or an older one.",
        ) from error


def encode_card(card: ModelCard) -> str:
    """The card as the text of the `.json` beside the model: the same entries, one a line."""
    return json.dumps(encode_metadata(card), indent=2, sort_keys=True) + "\n"


def decode_card(text: str, origin: str) -> ModelCard:
    """Read a card back from the `.json` beside a model; errors as in `decode_metadata`."""
    try:
        entries = json.loads(text)
        if not isinstance(entries, dict):
            raise ValueError("not an object")
    except ValueError as error:
        raise RegistryError(
            origin, f"is not a model card ({error}).", "Activate the model again."
        ) from error
    return decode_metadata(entries, origin)
