"""What a run is judged on."""

from dataclasses import replace

import numpy
import pytest

from facefusion_finetune.dataset.crops import AlignedCrop
from facefusion_finetune.dataset.duplicates import find_near_duplicates
from facefusion_finetune.dataset.manifest import CropRecord, stack_embeddings
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.errors import EvaluationError
from facefusion_finetune.evaluation.material import (
    OTHER_PEOPLE,
    choose_independent,
    make_pairs,
    make_stand_ins,
    name_blocks,
    pair_others,
)
from facefusion_finetune.faces.vectors import create_centroid
from facefusion_finetune.people.profile import Person
from facefusion_finetune.runs.base import open_base
from facefusion_finetune.runs.base_swapper import BaseSwapper
from facefusion_finetune.runs.crops import spread
from facefusion_finetune.runs.run import Run
from facefusion_finetune.swappers.sessions import create_session, run_session
from facefusion_finetune.swappers.source import SourceMaker
from tests.support.demo_world import load_kept

Shots = dict[str, list[AlignedCrop]]


@pytest.fixture
def shots(extracted: Person, analyser: DemoAnalyser) -> Shots:
    shots: Shots = {}
    for crop in load_kept(extracted, analyser):
        shots.setdefault(crop.record.shot, []).append(crop)
    return shots


def _place(shots: Shots, step: float | None) -> list[CropRecord]:
    """All records, those of a shot `step` seconds apart, or without a time."""
    return [
        crop.record.model_copy(
            update={"source": "one.mkv", "frame": row, "time": None if step is None else row * step}
        )
        for crops in shots.values()
        for row, crop in enumerate(crops)
    ]


def test_frames_of_one_second_of_a_shot_share_a_block(shots: Shots) -> None:
    records = _place(shots, 0.4)
    blocks = name_blocks(records)
    for first, one in zip(records, blocks, strict=True):
        for second, other in zip(records, blocks, strict=True):
            same = first.shot == second.shot and int(first.time) == int(second.time)
            assert (one == other) == same
    mixed = numpy.random.default_rng(0).permutation(len(records))
    assert name_blocks([records[row] for row in mixed]) == [blocks[row] for row in mixed]


def test_pictures_without_a_time_share_a_block_with_their_neighbours(shots: Shots) -> None:
    long = [record for records in [_place(shots, None)] * 3 for record in records]
    one_shot = [
        record.model_copy(update={"shot": "a", "frame": row}) for row, record in enumerate(long)
    ]
    blocks = name_blocks(one_shot)
    sizes = [blocks.count(block) for block in dict.fromkeys(blocks)]
    assert max(sizes) == sizes[0] > 1
    assert len(sizes) > len(one_shot) / 10
    assert blocks == sorted(blocks, key=lambda block: int(block.part))


def test_held_out_crops_of_other_shots_all_judge(run: Run, shots: Shots) -> None:
    first, *others = shots.values()
    train = [crop for shot in others for crop in shot]
    records = [crop.record for crop in [*first, *train]]
    assert len(choose_independent(run, records, train, first)) == len(first)


def _moves(shot: list[AlignedCrop]) -> bool:
    """Whether frames beyond the gap look unlike the first one."""
    later, start = (numpy.stack([crop.crop for crop in part]) for part in (shot[3:], shot[:1]))
    return not find_near_duplicates(later, start).all()


def test_crops_that_training_has_seen_do_not_judge(run: Run, shots: Shots) -> None:
    second = next(shot for shot in shots.values() if _moves(shot))
    first, *others = (shot for shot in shots.values() if shot is not second)
    train = [crop for shot in others for crop in shot]
    records = [crop.record for crop in [*first, *second, *train]]
    # One frame of the second shot trains as well: its neighbours in that shot are no witnesses.
    near = choose_independent(run, records, [*train, second[0]], [*first, *second[1:]])
    kept = [crop for crop in near if crop.record.shot == second[0].record.shot]
    # beyond the gap, those go that still look alike
    assert 0 < len(kept) <= len(second[3:])
    assert all(any(crop is far for far in second[3:]) for crop in kept)
    assert len(near) == len(kept) + len(first)
    # The same frames, once more under another name, show the same picture.
    copies = [
        replace(crop, record=crop.record.model_copy(update={"id": f"copy-{row}", "shot": "copies"}))
        for row, crop in enumerate(first)
    ]
    more = [*records, *(crop.record for crop in copies)]
    kept = choose_independent(run, more, [*train, *copies], [*first, *second])
    assert [crop.record for crop in kept] == [crop.record for crop in second]


