"""The path from a recogniser's vector to a swapper's source input."""

import numpy
import pytest
from numpy.random import Generator

from facefusion_finetune.faces.vectors import create_centroid
from facefusion_finetune.swappers.vectors import (
    balance_source_vector,
    prepare_source_inputs,
    prepare_source_vector,
)

EMAP = numpy.random.default_rng(0).normal(size=(512, 512)).astype(numpy.float32)


@pytest.fixture
def generator() -> Generator:
    return numpy.random.default_rng(1)


def test_source_input_does_not_depend_on_the_vector_length_and_is_not_normalised(
    generator: Generator,
) -> None:
    vector = generator.normal(size=512)
    latent = prepare_source_vector(vector, EMAP)
    assert latent.shape == (1, 512)
    assert latent.dtype == numpy.float32
    numpy.testing.assert_allclose(prepare_source_vector(vector * 23, EMAP), latent, rtol=1e-5)
    expected = vector @ EMAP / numpy.sqrt((vector**2).sum())
    numpy.testing.assert_allclose(latent[0], expected, rtol=1e-4, atol=1e-5)
    assert abs(numpy.linalg.norm(latent) - 1) > 1


def test_centroid_weighs_directions_not_lengths() -> None:
    first, second = numpy.eye(512)[:2]
    centroid = create_centroid(numpy.stack([first * 100, second]))
    numpy.testing.assert_allclose(centroid[:2], numpy.sqrt([0.5, 0.5]))


def test_weight_half_leaves_the_source_and_the_ends_mix_the_target(
    generator: Generator,
) -> None:
    source = generator.normal(size=(1, 512)).astype(numpy.float32)
    target = generator.normal(size=512) * 9
    direction = target / numpy.linalg.norm(target)
    numpy.testing.assert_array_equal(balance_source_vector(source, target, 0.5), source)
    for weight, share in ((0.0, 0.35), (1.0, -0.35), (0.25, 0.175)):
        numpy.testing.assert_allclose(
            balance_source_vector(source, target, weight)[0],
            source[0] * (1 - share) + direction * share,
            rtol=1e-4,
            atol=1e-5,
        )


def test_a_target_can_be_mixed_in_at_its_own_length(generator: Generator) -> None:
    source = generator.normal(size=(1, 512)).astype(numpy.float32)
    target = generator.normal(size=512) * 9
    mixed = balance_source_vector(source, target, 0.0, mixes_unit_target=False)
    numpy.testing.assert_allclose(mixed[0], source[0] * 0.65 + target * 0.35, rtol=1e-4, atol=1e-4)
    same = balance_source_vector(source, target, 0.5, mixes_unit_target=False)
    numpy.testing.assert_array_equal(same, source)


def test_pictures_are_fed_as_rgb_from_0_to_1_and_vectors_as_they_are(
    generator: Generator,
) -> None:
    pictures = generator.integers(0, 255, (2, 4, 6, 3), dtype=numpy.uint8)
    inputs = prepare_source_inputs(pictures)
    assert inputs.shape == (2, 3, 4, 6)
    assert inputs.dtype == numpy.float32
    assert inputs[1, 0, 2, 5] == numpy.float32(pictures[1, 2, 5, 2] / 255)
    vectors = generator.normal(size=(3, 512)).astype(numpy.float32)
    numpy.testing.assert_array_equal(prepare_source_inputs(vectors), vectors)
