"""What the crops show is counted right, and what is missing is said in words."""

import json
import math
from dataclasses import astuple
from typing import Any

import numpy
import pytest

from facefusion_finetune.dataset.coverage.advice import (
    FEW_CROPS,
    MAX_SENTENCES,
    NOTHING_MISSING,
    advise,
)
from facefusion_finetune.dataset.coverage.measure import (
    BLURRED,
    PITCHES,
    UNKNOWN,
    YAWS,
    Shot,
    find_cell,
    find_exposure,
    find_eyes,
    find_light,
    find_mouth,
    list_shots,
    measure_coverage,
    to_dict,
)
from facefusion_finetune.dataset.coverage.text import describe, describe_time, to_printable
from facefusion_finetune.dataset.manifest import CropRecord, read_manifest
from facefusion_finetune.faces.attributes import FACE_3D, measure_pose
from facefusion_finetune.people.profile import Person
from tests.support.demo_world import FRAMES_PER_SHOT, SHOTS
from tests.support.records import make_complete, make_measures, make_other, make_record


def _advise(records: list[CropRecord], **options: int) -> str:
    return "\n".join(advise(measure_coverage(records), **options))


def _change(records: list[CropRecord], **changes: Any) -> list[CropRecord]:
    """The same crops with these measures."""
    return [
        record.model_copy(update={"measures": record.measures.model_copy(update=changes)})
        for record in records
        if record.measures is not None
    ]


@pytest.mark.parametrize(
    ("yaw", "turn", "side"),
    [
        (60, "profile", "left"),
        (30, "turned", "left"),
        (12, "slightly", "left"),
        (9, "frontal", ""),
        (-9, "frontal", ""),
        (-12, "slightly", "right"),
        (-30, "turned", "right"),
        (-60, "profile", "right"),
    ],
)
def test_who_turns_to_their_left_looks_to_the_pictures_right(
    yaw: float, turn: str, side: str
) -> None:
    cell = find_cell(make_record(0, make_measures(yaw=yaw)))
    assert cell is not None
    assert YAWS[cell[1]] == (turn, side)


def test_nose_that_points_to_the_pictures_right_is_a_turn_to_ones_own_left() -> None:
    x, y, z = numpy.array(list(FACE_3D.values()), dtype=numpy.float64).T
    turn = math.radians(50)
    landmark_68 = numpy.zeros((68, 2))
    # the nose, nearest to the camera, moves to the right
    landmark_68[list(FACE_3D)] = numpy.stack([x * math.cos(turn) - z * math.sin(turn), y], axis=1)
    assert landmark_68[30, 0] > landmark_68[[36, 45], 0].mean() + 10
    yaw, pitch = measure_pose(landmark_68)
    cell = find_cell(make_record(0, make_measures(yaw=yaw, pitch=pitch)))
    assert cell is not None
    assert YAWS[cell[1]] == ("profile", "left")


@pytest.mark.parametrize(
    ("pitch", "row"), [(-30, "looking up"), (-17, "level"), (9, "level"), (20, "looking down")]
)
def test_positive_pitch_looks_down(pitch: float, row: str) -> None:
    cell = find_cell(make_record(0, make_measures(pitch=pitch)))
    assert cell is not None
    assert PITCHES[cell[0]] == row


def test_missing_profile_is_the_side_that_was_not_filmed() -> None:
    records = make_complete()
    assert _advise(records) == NOTHING_MISSING
    only_right = [record for record in records if (find_cell(record) or (0, 0))[1] != 6]
    text = _advise(only_right)
    assert text.startswith("No profile to your left: film 10 s")
    assert "your right" not in text
    only_left = [record for record in records if (find_cell(record) or (0, 9))[1] != 0]
    assert _advise(only_left).startswith("No profile to your right: film 10 s")


def test_light_from_the_pictures_right_comes_from_ones_own_left() -> None:
    assert find_light(make_measures(light=(0.3, 0.1))) == "your left"
    assert find_light(make_measures(light=(-0.3, 0.1))) == "your right"
    assert find_light(make_measures(light=(0.1, -0.3))) == "above"
    assert find_light(make_measures(light=(0.1, 0.3))) == "below"
    assert find_light(make_measures(light=(0.1, -0.1))) == "even"


