"""What a Python program may call, from consent to a swapped picture."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy
import pytest

from facefusion_finetune import api
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.errors import ConsentError, FootageError, RegistryError, UsageError
from facefusion_finetune.people.profile import Person, person_directory
from tests.support.demo_world import FRAMES_PER_SHOT, PERSON, SHOTS
from tests.support.host import create_fake_checkout


@pytest.fixture
def picture(other_footage: Path) -> numpy.ndarray:
    """A frame of another person."""
    return cv2.imread(str(other_footage / "shot-001" / "frame-0001.png"))


def test_the_whole_line(
    footage: Path,
    other_footage: Path,
    preset_file: Path,
    picture: numpy.ndarray,
    tmp_path: Path,
) -> None:
    person = api.add_person("ada", consent_note="A drawn person agrees to nothing.")
    assert api.list_people() == ["ada"]
    analyser = api.open_analyser("demo", footage=[footage, other_footage])
    found = api.extract(person, [footage], analyser)
    assert (found.kept, found.shots) == (SHOTS * FRAMES_PER_SHOT, SHOTS)

    request = api.TrainRequest(base="demo", preset=str(preset_file), targets=(other_footage,))
    assert api.dry_run(person, analyser, request).steps == 8
    stages: list[str] = []
    run, report = api.train(person, analyser, request, api.Observer(on_stage=stages.append))
    assert (run.reference, "Training" in stages) == ("ada@1", True)
    assert report is not None
    assert api.read_report(run) == report
    assert api.evaluate("ada", analyser) == report

    host = create_fake_checkout(tmp_path / "facefusion")
    with pytest.raises(RegistryError, match="not proven to be better"):
        api.activate("ada@1", host)
    path = api.activate("ada@1", host, force=True)
    assert path.name == "ada-1.onnx"
    (version,) = api.list_models(host).versions
    assert (version.reference, version.is_active) == ("ada@1", True)
    assert path in api.deactivate("ada", host)
    assert not path.exists()

    swapped = api.open_swapper("ada", analyser).swap(picture)
    assert (swapped.shape, swapped.dtype) == (picture.shape, numpy.uint8)
    moved = numpy.abs(swapped.astype(int) - picture).max(axis=2) > 8
    assert 0.01 < moved.mean() < 0.6


def test_a_swap_is_what_the_network_makes_of_the_crop(
    trained: Person, analyser: DemoAnalyser, picture: numpy.ndarray
) -> None:
    """Pasted back by the analyser: in the middle of the face, the network's own pixels."""
    swapper = api.open_swapper(f"{PERSON}@1", analyser)
    swapped = swapper.swap(picture)
    (face,) = analyser.detect_faces(picture)
    card = swapper.card
    before, _ = analyser.warp_face(picture, face.landmark_5, card.template, card.size)
    after, _ = analyser.warp_face(swapped, face.landmark_5, card.template, card.size)
    middle = (slice(24, 40), slice(24, 40))
    assert numpy.abs(after[middle].astype(int) - before[middle]).mean() > 3
    assert (swapped[:4] == picture[:4]).all(), "what is not the face stays"


def test_what_cannot_be_swapped_is_said(
    trained: Person, analyser: DemoAnalyser, picture: numpy.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    swapper = api.open_swapper(PERSON, analyser)
    with monkeypatch.context() as patch:
        patch.setattr(DemoAnalyser, "is_frame_blocked", lambda *_: True)
        with pytest.raises(FootageError, match="content check refuses it"):
            swapper.swap(picture)
    with monkeypatch.context() as patch:
        patch.setattr(DemoAnalyser, "detect_faces", lambda *_: [])
        with pytest.raises(FootageError, match="no face was found"):
            swapper.swap(picture)
    (person_directory(PERSON) / "person.toml").unlink()
    with pytest.raises((ConsentError, UsageError)):
        swapper.swap(picture)


def test_importing_it_loads_nothing_heavy() -> None:
    code = (
        "import sys; from facefusion_finetune import api\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'cv2', 'gradio', 'facefusion'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
