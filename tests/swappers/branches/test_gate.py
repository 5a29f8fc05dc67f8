"""The gate: open for the person, shut for the nearest other one, and the same as in the graph."""

import numpy
import pytest
from numpy.typing import NDArray

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.branches.gate import IdentityGate, create_identity_gate


def _draw(count: int, seed: int) -> NDArray[numpy.float64]:
    rows = numpy.random.default_rng(seed).standard_normal((count, 512))
    return rows / numpy.linalg.norm(rows, axis=1, keepdims=True)


def _approach(person: NDArray[numpy.float64], cosine: float, seed: int) -> NDArray[numpy.float64]:
    """A unit vector at that cosine from a unit vector."""
    (other,) = _draw(1, seed)
    other -= other @ person * person
    other /= numpy.linalg.norm(other)
    return cosine * person + numpy.sqrt(1 - cosine**2) * other


@pytest.fixture
def person() -> NDArray[numpy.float64]:
    return _draw(1, 1000)[0]


def test_opens_linearly_between_its_bounds(person: NDArray[numpy.float64]) -> None:
    gate = IdentityGate(person.astype(numpy.float32), 0.4, 0.8)
    cosines = [-1.0, 0.3, 0.4, 0.5, 0.6, 0.8, 0.9, 1.0]
    sources = numpy.stack([_approach(person, one, 1) for one in cosines])
    expected = [0, 0, 0, 0.25, 0.5, 1, 1, 1]
    numpy.testing.assert_allclose(gate.measure_opening(sources), expected, atol=1e-5)
    lengths = numpy.linspace(0.01, 50, len(sources))[:, None]
    numpy.testing.assert_allclose(gate.measure_opening(sources * lengths), expected, atol=1e-5)
    assert gate.measure_opening(numpy.zeros((1, 512)))[0] == 0


def test_is_open_for_own_frames_and_shut_for_others(person: NDArray[numpy.float64]) -> None:
    own = numpy.stack([_approach(person, one, 2) for one in numpy.linspace(0.7, 0.9, 41)])
    others = numpy.stack([_approach(person, one, 3) for one in numpy.linspace(-0.2, 0.35, 9)])
    gate = create_identity_gate(own, 7 * person, others)
    assert numpy.linalg.norm(gate.direction) == pytest.approx(1)
    assert gate.high == pytest.approx(0.72)
    assert gate.low == pytest.approx(0.35)
    assert (gate.measure_opening(others) < 1e-5).all()
    shares = gate.measure_opening(own)
    assert (shares > 0.999).mean() >= 0.9
    assert shares.min() > 0.9


def test_frames_all_alike_do_not_close_it_to_a_mixed_source(
    person: NDArray[numpy.float64],
) -> None:
    own = numpy.stack([_approach(person, 0.999, seed) for seed in range(5)])
    gate = create_identity_gate(own, person, _draw(3, 9))
    assert gate.measure_opening(_approach(person, 0.955, 1)[None])[0] == 1


@pytest.mark.parametrize("nearest", [0.75, 0.95])
def test_somebody_alike_leaves_it_a_least_width(
    person: NDArray[numpy.float64], nearest: float
) -> None:
    own = numpy.stack([_approach(person, 0.8, seed) for seed in range(3)])
    gate = create_identity_gate(own, person, _approach(person, nearest, 5)[None])
    assert gate.high == pytest.approx(0.8)
    assert gate.low == pytest.approx(0.7)


def test_nobody_else_known_leaves_it_narrow(person: NDArray[numpy.float64]) -> None:
    own = numpy.stack([_approach(person, 0.8, seed) for seed in range(3)])
    gate = create_identity_gate(own, person, numpy.zeros((0, 512)))
    assert gate.high - gate.low == pytest.approx(0.1)
    assert gate.measure_opening(_approach(person, 0.6, 1)[None])[0] == 0


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.5), (0.6, 0.5), (-2, 0.5), (0.5, 1.5)])
def test_impossible_bounds_are_refused(
    person: NDArray[numpy.float64], low: float, high: float
) -> None:
    with pytest.raises(SwapperError, match="must be two cosines"):
        IdentityGate(person.astype(numpy.float32), low, high)


@pytest.mark.parametrize("direction", [numpy.ones(512), numpy.ones(4) / 2, numpy.full(512, 1e3)])
def test_no_direction_is_refused(direction: NDArray[numpy.float64]) -> None:
    with pytest.raises(SwapperError, match="not a unit vector"):
        IdentityGate(direction.astype(numpy.float32), 0.2, 0.5)


def test_sources_without_a_length_are_refused(person: NDArray[numpy.float64]) -> None:
    rows = person[None]
    for own, others in (
        (rows[:0], rows),
        (0 * rows, rows),
        (rows, 0 * rows),
        (rows * numpy.nan, rows),
        (rows[:, :4], rows),
    ):
        with pytest.raises(SwapperError, match="Extract the person's crops again"):
            create_identity_gate(own, person, others)
