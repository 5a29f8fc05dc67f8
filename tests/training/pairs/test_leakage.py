"""Cycle inputs that still show the person are drawn again, left out, or refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy
import pytest
from numpy.typing import NDArray

from facefusion_finetune.dataset.crops import AlignedCrop
from facefusion_finetune.dataset.manifest import stack_embeddings
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.errors import TrainingError
from facefusion_finetune.faces.vectors import create_centroid
from facefusion_finetune.people.profile import Person
from facefusion_finetune.presets.preset import PairMix, parse_preset
from facefusion_finetune.runs.base_swapper import BaseSwapper, Forward
from facefusion_finetune.runs.sources import SourceTable, gather_sources
from facefusion_finetune.swappers.branches.gate import STRANGER_COSINE
from facefusion_finetune.swappers.graphs.graph import read_swapper
from facefusion_finetune.swappers.sessions import create_session, run_session
from facefusion_finetune.swappers.source import SourceMaker
from facefusion_finetune.training.pairs.build import create_pairs
from facefusion_finetune.training.pairs.cycle import MAX_DRAWS, create_checked_inputs
from facefusion_finetune.training.pairs.leakage import LeakageCheck
from facefusion_finetune.training.pairs.pair_set import PairSet
from tests.support.demo_world import QUICK_PRESET, load_kept

COUNT = 6
MIX = PairMix(cycle=2, self=1, prior=1)


@pytest.fixture
def crops(extracted: Person, analyser: DemoAnalyser) -> list[AlignedCrop]:
    return load_kept(extracted, analyser, end=COUNT)


@pytest.fixture
def centroid(crops: list[AlignedCrop]) -> NDArray[numpy.float64]:
    return create_centroid(stack_embeddings([crop.record for crop in crops]))


@pytest.fixture
def table(
    crops: list[AlignedCrop], centroid: NDArray[numpy.float64], analyser: DemoAnalyser
) -> SourceTable:
    options = analyser.get_swapper("demo")
    maker = SourceMaker(options, read_swapper(options.path).emap)
    return gather_sources(crops, centroid, maker, analyser, 0)


@pytest.fixture
def demo(analyser: DemoAnalyser) -> Forward:
    """The demo's base, which does not remove everybody."""
    options = analyser.get_swapper("demo")
    session = create_session(options.path, options.name)
    return lambda targets, sources: run_session(session, targets, sources)


@pytest.fixture
def good(analyser: DemoAnalyser, other_footage: Path) -> Forward:
    """A base that puts a real frame of somebody else in the place of every face."""
    frame = cv2.imread(str(other_footage / "shot-001" / "frame-0001.png"))
    (face,) = analyser.detect_faces(frame)
    crop, _ = analyser.warp_face(frame, face.landmark_5, "demo_64", (64, 64))
    rgb = (crop[..., ::-1].transpose(2, 0, 1) / 255).astype(numpy.float32)
    return lambda targets, sources: numpy.repeat(rgb[None], len(targets), axis=0)


Make = Callable[..., PairSet]


@pytest.fixture
def make(crops: list[AlignedCrop], table: SourceTable, analyser: DemoAnalyser) -> Make:
    """Pairs of a base that is given by its forward pass."""

    def create(forward: Forward, mix: PairMix = MIX, **rest: Any) -> PairSet:
        preset = parse_preset(QUICK_PRESET, "quick")
        return create_pairs(
            crops,
            table,
            BaseSwapper(forward, analyser.get_swapper("demo")),
            analyser,
            preset.model_copy(update={"pairs": mix, "variants": 2}),
            numpy.random.default_rng(0),
            **rest,
        )

    return create


def _do_nothing(targets: NDArray[Any], sources: NDArray[Any]) -> NDArray[Any]:
    return targets


def test_the_person_leaks_and_strangers_do_not(
    crops: list[AlignedCrop],
    centroid: NDArray[numpy.float64],
    table: SourceTable,
    demo: Forward,
    analyser: DemoAnalyser,
) -> None:
    recogniser = analyser.get_recogniser()
    matrices = numpy.stack([crop.matrix_to(analyser, recogniser) for crop in crops])
    check = LeakageCheck(analyser, centroid * 20, matrices.astype(numpy.float32))
    rows, frames = numpy.arange(COUNT), numpy.stack([crop.crop for crop in crops])
    assert check.find_leaks(rows, frames).all()
    base = BaseSwapper(demo, analyser.get_swapper("demo"))
    person = numpy.repeat(table.person.source[None], COUNT, axis=0)
    swaps = (base.swap(frames, person).clip(0, 1) * 255).round().astype(numpy.uint8)
    assert check.find_leaks(rows, swaps.transpose(0, 2, 3, 1)[..., ::-1]).all()
    assert STRANGER_COSINE <= check.limit < 0.7
    strangers = analyser.sample_other_vectors(40, 5) @ centroid
    assert (strangers > check.limit).mean() <= 0.05


