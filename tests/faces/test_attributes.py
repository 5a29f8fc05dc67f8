"""Pose, blink, mouth and gaze of drawn faces, whose scenes are known, and of points gone wrong."""

import numpy
import pytest
import torch
from numpy.typing import NDArray

from facefusion_finetune.demo.geometry import Layout, Pose
from facefusion_finetune.demo.landmarks import locate_landmarks
from facefusion_finetune.demo.people import (
    FIRST_UNSEEN_SEED,
    SCENE,
    Person,
    RenderBatch,
    Values,
    draw_person,
    draw_scenes,
)
from facefusion_finetune.demo.world import Frame, render_frames
from facefusion_finetune.faces.attributes import (
    FACE_3D,
    find_nearest,
    measure_landmarks,
    measure_pose,
)
from facefusion_finetune.faces.protocol import DetectedFace, FaceAttributes, Points

PERSON = draw_person(FIRST_UNSEEN_SEED + 3)
LIDS = ((-1.0, 0.0), (-0.4, -1.0), (0.4, -1.0), (1.0, 0.0), (0.4, 0.62), (-0.4, 0.62))
"""Along the eye, and height in eye heights where it is widest, as the open eyes are painted."""


def place_lids(cast: RenderBatch) -> Points:
    """(batch, 12, 2): the points of the eyes where the renderer paints the lids."""
    pose = Pose.of(cast)
    layout = Layout.of(cast, pose)
    closing = (1 - 1.35 * cast.scene.amount("eye_close")).clamp(min=-0.35)
    placed = []
    for side, eye_y in zip((-1, 1), layout.eye_y, strict=True):
        for along, edge in LIDS:
            height = layout.eye_height * edge * (1 - along * along)
            x = layout.eye_width * along
            y = height * closing if edge < 0 else height
            tilt = side * cast.coarse["eye_tilt"] * 0.28 * x
            placed.append(torch.cat(pose.to_frame(side * layout.eye_x + x, eye_y + y - tilt), 2))
    return torch.cat(placed, dim=1).numpy().astype(numpy.float64)


def draw_faces(person: Person, scenes: Values) -> tuple[list[Frame], Points]:
    cast = RenderBatch.single(person, scenes)
    landmarks = locate_landmarks(cast)[1]
    landmarks[:, 36:48] = place_lids(cast)
    return render_frames(person, scenes), landmarks


def measure_faces(person: Person, scenes: Values) -> list[FaceAttributes]:
    frames, landmarks = draw_faces(person, scenes)
    return [measure_landmarks(*face) for face in zip(frames, landmarks, strict=True)]


def vary(name: str, values: NDArray[numpy.float64], **fixed: float) -> Values:
    """A plain scene that differs in one factor."""
    scenes = numpy.zeros((len(values), len(SCENE)))
    for key, value in fixed.items():
        scenes[:, SCENE.index(key)] = value
    scenes[:, SCENE.index(name)] = values
    return scenes


@pytest.fixture(scope="module")
def face() -> tuple[Frame, Points]:
    """One face that is turned, tilted, and looks aside."""
    fixed = {"yaw": 0.4, "pitch": 0.3, "gaze_x": -0.8, "mouth_open": 0.7, "roll": 0.5}
    frames, landmarks = draw_faces(PERSON, vary("scale", numpy.ones(1), **fixed))
    return frames[0], landmarks[0]


@pytest.mark.parametrize("roll", [-0.9, 0.0, 0.9])
def test_yaw_and_pitch_follow_the_head(roll: float) -> None:
    turns = numpy.linspace(-1, 1, 9)
    yaws = [face.yaw for face in measure_faces(PERSON, vary("yaw", turns, roll=roll))]
    pitches = [face.pitch for face in measure_faces(PERSON, vary("pitch", turns, roll=roll))]
    # 5.5 degrees of yaw and 3.25 of pitch a step; a drawn face is flatter than a real one
    assert min(numpy.diff(yaws)) > 2.75
    assert min(numpy.diff(pitches)) > 1.4
    # a bent nose looks like some degrees of yaw, whatever the turn
    assert yaws[0] < -7 < 7 < yaws[-1]


def test_closing_eyes_close_and_are_one_by_one() -> None:
    closed = numpy.linspace(0, 1, 9)
    faces = measure_faces(PERSON, vary("eye_close", closed))
    for side in (0, 1):
        openings = [face.eye_opening[side] for face in faces]
        assert max(numpy.diff(openings)) < 0
        assert openings[-1] < 0.3 * openings[0]


