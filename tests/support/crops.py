"""A person with many crops in no time: drawn faces instead of an extraction."""

import hashlib
from typing import Any

import cv2
import numpy
from numpy.typing import NDArray

from facefusion_finetune import home
from facefusion_finetune.dataset import manifest
from facefusion_finetune.dataset.coverage.report import write_report
from facefusion_finetune.dataset.manifest import CropRecord
from facefusion_finetune.dataset.review.thumbnails import write_thumbnails
from facefusion_finetune.people.profile import Person, add_person, create_consent
from tests.support.records import make_measures, make_record

SIDE = 120
"""Pixels of a cut-out's side."""
CROPS_OF_A_SHOT = 25
EVERY_REJECTED = 10
"""Each tenth crop is one that was rejected."""
YAWS = (-40.0, -20.0, 0.0, 20.0, 40.0)
OFFSET = (100, 50)


def add_person_with_crops(name: str, count: int) -> Person:
    """Add a person with crops, thumbnails and coverage to the current home.

    Args:
        name: Of the person.
        count: How many crops, kept and rejected.
    """
    person = add_person(name, create_consent(None, "A stand-in for tests."))
    folder = home.create_private_directory(manifest.crops_directory(person))
    masks = numpy.full((SIDE, SIDE, 3), 255, dtype=numpy.uint8)
    encoded_masks = cv2.imencode(".png", masks)[1].tobytes()
    records = []
    for number in range(count):
        cutout = cv2.imencode(".png", draw_face(number))[1].tobytes()
        record = create_record(number, hashlib.sha256(cutout).hexdigest())
        (folder / manifest.cutout_name(record.id)).write_bytes(cutout)
        (folder / manifest.masks_name(record.id)).write_bytes(encoded_masks)
        records.append(record)
    manifest.write_manifest(person, records)
    write_thumbnails(person, records)
    write_report(person)
    return person


def create_record(number: int, digest: str) -> CropRecord:
    """The record of one drawn face; faces of one shot follow each other."""
    x, y = OFFSET
    changes: dict[str, Any] = {
        "shot": f"shot{number // CROPS_OF_A_SHOT:02}",
        "offset": OFFSET,
        "size": (SIDE, SIDE),
        "bounding_box": (x + 30.0, y + 20.0, x + 90.0, y + 100.0),
        "sha256": digest,
    }
    record = make_record(number, make_measures(yaw=YAWS[number % len(YAWS)]), **changes)
    return record.decide(["blurred"], None) if number % EVERY_REJECTED == 0 else record


def draw_face(number: int) -> NDArray[numpy.uint8]:
    """SIDE x SIDE x 3, BGR: an oval with eyes and mouth before a shaded wall, each another one."""
    generator = numpy.random.default_rng(number)
    shades = generator.integers(60, 200, (2, 2, 3)).astype(numpy.uint8)
    picture = cv2.resize(shades, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    skin = tuple(map(int, generator.integers(90, 230, 3)))
    middle = (SIDE // 2 + int(generator.integers(-6, 7)), SIDE // 2)
    cv2.ellipse(picture, middle, (28, 38), 0, 0, 360, skin, -1, cv2.LINE_AA)
    for side in (-11, 11):
        cv2.circle(picture, (middle[0] + side, middle[1] - 10), 4, (40, 30, 30), -1, cv2.LINE_AA)
    cv2.ellipse(picture, (middle[0], middle[1] + 18), (10, 4), 0, 0, 360, (60, 60, 170), -1)
    noisy = picture + generator.normal(0, 6, picture.shape)
    return numpy.asarray(numpy.clip(noisy, 0, 255), dtype=numpy.uint8)
