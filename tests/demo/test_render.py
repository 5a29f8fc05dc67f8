"""Landmarks lie where the renderer paints, crops agree with frames, true swaps stay in the face."""

import cv2
import numpy
import torch

from facefusion_finetune.demo.geometry import (
    CROP_SIZE,
    FRAME_SIZE,
    TEMPLATE_POINTS,
    Pose,
    align_to_template,
    invert_affine,
)
from facefusion_finetune.demo.landmarks import bound_face, locate_landmarks
from facefusion_finetune.demo.networks.crops import gather_people
from facefusion_finetune.demo.people import (
    FIRST_UNSEEN_SEED,
    SCENE,
    RenderBatch,
    Values,
    draw_person,
    draw_scene,
)
from facefusion_finetune.demo.render import render
from facefusion_finetune.demo.world import WorldFace, render_frames, render_truth
from facefusion_finetune.faces.warp import fit_similarity

COUNT = 32
SEEDS = list(range(FIRST_UNSEEN_SEED, FIRST_UNSEEN_SEED + COUNT))


def draw_scenes() -> Values:
    return numpy.stack([draw_scene(seed) for seed in SEEDS])


def draw_cast(scenes: Values) -> RenderBatch:
    crowd = gather_people(SEEDS)
    return RenderBatch.of(crowd.coarse, crowd.detail, crowd.outer, scenes)


