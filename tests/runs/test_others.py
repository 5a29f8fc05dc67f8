"""Footage of others that training sees, and what is kept of it."""

import json
from itertools import pairwise
from pathlib import Path

import cv2
import pytest

from facefusion_finetune.dataset.crops import load_folder
from facefusion_finetune.dataset.manifest import CropRecord
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.errors import FootageError, TrainingError, UsageError
from facefusion_finetune.evaluation.targets import collect_targets, read_targets
from facefusion_finetune.runs import others
from facefusion_finetune.runs.others import (
    PersonFilter,
    check_apart,
    collect_others,
    others_directory,
    read_others,
)
from facefusion_finetune.runs.run import Run
from tests.support.demo_world import FRAMES_PER_SHOT
from tests.support.runs import list_names


@pytest.fixture
def collected(
    run: Run, other_footage: Path, analyser: DemoAnalyser, likeness: PersonFilter
) -> list[CropRecord]:
    return collect_others(run, [other_footage / "shot-001"], analyser, likeness)


def test_others_are_kept_in_the_run_without_their_vectors(
    run: Run, collected: list[CropRecord], other_footage: Path
) -> None:
    assert read_others(run) == collected
    assert len(collected) == FRAMES_PER_SHOT
    folder = others_directory(run)
    files = {f"{record.id}{end}" for record in collected for end in (".png", ".masks.png")}
    assert set(list_names(folder)) == files | {"others.jsonl"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in [folder, *folder.iterdir()])
    for line in map(json.loads, (folder / "others.jsonl").read_text().splitlines()):
        assert line["embedding"] is None
        assert line["landmark_68"] == []
        assert Path(line["source"]).is_relative_to(other_footage)


def test_others_load_as_crops_with_masks(
    run: Run, collected: list[CropRecord], analyser: DemoAnalyser
) -> None:
    options = analyser.get_swapper("demo")
    crops = load_folder(others_directory(run), collected, analyser, options)
    assert [crop.record for crop in crops] == collected
    for crop in crops:
        assert crop.crop.shape == (64, 64, 3)
        assert 0 < crop.features.sum() < crop.face.sum()


def test_the_person_is_left_out(
    run: Run, footage: Path, other_footage: Path, analyser: DemoAnalyser, likeness: PersonFilter
) -> None:
    both = collect_others(run, [footage, other_footage], analyser, likeness)
    assert len(both) == 2 * FRAMES_PER_SHOT
    assert all(Path(record.source).is_relative_to(other_footage) for record in both)
    kept = {record.id for record in both}
    assert {name.split(".")[0] for name in list_names(others_directory(run))} == kept | {"others"}


def test_the_person_alone_is_refused_and_leaves_earlier_others(
    run: Run,
    collected: list[CropRecord],
    footage: Path,
    analyser: DemoAnalyser,
    likeness: PersonFilter,
) -> None:
    before = list_names(run.directory)
    with pytest.raises(TrainingError) as caught:
        collect_others(run, [footage / "shot-001"], analyser, likeness)
    assert "--others" in caught.value.given
    assert f"none of the {FRAMES_PER_SHOT} faces" in caught.value.why
    assert read_others(run) == collected
    assert list_names(run.directory) == before


def test_refused_content_is_refused_and_nothing_is_kept(
    run: Run,
    other_footage: Path,
    analyser: DemoAnalyser,
    likeness: PersonFilter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = list_names(run.directory)
    last = sorted(other_footage.rglob("*.png"))[-1]
    refused = cv2.imread(str(last))
    monkeypatch.setattr(analyser, "is_frame_blocked", lambda frame: (frame == refused).all())
    with pytest.raises(FootageError, match="content check refuses it"):
        collect_others(run, [other_footage], analyser, likeness)
    assert read_others(run) == []
    assert list_names(run.directory) == before


def test_what_trains_cannot_judge(
    run: Run,
    collected: list[CropRecord],
    other_footage: Path,
    analyser: DemoAnalyser,
    likeness: PersonFilter,
) -> None:
    with pytest.raises(UsageError, match="cannot be used for training and for evaluation"):
        collect_targets(run, [other_footage], analyser, likeness)
    assert read_targets(run) == []
    apart = collect_targets(run, [other_footage / "shot-002"], analyser, likeness)
    assert read_targets(run) == apart
    assert read_others(run) == collected


def test_what_judges_cannot_train_under_another_name(
    run: Run,
    other_footage: Path,
    analyser: DemoAnalyser,
    likeness: PersonFilter,
    tmp_path: Path,
) -> None:
    collect_targets(run, [other_footage / "shot-001"], analyser, likeness)
    copy = tmp_path / "renamed.png"
    copy.write_bytes((other_footage / "shot-001" / "frame-0001.png").read_bytes())
    with pytest.raises(UsageError) as caught:
        collect_others(run, [other_footage / "shot-002", copy], analyser, likeness)
    assert str(copy) in caught.value.given
    assert read_others(run) == []


def test_footage_is_compared_before_anything_is_done(other_footage: Path) -> None:
    first, second = other_footage / "shot-001", other_footage / "shot-002"
    check_apart([first], [second])
    with pytest.raises(UsageError, match="cannot be used for training and for evaluation"):
        check_apart([first, second], [second / "frame-0002.png"])


def test_much_footage_is_sampled_evenly(
    run: Run,
    other_footage: Path,
    analyser: DemoAnalyser,
    likeness: PersonFilter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(others, "MAX_OTHERS", 4)
    chosen = collect_others(run, [other_footage], analyser, likeness)
    frames = sorted(other_footage.rglob("*.png"))
    places = [frames.index(Path(record.source)) for record in chosen]
    assert places[0] == 0
    assert places[-1] == len(frames) - 1
    assert {later - earlier for earlier, later in pairwise(places)} <= {3, 4}
    assert len(list_names(others_directory(run))) == 2 * 4 + 1


def test_no_others(run: Run) -> None:
    assert read_others(run) == []
