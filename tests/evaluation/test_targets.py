"""Footage of others that a run is judged on, and what is kept of it."""

import json
from pathlib import Path

import cv2
import pytest

from facefusion_finetune.dataset.manifest import CropRecord
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.errors import EvaluationError, FootageError
from facefusion_finetune.evaluation import targets
from facefusion_finetune.evaluation.report import TargetCounts
from facefusion_finetune.evaluation.targets import (
    collect_targets,
    find_followers,
    read_targets,
    targets_directory,
)
from facefusion_finetune.people.profile import Person
from facefusion_finetune.runs.observer import Observer
from facefusion_finetune.runs.others import PersonFilter
from facefusion_finetune.runs.run import Run
from facefusion_finetune.training.recipe import train_person
from facefusion_finetune.training.request import TrainRequest
from tests.support.demo_world import FRAMES_PER_SHOT
from tests.support.runs import list_names


@pytest.fixture
def collected(
    run: Run, other_footage: Path, analyser: DemoAnalyser, likeness: PersonFilter
) -> list[CropRecord]:
    return collect_targets(run, [other_footage], analyser, likeness)


def test_faces_of_others_are_kept_in_the_run(
    run: Run, collected: list[CropRecord], other_footage: Path
) -> None:
    assert len(collected) == 2 * FRAMES_PER_SHOT
    assert read_targets(run) == collected
    assert {Path(record.source).is_relative_to(other_footage) for record in collected} == {True}
    assert len({record.shot for record in collected}) == 2
    files = {f"{record.id}{end}" for record in collected for end in (".png", ".masks.png")}
    assert set(list_names(targets_directory(run))) == files | {"targets.jsonl"}
    folder = targets_directory(run)
    assert all(path.stat().st_mode & 0o077 == 0 for path in [folder, *folder.iterdir()])


def test_nobody_s_vector_is_kept(run: Run, collected: list[CropRecord]) -> None:
    lines = (targets_directory(run) / "targets.jsonl").read_text().splitlines()
    for line in map(json.loads, lines):
        assert line["embedding"] is None
        assert line["landmark_68"] == []
        assert len(line["landmark_5"]) == 5
    assert all(len(line) < 2000 for line in lines)


def test_the_person_is_no_target(
    run: Run, footage: Path, other_footage: Path, analyser: DemoAnalyser, likeness: PersonFilter
) -> None:
    both = collect_targets(run, [footage, other_footage], analyser, likeness)
    assert both
    assert all(Path(record.source).is_relative_to(other_footage) for record in both)
    assert not {f"{record.id}.png" for record in both} ^ {
        name
        for name in list_names(targets_directory(run))
        if name.endswith(".png") and ".masks" not in name
    }


def test_footage_of_the_person_alone_leaves_earlier_targets(
    run: Run,
    collected: list[CropRecord],
    footage: Path,
    analyser: DemoAnalyser,
    likeness: PersonFilter,
) -> None:
    before = list_names(run.directory)
    with pytest.raises(EvaluationError) as caught:
        collect_targets(run, [footage / "shot-001"], analyser, likeness)
    error = caught.value
    assert str(footage / "shot-001") in error.given
    assert f"none of the {FRAMES_PER_SHOT} faces in its {FRAMES_PER_SHOT} frames" in error.why
    assert "footage of other people" in error.todo
    assert read_targets(run) == collected
    assert list_names(run.directory) == before