def to_bytes(pictures: torch.Tensor) -> numpy.ndarray:
    return (pictures * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def test_the_projection_inverts() -> None:
    pose = Pose.of(draw_cast(draw_scenes()))
    x, y = torch.meshgrid(torch.linspace(-0.6, 0.6, 9), torch.linspace(-0.7, 0.8, 9), indexing="xy")
    placed = pose.to_frame(x[None], y[None])
    back = pose.to_face(*pose.to_head(*placed))
    assert (back[0] - x).abs().max() < 2e-3
    assert (back[1] - y).abs().max() < 2e-3


def test_the_gaze_centres_on_the_eye_landmarks() -> None:
    """With open eyes that look straight ahead, the pupil's dark spot is at the landmark."""
    scenes = draw_scenes()
    for name in ("gaze_x", "gaze_y", "yaw", "pitch"):
        scenes[:, SCENE.index(name)] = 0
    scenes[:, SCENE.index("eye_close")] = -1
    crowd = gather_people(SEEDS)
    cast = RenderBatch.of(crowd.coarse, numpy.zeros_like(crowd.detail), crowd.outer, scenes)
    pictures = render(cast, torch.eye(3)[:2].expand(COUNT, 2, 3), FRAME_SIZE)
    for picture, points in zip(pictures, locate_landmarks(cast)[0], strict=True):
        for x, y in points[:2]:
            left, top = round(x) - 2, round(y) - 2
            patch = 1.0 - picture[:, top : top + 5, left : left + 5].mean(dim=0)
            weight = (patch - patch.min()) ** 4
            steps = torch.arange(5)
            found_x = left + float((weight.sum(0) * steps).sum() / weight.sum())
            found_y = top + float((weight.sum(1) * steps).sum() / weight.sum())
            assert numpy.hypot(found_x - x, found_y - y) < 1.0


def test_landmarks_lie_inside_the_frame_and_the_box() -> None:
    five, many = locate_landmarks(draw_cast(draw_scenes()))
    assert five.shape == (COUNT, 5, 2)
    assert many.shape == (COUNT, 68, 2)
    box = bound_face(many)
    for points in (five, many):
        assert (points > box[:, None, :2]).all()
        assert (points <= box[:, None, 2:]).all()
    assert box.min() >= 0
    assert box.max() < FRAME_SIZE


def test_the_68_points_hold_the_five() -> None:
    five, many = locate_landmarks(draw_cast(draw_scenes()))
    for index, members in enumerate((range(36, 42), range(42, 48))):
        assert numpy.abs(many[:, members].mean(axis=1) - five[:, index]).max() < 0.5
    assert numpy.abs(many[:, 30] - five[:, 2]).max() < 1e-3
    assert numpy.abs(many[:, 48] - five[:, 3]).max() < 1e-3
    assert numpy.abs(many[:, 54] - five[:, 4]).max() < 1e-3


def test_fit_similarity_recovers_a_similarity() -> None:
    points = numpy.random.default_rng(1).uniform(0, 100, (3, 5, 2))
    turn = numpy.array([[0.8, -0.6], [0.6, 0.8]]) * 1.7
    matrices = fit_similarity(points, points @ turn.T + numpy.array([3.0, -4.0]))
    assert numpy.allclose(matrices[:, :, :2], turn)
    assert numpy.allclose(matrices[:, :, 2], [3.0, -4.0])


def test_average_frontal_faces_align_to_the_template_within_a_pixel() -> None:
    scenes = draw_scenes()
    for name in ("yaw", "pitch", "smile", "mouth_open"):
        scenes[:, SCENE.index(name)] = 0
    crowd = gather_people(SEEDS)
    nobody = (numpy.zeros_like(part) for part in (crowd.coarse, crowd.detail, crowd.outer))
    five = locate_landmarks(RenderBatch.of(*nobody, scenes))[0]
    matrices = align_to_template(five)
    placed = five @ matrices[:, :, :2].transpose(0, 2, 1) + matrices[:, None, :, 2]
    assert numpy.abs(placed - numpy.array(TEMPLATE_POINTS) * CROP_SIZE).max() < 1.0


def test_direct_crops_agree_with_warped_frames() -> None:
    cast = draw_cast(draw_scenes())
    matrices = align_to_template(locate_landmarks(cast)[0])
    frames = to_bytes(render(cast, torch.eye(3)[:2].expand(COUNT, 2, 3), FRAME_SIZE))
    direct = to_bytes(render(cast, torch.from_numpy(invert_affine(matrices)), CROP_SIZE))
    warped = numpy.stack(
        [
            cv2.warpAffine(frame, matrix, (CROP_SIZE, CROP_SIZE), borderMode=cv2.BORDER_REPLICATE)
            for frame, matrix in zip(frames, matrices, strict=True)
        ]
    )
    gap = numpy.abs(warped.astype(float) - direct).mean(axis=(1, 2, 3))
    assert gap.mean() < 1.5  # grey levels: resampling, against about 10 between two people
    assert gap.max() < 3.0


def test_frames_are_reproducible() -> None:
    person, scenes = draw_person(FIRST_UNSEEN_SEED), draw_scenes()[:3]
    first, again = render_frames(person, scenes), render_frames(person, scenes)
    for frame, other in zip(first, again, strict=True):
        assert frame.shape == (FRAME_SIZE, FRAME_SIZE, 3)
        assert numpy.array_equal(frame, other)


def test_the_true_swap_differs_in_the_face_alone() -> None:
    source = draw_person(FIRST_UNSEEN_SEED + 100)
    for seed in SEEDS[:8]:
        person, scene = draw_person(seed), draw_scene(seed)
        frame = render_frames(person, scene[None])[0]
        face = WorldFace("", person, scene)
        truth = render_truth(face, source)
        changed = numpy.abs(frame.astype(int) - truth).max(axis=2) > 2
        hull = cv2.convexHull(face.locate()[1].astype(numpy.float32))
        inside = cv2.fillConvexPoly(numpy.zeros(frame.shape[:2], numpy.uint8), hull.astype(int), 1)
        # features may reach a little over the outline given by the landmarks, the forehead too
        allowed = cv2.dilate(inside, numpy.ones((25, 25), numpy.uint8)) > 0
        assert changed[inside > 0].mean() > 0.5
        assert not changed[~allowed].any()


def test_swapping_a_person_onto_themselves_changes_nothing() -> None:
    person, scene = draw_person(FIRST_UNSEEN_SEED), draw_scene(1)
    frame = render_frames(person, scene[None])[0]
    assert numpy.array_equal(render_truth(WorldFace("", person, scene), person), frame)
