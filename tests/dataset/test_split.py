"""Training and held-out crops never share a shot."""

import numpy
import pytest

from facefusion_finetune.dataset.manifest import CropRecord
from facefusion_finetune.dataset.split import GAP_SECONDS, HELD_OUT_SHARE, split_by_shot


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


def test_short_shot_keeps_most_for_training() -> None:
    split = split_by_shot(_records({"a": 13}))
    assert (len(split.train), len(split.gap), len(split.held_out)) == (7, 2, 3)


def test_nothing_kept() -> None:
    split = split_by_shot([])
    assert (split.train, split.held_out) == ([], [])
