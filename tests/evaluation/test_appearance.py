"""What pictures themselves say: distances, pose and expression, seams, flicker."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
from numpy.typing import NDArray

from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.evaluation.appearance import (
    ATTRIBUTES,
    AppearanceOnTargets,
    compare_attributes,
    join_differences,
    measure_held_out,
    measure_memorisation,
    measure_others,
)
from facefusion_finetune.evaluation.figures import Figure
from facefusion_finetune.evaluation.material import Material, Swaps
from facefusion_finetune.evaluation.metrics import measure_face_l1
from facefusion_finetune.evaluation.truths import Truths
from facefusion_finetune.faces.protocol import FaceAttributes, Points, VisionFrame
from tests.support.swaps import copy_targets

Pictures = NDArray[numpy.float32]
Reader = Callable[[VisionFrame], FaceAttributes | None]

LIGHT = 0.1
"""Degrees of yaw that a grey level in the middle of the face is read as."""


def _describe(value: float) -> FaceAttributes:
    return FaceAttributes(
        yaw=value * LIGHT,
        pitch=0.0,
        eye_opening=(value / 1000, value / 1000),
        mouth_opening=value / 1000,
        gaze=(value / 1000, 0.0),
    )


class ReadingAnalyser(DemoAnalyser):
    """Reads attributes off the brightness in the middle of the face, so that they can be set."""

    reader: Reader | None = None

    def measure_attributes(
        self, vision_frame: VisionFrame, landmark_5: Points
    ) -> FaceAttributes | None:
        x, y = landmark_5[2].round().astype(int)
        part = vision_frame[y - 2 : y + 3, x - 2 : x + 3]
        return self.reader(part) if self.reader else _describe(float(part.mean()))


@pytest.fixture
def reading(footage: Path, other_footage: Path) -> ReadingAnalyser:
    return ReadingAnalyser([footage, other_footage])


@pytest.fixture
def copied(material: Material) -> Swaps:
    return copy_targets(material)


def _measure(
    material: Material, analyser: DemoAnalyser, before: Swaps, after: Swaps
) -> tuple[dict[str, Figure], dict[str, str]]:
    appearance = AppearanceOnTargets(material, analyser, analyser.get_swapper("demo"))
    figures, missing = appearance.measure(before, after, None)
    return {figure.key: figure for figure in figures}, missing


def _lighten(pictures: Pictures, by: float) -> Pictures:
    # away from both ends, so that nothing is clipped
    return (pictures * 0.5 + 40 + by).astype(numpy.float32)


def test_untouched_frames_have_no_fault(
    material: Material, reading: ReadingAnalyser, copied: Swaps
) -> None:
    figures, missing = _measure(material, reading, copied, copied)
    assert missing == {}
    assert set(figures) == {
        *(*ATTRIBUTES, "lost_faces"),
        *("seam", "flicker", "needs_fix", "segments"),
    }
    for key in (*ATTRIBUTES, "flicker"):
        assert figures[key].before == pytest.approx(0, abs=0.3)
    assert all(figure.change.mean == 0 for figure in figures.values())


def test_other_expression_on_held_out_frames_counts(
    material: Material, reading: ReadingAnalyser, copied: Swaps
) -> None:
    bright = copied.held_out.mean(axis=(1, 2, 3), keepdims=True) > 127
    step = numpy.where(bright, -30, 30).astype(numpy.float32)
    figures, _ = _measure(
        material, reading, copied, replace(copied, held_out=copied.held_out + step)
    )
    share = len(material.held_out.crops) / len(figures["pose"].places)
    assert figures["pose"].change.mean == pytest.approx(30 * LIGHT * share, rel=0.1)
    for key in ("blink", "mouth", "gaze"):
        assert figures[key].change.mean == pytest.approx(0.03 * share, rel=0.1)


def test_other_expression_from_target_to_target_counts(
    material: Material, reading: ReadingAnalyser, copied: Swaps
) -> None:
    signs = numpy.where(numpy.arange(len(copied.targets)) % 2, 1, -1)[:, None, None, None]
    middle = _lighten(copied.targets, 0)
    before, after = (
        replace(copied, targets=(middle + signs * size).astype(numpy.float32)) for size in (5, 25)
    )
    figures, _ = _measure(material, reading, before, after)
    # On half of the frames 20 grey levels more, each a tenth of a degree.
    assert figures["pose"].change.mean == pytest.approx(20 * LIGHT / 2, rel=0.25)
    assert figures["flicker"].change.mean == pytest.approx(2 * 20, rel=0.1)


def test_faces_that_cannot_be_read_are_said_to_be_missing(
    material: Material, reading: ReadingAnalyser, copied: Swaps
) -> None:
    reading.reader = lambda part: None
    figures, missing = _measure(material, reading, copied, copied)
    assert set(missing) == set(ATTRIBUTES)
    assert all(why.startswith("it could be measured on only 0 of ") for why in missing.values())
    assert "seam" in figures

    nan = float("nan")
    reading.reader = lambda part: replace(_describe(float(part.mean())), gaze=(nan, nan))
    figures, missing = _measure(material, reading, copied, copied)
    assert set(missing) == {"gaze"}
    assert {"pose", "blink", "mouth"} <= set(figures)


def test_faces_that_the_tuned_model_loses_need_a_fix(
    material: Material, reading: ReadingAnalyser, copied: Swaps
) -> None:
    reading.reader = lambda part: None if part.mean() > 250 else _describe(float(part.mean()))
    broken = copied.targets.copy()
    broken[4:8] = 255
    figures, _ = _measure(material, reading, copied, replace(copied, targets=broken))
    fixes = figures["needs_fix"]
    assert fixes.after > fixes.before
    assert fixes.after >= 4 / len(broken)


def test_a_box_in_another_colour_leaves_a_seam(
    material: Material, reading: ReadingAnalyser, copied: Swaps
) -> None:
    seams = [
        _measure(
            material, reading, copied, replace(copied, targets=(copied.targets + by).clip(0, 255))
        )[0]["seam"].after
        for by in (0, 15, 40)
    ]
    assert seams[0] < seams[1] < seams[2]


def test_without_footage_of_others_there_is_no_flicker(
    material: Material, reading: ReadingAnalyser, copied: Swaps
) -> None:
    figures, missing = _measure(replace(material, are_people=False), reading, copied, copied)
    assert "flicker" not in figures
    assert "--targets" in missing["flicker"]
    assert len(figures["pose"].places) == len(material.held_out.crops)
    # single frames do not follow each other
    still = replace(material, targets=material.targets[:1], rows=material.rows[:1])
    one = replace(copied, targets=copied.targets[:1], others=None)
    assert "flicker" in _measure(still, reading, one, one)[1]


def test_differences_by_hand() -> None:
    expected = FaceAttributes(10, -5, (0.3, 0.2), 0.1, (0.0, 0.1))
    seen = FaceAttributes(7, -1, (0.2, 0.3), 0.4, (0.03, 0.14))
    differences = compare_attributes(seen, expected)
    assert differences == pytest.approx([-3, 4, -0.1, 0.1, 0.3, 0.03, 0.04])
    errors = join_differences(numpy.array([differences, [0.0] * 7]))
    assert {key: pytest.approx(values) for key, values in errors.items()} == {
        "pose": [5, 0],
        "blink": [0.1, 0],
        "mouth": [0.3, 0],
        "gaze": [0.05, 0],
    }


def test_memory_is_what_training_frames_gained_beyond_held_out_ones(
    material: Material, copied: Swaps
) -> None:
    def shift(trained: float, held_out: float) -> Swaps:
        return replace(
            copied, trained=copied.trained + trained, held_out=copied.held_out + held_out
        )

    figure = measure_memorisation(material, shift(10, 10), shift(2, 7))
    # 8 grey levels nearer on what was trained on, 3 elsewhere
    assert figure.change.mean == pytest.approx(-5, abs=1e-3)
    assert (figure.before, figure.after) == (None, None)
    assert figure.pairs == len(material.trained.crops) + len(material.held_out.crops)
    assert measure_memorisation(material, shift(9, 9), shift(4, 4)).change.mean == pytest.approx(
        0, abs=1e-6
    )


def test_distances_to_the_held_out_frames(material: Material, copied: Swaps) -> None:
    pairs = material.held_out
    figures, _ = measure_held_out(pairs, copied.held_out + 6, copied.held_out)
    found = {figure.key: figure for figure in figures}
    assert found["face_l1"].before == pytest.approx(6, abs=1e-3)
    assert found["face_l1"].after == 0
    assert found["face_l1"].change.mean == pytest.approx(-6, abs=1e-3)
    assert found["ssim"].after == pytest.approx(1, abs=1e-4)
    assert found["ssim"].change.mean > 0
    assert found["colour"].change.mean < 0
    assert found["face_l1"].pairs == len(pairs.crops)


def test_swaps_of_others(material: Material, copied: Swaps) -> None:
    before, after = replace(copied, others=copied.others + 4), replace(copied, others=copied.others)
    (drift,) = measure_others(material, before, after)
    assert drift.key == "others_drift"
    assert drift.change.mean == pytest.approx(4, abs=1e-3)
    assert measure_others(material, replace(before, others=None), after) == []


def test_true_swaps_where_they_are_known(material: Material, copied: Swaps) -> None:
    person = (copied.targets * 0.9).astype(numpy.uint8)
    others = (copied.others * 0.8).astype(numpy.uint8)
    vectors = numpy.zeros((3, 512))
    known = replace(material, truths=Truths(person, vectors, material.rows, others))
    after = replace(copied, targets=person.astype(numpy.float32), others=copied.others + 3)
    figures = {figure.key: figure for figure in measure_others(known, copied, after)}
    assert set(figures) == {"others_drift", "others_l1", "true_swap"}
    faces = numpy.stack([target.face for target in material.targets])
    copy = measure_face_l1(copied.targets, person, faces).mean()
    assert figures["true_swap"].before == pytest.approx(copy)
    assert figures["true_swap"].after == 0
    assert figures["others_l1"].change.mean == pytest.approx(3, abs=1e-3)
