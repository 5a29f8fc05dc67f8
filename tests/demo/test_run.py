"""The demo does the whole job in one folder, and leaves everything else alone."""

from pathlib import Path

import pytest

from facefusion_finetune.demo.run import TARGET_FRAMES, TARGET_SHOTS, TARGETS, run_demo
from facefusion_finetune.errors import UsageError
from facefusion_finetune.registry import store
from facefusion_finetune.runs.observer import Observer


def test_demo_leaves_model_report_and_pictures(
    tmp_path: Path, preset_file: Path, home_folder: Path
) -> None:
    output = tmp_path / "demo"
    stages: list[str] = []
    result = run_demo(output, str(preset_file), 5, Observer(on_stage=stages.append))
    assert store.verify(result.model).person == "ada"
    assert {path.name for path in result.pictures} == {
        "held_out.png",
        "step_000004.png",
        "step_000008.png",
        "targets.png",
    }
    known = result.report.figures["true_swap"]
    assert known.pairs == TARGETS * TARGET_SHOTS * TARGET_FRAMES
    assert result.report.material.targets.kind == "people"
    text = result.describe()
    assert f"{known.before:.2f} with the base" in text
    for path in [result.model, result.run.report_path, *result.pictures]:
        assert path.is_file()
        assert path.is_relative_to(output)
        assert str(path) in text
    assert stages[:2] == ["Drawing footage", "Extracting"]
    assert stages[-1] == "Writing the weights back and evaluating"
    assert not home_folder.exists()


def test_folder_in_use_is_left_alone(tmp_path: Path, preset_file: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for output in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(UsageError, match="not an empty folder"):
            run_demo(output, str(preset_file), 0)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_wrong_preset_is_said_before_anything_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such preset"):
        run_demo(tmp_path / "demo", "best", 0)
    assert not (tmp_path / "demo").exists()
