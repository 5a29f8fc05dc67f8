"""What goes into the swapper and what should come out."""

from dataclasses import replace

import numpy
import pytest
import torch

from facefusion_finetune.dataset.crops import AlignedCrop, load_crops
from facefusion_finetune.dataset.manifest import read_manifest, stack_embeddings
from facefusion_finetune.faces.demo import DemoAnalyser
from facefusion_finetune.people.profile import Person
from facefusion_finetune.swappers.catalogue import FAMILIES
from facefusion_finetune.swappers.convert.parity import run_session
from facefusion_finetune.swappers.graphs.graph import read_swapper
from facefusion_finetune.swappers.sessions import create_session, denormalise_output, scale_output
from facefusion_finetune.swappers.source import SourceMaker
from facefusion_finetune.swappers.vectors import create_centroid
from facefusion_finetune.training.losses import scale_to_rgb
from facefusion_finetune.training.pairs import (
    BaseSwapper,
    PairSet,
    create_cycle_inputs,
    create_pairs,
    draw_batch,
)
from facefusion_finetune.training.presets import PairMix, parse_preset
from facefusion_finetune.training.sources import OTHER_PEOPLE, gather_sources
from tests.support.demo_world import QUICK_PRESET

COUNT = 6
SIGNED = ("ghost", "hififace", "hyperswap", "uniface")


@pytest.fixture
def crops(extracted: Person, analyser: DemoAnalyser) -> list[AlignedCrop]:
    records = [record for record in read_manifest(extracted) if record.kept][:COUNT]
    return load_crops(extracted, records, analyser, analyser.get_swapper("demo"))


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
def pairs(
    crops: list[AlignedCrop], base: BaseSwapper, maker: SourceMaker, analyser: DemoAnalyser
) -> PairSet:
    centroid = create_centroid(stack_embeddings([crop.record for crop in crops]))
    return create_pairs(
        crops,
        gather_sources(crops, centroid, maker, analyser, 0),
        base,
        analyser,
        parse_preset(QUICK_PRESET, "quick"),
        numpy.random.default_rng(0),
    )


def test_truths_are_real_frames_but_for_the_prior(
    pairs: PairSet, crops: list[AlignedCrop], analyser: DemoAnalyser
) -> None:
    batch = pairs.select(range(len(pairs.kinds)), analyser.get_swapper("demo"), "cpu")
    for row, kind in enumerate(pairs.kinds):
        picture = crops[pairs.crop[row]].crop
        real = picture[..., ::-1].transpose(2, 0, 1) / 255
        distance = float(numpy.abs(batch.truth[row].numpy() - real).mean())
        changed = float(numpy.abs(batch.target[row].numpy() - real).mean())
        assert (distance == pytest.approx(0, abs=1e-6)) == (kind != "prior"), kind
        assert (changed == pytest.approx(0, abs=1e-6)) == (kind != "cycle"), kind


def test_prior_truth_is_the_bases_own_swap(
    pairs: PairSet, crops: list[AlignedCrop], base: BaseSwapper, analyser: DemoAnalyser
) -> None:
    rows = [row for row, kind in enumerate(pairs.kinds) if kind == "prior"][::2]
    batch = pairs.select(rows, base.options, "cpu")
    pictures = numpy.stack([crops[pairs.crop[row]].crop for row in rows])
    expected = base.swap(pictures, pairs.sources[pairs.source[rows]]).clip(0, 1)
    assert numpy.abs(batch.truth.numpy() - expected).max() < 1e-3


def test_never_the_truth_frames_own_vector(
    pairs: PairSet, crops: list[AlignedCrop], maker: SourceMaker
) -> None:
    own = [maker.create_vector(crop.record.embedding) for crop in crops]
    for row in range(len(pairs.kinds)):
        source = pairs.sources[pairs.source[row]]
        assert not numpy.allclose(source, own[pairs.crop[row]], atol=1e-5)


def test_each_kind_is_driven_by_whom_it_should(
    pairs: PairSet, crops: list[AlignedCrop], maker: SourceMaker
) -> None:
    centroid = create_centroid(stack_embeddings([crop.record for crop in crops]))
    numpy.testing.assert_array_equal(pairs.sources[0], maker.create_vector(centroid))
    assert len(pairs.sources) == 1 + COUNT + OTHER_PEOPLE
    for kind, source in zip(pairs.kinds, pairs.source, strict=True):
        assert (source > COUNT) == (kind == "prior")
    drawn = {int(source) for source in pairs.source if source <= COUNT}
    assert 0 in drawn
    assert len(drawn) > 2


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
        kinds = [pairs.kinds[row] for row in rows]
        assert (kinds.count("cycle"), kinds.count("prior")) == (5, 3)
        assert rows == draw_batch(pairs, mix, 8, seed=3, step=step)
    assert draw_batch(pairs, mix, 8, 3, 0) != draw_batch(pairs, mix, 8, 3, 1)
    assert draw_batch(pairs, mix, 8, 3, 0) != draw_batch(pairs, mix, 8, 4, 0)


def test_shares_hold_over_the_steps_where_they_do_not_in_a_batch(pairs: PairSet) -> None:
    mix = PairMix(cycle=5, self=2, prior=3)
    kinds = [pairs.kinds[row] for s in range(400) for row in draw_batch(pairs, mix, 3, 1, s)]
    for kind, share in (("cycle", 0.5), ("self", 0.2), ("prior", 0.3)):
        assert kinds.count(kind) / len(kinds) == pytest.approx(share, abs=0.03)


def test_tensors_of_a_batch(pairs: PairSet, analyser: DemoAnalyser) -> None:
    rows = [0, COUNT, 2 * COUNT]
    batch = pairs.select(rows, analyser.get_swapper("demo"), "cpu")
    assert batch.target.shape == batch.truth.shape == (3, 3, 64, 64)
    assert batch.source.shape == (3, 512)
    assert batch.face.shape == (3, 1, 64, 64)
    assert batch.is_person.tolist() == [pairs.kinds[row] != "prior" for row in rows]


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
