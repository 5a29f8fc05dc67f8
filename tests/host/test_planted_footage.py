"""Planted faults are dropped for what they are, and good frames are kept."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from facefusion_finetune.dataset.extraction.extract import extract_footage
from facefusion_finetune.dataset.manifest import read_manifest
from facefusion_finetune.faces.facefusion import FaceFusionAnalyser
from facefusion_finetune.people.profile import add_person, create_consent
from tests.support import host as support
from tests.support.planted_footage import FAULTS, GOOD, plant_footage, see_object, tally

pytestmark = [pytest.mark.host, pytest.mark.slow]

LEAST_DROPPED, LEAST_KEPT = 0.95, 0.9


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, host_analyser: FaceFusionAnalyser) -> Path:
    """Frames of asl_a, spoilt in every way, and some of asl_c."""
    folder = tmp_path_factory.mktemp("planted")
    mine, theirs = (
        sorted(support.find_footage(person, "").iterdir()) for person in ("asl_a", "asl_c")
    )
    plant_footage(folder, mine, theirs, host_analyser, seed=3, every=4)
    return folder


def test_faults_are_dropped_and_good_frames_kept(
    planted: Path, host_analyser: FaceFusionAnalyser, state: ModuleType
) -> None:
    # The bench's recogniser sees light and hair: two people have up to 0.84, so that FaceFusion's
    # setting for how alike one person's faces are has to be stricter.
    state.init_item("reference_face_distance", 0.1)
    person = add_person("mixed", create_consent(None, "Footage of the bench."))
    result = extract_footage(person, [planted], host_analyser)
    assert result.others >= 1
    tallies = tally(planted, read_manifest(person))
    assert set(tallies) == {GOOD, "another", *FAULTS}
    for kind, counted in tallies.items():
        assert counted.frames >= 10
        share = counted.kept / counted.frames
        if kind == GOOD:
            assert share >= LEAST_KEPT
        else:
            assert share <= 1 - LEAST_DROPPED, kind


def test_each_fault_is_called_by_its_name(
    planted: Path,
    host_analyser: FaceFusionAnalyser,
    state: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A recogniser that takes everybody for one person leaves the faults to the checks of quality.
    state.init_item("reference_face_distance", 1.0)
    masker = importlib.import_module("facefusion.face_masker")
    monkeypatch.setattr(masker, "forward_occlude_face", see_object)
    person = add_person("mixed", create_consent(None, "Footage of the bench."))
    folders = [folder for folder in planted.iterdir() if folder.name != "another"]
    extract_footage(person, folders, host_analyser)
    tallies = tally(planted, read_manifest(person))
    for kind in FAULTS:
        assert tallies[kind].caught >= LEAST_DROPPED, (kind, tallies[kind])
    good = tallies[GOOD]
    assert good.kept / good.frames >= LEAST_KEPT
