"""What recogniser and reader learn from, and the recogniser's blindness."""

import numpy
import pytest
import torch

from facefusion_finetune.demo.geometry import READER_FACTORS
from facefusion_finetune.demo.networks.learning import spread_factors
from facefusion_finetune.demo.networks.modules import Recogniser
from facefusion_finetune.demo.networks.reading import (
    sample_reader_batch,
    sample_twins,
    select_factors,
    soften,
    train_detail_invariance,
)
from facefusion_finetune.demo.people import COARSE, SCENE


def test_each_factor_has_a_direction_of_its_own() -> None:
    axes = spread_factors()
    assert axes.shape == (len(COARSE), 512)
    assert torch.allclose(axes @ axes.T, torch.eye(len(COARSE)), atol=1e-5)


def test_twins_differ_in_detail_and_scene_alone() -> None:
    lesson = sample_twins(numpy.random.default_rng(1), 3)
    assert lesson.pictures.shape == (12, 3, 64, 64)
    groups = lesson.factors.view(3, 4, len(COARSE))
    assert (groups == groups[:, :1]).all()
    assert not torch.equal(groups[0], groups[1])
    first, twin, second, other = lesson.pictures.view(3, 4, 3, 64, 64).unbind(1)
    # the rim shows the background, which is the scene's
    rim = (..., slice(0, 4), slice(0, 4))
    assert (first[rim] - twin[rim]).abs().mean() < 0.2 * (first[rim] - second[rim]).abs().mean()
    assert (first - twin).abs().mean() > 0.02
    assert (second - other).abs().mean() > 0.02


def test_vectors_tell_the_factors_along_their_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facefusion_finetune.demo.networks.reading.FITTED", 4)
    torch.manual_seed(1)
    recogniser = Recogniser().eval()
    train_detail_invariance(recogniser, 1.0, 2, 1, lambda step, values: None)
    with torch.no_grad():
        lesson = sample_twins(numpy.random.default_rng(2), 8)
        vectors = recogniser(lesson.pictures)
    axes = spread_factors()
    assert torch.allclose(vectors @ axes.T @ axes, vectors, atol=1e-4)


def test_scenes_are_named_in_the_readers_order() -> None:
    scenes = numpy.random.default_rng(1).uniform(-1, 1, (20, len(SCENE)))
    named = select_factors(scenes)
    assert numpy.array_equal(named[:, READER_FACTORS.index("yaw")], scenes[:, SCENE.index("yaw")])
    closing = scenes[:, SCENE.index("eye_close")]
    assert numpy.array_equal(named[:, READER_FACTORS.index("eye_close")], closing.clip(min=0))


def test_closed_eyes_have_no_gaze_to_learn() -> None:
    lesson = sample_reader_batch(numpy.random.default_rng(1), 64)
    closing = lesson.factors[:, READER_FACTORS.index("eye_close")]
    gaze = lesson.weights[:, READER_FACTORS.index("gaze_x")]
    assert torch.allclose(gaze, 1 - closing)
    assert (lesson.weights[:, READER_FACTORS.index("yaw")] == 1).all()


def test_softened_pictures_stay_pictures() -> None:
    crops = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    made = soften(numpy.random.default_rng(1), crops)
    assert made.shape == crops.shape
    assert made.min() >= 0
    assert made.max() <= 1
    assert not torch.equal(made, crops)