def test_an_opening_mouth_opens_from_zero() -> None:
    opened = numpy.linspace(-1, 1, 9)
    openings = [face.mouth_opening for face in measure_faces(PERSON, vary("mouth_open", opened))]
    assert openings[:5] == pytest.approx([0] * 5, abs=1e-6)
    assert min(numpy.diff(openings[4:])) > 0.02


def test_gaze_follows_the_irises() -> None:
    looks = numpy.linspace(-1, 1, 9)
    across = [face.gaze for face in measure_faces(PERSON, vary("gaze_x", looks, scale=1.0))]
    down = [face.gaze for face in measure_faces(PERSON, vary("gaze_y", looks, scale=1.0))]
    # the renderer moves an iris by up to 0.16 eye widths to either side
    assert numpy.array(across)[:, 0] == pytest.approx(0.16 * looks, abs=0.03)
    # half a pixel of the frame is 0.03 eye widths
    assert numpy.ptp(numpy.array(across)[:, 1]) < 0.04
    assert numpy.corrcoef(numpy.array(down)[:, 1], looks)[0, 1] > 0.9
    assert numpy.ptp(numpy.array(down)[:, 0]) < 0.03


@pytest.mark.parametrize("seed", range(3))
def test_each_figure_follows_its_factor_when_all_change(seed: int) -> None:
    scenes = draw_scenes(numpy.random.default_rng(seed), 40)
    faces = measure_faces(draw_person(FIRST_UNSEEN_SEED + 20 + seed), scenes)
    for name, least, values in (
        ("yaw", 0.99, [face.yaw for face in faces]),
        ("pitch", 0.9, [face.pitch for face in faces]),
        ("mouth_open", 0.95, [face.mouth_opening for face in faces]),
        ("eye_close", 0.6, [-face.eye_opening[0] for face in faces]),
        ("gaze_x", 0.95, [face.gaze[0] for face in faces]),
    ):
        factor = scenes[:, SCENE.index(name)]
        factor = factor.clip(0) if name in ("mouth_open", "eye_close") else factor
        known = numpy.isfinite(values)
        assert known.mean() > 0.8
        assert numpy.corrcoef(factor[known], numpy.array(values)[known])[0, 1] > least, name


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (30, 0), (-50, 20), (15, -35)])
@pytest.mark.parametrize("distance", [numpy.inf, 700.0])
def test_degrees_are_those_of_a_solid_head(yaw: float, pitch: float, distance: float) -> None:
    """The rotation is written out here, so that signs and degrees are not the module's own."""
    a, b, c = numpy.radians([yaw, pitch, 20])
    points = numpy.array(list(FACE_3D.values()), float)
    x, y, z = points.T
    # down first, then to the right, then the roll; nearer to the camera is a smaller z
    y, z = y * numpy.cos(b) - z * numpy.sin(b), y * numpy.sin(b) + z * numpy.cos(b)
    x, z = x * numpy.cos(a) - z * numpy.sin(a), x * numpy.sin(a) + z * numpy.cos(a)
    x, y = x * numpy.cos(c) - y * numpy.sin(c), x * numpy.sin(c) + y * numpy.cos(c)
    near = 1 / (1 + z / distance)
    landmarks = numpy.zeros((68, 2))
    landmarks[list(FACE_3D)] = numpy.stack([x * near, y * near], axis=1) * 1.7 + 300
    exact = numpy.isinf(distance)
    assert measure_pose(landmarks) == pytest.approx((yaw, pitch), abs=1e-6 if exact else 5)


def test_turning_the_picture_changes_nothing(face: tuple[Frame, Points]) -> None:
    frame, landmarks = face
    expected = measure_landmarks(frame, landmarks)
    turned = numpy.rot90(frame)
    places = numpy.stack([landmarks[:, 1], frame.shape[1] - 1 - landmarks[:, 0]], axis=1)
    found = measure_landmarks(turned, places)
    for name in ("yaw", "pitch", "eye_opening", "mouth_opening", "gaze"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-6)