def test_the_judge_is_never_asked(
    make: Make, good: Forward, analyser: DemoAnalyser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise AssertionError("asked")

    monkeypatch.setattr(analyser, "get_judge", refuse)
    assert make(good).count("cycle")


def test_a_good_base_keeps_all(make: Make, good: Forward) -> None:
    notes: list[str] = []
    pairs = make(good, on_note=notes.append)
    assert (pairs.count("cycle"), pairs.drawn_again, pairs.left_out) == (2 * COUNT, 0, 0)
    assert notes == []


def test_what_is_kept_of_the_demos_base_is_at_strangers_level(
    make: Make, demo: Forward, centroid: NDArray[numpy.float64], analyser: DemoAnalyser
) -> None:
    strangers = analyser.sample_other_vectors(200, 0) @ centroid
    first = make(demo, PairMix(cycle=1))
    kept = first.pictures[first.target]
    vectors = numpy.stack([analyser.embed(picture) for picture in kept])
    scores = vectors @ centroid / numpy.linalg.norm(vectors, axis=1)
    assert scores.max() <= max(STRANGER_COSINE, strangers.max()) + 0.02
    assert len(kept) + first.left_out == 2 * COUNT
    assert first.drawn_again > 0


def test_a_base_that_does_nothing_is_refused_in_words(make: Make) -> None:
    with pytest.raises(TrainingError) as caught:
        make(_do_nothing, PairMix(cycle=2, cross=1, prior=1))
    error = caught.value
    assert "'demo'" in error.given
    assert f"{2 * COUNT} training inputs" in error.why
    assert "do not remove the person" in error.why
    assert "'reconstruction'" in error.todo
    # the lowest cosine that was seen is that of the person's own frames
    assert 0.8 < float(error.why.split("a cosine of ")[1].split()[0]) <= 1


def test_without_cycle_pairs_the_rest_is_learnt_from(make: Make) -> None:
    notes: list[str] = []
    pairs = make(_do_nothing, PairMix(cycle=2, self=1, cross=1), on_note=notes.append)
    assert (pairs.count("cycle"), pairs.count("self")) == (0, 2 * COUNT)
    assert pairs.count("cross") == 2 * COUNT
    assert len(notes) == 1
    assert f"{2 * COUNT} of {2 * COUNT}" in notes[0]


def test_nothing_is_looked_at_where_no_swap_of_others_goes_in(make: Make) -> None:
    pairs = make(_do_nothing, PairMix(self=1, prior=1))
    assert (pairs.count("self"), pairs.drawn_again, pairs.left_out) == (2 * COUNT, 0, 0)


def test_what_leaks_is_drawn_again_with_somebody_else(make: Make, good: Forward) -> None:
    calls: list[NDArray[Any]] = []

    def fail_at_first(targets: NDArray[Any], sources: NDArray[Any]) -> NDArray[Any]:
        calls.append(sources)
        return good(targets, sources) if len(calls) > 1 else targets

    notes: list[str] = []
    pairs = make(fail_at_first, PairMix(cycle=1), on_note=notes.append)
    assert (pairs.count("cycle"), pairs.left_out, notes) == (2 * COUNT, 0, [])
    assert pairs.drawn_again >= COUNT
    for first, second in zip(*calls[:2], strict=True):
        assert not numpy.allclose(first, second)


def test_more_than_half_left_out_is_noted(
    make: Make, good: Forward, crops: list[AlignedCrop]
) -> None:
    stubborn = numpy.stack([crop.crop[..., ::-1].transpose(2, 0, 1) / 255 for crop in crops[:4]])

    def fail_often(targets: NDArray[Any], sources: NDArray[Any]) -> NDArray[Any]:
        made = good(targets, sources).copy()
        for row, target in enumerate(targets):
            if any(numpy.allclose(target, frame, atol=1e-5) for frame in stubborn):
                made[row] = target
        return made

    notes: list[str] = []
    pairs = make(fail_often, on_note=notes.append)
    assert (pairs.count("cycle"), pairs.left_out) == (4, 8)
    assert pairs.drawn_again >= 8 * (MAX_DRAWS - 1)
    assert set(pairs.crop[pairs.pools["cycle"]].tolist()) == {4, 5}
    assert len(notes) == 1
    assert "8 of 12" in notes[0]
    assert "'demo'" in notes[0]


def test_one_frame_is_not_given_the_same_stranger_twice(
    crops: list[AlignedCrop], table: SourceTable, good: Forward, analyser: DemoAnalyser
) -> None:
    strangers = numpy.unique(table.others, axis=0)[:5]
    seen: list[NDArray[Any]] = []

    def watch(targets: NDArray[Any], sources: NDArray[Any]) -> NDArray[Any]:
        seen.append(sources)
        return good(targets, sources)

    made = create_checked_inputs(
        crops[:2],
        numpy.concatenate([strangers, strangers]),
        BaseSwapper(watch, analyser.get_swapper("demo")),
        analyser,
        5,
        lambda rows, pictures: numpy.zeros(len(rows), dtype=bool),
        numpy.random.default_rng(0),
        lambda done, total: None,
    )
    assert made.crop.tolist() == [0, 1] * 5
    for of_crop in zip(*seen, strict=True):
        assert len(numpy.unique(numpy.stack(of_crop), axis=0)) == 5


def test_the_persons_own_direction_is_what_counts(make: Make, table: SourceTable) -> None:
    # Towards the opposite direction the person's real frames are as strange as can be.
    pairs = make(_do_nothing, PairMix(cycle=1), centroid=-table.person.vector)
    assert (pairs.count("cycle"), pairs.drawn_again, pairs.left_out) == (2 * COUNT, 0, 0)
