"""Training and held-out crops never share a shot."""

import re

import numpy
import pytest

from facefusion_finetune.dataset.manifest import CropRecord
from facefusion_finetune.dataset.split import (
    GAP_SECONDS,
    HELD_OUT_SHARE,
    find_dependent,
    require_split,
    split_by_shot,
)
from facefusion_finetune.errors import DatasetError


def _records(shots: dict[str, int], step: float | None = 0.2) -> list[CropRecord]:
    return [
        CropRecord(
            id=f"{shot}-{index}",
            source=shot,
            source_sha256=shot,
            frame=index,
            time=None if step is None else index * step,
            shot=shot,
            offset=(0, 0),
            size=(10, 10),
            bounding_box=(0, 0, 1, 1),
            landmark_5=[(0, 0)] * 5,
            landmark_68=[],
            detector_score=1,
            landmarker_score=1,
            embedding=numpy.ones(512, dtype=numpy.float32),
            pose={},
            kept=index != 0,
            reason="",
        )
        for shot, count in shots.items()
        for index in range(count)
    ]


@pytest.mark.parametrize(
    "shots", [{"a": 9, "b": 9}, {"a": 41, "b": 3, "c": 5}, {f"s{i}": 7 for i in range(12)}]
)
def test_whole_shots_are_held_out(shots: dict[str, int]) -> None:
    records = _records(shots)
    split = split_by_shot(records)
    train, held_out = ({record.shot for record in part} for part in (split.train, split.held_out))
    assert train
    assert held_out
    assert not train & held_out
    kept = sum(record.kept for record in records)
    assert len(split.train) + len(split.held_out) == kept
    if len(shots) > 3:
        assert len(split.held_out) >= HELD_OUT_SHARE * kept
    assert split_by_shot(records[::-1]).held_out[0].shot in held_out


def test_largest_shot_trains() -> None:
    split = split_by_shot(_records({"a": 100, "b": 4}))
    assert {record.shot for record in split.train} == {"a"}


def test_one_shot_is_cut_in_time_with_a_gap() -> None:
    split = split_by_shot(_records({"a": 100}))
    assert not split.by_shot
    last = max(record.time for record in split.train if record.time is not None)
    first = min(record.time for record in split.held_out if record.time is not None)
    assert first - last >= GAP_SECONDS
    assert split.gap


def test_gap_is_kept_where_it_leaves_nothing_to_train_on() -> None:
    split = split_by_shot(_records({"a": 13}))
    assert (len(split.train), len(split.gap), len(split.held_out)) == (0, 9, 3)
    split = split_by_shot(_records({"a": 13}, step=None))
    assert (len(split.train), len(split.gap), len(split.held_out)) == (7, 2, 3)


def test_nothing_kept() -> None:
    split = split_by_shot([])
    assert (split.train, split.held_out) == ([], [])


def _ids(records: list[CropRecord]) -> set[str]:
    return {record.id for record in records}


def test_split_leaves_nothing_dependent() -> None:
    for shots, step in (({"a": 60}, 0.2), ({"a": 60}, None), ({"a": 30, "b": 9, "c": 12}, 0.2)):
        records = _records(shots, step)
        split = split_by_shot(records)
        assert split.held_out
        assert find_dependent(records, _ids(split.train), _ids(split.held_out)) == set()


def test_frames_near_to_training_frames_are_found() -> None:
    records = _records({"a": 30, "b": 30})
    # b trains whole; of a the frames of 2 s, the number 10, at 0.2 s a frame
    train = {"a-10", *(f"b-{index}" for index in range(30))}
    held_out = {f"a-{index}" for index in range(1, 30) if index != 10}
    near = {f"a-{index}" for index in range(1, 20) if index != 10}
    assert find_dependent(records, train, held_out) == near
    assert find_dependent(records[::-1], train, held_out) == near
    assert find_dependent(records, {"b-3"}, held_out) == set()


def test_pictures_without_a_time_are_near_by_their_place() -> None:
    records = _records({"a": 30}, step=None)
    held_out = {f"a-{index}" for index in range(1, 30)} - {"a-10"}
    assert find_dependent(records, {"a-10"}, held_out) == {"a-8", "a-9", "a-11", "a-12"}


def test_a_crop_that_trains_never_judges() -> None:
    records = _records({"a": 5, "b": 5})
    assert find_dependent(records, {"a-1", "b-2"}, {"b-2", "b-4"}) >= {"b-2"}


def test_random_frames_of_a_shot_are_all_dependent() -> None:
    records = _records({"a": 101})
    kept = [record.id for record in records if record.kept]
    order = numpy.random.default_rng(0).permutation(kept).tolist()
    held_out = set(order[:25])
    assert find_dependent(records, set(order[25:]), held_out) == held_out


def _require(records: list[CropRecord], needed: int) -> None:
    split = split_by_shot(records)
    require_split("ada", records, len(split.train), len(split.held_out), needed)


@pytest.mark.parametrize(
    ("frames", "step", "needed"), [(31, 0.2, 30), (12, 0.5, 12), (60, 0.1, 50)]
)
def test_one_short_shot_is_told_how_many_seconds_are_missing(
    frames: int, step: float, needed: int
) -> None:
    with pytest.raises(DatasetError) as caught:
        _require(_records({"a": frames}, step), needed)
    error = caught.value
    assert "person 'ada'" in error.given
    assert f"of its {frames - 1} crops in 1 shot(s)" in error.why
    assert f"{needed} training crops" in error.why
    told = re.search(r"at least (\d+) s more", error.todo)
    assert told
    assert "second shot" in error.todo
    # So much more is enough, up to the rounding of the seconds; half of it is not.
    more = frames + (int(told[1]) + 1) / step
    _require(_records({"a": round(more)}, step), needed)
    with pytest.raises(DatasetError):
        _require(_records({"a": round(frames + int(told[1]) / step / 2)}, step), needed)


def test_one_shot_without_times_asks_for_pictures_and_another_shot() -> None:
    with pytest.raises(DatasetError) as caught:
        _require(_records({"a": 9}, None), 20)
    assert "seconds" not in caught.value.todo
    assert not re.search(r"\d+ s", caught.value.todo)
    assert "second shot" in caught.value.todo


def test_several_shots_are_told_how_many_crops_are_missing() -> None:
    records = _records({"a": 9, "b": 9, "c": 9})
    split = split_by_shot(records)
    with pytest.raises(DatasetError) as caught:
        _require(records, 50)
    assert (
        f"{len(split.train)} can be used for training and {len(split.held_out)} are held out"
        in caught.value.why
    )
    missing = -(-4 * (50 - len(split.train)) // 3)
    assert f"at least {missing} more usable crops" in caught.value.todo


def test_enough_is_enough() -> None:
    _require(_records({"a": 30, "b": 10}), 29)
    with pytest.raises(DatasetError, match="there is no usable held-out split"):
        require_split("ada", _records({"a": 30}), 29, 0, 10)
