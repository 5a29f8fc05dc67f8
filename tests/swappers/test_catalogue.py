"""What is known of FaceFusion's swappers, and what their own entries add."""

from pathlib import Path
from typing import Any

import pytest

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.catalogue import FAMILIES, PictureSource, create_options

BY_HAND = {
    "inswapper": ("emap", False, True),
    "simswap": ("converted_unit", False, True),
    "ghost": ("converted", True, False),
    "blendswap": (PictureSource("arcface_112_v2", (112, 112)), False, True),
    "uniface": (PictureSource("ffhq_512", (256, 256)), True, True),
    "hififace": ("converted_unit", True, True),
    "hyperswap": ("unit", True, True),
}
"""Read in FaceFusion's face swapper: the source, whether the output is scaled, whether the target
is mixed in at length 1."""


def _entry(**changes: Any) -> dict[str, Any]:
    return {
        "__metadata__": {"vendor": "somebody", "license": "MIT", "year": 2031},
        "sources": {
            "face_swapper": {"url": "x", "path": "/models/new_256.onnx"},
            "embedding_converter": {"url": "x", "path": "/models/crossface_new.onnx"},
        },
        "type": "ghost",
        "template": "arcface_112_v1",
        "size": (256, 256),
        "mean": [0.5, 0.5, 0.5],
        "standard_deviation": [0.25, 0.5, 0.5],
        **changes,
    }


def test_families_are_as_the_host_feeds_them() -> None:
    found = {
        name: (family.source, family.signed, family.mixes_unit_target)
        for name, family in FAMILIES.items()
    }
    assert found == BY_HAND
    assert {name for name, family in FAMILIES.items() if family.needs_converter} == {
        *("simswap", "ghost", "hififace")
    }
    assert {name for name, family in FAMILIES.items() if family.needs_emap} == {"inswapper"}
    shapes = {name: family.source_shape for name, family in FAMILIES.items()}
    assert (shapes.pop("blendswap"), shapes.pop("uniface")) == ((3, 112, 112), (3, 256, 256))
    assert set(shapes.values()) == {(512,)}


def test_a_new_model_of_a_known_type_is_read_from_the_hosts_entry() -> None:
    options = create_options("new_256", _entry(precision="fp16"))
    assert options.family is FAMILIES["ghost"]
    assert options.files == (Path("/models/new_256.onnx"), Path("/models/crossface_new.onnx"))
    assert (options.template, options.size) == ("arcface_112_v1", (256, 256))
    assert options.standard_deviation == (0.25, 0.5, 0.5)
    assert (options.vendor, options.licence, options.year) == ("somebody", "MIT", 2031)
    assert options.precision == "fp16"


def test_what_an_entry_leaves_out_is_unknown() -> None:
    entry = _entry(type="inswapper")
    del entry["__metadata__"]
    options = create_options("old_128", entry)
    assert (options.vendor, options.licence, options.year) == ("unknown", "unknown", None)
    assert options.precision == "fp32"
    assert options.files == (Path("/models/new_256.onnx"),)


def test_a_model_of_an_unknown_type_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        SwapperError, match="type 'facedancer' is not supported by this version"
    ) as caught:
        create_options("facedancer_256", _entry(type="facedancer"))
    assert all(name in caught.value.todo for name in FAMILIES)


def test_a_model_without_the_converter_its_type_needs_is_refused() -> None:
    entry = _entry(type="simswap")
    del entry["sources"]["embedding_converter"]
    with pytest.raises(SwapperError, match="needs an embedding converter"):
        create_options("new_256", entry)
