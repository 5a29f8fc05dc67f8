"""FaceFusion's settings for another process: complete, and accepted by every version."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from facefusion_finetune.host.settings import SETTING_KEYS, collect_settings
from tests.support import host as support

PASS_ON = """
import importlib, json, sys
from pathlib import Path

from facefusion_finetune.host import session
from facefusion_finetune.host.locate import read_host
from facefusion_finetune.host.settings import SETTING_KEYS, collect_settings

folder = Path(sys.argv[1])
host = read_host(folder, str(folder))
session.import_adapter(host)
state = importlib.import_module("facefusion.state_manager")
chosen = json.loads(sys.argv[2])


def read():
    return {key: state.get_item(key) for key in SETTING_KEYS}


session.initialise_state(host, {})
usual = read()
for key, value in chosen.items():
    state.init_item(key, value)
before = read()
settings = json.loads(json.dumps(collect_settings(state.get_item)))
session.initialise_state(host, settings)
print(json.dumps({"usual": usual, "before": before, "after": read(), "settings": settings}))
"""
CHOSEN: dict[str, Any] = {
    "face_detector_model": "yunet",
    "face_detector_size": "640x640",
    "face_detector_angles": [0, 90],
    "face_detector_score": 0.35000000000000003,
    "face_landmarker_score": 1.0,
    "reference_face_distance": 0.45,
    "face_mask_types": ["box", "occlusion"],
    "face_mask_regions": ["nose", "mouth"],
    "face_mask_blur": 0.5,
    "face_mask_padding": [1, 2, 3, 4],
    "execution_thread_count": 3.0,
    "video_memory_strategy": "tolerant",
}


def test_only_what_has_a_value_is_passed_on() -> None:
    values = {
        "face_detector_model": "yunet",
        "face_detector_angles": [0, 90],
        "face_mask_padding": (0, 10.0, 0, 10),
        "face_mask_regions": [],
        "face_mask_areas": None,
        "face_mask_blur": 0.30000000000000004,
        "face_landmarker_score": 0.0,
        "execution_thread_count": 4.0,
        "temp_path": "",
        "source_paths": ["/somebody.png"],
        "log_level": "debug",
    }
    assert collect_settings(values.get) == {
        "face_detector_model": "yunet",
        "face_detector_angles": [0, 90],
        "face_mask_padding": [0, 10, 0, 10],
        "face_mask_blur": 0.3,
        "face_landmarker_score": 0,
        "execution_thread_count": 4,
    }
    known = {"face_detector_model", "temp_path"}
    assert collect_settings(values.get, known) == {"face_detector_model": "yunet"}


@pytest.mark.host
@pytest.mark.parametrize("checkout", support.list_checkouts(), ids=lambda path: path.name)
def test_another_process_has_the_same_settings(
    checkout: Path, furnished_host: Path, tmp_path: Path
) -> None:
    host = tmp_path / "facefusion-copy"
    support.furnish_like(checkout, furnished_host, host)
    done = subprocess.run(
        [sys.executable, "-c", PASS_ON, str(host), json.dumps(CHOSEN)],
        env=support.create_environment(host),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    before, after = answers["before"], answers["after"]
    assert {key for key in CHOSEN if before[key] != answers["usual"][key]} >= {
        "face_detector_angles",
        "face_mask_types",
        "face_mask_padding",
        "reference_face_distance",
    }
    for key in SETTING_KEYS:
        if isinstance(before[key], float):
            assert after[key] == pytest.approx(before[key]), key
        else:
            assert after[key] == before[key], key
    lacking = {key for key in SETTING_KEYS if before[key] is None}
    assert lacking <= {"system_memory_limit", "face_mask_areas", "config_path"}
