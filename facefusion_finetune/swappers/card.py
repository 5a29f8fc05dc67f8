"""The model card: what a tuned model is, stored in the model file and next to it.

The same entries are in the ONNX file's `metadata_props` and in the `.json` next to it. Code that
runs inside FaceFusion reads them, so importing this module needs only numpy, and OpenCV for a
picture.
"""

import base64
import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy
from numpy.typing import NDArray

from facefusion_finetune.damage import DamageError, explain, parse_json, read_content
from facefusion_finetune.errors import RegistryError, UsageError

PREFIX = "facefusion_finetune."
Value = TypeVar("Value")

FORMAT = 1
VECTORS = frozenset({"person_vector", "person_source"})
MAX_VERSION = 10**9
MAX_SIDE = 4096
MAX_NORM = 1e4
"""Of a vector; recognisers give 1 to 40."""
MAX_MEAN = 1e3
"""Also of a deviation, whose least value is its inverse; pictures have 0 to 1 or 0 to 255."""

_PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_TODO = "Use a model made by facefusion-finetune of this version or an older one."


@dataclass(frozen=True)
class ModelCard:
    """What a tuned model is, which base and licence it comes from, and how it was judged."""

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
    """(512,): the person's face embedding (vector). When no source image is given, it is fed as if
    a picture of the person had been given. Its norm is 1, except for a base with an embedding
    converter, where it is the mean norm of the person's own vectors."""
    consent_digest: str
    dataset_digest: str
    preset: str
    package_version: str
    created: str
    """ISO 8601, UTC."""
    judge_result: dict[str, Any]
    label: str = "tuned face swapper: output is synthetic"
    person_source: tuple[float, ...] | None = None
    """(512,), where the base has an embedding converter: the converter's output for the person's
    vector, so that the tuned model runs without the converter."""
    person_picture: str | None = None
    """Where the base is driven by a picture: the person's, a PNG encoded as base64."""

    @property
    def name(self) -> str:
        """`NAME-VERSION`, the stem of the model's file names."""
        return f"{self.person}-{self.version}"

    def get_vector(self) -> NDArray[numpy.float64]:
        """(512,): the person's vector."""
        return numpy.asarray(self.person_vector, dtype=numpy.float64)

    def get_source(self) -> NDArray[numpy.float32]:
        """(512,): the converter's output for the person's vector.

        Raises:
            RegistryError: The card has no source vector.
        """
        if self.person_source is None:
            raise self._create_error("person_source")
        return numpy.asarray(self.person_source, dtype=numpy.float32)

    def get_picture(self, size: tuple[int, int]) -> NDArray[numpy.uint8]:
        """(H, W, 3), BGR: the picture of the person.

        Args:
            size: The width and height it must have.

        Raises:
            RegistryError: The card has no picture, or its size is different.
        """
        import cv2

        if self.person_picture is None:
            raise self._create_error("person_picture")
        content = base64.b64decode(self.person_picture)
        # Nothing but a PNG of this size is decoded: a card comes with a file from anywhere.
        if not content.startswith(_PNG_START + struct.pack(">II", *size)):
            raise self._create_error("person_picture")
        picture = cv2.imdecode(numpy.frombuffer(content, numpy.uint8), cv2.IMREAD_COLOR)
        if picture is None or picture.shape != (size[1], size[0], 3):
            raise self._create_error("person_picture")
        return numpy.asarray(picture, dtype=numpy.uint8)

    def _create_error(self, key: str) -> RegistryError:
        return RegistryError(
            f"model {self.name!r}",
            f"its card has no usable {key}, which a swapper of type {self.type!r} needs.",
            "Activate or train it again.",
        )


def encode_metadata(card: ModelCard) -> dict[str, str]:
    """The card as `metadata_props` entries: JSON values, vectors as base64 of float32.

    Absent values are left out, so that older versions can still read the cards they can use.
    """
    values = {key: value for key, value in asdict(card).items() if value is not None}
    for key in VECTORS & values.keys():
        vector = numpy.asarray(values[key], dtype="<f4")
        values[key] = base64.b64encode(vector.tobytes()).decode("ascii")
    values["format"] = FORMAT
    return {PREFIX + key: json.dumps(value, sort_keys=True) for key, value in values.items()}


