"""Factors are reproducible, and each changes its own part of the picture alone."""

import numpy
import pytest
import torch

from facefusion_finetune.demo import people
from facefusion_finetune.demo.geometry import FRAME_SIZE, Pose
from facefusion_finetune.demo.landmarks import locate_landmarks
from facefusion_finetune.demo.networks.crops import gather_people
from facefusion_finetune.demo.people import (
    COARSE,
    DETAIL,
    OUTER,
    SCENE,
    Person,
    RenderBatch,
    draw_person,
    draw_scene,
    draw_shot,
    swap_person,
)
from facefusion_finetune.demo.render import render


def test_a_seed_decides_a_person_and_a_scene() -> None:
    first, again, other = draw_person(1_000_000), draw_person(1_000_000), draw_person(1_000_001)
    for name in ("coarse", "detail", "outer"):
        assert numpy.array_equal(getattr(first, name), getattr(again, name))
        assert not numpy.array_equal(getattr(first, name), getattr(other, name))
    assert numpy.array_equal(draw_scene(5), draw_scene(5))
    assert numpy.array_equal(draw_shot(5, 10), draw_shot(5, 20)[:10])


def test_factors_stay_in_range() -> None:
    person = draw_person(1_000_002)
    for values in (person.coarse, person.detail, person.outer, draw_scene(1), draw_shot(1, 100)):
        assert numpy.abs(values).max() <= 1


def test_siblings_differ_in_detail_alone() -> None:
    person, sibling = draw_person(1_000_000), draw_person(1_000_000, detail_seed=7)
    assert numpy.array_equal(person.coarse, sibling.coarse)
    assert numpy.array_equal(person.outer, sibling.outer)
    assert not numpy.array_equal(person.detail, sibling.detail)


def test_a_swap_takes_the_inner_face_and_leaves_the_head() -> None:
    source, target = draw_person(1_000_000), draw_person(1_000_001)
    swapped = swap_person(source, target)
    assert swapped.coarse is source.coarse
    assert swapped.detail is source.detail
    assert swapped.outer is target.outer


def test_a_shot_keeps_light_and_background_and_moves_smoothly() -> None:
    scenes = draw_shot(3, 75)
    moving = (*people.POSE, *people.EXPRESSION, *people.PLACE)
    for index, name in enumerate(SCENE):
        if name in moving:
            assert numpy.ptp(scenes[:, index]) > 0.05
        else:
            assert numpy.ptp(scenes[:, index]) == 0
    steps = numpy.abs(numpy.diff(scenes, axis=0))
    steps[:, SCENE.index("eye_close")] = 0  # a blink is quick
    assert steps.max() < 0.12


def test_crowds_hold_the_same_people_as_single_draws() -> None:
    crowd, person = gather_people([1_000_005]), draw_person(1_000_005)
    assert numpy.array_equal(crowd.coarse[0], person.coarse)
    assert numpy.array_equal(crowd.detail[0], person.detail)
    assert numpy.array_equal(crowd.outer[0], person.outer)


SIZE, STRIDE = 96, FRAME_SIZE / 96
GROUPS = {"coarse": COARSE, "detail": DETAIL, "outer": OUTER, "scene": SCENE}
FACTORS = [(group, name) for group, names in GROUPS.items() for name in names]


def draw_change(factors: list[tuple[str, str]]) -> tuple[torch.Tensor, RenderBatch]:
    """What moving one factor from -0.6 to 0.8 changes in a picture of the whole frame.

    Returns:
        (len(factors), SIZE, SIZE) largest change of a channel, and the cast of the pictures.
    """
    rows = {key: numpy.full((2 * len(factors), len(names)), 0.3) for key, names in GROUPS.items()}
    for index, (group, name) in enumerate(factors):
        rows[group][2 * index : 2 * index + 2, GROUPS[group].index(name)] = -0.6, 0.8
    cast = RenderBatch.of(*rows.values())
    views = STRIDE * torch.eye(3)[:2].expand(2 * len(factors), 2, 3)
    pictures = render(cast, views, SIZE)
    return (pictures[0::2] - pictures[1::2]).abs().amax(dim=1), cast


def test_every_factor_shows() -> None:
    changes, _ = draw_change(FACTORS)
    hidden = [
        factor for factor, change in zip(FACTORS, changes, strict=True) if change.max() < 2 / 255
    ]
    assert not hidden


@pytest.mark.parametrize(
    ("group", "name", "box"),
    [
        # x1, y1, x2, y2 in face units, everything outside must stay as it is
        ("coarse", "iris_hue", (-0.7, -0.5, 0.7, 0.2)),
        ("coarse", "brow_tone", (-0.8, -0.8, 0.8, 0.0)),
        ("coarse", "nose_width", (-0.4, -0.3, 0.6, 0.7)),
        ("coarse", "lip_hue", (-0.5, 0.2, 0.6, 0.9)),
        ("detail", "tooth_gap", (-0.4, 0.3, 0.5, 0.9)),
        ("detail", "mole_size_0", (-0.1, 0.0, 0.6, 0.8)),
        ("scene", "gaze_x", (-0.7, -0.5, 0.7, 0.2)),
    ],
)
def test_a_factor_changes_its_own_part_alone(
    group: str, name: str, box: tuple[float, float, float, float]
) -> None:
    (change,), cast = draw_change([(group, name)])
    pose = Pose.of(cast)
    steps = STRIDE * torch.arange(SIZE)
    x, y = pose.to_face(*pose.to_head(steps[None, None, :], steps[None, :, None]))
    inside = (x[0] > box[0]) & (y[0] > box[1]) & (x[0] < box[2]) & (y[0] < box[3])
    assert change[~inside].max() < 1e-4
    assert change[inside].max() > 0.02


def test_background_changes_the_background_alone() -> None:
    (change,), cast = draw_change([("scene", "wall_hue")])
    points = (locate_landmarks(cast)[1][0] / STRIDE).round().astype(int)
    assert change[points[:, 1], points[:, 0]].max() < 1e-6
    assert change[0, 0] > 0.02 or change[-1, 0] > 0.02


def test_the_plain_person_has_no_detail() -> None:
    plain = people.without_detail(draw_person(1_000_000))
    assert isinstance(plain, Person)
    assert not plain.detail.any()