def test_eyes_mouth_and_exposure() -> None:
    assert find_eyes(make_measures(eye_opening=(0.26, 0.24))) == "open"
    assert find_eyes(make_measures(eye_opening=(0.7, 0.16))) == "half"
    assert find_eyes(make_measures(eye_opening=(None, 0.1))) == "closed"
    assert find_eyes(make_measures(eye_opening=(None, None))) == UNKNOWN
    assert find_mouth(make_measures(mouth_opening=0.2)) == "slightly"
    assert find_mouth(make_measures(mouth_opening=None)) == UNKNOWN
    assert find_exposure(make_measures(brightness=60.0)) == "good"
    assert find_exposure(make_measures(dark=0.3)) == "dark"
    assert find_exposure(make_measures(bright=0.1)) == "bright"


def test_what_lies_outside_the_frame_is_told_of_kept_crops() -> None:
    shares = (0.0, 0.1, 0.2, None)
    kept = [make_record(n, make_measures(outside=share)) for n, share in enumerate(shares)]
    cut_off = make_record(9, make_measures(outside=0.5)).decide(["cut off by the border"], None)
    coverage = measure_coverage([*kept, cut_off])
    assert coverage.outside is not None
    assert astuple(coverage.outside) == pytest.approx((0.02, 0.1, 0.18))
    assert coverage.reasons == {"cut off by the border": 1}
    assert "outside      0.10 (0.02 to 0.18) of the crop" in describe("ada", coverage)
    assert measure_coverage([make_record(0, make_measures())]).outside is None


def test_counts_of_a_mixed_set() -> None:
    blurred = make_record(3, make_measures(sharpness=0.2), kept=False).decide(["blurred"], None)
    covered = make_record(4, make_measures()).decide(["blurred", "covered"], None)
    by_hand = make_record(5, make_measures()).decide([], "rejected")
    legacy = make_record(6, kept=False, reason="too small", sha256="")
    kept = [
        make_record(0, make_measures(glasses=0.1)),
        make_record(1, make_measures(yaw=None, glasses=None)),
        make_record(2),
    ]
    coverage = measure_coverage([*kept, blurred, covered, by_hand, legacy, make_other()])
    assert (coverage.kept, coverage.rejected, coverage.others) == (3, 4, 1)
    assert coverage.reasons == {"blurred": 2, "covered": 1, "rejected by hand": 1, "too small": 1}
    assert coverage.blurred == 2
    assert sum(map(sum, coverage.pose)) == 1
    assert coverage.pose_unknown == 2
    assert coverage.glasses == {"with": 1, "without": 0, UNKNOWN: 2}
    assert coverage.eyes == {"open": 2, "half": 0, "closed": 0, UNKNOWN: 1}
    assert coverage.size is not None
    assert coverage.size.median == 140


def test_shots_are_numbered_as_found() -> None:
    records = [
        make_record(6, shot="b"),
        make_record(3, shot="a", time=None),
        make_record(9, shot="b"),
    ]
    assert list_shots(records) == (
        Shot(1, "b", "b.mp4", 2, 1.0, 1.5),
        Shot(2, "a", "a.mp4", 1, None, None),
    )
    assert describe_time(62.46) == "1:02.5"
    assert describe_time(59.97) == "1:00.0"


def test_nothing_is_known_of_crops_that_were_not_measured(extracted: Person) -> None:
    records = [record.model_copy(update={"measures": None}) for record in read_manifest(extracted)]
    coverage = measure_coverage(records)
    assert coverage.kept == coverage.pose_unknown == SHOTS * FRAMES_PER_SHOT
    assert coverage.eyes[UNKNOWN] == coverage.light[UNKNOWN] == coverage.kept
    text = "\n".join(advise(coverage))
    assert "extract the footage again" in text
    for word in ("profile", "mouth", "light is the same", "looking"):
        assert word not in text


def test_drawn_world_is_covered(extracted: Person) -> None:
    coverage = measure_coverage(read_manifest(extracted))
    assert sum(shot.crops for shot in coverage.shots) == coverage.kept
    assert sum(map(sum, coverage.pose)) + coverage.pose_unknown == coverage.kept