def decode_metadata(entries: Mapping[str, str], origin: str) -> ModelCard:
    """Read a card back from `metadata_props` entries.

    Foreign keys are ignored, and so are keys added by a later version: a change that matters
    would come with a new format number.

    Args:
        entries: Keys and values of the ONNX file's metadata.
        origin: Name of the file, for the error.

    Raises:
        RegistryError: The entries are missing, damaged, of the wrong type or of a newer format.
    """
    own = {
        key.removeprefix(PREFIX): value for key, value in entries.items() if key.startswith(PREFIX)
    }
    try:
        values = {key: parse_json(value) for key, value in own.items()}
        if values.pop("format") != FORMAT:
            raise ValueError("unknown format")
        for key in VECTORS & values.keys():
            vector = numpy.frombuffer(base64.b64decode(values[key]), dtype="<f4")
            if vector.shape != (512,) or not numpy.isfinite(vector).all():
                raise ValueError(f"{key} does not hold 512 finite values")
            values[key] = tuple(float(number) for number in vector)
        base64.b64decode(values.get("person_picture", ""), validate=True)
        known = {entry.name for entry in fields(ModelCard)}
        values = {key: value for key, value in values.items() if key in known}
        # Via JSON, because strict validation accepts an object for a dataclass only from JSON.
        content = json.dumps(values)
    except (KeyError, TypeError, ValueError) as error:
        why = f"the file has no readable model card ({explain(error)})."
        raise RegistryError(origin, why, _TODO) from error
    try:
        card = _read_strictly(ModelCard, content)
        _check_values(card)
    except ValueError as error:
        raise RegistryError(origin, f"its card is damaged ({explain(error)}).", _TODO) from error
    return card


def encode_card(card: ModelCard) -> str:
    """The card as the text of the `.json` next to the model: the same entries, one per line."""
    return json.dumps(encode_metadata(card), indent=2, sort_keys=True) + "\n"


def decode_card(text: str | bytes, origin: str) -> ModelCard:
    """Read a card back from the text of the `.json`; errors as in `decode_metadata`."""
    try:
        entries = _read_strictly(dict[str, str], text)
    except ValueError as error:
        why = f"it is not a model card ({explain(error)})."
        raise RegistryError(origin, why, "Activate the model again.") from error
    return decode_metadata(entries, origin)


def read_card(path: Path) -> ModelCard:
    """Read the `.json` next to a model; errors as in `decode_metadata`, also if it is missing."""
    try:
        content = read_content(path)
    except (FileNotFoundError, DamageError) as error:
        why = f"the model card cannot be read ({explain(error)})."
        raise RegistryError(str(path), why, "Activate the model again.") from error
    return decode_card(content, str(path))


def _check_values(card: ModelCard) -> None:
    """Check that a card of the right types also makes sense.

    Raises:
        ValueError: It does not.
    """
    # It loads pydantic; see below.
    from facefusion_finetune.people.profile import validate_name

    try:
        validate_name(card.person)
    except UsageError as error:
        raise ValueError(error.cause) from error
    if not 1 <= card.version <= MAX_VERSION:
        raise ValueError("its version is invalid")
    if not card.base_name or Path(card.base_name).name != card.base_name:
        raise ValueError("its base's name is a path")
    if not re.fullmatch("[0-9a-f]{64}", card.base_sha256):
        raise ValueError("its base's sha256 is invalid")
    if not all(0 < side <= MAX_SIDE for side in card.size):
        raise ValueError("its crop size is invalid")
    if not all(abs(mean) <= MAX_MEAN for mean in card.mean) or not all(
        1 / MAX_MEAN <= deviation <= MAX_MEAN for deviation in card.standard_deviation
    ):
        raise ValueError("its normalisation is invalid")
    for vector in (card.person_vector, card.person_source):
        if vector is not None and not 0 < math.hypot(*vector) <= MAX_NORM:
            raise ValueError("its person's vector is zero or too long")
    datetime.fromisoformat(card.created)


def _read_strictly(kind: type[Value], content: str | bytes) -> Value:
    """A value of that type from JSON; ValueError if it is anything else."""
    # FaceFusion without a page does not load pydantic; it costs more than reading a card.
    from pydantic import TypeAdapter

    return TypeAdapter(kind).validate_json(content, strict=True)
