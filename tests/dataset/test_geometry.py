"""Cut-outs: large enough, at whole pixels, and without loss."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy
import pytest

from facefusion_finetune.dataset.crops import load_folder
from facefusion_finetune.dataset.extraction.collect import cut_out, find_cutout_box
from facefusion_finetune.dataset.manifest import file_names
from facefusion_finetune.faces.warp import TEMPLATES as TEMPLATES_OF_BASES
from facefusion_finetune.faces.warp import fit_similarity, warp_face
from tests.support.records import make_record

TEMPLATES = {
    "narrow": numpy.array([[0.35, 0.4], [0.65, 0.4], [0.5, 0.56], [0.37, 0.72], [0.63, 0.72]]),
    "wide": numpy.array([[0.42, 0.5], [0.58, 0.5], [0.5, 0.6], [0.43, 0.68], [0.57, 0.68]]),
}


def _place(angle: float, scale: float, shift: tuple[float, float]) -> numpy.ndarray:
    turn = numpy.array(
        [[numpy.cos(angle), -numpy.sin(angle)], [numpy.sin(angle), numpy.cos(angle)]]
    )
    return (TEMPLATES["narrow"] - 0.5) @ turn.T * scale + shift


def test_similarity_is_recovered() -> None:
    points = _place(0.3, 80, (120, 90))
    matrix = fit_similarity(TEMPLATES["narrow"], points)
    mapped = TEMPLATES["narrow"] @ matrix[:, :2].T + matrix[:, 2]
    assert numpy.abs(mapped - points).max() < 1e-9


@pytest.mark.parametrize("template", sorted(TEMPLATES))
@pytest.mark.parametrize("shift", [(150.0, 130.0), (20.0, 15.0)])
def test_crop_from_cutout_equals_crop_from_frame(template: str, shift: tuple[float, float]) -> None:
    generator = numpy.random.default_rng(1)
    frame = generator.integers(0, 256, (260, 300, 3), dtype=numpy.uint8)
    frame = cv2.GaussianBlur(frame, (0, 0), 1)
    landmark_5 = _place(0.4, 60, shift)
    box = find_cutout_box(landmark_5, TEMPLATES, (300, 260))
    cutout = cut_out(frame, box)
    assert cutout.shape[:2] < frame.shape[:2]

    def warp(pixels: numpy.ndarray, points: numpy.ndarray) -> numpy.ndarray:
        matrix = fit_similarity(points, TEMPLATES[template] * 64)
        return cv2.warpAffine(
            pixels, matrix, (64, 64), borderMode=cv2.BORDER_REPLICATE, flags=cv2.INTER_AREA
        )

    whole = warp(frame, landmark_5).astype(int)
    part = warp(cutout, landmark_5 - numpy.array(box[:2])).astype(int)
    assert numpy.abs(whole - part).max() <= 1
    assert (whole != part).mean() <= 0.01


@pytest.mark.parametrize(("left", "share"), [(10, 0.0), (-15, 0.25)])
def test_beyond_the_frame_nothing_is_the_face(tmp_path: Path, left: int, share: float) -> None:
    """Cut-out and masks end with the frame; their border is repeated beyond it."""
    points = numpy.array(TEMPLATES_OF_BASES["arcface_128"]) * 60 + (left, 10)
    record = make_record(landmark_5=[(x, y) for x, y in points.tolist()], offset=(0, 0))
    white = numpy.full((80, 80, 3), 255, dtype=numpy.uint8)
    for name in file_names(record.id):
        cv2.imwrite(str(tmp_path / name), white)
    options: Any = SimpleNamespace(template="arcface_128", size=(128, 128))
    geometry: Any = SimpleNamespace(warp_face=warp_face)
    (crop,) = load_folder(tmp_path, [record], geometry, options)
    assert crop.crop.all(), "repeated"
    assert 1 - crop.face.mean() == pytest.approx(share, abs=0.01)
    assert (crop.face == crop.features).all()
    assert crop.face[:, int(share * 128) + 1 :].all()