def test_nothing_independent_says_what_is_missing(run: Run, shots: Shots) -> None:
    crops = next(iter(shots.values()))
    with pytest.raises(EvaluationError) as caught:
        choose_independent(run, [crop.record for crop in crops], crops[::2], crops[1::2])
    error = caught.value
    assert error.given == f"run {run.reference}"
    assert "no held-out shot is left" in error.why
    assert f"{len(crops[1::2])} held-out crops" in error.why
    assert "at least one more shot of 2 s" in error.todo


@pytest.mark.parametrize("targets", [1, 5, 12, 30, 60])
def test_all_others_are_swapped_and_spread_over_the_targets(targets: int) -> None:
    rows = pair_others(targets)
    used, people = rows.T
    assert set(people.tolist()) == set(range(OTHER_PEOPLE))
    counts = numpy.bincount(people)
    assert counts.min() == counts.max()
    assert (used.min(), used.max() < targets) == (0, True)
    share = len(rows) / targets
    assert numpy.abs(numpy.bincount(used, minlength=targets) - share).max() <= max(1, share / 2)
    if targets >= OTHER_PEOPLE:
        assert len({tuple(row) for row in rows.tolist()}) == len(rows)
        for person in range(OTHER_PEOPLE):
            of_person = used[people == person]
            assert of_person.max() - of_person.min() > targets / 2


def test_spread_reaches_both_ends() -> None:
    assert spread([3, 1, 2], 5) == [3, 1, 2]
    assert spread(list(range(101)), 5) == [0, 25, 50, 75, 100]


def test_somebody_else_is_swapped_on_first(
    extracted: Person, analyser: DemoAnalyser, shots: Shots
) -> None:
    options = analyser.get_swapper("demo")
    graph = open_base(options, analyser)
    session = create_session(options.path, "demo")
    base = BaseSwapper(lambda targets, sources: run_session(session, targets, sources), options)
    maker = SourceMaker(options, graph.emap)
    crops = [crop for shot in shots.values() for crop in shot][:10]
    vector = create_centroid(stack_embeddings([crop.record for crop in crops]))

    def make(seed: int) -> numpy.ndarray:
        pairs = make_pairs(crops, maker, base, analyser, vector, seed)
        assert pairs.are_swapped
        assert len(pairs.cutouts) == len(pairs.inputs) == len(crops)
        numpy.testing.assert_array_equal(pairs.truths, [crop.crop for crop in crops])
        return pairs.inputs

    inputs = make(1)
    numpy.testing.assert_array_equal(make(1), inputs)
    assert (make(2) != inputs).any()
    pairs = make_pairs(crops, maker, base, analyser, vector, 1)
    for row, crop in enumerate(crops):
        changed = numpy.abs(inputs[row].astype(int) - crop.crop).mean(axis=2)
        # The face is another one; what the paste does not reach is the frame's own.
        assert changed[crop.face > 0.9].mean() > 3
        assert changed[0].mean() < 1
        likeness = analyser.embed(inputs[row])
        assert likeness @ vector / numpy.linalg.norm(likeness) < 0.8
    stand_ins = make_stand_ins(pairs)
    for row, target in enumerate(stand_ins):
        numpy.testing.assert_array_equal(target.crop, inputs[row])
        numpy.testing.assert_array_equal(target.cutout, pairs.cutouts[row])
        assert target.record == crops[row].record
