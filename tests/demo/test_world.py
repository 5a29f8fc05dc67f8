"""Footage on disk: frames, what is known of them, and how damaged footage is refused."""

import json
from pathlib import Path

import cv2
import numpy
import pytest

from facefusion_finetune.demo.people import FIRST_UNSEEN_SEED, draw_person
from facefusion_finetune.demo.world import (
    WORLD_FILE,
    hash_frame,
    read_footage,
    render_frames,
    write_footage,
)
from facefusion_finetune.errors import FootageError

SEED = FIRST_UNSEEN_SEED + 7


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("footage")
    write_footage(folder, SEED, shots=2, frames_per_shot=3, seed=4)
    return folder


def test_every_frame_is_known_by_its_pixels(footage: Path) -> None:
    known = read_footage(footage)
    paths = sorted(footage.rglob("*.png"))
    assert [path.relative_to(footage).as_posix() for path in paths] == [
        f"shot-{shot:03d}/frame-{frame:04d}.png" for shot in (1, 2) for frame in (1, 2, 3)
    ]
    for path in paths:
        face = known[hash_frame(cv2.imread(str(path)))]
        assert face.file == path.relative_to(footage).as_posix()


def test_what_is_known_renders_the_frame_again(footage: Path) -> None:
    for digest, face in read_footage(footage).items():
        assert hash_frame(render_frames(face.person, face.scene[None])[0]) == digest
        assert numpy.array_equal(face.person.coarse, draw_person(SEED).coarse)


def test_the_same_seed_writes_the_same_bytes(footage: Path, tmp_path: Path) -> None:
    for path in write_footage(tmp_path, SEED, shots=1, frames_per_shot=3, seed=4):
        assert path.read_bytes() == (footage / path.relative_to(tmp_path)).read_bytes()


def test_shots_differ_more_than_neighbours(footage: Path) -> None:
    frames = [cv2.imread(str(path)).astype(float) for path in sorted(footage.rglob("*.png"))]
    neighbours = numpy.abs(frames[0] - frames[1]).mean()
    assert 0 < neighbours < numpy.abs(frames[2] - frames[3]).mean() / 3


def test_a_folder_without_a_world_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FootageError, match="is not demo footage"):
        read_footage(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"person": {}, "frames": {}}', "\x00"])
def test_a_damaged_world_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / WORLD_FILE).write_text(content)
    with pytest.raises(FootageError, match="cannot be read"):
        read_footage(tmp_path)


def test_a_world_of_another_version_is_refused(footage: Path, tmp_path: Path) -> None:
    known = json.loads((footage / WORLD_FILE).read_text())
    for frame in known["frames"].values():
        frame["scene"].pop()
    (tmp_path / WORLD_FILE).write_text(json.dumps(known))
    with pytest.raises(FootageError, match="scene factors"):
        read_footage(tmp_path)