def test_no_crops_at_all() -> None:
    coverage = measure_coverage([])
    assert "There are no crops yet" in advise(coverage)[0]
    assert "0 crops kept in 0 shots" in describe("ada", coverage)
    all_rejected = measure_coverage([make_record().decide([], "rejected")])
    assert "restore" in advise(all_rejected)[0]


def test_each_lack_is_said_and_nothing_else() -> None:
    full = make_complete()
    few_shots = make_complete(shots=2, crops=60)
    dominated = (
        full
        + [make_record(number, full[number].measures, shot="long") for number in range(20)] * 12
    )
    level = [record for record in full if (find_cell(record) or (1, 0))[0] == 1]
    blurred = [record.decide([BLURRED], None) for record in full[:60]]
    half = len(full) // 2
    for records, words in (
        (few_shots, "Only 2 shots: film 3 more of about 20 s each"),
        (full[::4], "Only 30 crops, and even 40 are few: film 30 s"),
        (
            _change(full, size=60.0),
            "at most 60 pixels wide in half of the crops, while a swapper of 128 pixels needs 96",
        ),
        (full + blurred, "60 of 180 crops are blurred"),
        (
            _change(full[:half], glasses=0.1) + full[half:],
            "Glasses are on in 60 crops and off in 60",
        ),
        (_change(full, eye_opening=(0.3, 0.3)), "in which the eyes are closed: film 10 s blinking"),
        (_change(full, mouth_opening=0.0), "the mouth is open: film 10 s talking and laughing."),
        (_change(full, light=(0.0, 0.0)), "The light is the same in 120 of 120 crops"),
        (level, "No crop looking up or looking down: film 20 s"),
        (dominated, "Shot 7 (long.mp4) alone has 240 of 360 crops"),
    ):
        advice = advise(measure_coverage(records))
        assert words in advice[0], advice
        if len(records) >= FEW_CROPS:
            assert len(advice) == 1, advice


def test_a_larger_base_asks_for_larger_faces() -> None:
    assert _advise(make_complete()) == NOTHING_MISSING
    assert "a swapper of 256 pixels needs 192" in _advise(make_complete(), base_size=256)


def test_few_are_not_none() -> None:
    records = [
        record for record in make_complete() if (find_cell(record) or (0, 3))[1] not in (0, 6)
    ]
    records += [make_record(n, make_measures(yaw=-60.0), shot="shot0") for n in range(90, 93)]
    assert "Few profiles (none to your left, 3 to your right): film 20 s" in _advise(records)


def test_advice_is_short_and_begins_with_what_helps_most() -> None:
    poor = make_measures(size=50.0, sharpness=0.2)
    advice = advise(measure_coverage([make_record(number, poor) for number in range(10)]))
    assert len(advice) == MAX_SENTENCES
    assert advice[0].startswith("Only 1 shot")
    assert advice[1].startswith("Only 10 crops")


def test_dictionary_is_json_and_names_the_degrees() -> None:
    values = json.loads(json.dumps(to_dict(measure_coverage(make_complete()))))
    pose = values["pose"]
    assert pose["columns"][0] == "profile right"
    assert len(pose["columns"]) == len(pose["column_edges"]) + 1 == len(pose["counts"][0])
    assert len(pose["rows"]) == len(pose["row_edges"]) + 1 == len(pose["counts"])
    assert sum(map(sum, pose["counts"])) + pose["unknown"] == values["kept"] == 120


def test_text_fits_a_terminal_and_shows_the_map() -> None:
    records = make_complete(shots=15)
    text = describe("ada", measure_coverage([*records, make_other()]))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 90
    assert lines[0] == "ada: 300 crops kept in 15 shots, 1 face of others skipped."
    right, left = lines[2].split(), lines[3].split()
    assert (right[0], left[0], right[-1], left[-1]) == ("profile", "right", "profile", "left")
    empty = next(line for line in lines if line.startswith("looking up"))
    assert empty.split()[2:] == ["-", "-", "-", "15", "-", "-", "-"]
    assert "and 3 more shots with 60 crops" in text


def test_names_cannot_disturb_the_terminal() -> None:
    assert to_printable("a\x1b[31m\n\ud800.mp4") == "a?[31m??.mp4"
    shot = make_record(0, make_measures(), source="/x/Жаба \x1b[2J.mp4")
    text = describe("ada", measure_coverage([shot]))
    assert "\x1b" not in text
    assert "Жаба" in text