def test_a_mirror_swaps_the_sides(face: tuple[Frame, Points]) -> None:
    frame, landmarks = face
    expected = measure_landmarks(frame, landmarks)
    order = [*range(68)]
    for run in ((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46), (48, 54), (60, 64)):
        order[run[0]], order[run[1]] = run[1], run[0]
    for run in ((31, 35), (32, 34), (61, 63), (65, 67)):
        order[run[0]], order[run[1]] = run[1], run[0]
    places = landmarks[order] * (-1, 1) + (frame.shape[1] - 1, 0)
    found = measure_landmarks(numpy.ascontiguousarray(frame[:, ::-1]), places)
    assert (-found.yaw, found.pitch) == pytest.approx((expected.yaw, expected.pitch))
    assert found.eye_opening[::-1] == pytest.approx(expected.eye_opening)
    assert found.mouth_opening == pytest.approx(expected.mouth_opening)
    assert (-found.gaze[0], found.gaze[1]) == pytest.approx(expected.gaze, abs=1e-6)


def test_closed_eyes_have_no_gaze_and_one_open_eye_has(face: tuple[Frame, Points]) -> None:
    frame, landmarks = face
    wink, sleep = landmarks.copy(), landmarks.copy()
    for lower, upper in ((40, 38), (41, 37)):
        wink[lower] = sleep[lower] = landmarks[upper]
        sleep[lower + 6] = landmarks[upper + 6]
    assert measure_landmarks(frame, sleep).eye_opening == pytest.approx((0, 0))
    assert numpy.isnan(measure_landmarks(frame, sleep).gaze).all()
    winking = measure_landmarks(frame, wink)
    assert winking.eye_opening[0] == pytest.approx(0)
    assert winking.gaze == pytest.approx(measure_landmarks(frame, landmarks).gaze, abs=0.05)


def test_an_eye_without_an_iris_has_no_gaze(face: tuple[Frame, Points]) -> None:
    found = measure_landmarks(numpy.full_like(face[0], 90), face[1])
    assert numpy.isnan(found.gaze).all()
    assert numpy.isfinite([found.yaw, found.pitch, *found.eye_opening, found.mouth_opening]).all()


def test_a_face_half_outside_is_measured_by_the_eye_inside(face: tuple[Frame, Points]) -> None:
    frame, landmarks = face
    between = round(landmarks[[39, 42]].mean(axis=0)[0])
    cut = frame[:, between:]
    found = measure_landmarks(cut, landmarks - (between, 0))
    assert found.gaze == pytest.approx(measure_landmarks(frame, landmarks).gaze, abs=0.05)
    outside = measure_landmarks(frame, landmarks + 5000)
    assert outside.yaw == pytest.approx(measure_landmarks(frame, landmarks).yaw)
    assert numpy.isnan(outside.gaze).all()


@pytest.mark.parametrize(
    "landmarks",
    [
        numpy.zeros((68, 2)),
        numpy.full((68, 2), numpy.nan),
        numpy.full((68, 2), numpy.inf),
        numpy.linspace(0, 100, 136).reshape(68, 2),
        numpy.random.default_rng(0).uniform(-1e300, 1e300, (68, 2)),
        numpy.full((68, 2), 1.7e308),
    ],
    ids=["one place", "nan", "infinite", "one line", "huge", "largest"],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_points_that_are_no_face_are_not_fatal(landmarks: Points) -> None:
    found = measure_landmarks(numpy.zeros((120, 160, 3), numpy.uint8), landmarks)
    assert numpy.isnan(found.gaze).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_random_points_are_not_fatal() -> None:
    generator = numpy.random.default_rng(1)
    frame = generator.integers(0, 256, (40, 60, 3), dtype=numpy.uint8)
    for size in (1e-9, 1.0, 60.0, 1e6):
        for _ in range(50):
            landmarks = generator.normal(30, size, (68, 2))
            landmarks[generator.integers(0, 68)] = generator.choice([numpy.nan, numpy.inf, 0.0])
            found = measure_landmarks(frame, landmarks)
            assert not abs(found.pitch) > 90


def create_face(landmark_5: Points) -> DetectedFace:
    return DetectedFace(numpy.zeros(4), landmark_5, numpy.zeros((68, 2)), 1, 1, numpy.zeros(512))


def test_the_nearest_face_is_found_and_none_that_is_far() -> None:
    expected = numpy.array([[40, 50], [60, 50], [50, 60], [43, 72], [57, 72]], float)
    moves = numpy.array([[3, 0], [0, 9.9], [8, 8]])
    here, beside, far = (create_face(expected + move) for move in moves)
    assert find_nearest([beside, here, far], expected) is here
    assert find_nearest([far, beside], expected) is beside
    assert find_nearest([far], expected) is None
    assert find_nearest([], expected) is None
    assert find_nearest([create_face(numpy.full((5, 2), numpy.nan))], expected) is None
