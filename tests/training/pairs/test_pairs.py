"""What goes into the swapper and what should come out."""

from dataclasses import fields, replace
from typing import Any

import numpy
import pytest
import torch
from numpy.typing import NDArray

from facefusion_finetune.dataset.crops import AlignedCrop
from facefusion_finetune.dataset.manifest import stack_embeddings
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.faces.vectors import create_centroid
from facefusion_finetune.people.profile import Person
from facefusion_finetune.presets.preset import PairMix, parse_preset
from facefusion_finetune.runs.base_swapper import BaseSwapper, create_cycle_inputs
from facefusion_finetune.runs.sources import OTHER_PEOPLE, SourceTable, gather_sources
from facefusion_finetune.swappers.catalogue import FAMILIES
from facefusion_finetune.swappers.graphs.graph import read_swapper
from facefusion_finetune.swappers.sessions import (
    create_session,
    denormalise_output,
    normalise_crops,
    run_session,
    scale_output,
)
from facefusion_finetune.swappers.source import SourceMaker
from facefusion_finetune.training.losses.swap_loss import scale_to_rgb
from facefusion_finetune.training.pairs.build import create_pairs
from facefusion_finetune.training.pairs.pair_set import KINDS, PairSet, draw_batch
from facefusion_finetune.training.validation import create_validation_pairs
from tests.support.demo_world import QUICK_PRESET, load_kept

COUNT = 6
FOREIGN = 5
SIGNED = ("ghost", "hififace", "hyperswap", "uniface")
EVERY_KIND = PairMix(cycle=2, self=1, cross=1, prior=2)


@pytest.fixture
def crops(extracted: Person, analyser: DemoAnalyser) -> list[AlignedCrop]:
    return load_kept(extracted, analyser, end=COUNT)


@pytest.fixture
def others(extracted: Person, analyser: DemoAnalyser) -> list[AlignedCrop]:
    """Stand in for somebody else's frames: frames that `crops` does not hold, mirrored."""
    chosen = load_kept(extracted, analyser, COUNT, COUNT + FOREIGN)
    return [replace(crop, crop=crop.crop[:, ::-1].copy()) for crop in chosen]


@pytest.fixture
def base(analyser: DemoAnalyser) -> BaseSwapper:
    options = analyser.get_swapper("demo")
    session = create_session(options.path, options.name)
    return BaseSwapper(lambda targets, sources: run_session(session, targets, sources), options)


@pytest.fixture
def maker(analyser: DemoAnalyser) -> SourceMaker:
    options = analyser.get_swapper("demo")
    return SourceMaker(options, read_swapper(options.path).emap)


@pytest.fixture
def table(crops: list[AlignedCrop], maker: SourceMaker, analyser: DemoAnalyser) -> SourceTable:
    centroid = create_centroid(stack_embeddings([crop.record for crop in crops]))
    return gather_sources(crops, centroid, maker, analyser, 0)


