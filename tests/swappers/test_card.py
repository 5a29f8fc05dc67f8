"""The card carries the person for every kind of base, and is readable both ways."""

import base64
import json

import cv2
import numpy
import pytest
from numpy.typing import NDArray

from facefusion_finetune.errors import RegistryError
from facefusion_finetune.swappers.card import (
    PREFIX,
    decode_card,
    decode_metadata,
    encode_card,
    encode_metadata,
)
from tests.support.cards import create_card

OLD_KEYS = {
    *("person", "version", "base_name", "base_sha256", "base_vendor", "base_licence", "type"),
    *("template", "size", "mean", "standard_deviation", "person_vector", "consent_digest"),
    *("dataset_digest", "preset", "package_version", "created", "judge_result", "label", "format"),
}
"""Those of version 0.1, which takes no others."""

PICTURE = numpy.random.default_rng(0).integers(0, 255, (112, 96, 3), dtype=numpy.uint8)
PNG = base64.b64encode(cv2.imencode(".png", PICTURE)[1].tobytes()).decode("ascii")


def _encode(vector: NDArray[numpy.float64]) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")


def test_a_card_of_an_inswapper_is_what_an_older_version_reads() -> None:
    assert {key.removeprefix(PREFIX) for key in encode_metadata(create_card())} == OLD_KEYS


def test_a_card_of_an_older_version_is_read() -> None:
    card = decode_card(encode_card(create_card()), "jane-1.json")
    assert card.person_source is None
    assert card.person_picture is None


def test_a_card_of_a_later_version_is_read_as_far_as_it_is_known() -> None:
    card = create_card()
    entries = encode_metadata(card) | {PREFIX + "mood": '"sunny"', "other.key": "x"}
    assert decode_metadata(entries, "jane-1.onnx") == card


def test_what_drives_other_bases_survives() -> None:
    source = numpy.random.default_rng(1).normal(size=512).astype(numpy.float32)
    card = create_card(person_source=tuple(map(float, source)), person_picture=PNG)
    again = decode_card(encode_card(card), "jane-1.json")
    assert again == card
    numpy.testing.assert_array_equal(again.get_source(), source)
    numpy.testing.assert_array_equal(again.get_picture((96, 112)), PICTURE)


def test_a_picture_of_another_size_is_refused() -> None:
    card = create_card(person_picture=PNG, type="blendswap")
    with pytest.raises(RegistryError, match="no usable person_picture"):
        card.get_picture((112, 96))
    nonsense = base64.b64encode(b"no picture").decode("ascii")
    for damaged in (nonsense, ""):
        with pytest.raises(RegistryError, match="no usable person_picture"):
            create_card(person_picture=damaged).get_picture((96, 112))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("person_source", base64.b64encode(bytes(2044)).decode("ascii")),
        ("person_source", base64.b64encode(b"\xff" * 2048).decode("ascii")),
        ("person_picture", "%%%%"),
        ("person_picture", 7),
        ("format", 2),
    ],
    ids=["short", "not finite", "not base64", "no text", "newer"],
)
def test_damage_is_said(key: str, value: object) -> None:
    entries = encode_metadata(create_card()) | {PREFIX + key: json.dumps(value)}
    with pytest.raises(RegistryError, match="no readable model card"):
        decode_metadata(entries, "jane-1.onnx")


@pytest.mark.parametrize(
    ("key", "value"),
    [("person", []), ("version", "1"), ("size", [256]), ("judge_result", []), ("mean", None)],
)
def test_entries_of_another_type_are_damage(key: str, value: object) -> None:
    entries = encode_metadata(create_card()) | {PREFIX + key: json.dumps(value)}
    with pytest.raises(RegistryError) as caught:
        decode_metadata(entries, "jane-1.onnx")
    assert caught.value.given == "jane-1.onnx"
    assert caught.value.why.startswith(f"its card is damaged ({key}")


@pytest.mark.parametrize("value", ["[" * 100_000, "9" * 6000, ""], ids=["deep", "long", "empty"])
def test_entries_that_python_cannot_read_are_damage(value: str) -> None:
    entries = encode_metadata(create_card()) | {PREFIX + "judge_result": value}
    with pytest.raises(RegistryError, match="no readable model card"):
        decode_metadata(entries, "jane-1.onnx")


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("mean", [1e308, 0, 0], "normalisation"),
        ("mean", [float("nan"), 0, 0], "normalisation"),
        ("mean", [0, float("-inf"), 0], "normalisation"),
        ("standard_deviation", [1e308, 1, 1], "normalisation"),
        ("standard_deviation", [1, 0, 1], "normalisation"),
        ("standard_deviation", [1, 1, -1], "normalisation"),
        ("standard_deviation", [1e-300, 1, 1], "normalisation"),
        ("size", [-256, 256], "crop size"),
        ("size", [0, 256], "crop size"),
        ("size", [256, 10**12], "crop size"),
        ("version", 0, "version"),
        ("version", -1, "version"),
        ("version", 10**18, "version"),
        ("person", "../../evil", "only letters, digits"),
        ("base_name", "../../evil", "a path"),
        ("base_name", "/etc/evil", "a path"),
        ("base_name", "", "a path"),
        ("base_sha256", "../../evil", "sha256"),
        ("created", "yesterday", "isoformat"),
        ("person_vector", _encode(numpy.zeros(512)), "vector is zero"),
        ("person_vector", _encode(numpy.full(512, 1e38)), "too long"),
        ("person_source", _encode(numpy.full(512, 1e4)), "too long"),
    ],
)
def test_values_that_make_no_sense_are_damage(key: str, value: object, reason: str) -> None:
    entries = encode_metadata(create_card()) | {PREFIX + key: json.dumps(value)}
    with pytest.raises(RegistryError, match=rf"its card is damaged \(.*{reason}"):
        decode_metadata(entries, "jane-1.onnx")


@pytest.mark.parametrize(
    "value", ["[" * 60 + "]" * 60, '{"a": ' * 300 + "1" + "}" * 300, "9" * 4000, "-" + "9" * 20]
)
def test_what_is_deep_or_huge_but_valid_is_damage(value: str) -> None:
    entries = encode_metadata(create_card()) | {PREFIX + "judge_result": value}
    with pytest.raises(RegistryError, match=r"no readable model card .*(nested|too large)"):
        decode_metadata(entries, "jane-1.onnx")


def test_picture_of_a_card_is_a_png_of_its_size_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card comes from anywhere: what it claims is looked at before anything is decoded."""
    others = [
        cv2.imencode(".jpg", PICTURE)[1].tobytes(),
        cv2.imencode(".tiff", PICTURE)[1].tobytes(),
        base64.b64decode(PNG).replace(bytes([0, 0, 0, 96]), bytes([0, 0, 255, 255]), 1),
    ]
    monkeypatch.setattr(cv2, "imdecode", lambda *arguments: pytest.fail("it was decoded"))
    for content in others:
        card = create_card(person_picture=base64.b64encode(content).decode("ascii"))
        with pytest.raises(RegistryError, match="person_picture"):
            card.get_picture((96, 112))