def test_refused_content_leaves_earlier_targets(
    run: Run,
    collected: list[CropRecord],
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
        collect_targets(run, [other_footage], analyser, likeness)
    assert read_targets(run) == collected
    assert list_names(run.directory) == before


def test_new_targets_replace_the_earlier_ones(
    run: Run,
    collected: list[CropRecord],
    other_footage: Path,
    analyser: DemoAnalyser,
    likeness: PersonFilter,
) -> None:
    fewer = collect_targets(run, [other_footage / "shot-002"], analyser, likeness)
    assert len(fewer) == FRAMES_PER_SHOT
    assert read_targets(run) == fewer
    assert len(list_names(targets_directory(run))) == 2 * FRAMES_PER_SHOT + 1


def test_much_footage_is_sampled_as_frames_with_the_one_after(
    run: Run,
    other_footage: Path,
    analyser: DemoAnalyser,
    likeness: PersonFilter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(targets, "MAX_TARGETS", 6)
    chosen = collect_targets(run, [other_footage], analyser, likeness)
    frames = sorted(other_footage.rglob("*.png"))
    places = [frames.index(Path(record.source)) for record in chosen]
    assert len(places) == 6
    assert places[::2] == [place - 1 for place in places[1::2]]
    assert (places[0], places[-1]) == (0, len(frames) - 1)
    assert len(list_names(targets_directory(run))) == 2 * 6 + 1


def test_no_targets(run: Run) -> None:
    assert read_targets(run) == []


def _film(record: CropRecord, times: list[float], left: float = 0.0) -> list[CropRecord]:
    """A face at these times of one video, so many pixels to the right."""
    x1, y1, x2, y2 = record.bounding_box
    return [
        record.model_copy(
            update={
                "source": "one.mkv",
                "frame": round(time * 100),
                "time": time,
                "landmark_5": [(x + left, y) for x, y in record.landmark_5],
                "bounding_box": (x1 + left, y1, x2 + left, y2),
            }
        )
        for time in times
    ]


def test_frames_that_follow_each_other(collected: list[CropRecord]) -> None:
    # pictures: each shot is a sequence of its own
    followers = find_followers(collected).tolist()
    assert followers == [
        [row, row + 1] for row in range(2 * FRAMES_PER_SHOT - 1) if row != FRAMES_PER_SHOT - 1
    ]
    film = _film(collected[0], [0.0, 0.2, 0.4, 1.4, 1.6])
    assert find_followers(film).tolist() == [[0, 1], [1, 2], [3, 4]]
    assert find_followers(film[:1]).shape == (0, 2)


def test_two_people_in_one_picture_are_not_taken_for_one(collected: list[CropRecord]) -> None:
    left = _film(collected[0], [0.0, 0.2, 0.4])
    right = _film(collected[0], [0.0, 0.2, 0.4], left=150)
    both = [record for pair in zip(left, right, strict=True) for record in pair]
    for first, second in find_followers(both):
        assert both[first].landmark_5 == both[second].landmark_5
    assert find_followers([*left, *right]).tolist() == [[0, 1], [1, 2], [3, 4], [4, 5]]


def test_targets_that_show_nobody_else_are_said_before_training(
    extracted: Person, analyser: DemoAnalyser, preset_file: Path, footage: Path
) -> None:
    steps: list[int] = []
    observer = Observer(on_step=lambda done, total, values: steps.append(done))
    with pytest.raises(EvaluationError, match="someone other than the person"):
        train_person(
            extracted,
            analyser,
            TrainRequest(base="demo", preset=str(preset_file), targets=(footage / "shot-001",)),
            observer=observer,
        )
    assert steps == []


def test_resumed_run_is_judged_on_the_targets_it_was_started_with(
    extracted: Person, analyser: DemoAnalyser, preset_file: Path, other_footage: Path
) -> None:
    def stop(done: int, total: int, values: dict[str, float]) -> None:
        if done == 3:
            raise KeyboardInterrupt

    observer, footage = Observer(on_step=stop), [other_footage]
    with pytest.raises(KeyboardInterrupt):
        train_person(
            extracted,
            analyser,
            TrainRequest(base="demo", preset=str(preset_file), targets=tuple(footage)),
            observer=observer,
        )
    _, report = train_person(extracted, analyser, TrainRequest(resume=True))
    assert report.material.targets == TargetCounts(kind="people", frames=12, shots=2)
