"""Scores of pictures, by hand."""

import urllib.request
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy
import pytest
import torch
import torchvision
from numpy.typing import NDArray

from facefusion_finetune.evaluation import metrics
from facefusion_finetune.evaluation.appearance import measure_held_out
from facefusion_finetune.evaluation.intervals import Block
from facefusion_finetune.evaluation.metrics import (
    insert_faces,
    measure_colour,
    measure_face_l1,
    measure_flicker,
    measure_seam,
    measure_ssim,
    warp_crops,
)
from facefusion_finetune.faces.vectors import leave_one_out, measure_similarity

SIZE = 32
PICTURES = numpy.random.default_rng(0).uniform(0, 255, (3, SIZE, SIZE, 3)).astype(numpy.float32)


def _mask(inside: slice) -> NDArray[numpy.float32]:
    """(3, SIZE, SIZE): 1 on a square."""
    mask = numpy.zeros((3, SIZE, SIZE), dtype=numpy.float32)
    mask[:, inside, inside] = 1
    return mask


FACE = _mask(slice(8, 24))


def test_distance_counts_the_face_alone() -> None:
    truth = numpy.zeros((1, 4, 4, 3), dtype=numpy.float32)
    picture = truth.copy()
    picture[:, :2] = 30
    face = numpy.zeros((1, 4, 4), dtype=numpy.float32)
    face[:, :2] = 1
    assert measure_face_l1(picture, truth, face).tolist() == [30]
    assert measure_face_l1(picture, truth, 1 - face).tolist() == [0]
    assert measure_face_l1(picture, truth, numpy.ones_like(face)).tolist() == [15]
    face[:, :2] = 0.5
    face[:, 2:] = 0.25
    assert measure_face_l1(picture, truth, face).tolist() == [20]


def test_bytes_do_not_wrap_around() -> None:
    dark, bright = (numpy.full((1, 4, 4, 3), value, dtype=numpy.uint8) for value in (3, 250))
    face = numpy.ones((1, 4, 4), dtype=numpy.float32)
    assert measure_face_l1(dark, bright, face).tolist() == [247]
    followers = numpy.array([[0, 1]])
    steps = numpy.concatenate([bright, dark])
    still = numpy.concatenate([dark, dark])
    score = measure_flicker(steps, still, numpy.ones((2, 4, 4), dtype=numpy.float32), followers)
    assert score.tolist() == [247]


def test_covered_face_differs_by_nothing() -> None:
    covered = numpy.zeros((3, SIZE, SIZE), dtype=numpy.float32)
    assert measure_face_l1(PICTURES + 9, PICTURES, covered).tolist() == [0, 0, 0]


def test_ssim_is_one_for_the_truth_and_sees_the_face_alone() -> None:
    assert measure_ssim(PICTURES, PICTURES, FACE) == pytest.approx([1, 1, 1])
    elsewhere = PICTURES * FACE[..., None]
    assert measure_ssim(elsewhere, PICTURES, FACE) == pytest.approx([1, 1, 1])
    noisy = PICTURES.copy()
    noisy[1, 10:20, 10:20] = 128
    scores = measure_ssim(noisy, PICTURES, FACE)
    assert scores[[0, 2]] == pytest.approx([1, 1])
    assert scores[1] < 0.95
    assert measure_ssim(noisy[1:2], PICTURES[1:2], FACE[1:2]) == pytest.approx(scores[1:2])


def test_colour_is_the_distance_of_mean_colours() -> None:
    grey = numpy.full((1, 8, 8, 3), 119.0)
    face = numpy.ones((1, 8, 8), dtype=numpy.float32)
    # The lightness of a grey by hand: 116 * cube root of its linear light, less 16.
    levels = numpy.array([119.0, 140.0]) / 255
    lightness = 116 * numpy.cbrt(((levels + 0.055) / 1.055) ** 2.4) - 16
    expected = lightness[1] - lightness[0]
    assert measure_colour(grey + 21, grey, face) == pytest.approx([expected], abs=0.25)
    shuffled = PICTURES[:, ::-1]
    assert measure_colour(shuffled, PICTURES, FACE) == pytest.approx([0, 0, 0], abs=1e-3)


def test_untouched_paste_has_no_seam_and_a_shifted_one_has_more_the_more_it_is_shifted() -> None:
    flat = numpy.full((1, SIZE, SIZE, 3), 100.0)
    ramp = (numpy.minimum(numpy.arange(SIZE), numpy.arange(SIZE)[::-1]) / 8).clip(0, 1)
    mask = numpy.outer(ramp, ramp)[None].astype(numpy.float32)

    def paste(shift: float) -> float:
        pasted = flat + shift * mask[..., None]
        return float(measure_seam(pasted, flat, mask)[0])

    seams = [paste(shift) for shift in (0, 10, 20, 40)]
    assert seams[0] == 0
    assert seams[1] > 0
    assert seams[1:] == pytest.approx([seams[1] * factor for factor in (1, 2, 4)], rel=1e-4)
    noise = numpy.random.default_rng(1).normal(0, 30, (1, SIZE, SIZE, 1))
    inner = flat + (mask[..., None] == 1) * noise
    assert measure_seam(inner, flat, mask)[0] < seams[3]


