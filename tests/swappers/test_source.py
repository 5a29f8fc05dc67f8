"""Source inputs of every family, with a converter whose answer is known."""

from dataclasses import replace
from pathlib import Path

import numpy
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from facefusion_finetune.errors import RegistryError, SwapperError
from facefusion_finetune.swappers.catalogue import FAMILIES, SwapperOptions
from facefusion_finetune.swappers.source import SourceMaker, restore_source
from tests.support.cards import create_card

generator = numpy.random.default_rng(3)
VECTOR = generator.normal(size=512).astype(numpy.float32) * 20
SHIFT = generator.normal(size=(1, 512)).astype(numpy.float32)
EMAP = generator.normal(size=(512, 512)).astype(numpy.float32)


def _unit(vector: numpy.ndarray) -> numpy.ndarray:
    return vector / numpy.sqrt((vector.astype(float) ** 2).sum())


@pytest.fixture
def options(tmp_path: Path) -> SwapperOptions:
    """A base with a converter that adds `SHIFT`."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["input", "shift"], ["output"])],
        "converter",
        [value("input", TensorProto.FLOAT, [1, 512])],
        [value("output", TensorProto.FLOAT, [1, 512])],
        [numpy_helper.from_array(SHIFT, "shift")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    onnx.save(model, str(tmp_path / "converter.onnx"))
    return SwapperOptions(
        name="base",
        path=tmp_path / "base.onnx",
        type="ghost",
        template="arcface_128",
        size=(64, 64),
        mean=(0.0, 0.0, 0.0),
        standard_deviation=(1.0, 1.0, 1.0),
        vendor="tests",
        licence="Apache-2.0",
        converter=tmp_path / "converter.onnx",
    )


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("inswapper", _unit(VECTOR) @ EMAP),
        ("hyperswap", _unit(VECTOR)),
        ("ghost", VECTOR + SHIFT[0]),
        ("simswap", _unit(VECTOR + SHIFT[0])),
        ("hififace", _unit(VECTOR + SHIFT[0])),
    ],
)
def test_a_vector_becomes_the_source_input(
    options: SwapperOptions, family: str, expected: numpy.ndarray
) -> None:
    maker = SourceMaker(replace(options, type=family), EMAP)
    source = maker.create_vector(VECTOR)
    assert source.dtype == numpy.float32
    numpy.testing.assert_allclose(source, expected, rtol=1e-4, atol=1e-4)
    # the length matters to a converter alone
    half = maker.create_vector(VECTOR / 2)
    assert numpy.allclose(half, source, rtol=1e-4, atol=1e-4) != FAMILIES[family].needs_converter


def test_what_is_missing_is_said(options: SwapperOptions) -> None:
    with pytest.raises(
        SwapperError, match="must end in a 512 x 512 matrix, and this file does not"
    ):
        SourceMaker(replace(options, type="inswapper"), None)
    with pytest.raises(SwapperError, match="needs an embedding converter"):
        SourceMaker(replace(options, converter=None), None)
    with pytest.raises(SwapperError, match="onnxruntime cannot open it"):
        SourceMaker(replace(options, converter=options.path), None)
    with pytest.raises(SwapperError, match="type 'facedancer'"):
        SourceMaker(replace(options, type="facedancer"), None)


def test_the_person_of_a_card_needs_no_converter() -> None:
    card = create_card(type="inswapper", person_vector=tuple(map(float, _unit(VECTOR))))
    expected = _unit(VECTOR) @ EMAP
    numpy.testing.assert_allclose(restore_source(card, EMAP), expected, rtol=1e-4, atol=1e-4)
    ready = tuple(map(float, SHIFT[0]))
    converted = create_card(type="ghost", person_source=ready)
    numpy.testing.assert_array_equal(restore_source(converted, None), SHIFT[0])
    with pytest.raises(RegistryError, match="its card has no usable person_source"):
        restore_source(create_card(type="ghost"), None)
    with pytest.raises(RegistryError, match="its card has no usable person_picture"):
        restore_source(create_card(type="uniface"), None)
