"""True swaps in the demo world, for the report."""

from pathlib import Path

import numpy
from numpy.typing import NDArray

from facefusion_finetune.dataset.manifest import CropRecord
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.demo.geometry import CROP_SIZE, TEMPLATE
from facefusion_finetune.demo.people import FIRST_UNSEEN_SEED, Person, draw_person, draw_scene
from facefusion_finetune.demo.world import WorldFace, render_frames, render_truth
from facefusion_finetune.evaluation.truths import Draw, KnownPerson, World
from facefusion_finetune.faces.images import read_image
from facefusion_finetune.faces.protocol import VisionFrame
from facefusion_finetune.faces.vectors import create_centroid

OTHERS = 12
FIRST_OTHER_SEED = FIRST_UNSEEN_SEED + 900_000
"""Seed of the first of the others whose swaps must not change; the same for every run."""
PICTURES = 6
"""Pictures per person; their mean is the person's vector."""


def create_world(footage: list[Path], analyser: DemoAnalyser, person_seed: int) -> World:
    """Targets and true swaps of a demo run.

    Args:
        footage: Folders of other people's footage.
        analyser: An analyser that knows these folders.
        person_seed: Seed of the person that the run is tuned to.
    """
    others = []
    for seed in range(FIRST_OTHER_SEED, FIRST_OTHER_SEED + OTHERS):
        other = draw_person(seed)
        others.append(KnownPerson(_find_vector(other, seed, analyser), _draw_with(other, analyser)))
    return World(footage, _draw_with(draw_person(person_seed), analyser), others)


def _draw_with(person: Person, analyser: DemoAnalyser) -> Draw:
    def draw(record: CropRecord) -> VisionFrame:
        return render_truth(analyser.find_face(read_image(Path(record.source))), person)

    return draw


def _find_vector(person: Person, seed: int, analyser: DemoAnalyser) -> NDArray[numpy.float64]:
    """(512,): mean direction of the embeddings of a person's stills."""
    vectors = []
    for number in range(PICTURES):
        scene = draw_scene(seed * PICTURES + number)
        (frame,) = render_frames(person, scene[None])
        landmark_5, _ = WorldFace("", person, scene).locate()
        crop, _ = analyser.warp_face(frame, landmark_5, TEMPLATE, (CROP_SIZE, CROP_SIZE))
        vectors.append(analyser.embed(crop))
    return create_centroid(numpy.stack(vectors))