class Maker:
    """Makes pairs of the same crops, with other settings."""

    def __init__(self, *parts: Any) -> None:
        self.crops, self.table, self.base, self.analyser = parts

    def make(
        self,
        mix: PairMix = EVERY_KIND,
        others: list[AlignedCrop] | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> PairSet:
        preset = parse_preset(QUICK_PRESET, "quick")
        return create_pairs(
            self.crops,
            self.table,
            self.base,
            self.analyser,
            preset.model_copy(update={"pairs": mix, **settings}),
            numpy.random.default_rng(seed),
            others=others,
            # Nothing is like that: every input is kept, so that it can be counted.
            centroid=-self.table.person.vector,
        )


@pytest.fixture
def pair_maker(
    crops: list[AlignedCrop], table: SourceTable, base: BaseSwapper, analyser: DemoAnalyser
) -> Maker:
    return Maker(crops, table, base, analyser)


@pytest.fixture
def pairs(pair_maker: Maker) -> PairSet:
    return pair_maker.make()


def _rgb(crop: AlignedCrop) -> NDArray[numpy.float64]:
    return crop.crop[..., ::-1].transpose(2, 0, 1) / 255


def _pool(rgb: NDArray[Any]) -> NDArray[numpy.float32]:
    pooled = torch.nn.functional.avg_pool2d(torch.from_numpy(rgb.astype(numpy.float32)), 8)
    return numpy.asarray(pooled.numpy())


def _names(pairs: PairSet) -> list[str]:
    return [KINDS[kind] for kind in pairs.kind]


@pytest.mark.parametrize("has_others", [False, True])
def test_each_kind_is_what_it_should_be(
    pair_maker: Maker, others: list[AlignedCrop], base: BaseSwapper, has_others: bool
) -> None:
    pairs = pair_maker.make(others=others if has_others else None, variants=2)
    batch = pairs.select(range(len(pairs)), base.options, "cpu")
    every = [*pair_maker.crops, *others]
    foreign = dict.fromkeys(KINDS, 0)
    for row, name in enumerate(_names(pairs)):
        crop = every[pairs.crop[row]]
        real, shown = _rgb(crop), batch.target[row].numpy()
        foreign[name] += bool(pairs.crop[row] >= COUNT)
        is_frame = bool(numpy.abs(shown - real).max() < 1e-6)
        assert is_frame == (name in ("self", "prior") or (name == "cross" and has_others)), name
        bytes_ = (shown.transpose(1, 2, 0)[None, ..., ::-1] * 255).round().astype(numpy.uint8)
        swap = base.swap(bytes_, pairs.sources[pairs.source[row]][None])[0].clip(0, 1)
        truth, anchor = batch.truth[row].numpy(), batch.anchor[row].numpy()
        expected = {"prior": swap, "cross": numpy.zeros_like(swap)}.get(name, real)
        numpy.testing.assert_allclose(truth, expected, atol=1e-3)
        goal = _pool(swap) if name == "cross" else numpy.zeros_like(_pool(swap))
        numpy.testing.assert_allclose(anchor, goal, atol=1e-5)
        for mask, drawn in ((batch.face, crop.face), (batch.features, crop.features)):
            numpy.testing.assert_allclose(mask[row, 0].numpy(), drawn, atol=0.5 / 255 + 1e-6)
    expected_foreign = {"cross": FOREIGN, "prior": COUNT} if has_others else {}
    assert {name: count for name, count in foreign.items() if count} == expected_foreign
    assert batch.features.max() == 1


def test_cross_pairs_without_footage_of_others_show_the_cycle_inputs(pair_maker: Maker) -> None:
    both = pair_maker.make(PairMix(cycle=1, cross=1))
    shown = [set(both.target[both.pools[name]].tolist()) for name in ("cycle", "cross")]
    assert shown[0] == shown[1]
    alone = pair_maker.make(PairMix(cross=1))
    assert alone.count("cross") == COUNT == len(alone)
    frames = numpy.stack([crop.crop for crop in pair_maker.crops])
    changed = numpy.abs(alone.pictures[alone.target].astype(int) - frames).max(axis=(1, 2, 3))
    assert changed.min() > 10


def test_prior_pairs_on_p_alone_where_there_is_nobody_else(pair_maker: Maker) -> None:
    pairs = pair_maker.make(PairMix(prior=1), variants=3)
    assert pairs.crop.tolist() == list(range(COUNT)) * 3
    assert len({*pairs.source.tolist()}) > COUNT


def test_half_of_the_prior_is_on_others_and_on_every_frame_of_p(
    pair_maker: Maker, others: list[AlignedCrop]
) -> None:
    pairs = pair_maker.make(PairMix(prior=1), others, variants=2)
    of_person = pairs.crop[pairs.crop < COUNT]
    assert len(pairs) == 2 * COUNT
    assert sorted(of_person.tolist()) == list(range(COUNT))
    assert set(pairs.crop.tolist()) == set(range(COUNT + FOREIGN))


def test_never_the_truth_frames_own_vector(pair_maker: Maker, maker: SourceMaker) -> None:
    pairs = pair_maker.make(PairMix(cycle=1, self=1), variants=4)
    own = [maker.create_vector(crop.record.embedding) for crop in pair_maker.crops]
    for row in range(len(pairs)):
        source = pairs.sources[pairs.source[row]]
        assert not numpy.allclose(source, own[pairs.crop[row]], atol=1e-5)


def test_each_kind_is_driven_by_whom_it_should(
    pair_maker: Maker, crops: list[AlignedCrop], maker: SourceMaker
) -> None:
    pairs = pair_maker.make(variants=4)
    centroid = create_centroid(stack_embeddings([crop.record for crop in crops]))
    numpy.testing.assert_array_equal(pairs.sources[0], maker.create_vector(centroid))
    assert len(pairs.sources) == 1 + COUNT + OTHER_PEOPLE
    assert (pairs.source[pairs.pools["prior"]] > COUNT).all()
    assert (pairs.source[pairs.pools["cross"]] == 0).all()
    for name in ("cycle", "self"):
        drawn = pairs.source[pairs.pools[name]]
        assert (drawn <= COUNT).all()
        assert 0.25 < (drawn == 0).mean() < 0.75
        assert len(set(drawn.tolist())) > 2


def test_variants_of_a_frame_differ(pair_maker: Maker) -> None:
    pairs = pair_maker.make(PairMix(cycle=1, prior=1), variants=3)
    for name in ("cycle", "prior"):
        assert numpy.bincount(pairs.crop[pairs.pools[name]]).tolist() == [3] * COUNT
    inputs = pairs.pictures[pairs.target[pairs.pools["cycle"]]]
    assert len({picture.tobytes() for picture in inputs}) == 3 * COUNT


def test_every_picture_is_kept_once(pair_maker: Maker, others: list[AlignedCrop]) -> None:
    few = pair_maker.make(others=others)
    many = pair_maker.make(others=others, variants=4)
    for pairs, inputs in ((few, COUNT), (many, 4 * COUNT)):
        assert len(pairs.pictures) == COUNT + FOREIGN + inputs
        assert len({picture.tobytes() for picture in pairs.pictures}) == len(pairs.pictures)
        assert pairs.pictures.dtype == pairs.face.dtype == pairs.features.dtype == numpy.uint8
        assert len(pairs.face) == COUNT + FOREIGN
    plain = pair_maker.make(PairMix(self=1), variants=16)
    assert (len(plain), len(plain.pictures)) == (16 * COUNT, COUNT)


def test_degraded_inputs_leave_every_goal_as_it_was(
    pair_maker: Maker, others: list[AlignedCrop], base: BaseSwapper
) -> None:
    clean = pair_maker.make(others=others, variants=4)
    spoilt = pair_maker.make(others=others, variants=4, degraded=0.25)
    rows = range(len(clean))
    before, after = (pairs.select(rows, base.options, "cpu") for pairs in (clean, spoilt))
    for name in ("truth", "anchor", "source", "kind", "face", "features", "matrix"):
        assert torch.equal(getattr(before, name), getattr(after, name)), name
    changed = (before.target != after.target).flatten(1).any(dim=1).numpy()
    for name in KINDS:
        assert changed[clean.pools[name]].sum() == round(0.25 * clean.count(name)), name
    again = pair_maker.make(others=others, variants=4, degraded=0.25)
    assert again.digest() == spoilt.digest() != clean.digest()


def test_a_picture_that_is_only_shown_degraded_is_not_kept(pair_maker: Maker) -> None:
    clean = pair_maker.make(PairMix(cycle=1))
    spoilt = pair_maker.make(PairMix(cycle=1), degraded=1.0)
    assert len(spoilt.pictures) == len(clean.pictures) == 2 * COUNT


def test_digest_tells_any_other_content(pair_maker: Maker, others: list[AlignedCrop]) -> None:
    pairs = pair_maker.make(others=others)
    digests = [pairs.digest()]
    for each in fields(pairs):
        array = getattr(pairs, each.name)
        if isinstance(array, numpy.ndarray):
            changed = array.copy()
            changed.reshape(-1)[-1] += 1
            digests.append(replace(pairs, **{each.name: changed}).digest())
    assert len(digests) == 13
    assert len(set(digests)) == len(digests)
    assert pair_maker.make(others=others).digest() == digests[0]
    assert pair_maker.make(others=others, seed=1).digest() not in digests


def test_without_inputs_the_rest_is_the_same(pairs: PairSet, base: BaseSwapper) -> None:
    rows = [3, len(pairs) - 1, 3]
    whole = pairs.select(rows, base.options, "cpu")
    cheap = pairs.select(rows, base.options, "cpu", inputs=False)
    assert cheap.target.numel() == cheap.source.numel() == 0
    for name in ("truth", "anchor", "kind", "face", "features", "matrix"):
        assert torch.equal(getattr(whole, name), getattr(cheap, name)), name


def test_inputs_are_prepared_as_for_the_host(pairs: PairSet, base: BaseSwapper) -> None:
    options = replace(base.options, mean=(0.1, 0.2, 0.3), standard_deviation=(0.4, 0.5, 0.6))
    batch = pairs.select(range(len(pairs)), options, "cpu")
    expected = normalise_crops(pairs.pictures[pairs.target], options)
    numpy.testing.assert_array_equal(batch.target.numpy(), expected)


def test_tensors_of_a_batch(pairs: PairSet, base: BaseSwapper) -> None:
    rows = [int(pairs.pools[name][0]) for name in KINDS]
    batch = pairs.select(rows, base.options, "cpu")
    assert batch.target.shape == batch.truth.shape == (4, 3, 64, 64)
    assert batch.source.shape == (4, 512)
    assert batch.face.shape == batch.features.shape == (4, 1, 64, 64)
    assert batch.anchor.shape == (4, 3, 8, 8)
    assert batch.matrix.shape == (4, 2, 3)
    assert batch.kind.tolist() == [0, 1, 2, 3]
    assert sum(pairs.count(name) for name in KINDS) == len(pairs)


def test_cycle_input_keeps_what_lies_outside_the_paste_mask(
    crops: list[AlignedCrop], base: BaseSwapper, maker: SourceMaker, analyser: DemoAnalyser
) -> None:
    vectors = numpy.stack([maker.create_vector(v) for v in analyser.sample_other_vectors(COUNT, 1)])
    inputs = create_cycle_inputs(crops, vectors, base, analyser)
    for crop, pasted in zip(crops, inputs, strict=True):
        outside = analyser.create_paste_mask(crop.crop) == 0
        difference = numpy.abs(pasted.astype(int) - crop.crop).max(axis=2)
        assert difference[outside].max() <= 2
        assert difference[~outside].max() > 10


def test_batches_follow_the_mix_and_depend_on_seed_and_step_alone(pairs: PairSet) -> None:
    mix = PairMix(cycle=5, prior=3)
    for step in range(5):
        rows = draw_batch(pairs, mix, 8, seed=3, step=step)
        kinds = [_names(pairs)[row] for row in rows]
        assert (kinds.count("cycle"), kinds.count("prior")) == (5, 3)
        assert rows == draw_batch(pairs, mix, 8, seed=3, step=step)
    assert draw_batch(pairs, mix, 8, 3, 0) != draw_batch(pairs, mix, 8, 3, 1)
    assert draw_batch(pairs, mix, 8, 3, 0) != draw_batch(pairs, mix, 8, 4, 0)


def test_shares_hold_over_the_steps_where_they_do_not_in_a_batch(pairs: PairSet) -> None:
    mix, names = PairMix(cycle=5, self=2, prior=3), _names(pairs)
    kinds = [names[row] for step in range(400) for row in draw_batch(pairs, mix, 3, 1, step)]
    for kind, share in (("cycle", 0.5), ("self", 0.2), ("prior", 0.3)):
        assert kinds.count(kind) / len(kinds) == pytest.approx(share, abs=0.03)


def test_kinds_without_pairs_get_no_share(pair_maker: Maker) -> None:
    pairs = pair_maker.make(PairMix(self=1, prior=1))
    mix = PairMix(cycle=4, self=3, cross=4, prior=1)
    kinds = [_names(pairs)[row] for row in draw_batch(pairs, mix, 8, 0, 0)]
    assert (kinds.count("self"), kinds.count("prior")) == (6, 2)


def test_validation_is_one_clean_cycle_pair_of_each_crop(
    pair_maker: Maker, others: list[AlignedCrop], base: BaseSwapper
) -> None:
    table, analyser = pair_maker.table, pair_maker.analyser
    pairs = create_validation_pairs(others, table, base, analyser)
    assert pairs.count("cycle") == len(pairs) == FOREIGN
    assert pairs.digest() == create_validation_pairs(others, table, base, analyser).digest()
    batch = pairs.select(range(FOREIGN), base.options, "cpu")
    for row, crop in enumerate(others):
        numpy.testing.assert_allclose(batch.truth[row].numpy(), _rgb(crop), atol=1e-6)
        numpy.testing.assert_array_equal(batch.source[row].numpy(), table.person.source)
        assert float((batch.target[row] - batch.truth[row]).abs().max()) > 0.05


@pytest.mark.parametrize("family", FAMILIES)
def test_output_is_read_as_the_host_reads_it(family: str, analyser: DemoAnalyser) -> None:
    half = (0.5, 0.5, 0.5)
    options = replace(analyser.get_swapper("demo"), type=family, mean=half, standard_deviation=half)
    output = numpy.zeros((1, 3, 2, 2), dtype=numpy.float32)
    output[0, 0] = 1.5
    output[0, 1] = 0.5
    # By hand: what is signed is halved and raised by a half before it is clipped.
    expected = [127.5, 191.25, 255] if family in SIGNED else [0, 127.5, 255]
    numpy.testing.assert_allclose(denormalise_output(output, options)[0, 0, 0], expected)
    rgb = scale_to_rgb(torch.from_numpy(output), options)
    numpy.testing.assert_allclose(rgb.numpy(), scale_output(output, options), atol=1e-6)