def test_flicker_is_what_the_swap_changes_beyond_the_target() -> None:
    followers = numpy.array([[0, 1], [1, 2]])
    assert measure_flicker(PICTURES + 17, PICTURES, FACE, followers) == pytest.approx(
        [0, 0], abs=1e-4
    )
    blinking = PICTURES.copy()
    blinking[1] += 6
    assert measure_flicker(blinking, PICTURES, FACE, followers) == pytest.approx([6, 6], abs=1e-3)
    assert measure_flicker(blinking, PICTURES, FACE, followers[:0]).shape == (0,)


def test_similarity_ignores_length() -> None:
    rows = numpy.array([[3.0, 0.0], [0.0, 7.0], [1.0, 1.0]], dtype=numpy.float32)
    scores = measure_similarity(rows, numpy.array([1.0, 0.0]))
    numpy.testing.assert_allclose(scores, [1, 0, numpy.sqrt(0.5)], rtol=1e-6)
    own = numpy.array([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    numpy.testing.assert_allclose(
        measure_similarity(rows, own), [1, 1, -numpy.sqrt(0.5)], rtol=1e-6
    )


def test_nobody_is_compared_with_oneself() -> None:
    rows = numpy.array([[5.0, 0.0], [0.0, 2.0], [0.0, 9.0]])
    numpy.testing.assert_allclose(leave_one_out(rows), [0, numpy.sqrt(0.5), numpy.sqrt(0.5)])
    assert leave_one_out(numpy.array([[1.0, 0.0], [0.0, 1.0]])).tolist() == [0, 0]


def test_laid_on_is_the_picture_inside_and_the_truth_outside() -> None:
    made = insert_faces(PICTURES * 0, PICTURES, FACE)
    assert (made[:, 8:24, 8:24] == 0).all()
    numpy.testing.assert_array_equal(made[:, :8], PICTURES[:, :8])
    half = insert_faces(PICTURES * 0, PICTURES, numpy.full_like(FACE, 0.5))
    numpy.testing.assert_allclose(half, PICTURES / 2, rtol=1e-6)


def test_warped_crops_follow_their_own_matrix() -> None:
    matrices = numpy.array([[[1.0, 0, 5], [0, 1, 0]], [[1, 0, 0], [0, 1, 3]]])
    made = warp_crops(PICTURES[:2], matrices, (SIZE, SIZE))
    assert made.dtype == numpy.uint8
    rounded = PICTURES[:2].round().astype(numpy.uint8)
    numpy.testing.assert_array_equal(made[0, :, 5:], rounded[0, :, :-5])
    numpy.testing.assert_array_equal(made[1, 3:], rounded[1, :-3])


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("something is downloaded")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)


def test_lpips_without_weights_is_said_to_be_missing_and_never_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: None
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert metrics.find_lpips_weights() is None
    blocks = [Block("a", str(row)) for row in range(3)]
    pairs = SimpleNamespace(truths=PICTURES, faces=FACE, blocks=blocks)
    figures, missing = measure_held_out(pairs, PICTURES, PICTURES * 0.9)
    assert {figure.key for figure in figures} == {"face_l1", "ssim", "colour"}
    assert set(missing) == {"lpips"}
    assert metrics.LPIPS_NETWORK in missing["lpips"]
    assert list(tmp_path.rglob("*")) == []


def test_lpips_with_weights_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: None
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    torch.manual_seed(0)
    weights = torchvision.models.alexnet(weights=None).state_dict()
    (tmp_path / "checkpoints").mkdir()
    torch.save(weights, tmp_path / "checkpoints" / metrics.LPIPS_NETWORK)
    # The network needs some room.
    large = numpy.stack([cv2.resize(picture, (64, 64)) for picture in PICTURES[:2]])
    face = numpy.ones((2, 64, 64), dtype=numpy.float32)
    blurred = large.copy()
    blurred[1] = cv2.GaussianBlur(large[1], (9, 9), 3)
    scores = metrics.measure_lpips(blurred, large, face)
    assert scores[0] == pytest.approx(0, abs=1e-6)
    assert scores[1] > 1e-4
    assert metrics.measure_lpips(blurred, large, face * 0) == pytest.approx([0, 0], abs=1e-6)
