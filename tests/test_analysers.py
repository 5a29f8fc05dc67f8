"""Who finds the faces: what the user says, what a run was trained with, or FaceFusion."""

from pathlib import Path

import pytest

from facefusion_finetune.analysers import open_analyser
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.faces.images import read_image
from facefusion_finetune.people.profile import Person
from facefusion_finetune.runs.run import find_run


def test_facefusion_is_started_with_the_settings(
    footage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[object, object]] = []

    class Host:
        def __init__(self, host: object, overrides: object) -> None:
            given.append((host, overrides))

    monkeypatch.setattr("facefusion_finetune.host.locate.locate", lambda path: path)
    monkeypatch.setattr("facefusion_finetune.faces.facefusion.FaceFusionAnalyser", Host)
    stages: list[str] = []
    settings = {"face_detector_size": "1"}
    assert isinstance(open_analyser(None, footage, settings, on_stage=stages.append), Host)
    open_analyser("facefusion", None, {"log_level": "debug"})
    assert given == [
        (footage, {"log_level": "warn", "face_detector_size": "1"}),
        (None, {"log_level": "debug"}),
    ]
    assert stages == ["Starting FaceFusion"]


def test_the_demo_knows_the_drawn_part_of_the_footage(footage: Path) -> None:
    known = open_analyser("demo", footage=[footage, footage / "shot-001"])
    assert isinstance(known, DemoAnalyser)
    frame = read_image(footage / "shot-001" / "frame-0001.png")
    assert known.is_frame_blocked(frame) is False


def test_a_run_is_gone_on_with_by_its_own_analyser(trained: Person) -> None:
    assert isinstance(open_analyser(run=find_run(trained, 1)), DemoAnalyser)
