"""The model card: what a tuned model is, carried inside the file and beside it.

The same entries stand in the ONNX file's `metadata_props` and in the `.json` beside it. Code that
runs inside FaceFusion reads them, so this module needs numpy alone, and OpenCV for a picture.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy
from numpy.typing import NDArray

from facefusion_finetune.errors import RegistryError

PREFIX = "facefusion_finetune."
FORMAT = 1
VECTORS = frozenset({"person_vector", "person_source"})


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
    """512 numbers: the person's vector. When no source image is given, it is fed as if a picture
    of the person had been. Its length is 1, but for a base with an embedding converter, where it is
    the mean length of the person's own vectors."""
    consent_digest: str
    dataset_digest: str
    preset: str
    package_version: str
    created: str
    """ISO 8601, UTC."""
    judge_result: dict[str, Any]
    label: str = "tuned face swapper: output is synthetic"
    person_source: tuple[float, ...] | None = None
    """512 numbers, where the base has an embedding converter: what that made of the person's
    vector, so that the tuned model is fed without it."""
    person_picture: str | None = None
    """Where the base is driven by a picture: that of the person, as base64 of a PNG."""

    @property
    def name(self) -> str:
        """`NAME-VERSION`, the stem of the model's files."""
        return f"{self.person}-{self.version}"

    def get_vector(self) -> NDArray[numpy.float64]:
        """(512,): the person's vector."""
        return numpy.asarray(self.person_vector, dtype=numpy.float64)

    def get_source(self) -> NDArray[numpy.float32]:
        """(512,): the person's vector as the converter left it.

        Raises:
            RegistryError: The card has none.
        """
        if self.person_source is None:
            raise self._lack("person_source")
        return numpy.asarray(self.person_source, dtype=numpy.float32)

    def get_picture(self, size: tuple[int, int]) -> NDArray[numpy.uint8]:
        """(H, W, 3), BGR: the picture of the person.

        Args:
            size: Width and height that it must have.

        Raises:
            RegistryError: The card has none, or one of another size.
        """
        import cv2

        if self.person_picture is None:
            raise self._lack("person_picture")
        content = numpy.frombuffer(base64.b64decode(self.person_picture), dtype=numpy.uint8)
        picture = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
        if picture is None or picture.shape != (size[1], size[0], 3):
            raise self._lack("person_picture")
        return numpy.asarray(picture, dtype=numpy.uint8)

    def _lack(self, key: str) -> RegistryError:
        return RegistryError(
            f"model {self.name!r}",
            f"its card has no {key} that fits, which a swapper of the type {self.type!r} needs.",
            "Activate or train it again.",
        )


def encode_metadata(card: ModelCard) -> dict[str, str]:
    """The card as `metadata_props` entries: JSON values, vectors as base64 of float32.

    What a card has not is left out, so that older versions read the cards they can use.
    """
    values = {key: value for key, value in asdict(card).items() if value is not None}
    for key in VECTORS & values.keys():
        vector = numpy.asarray(values[key], dtype="<f4")
        values[key] = base64.b64encode(vector.tobytes()).decode("ascii")
    values["format"] = FORMAT
    return {PREFIX + key: json.dumps(value, sort_keys=True) for key, value in values.items()}


def decode_metadata(entries: Mapping[str, str], origin: str) -> ModelCard:
    """Read a card back from `metadata_props` entries.

    Foreign keys are ignored, and so are those a later version added: what is needed would come
    with another format.

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
        for key in VECTORS & values.keys():
            vector = numpy.frombuffer(base64.b64decode(values[key]), dtype="<f4")
            if vector.shape != (512,) or not numpy.isfinite(vector).all():
                raise ValueError(f"{key} is not 512 numbers")
            values[key] = tuple(float(number) for number in vector)
        base64.b64decode(values.get("person_picture", ""), validate=True)
        for key in ("size", "mean", "standard_deviation"):
            values[key] = tuple(values[key])
        known = {entry.name for entry in fields(ModelCard)}
        return ModelCard(**{key: value for key, value in values.items() if key in known})
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
