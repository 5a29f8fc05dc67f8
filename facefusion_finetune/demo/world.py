"""Footage of the demo's people on disk, and true swaps of anyone onto any of its frames."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray

from facefusion_finetune.damage import parse_json
from facefusion_finetune.demo.geometry import FRAME_SIZE
from facefusion_finetune.demo.landmarks import bound_face, locate_landmarks
from facefusion_finetune.demo.people import (
    SCENE,
    Person,
    RenderBatch,
    Values,
    draw_person,
    draw_shot,
    swap_person,
)
from facefusion_finetune.demo.render import render
from facefusion_finetune.errors import FootageError
from facefusion_finetune.faces.images import encode_png
from facefusion_finetune.home import write_bytes, write_text

WORLD_FILE = "world.json"
Frame = NDArray[numpy.uint8]
"""FRAME_SIZE x FRAME_SIZE x 3, BGR."""


@dataclass(frozen=True)
class WorldFace:
    """What the world knows about one frame: the person and the scene."""

    file: str
    """Path of the frame relative to the footage folder, with forward slashes."""
    person: Person
    scene: Values

    def locate(self) -> tuple[NDArray[numpy.float64], NDArray[numpy.float64]]:
        """(5, 2) and (68, 2) exact landmarks in frame pixels."""
        five, many = locate_landmarks(RenderBatch.single(self.person, self.scene[None]))
        return five[0], many[0]

    def bound(self) -> NDArray[numpy.float64]:
        """(4,): x1, y1, x2, y2 of the face."""
        box: NDArray[numpy.float64] = bound_face(self.locate()[1][None])[0]
        return box


def hash_frame(frame: Frame) -> str:
    """The sha256 of a frame's shape and decoded pixels, so that re-encoding does not matter."""
    return hashlib.sha256(repr(frame.shape).encode() + frame.tobytes()).hexdigest()


@torch.no_grad()
def render_frames(person: Person, scenes: Values) -> list[Frame]:
    """Render one person in (batch, len(SCENE)) scenes as full frames."""
    views = torch.eye(3)[:2].expand(len(scenes), 2, 3)
    pictures = render(RenderBatch.single(person, scenes), views, FRAME_SIZE)
    values = (pictures * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return [numpy.ascontiguousarray(value[..., ::-1]) for value in values]


def render_truth(face: WorldFace, source: Person) -> Frame:
    """The true swap: the frame of `face`, rendered with the inner face of `source`."""
    return render_frames(swap_person(source, face.person), face.scene[None])[0]


def write_footage(
    folder: Path, person_seed: int, shots: int, frames_per_shot: int, seed: int
) -> list[Path]:
    """Write frames of one person as PNG, one subfolder per shot, and what is known about them.

    Args:
        folder: Gets `shot-001/frame-0001.png` and so on, and `world.json`; created if missing.
        person_seed: The person; `FIRST_UNSEEN_SEED` or above for someone that the networks have
            never seen.
        shots: Number of shots, each with its own background, light and motion.
        frames_per_shot: Frames per shot, at 25 per second.
        seed: Seed of the shots.

    Returns:
        The frames, in order.

    Raises:
        FootageError: OpenCV is not installed.
        OSError: The folder cannot be written.
    """
    person = draw_person(person_seed)
    paths, frames = [], {}
    for shot in range(shots):
        # the shot's number is part of its seed, so more shots never change the earlier ones
        scenes = draw_shot(seed * 1000 + shot, frames_per_shot)
        name = f"shot-{shot + 1:03d}"
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index, frame in enumerate(render_frames(person, scenes)):
            path = folder / name / f"frame-{index + 1:04d}.png"
            write_bytes(path, encode_png(frame), mode=0o644)
            file = path.relative_to(folder).as_posix()
            frames[hash_frame(frame)] = {"file": file, "scene": scenes[index].tolist()}
            paths.append(path)
    parts = {"coarse": person.coarse, "detail": person.detail, "outer": person.outer}
    known = {
        "person": {"seed": person_seed, **{key: part.tolist() for key, part in parts.items()}},
        "frames": frames,
    }
    write_text(folder / WORLD_FILE, json.dumps(known, indent=1) + "\n", mode=0o644)
    return paths


def read_footage(folder: Path) -> dict[str, WorldFace]:
    """Read a footage folder's `world.json`: what is known about each frame, by `hash_frame`.

    Raises:
        FootageError: The file is missing, or was not written by `write_footage`.
    """
    path = folder / WORLD_FILE
    try:
        known = parse_json(path.read_bytes())
        return dict(_read_faces(known))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FootageError(
            str(folder),
            f"is not demo footage, because its {WORLD_FILE} cannot be read ({error}).",
            "Give a folder written by `facefusion-finetune demo`.",
        ) from error


def _read_faces(known: dict[str, Any]) -> Iterator[tuple[str, WorldFace]]:
    person = Person(*(numpy.array(known["person"][key]) for key in ("coarse", "detail", "outer")))
    for digest, frame in known["frames"].items():
        scene = numpy.array(frame["scene"], dtype=numpy.float64)
        if scene.shape != (len(SCENE),):
            raise ValueError(f"{frame['file']} has {scene.size} scene factors, not {len(SCENE)}")
        yield digest, WorldFace(frame["file"], person, scene)
