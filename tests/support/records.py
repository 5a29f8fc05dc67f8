"""Made-up records of a person's crops, with measures of a face that looks at the camera."""

import hashlib
from typing import Any

import cv2
import numpy

from facefusion_finetune import home
from facefusion_finetune.dataset import manifest
from facefusion_finetune.dataset.manifest import CropMeasures, CropRecord
from facefusion_finetune.people.profile import Person

FRONTAL: dict[str, Any] = {
    **{"size": 140.0, "sharpness": 0.6, "brightness": 120.0, "contrast": 40.0},
    **{"dark": 0.0, "bright": 0.0, "visible": 1.0, "yaw": 0.0, "pitch": -5.0, "roll": 0.0},
    **{"eye_opening": (0.26, 0.26), "mouth_opening": 0.02, "light": (0.0, 0.0), "glasses": 0.0},
}
CUTOUT = 60


def make_measures(**changes: Any) -> CropMeasures:
    """Those of `FRONTAL`, but for the changes."""
    return CropMeasures(**{**FRONTAL, **changes})


def make_record(
    number: int = 0, measures: CropMeasures | None = None, **changes: Any
) -> CropRecord:
    """A kept crop of the person, but for the changes; its id follows from shot and number."""
    shot = changes.get("shot", "a")
    values: dict[str, Any] = {
        "id": hashlib.sha256(f"{shot} {number}".encode()).hexdigest()[:16],
        "source": f"/footage/{shot}.mp4",
        "source_sha256": "0" * 64,
        "frame": number,
        "time": number / 6,
        "shot": shot,
        "offset": (100, 50),
        "size": (CUTOUT, CUTOUT),
        "bounding_box": (115.0, 65.0, 145.0, 95.0),
        "landmark_5": [(0.0, 0.0)] * 5,
        "landmark_68": [],
        "detector_score": 0.9,
        "landmarker_score": 0.9,
        "embedding": numpy.ones(512, dtype=numpy.float32),
        "measures": measures,
        "kept": True,
        "reason": "the person",
        "sha256": "1" * 64,
    }
    return CropRecord(**{**values, **changes})


def make_other(number: int = 0) -> CropRecord:
    """Somebody else's face."""
    changes = {"embedding": None, "kept": False, "reason": "another face", "sha256": ""}
    return make_record(number, shot="other", **changes)


def make_complete(shots: int = 6, crops: int = 20) -> list[CropRecord]:
    """Crops in which nothing is missing: all sides, expressions and several lights."""
    kinds: list[dict[str, Any]] = [
        *({"yaw": yaw} for yaw in (-60.0, -35.0, -15.0, 0.0, 15.0, 35.0, 60.0)),
        *({"pitch": pitch} for pitch in (-30.0, 25.0)),
        *({"eye_opening": (0.08, 0.09)}, {"mouth_opening": 0.5}),
        *({"light": light} for light in ((0.3, 0.0), (-0.3, 0.0), (0.0, -0.3))),
    ]
    return [
        make_record(number, make_measures(**kinds[number % len(kinds)]), shot=f"shot{shot}")
        for shot in range(shots)
        for number in range(crops)
    ]


def write_records(person: Person, records: list[CropRecord], shade: int = 120) -> None:
    """The manifest, with a grey cut-out and masks for every record that has a digest."""
    folder = home.create_private_directory(manifest.crops_directory(person))
    pixels = numpy.full((CUTOUT, CUTOUT, 3), shade, dtype=numpy.uint8)
    content = cv2.imencode(".png", pixels)[1].tobytes()
    for record in records:
        if record.sha256:
            (folder / manifest.cutout_name(record.id)).write_bytes(content)
            (folder / manifest.masks_name(record.id)).write_bytes(content)
    manifest.write_manifest(person, records)
