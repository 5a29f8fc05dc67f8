"""Crops that show nearly the same picture."""

import shutil

import cv2
import numpy
import pytest
from numpy.typing import NDArray

from facefusion_finetune.dataset.crops import AlignedCrop
from facefusion_finetune.dataset.duplicates import find_near_duplicates
from facefusion_finetune.dataset.manifest import (
    cutout_path,
    masks_path,
    read_manifest,
    write_manifest,
)
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.errors import DatasetError
from facefusion_finetune.people.profile import Person
from facefusion_finetune.runs.crops import split_crops
from tests.support.demo_world import load_kept


@pytest.fixture
def crops(extracted: Person, analyser: DemoAnalyser) -> list[AlignedCrop]:
    return load_kept(extracted, analyser)


def _stack(crops: list[AlignedCrop]) -> NDArray[numpy.uint8]:
    return numpy.stack([crop.crop for crop in crops])


def _compress(crop: AlignedCrop, analyser: DemoAnalyser) -> NDArray[numpy.uint8]:
    """The crop, had the same frame come as a JPEG."""
    content = cv2.imencode(".jpg", crop.cutout, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    frame = numpy.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), dtype=numpy.uint8)
    return crop.crop_again(frame, analyser, analyser.get_swapper("demo"))


def test_the_same_frame_compressed_again_is_found(
    crops: list[AlignedCrop], analyser: DemoAnalyser
) -> None:
    again = numpy.stack([_compress(crop, analyser) for crop in crops[:4]])
    assert (again != _stack(crops[:4])).any()
    assert find_near_duplicates(again, _stack(crops)).all()
    assert find_near_duplicates(_stack(crops[:4]), again).all()


def test_frames_of_other_shots_are_others(crops: list[AlignedCrop]) -> None:
    first = [crop for crop in crops if crop.record.shot == crops[0].record.shot]
    rest = [crop for crop in crops if crop.record.shot != crops[0].record.shot]
    assert first
    assert rest
    assert not find_near_duplicates(_stack(first), _stack(rest)).any()
    assert not find_near_duplicates(_stack(rest), _stack(first)).any()


def test_only_those_that_have_one_are_found(
    crops: list[AlignedCrop], analyser: DemoAnalyser
) -> None:
    of_shots = list({crop.record.shot: crop for crop in crops}.values())
    others = numpy.stack([_compress(of_shots[2], analyser), 255 - of_shots[0].crop])
    found = find_near_duplicates(_stack(of_shots), others)
    assert numpy.flatnonzero(found).tolist() == [2]


def test_nothing_to_compare() -> None:
    nothing = numpy.empty((0, 64, 64, 3), dtype=numpy.uint8)
    some = numpy.zeros((2, 64, 64, 3), dtype=numpy.uint8)
    assert find_near_duplicates(nothing, some).tolist() == []
    assert find_near_duplicates(some, nothing).tolist() == [False, False]


def test_frames_that_look_like_held_out_ones_do_not_train(
    extracted: Person, analyser: DemoAnalyser
) -> None:
    options = analyser.get_swapper("demo")
    whole = split_crops(extracted, analyser, options, 12)
    held_out = whole.held_out[0].record
    twin = whole.train[0].record
    # A training crop becomes a copy of a held-out one, as if the clip had been filed twice.
    for path in (cutout_path, masks_path):
        shutil.copyfile(path(extracted, held_out.id), path(extracted, twin.id))
    changes = {key: getattr(held_out, key) for key in ("offset", "size", "landmark_5")}
    records = [
        record.model_copy(update=changes) if record.id == twin.id else record
        for record in read_manifest(extracted)
    ]
    write_manifest(extracted, records)
    crops = split_crops(extracted, analyser, options, 12)
    ids = [crop.record.id for crop in crops.train]
    assert ids == [crop.record.id for crop in whole.train if crop.record.id != twin.id]
    assert [crop.record.id for crop in crops.held_out] == [
        crop.record.id for crop in whole.held_out
    ]
    with pytest.raises(DatasetError, match=f"{len(ids)} can be used for training"):
        split_crops(extracted, analyser, options, len(ids) + 1)
