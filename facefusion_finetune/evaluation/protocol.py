"""Held-out pairs and their scores: base against tuned, on frames no step has seen.

'Before' is the frozen base driven by the person's centroid or picture; 'after' is the tuned file
with the same source. The input of a held-out pair is the base's swap of somebody else onto a real
frame of the person, and the truth is that frame.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from facefusion_finetune.dataset.crops import AlignedCrop
from facefusion_finetune.dataset.manifest import CropRecord
from facefusion_finetune.evaluation.metrics import (
    bootstrap_mean,
    measure_face_l1,
    measure_similarity,
    warp_crops,
)
from facefusion_finetune.faces.protocol import FaceAnalyser, Mask, VisionFrame
from facefusion_finetune.swappers.catalogue import RecogniserOptions
from facefusion_finetune.swappers.sessions import create_session, embed_crops
from facefusion_finetune.swappers.vectors import create_centroid

HELD_OUT_SEED = 7919
"""Draws the other people; fixed, and apart from the seeds that training uses."""

BLOCK_SECONDS = 1.0
BLOCK_FRAMES = 6
"""For pictures without a time."""

Swap = Callable[[NDArray[numpy.uint8]], NDArray[numpy.float32]]
"""(n, H, W, 3) crops to (n, H, W, 3) swaps, BGR, 0 to 255."""


@dataclass(frozen=True)
class HeldOutPairs:
    """What is swapped, and what it should look like."""

    crops: list[AlignedCrop]
    inputs: NDArray[numpy.uint8]
    """(n, H, W, 3), BGR."""
    are_swapped: bool = True
    """False where there was nobody else to swap on, so that the inputs are the truths. To copy
    them would be perfect, so that nothing can be judged by them."""

    @property
    def input_title(self) -> str:
        """What the inputs show, in a picture."""
        return "somebody else" if self.are_swapped else "input"

    @property
    def truths(self) -> NDArray[numpy.uint8]:
        """(n, H, W, 3), BGR: the real frames."""
        return numpy.stack([crop.crop for crop in self.crops])

    @property
    def faces(self) -> NDArray[numpy.float32]:
        """(n, H, W)."""
        return numpy.stack([crop.face for crop in self.crops])

    @property
    def blocks(self) -> list[str]:
        """Name of each pair's block of about a second."""
        return [name_block(crop.record) for crop in self.crops]


@dataclass(frozen=True)
class KnownSwap:
    """A target whose true swap is known, as it can be drawn in the demo's world."""

    crop: VisionFrame
    truth: VisionFrame
    face: Mask
    block: str


def name_block(record: CropRecord) -> str:
    """The shot and second a crop belongs to."""
    part = record.frame // BLOCK_FRAMES if record.time is None else record.time // BLOCK_SECONDS
    return f"{record.shot} {int(part)}"


def compare_on_truth(
    before: NDArray[numpy.float32],
    after: NDArray[numpy.float32],
    truths: NDArray[numpy.uint8],
    faces: NDArray[numpy.float32],
    blocks: list[str],
) -> dict[str, Any]:
    """Distance to the truth inside the face, in grey levels: before, after and the change."""
    first = measure_face_l1(before, truths.astype(numpy.float32), faces)
    second = measure_face_l1(after, truths.astype(numpy.float32), faces)
    return {
        "before": round(float(first.mean()), 4),
        "after": round(float(second.mean()), 4),
        "change": bootstrap_mean(second - first, blocks).as_dict(),
        "pairs": [round(float(value), 4) for value in second - first],
    }


def compare_on_recogniser(
    pairs: HeldOutPairs,
    before: NDArray[numpy.float32],
    after: NDArray[numpy.float32],
    analyser: FaceAnalyser,
    recogniser: RecogniserOptions,
) -> dict[str, Any]:
    """Likeness to the person's real held-out frames, as one recogniser sees it.

    The ceiling is what real frames of the person score against the mean of the others.
    """
    session = create_session(recogniser.path, recogniser.name)
    matrices = numpy.stack([crop.matrix_to(analyser, recogniser) for crop in pairs.crops])

    def embed(pictures: NDArray[Any]) -> NDArray[numpy.float32]:
        crops = warp_crops(pictures.astype(numpy.float32), matrices, recogniser.size)
        return embed_crops(session, recogniser, crops)

    real = embed(pairs.truths)
    centroid = create_centroid(real)
    first = measure_similarity(embed(before), centroid)
    second = measure_similarity(embed(after), centroid)
    ceiling = [
        float(
            measure_similarity(real[i : i + 1], create_centroid(numpy.delete(real, i, axis=0)))[0]
        )
        for i in range(len(real))
        if len(real) > 1
    ]
    return {
        "recogniser": recogniser.name,
        "before": round(float(first.mean()), 5),
        "after": round(float(second.mean()), 5),
        "ceiling": round(float(numpy.mean(ceiling)), 5) if ceiling else None,
        "change": bootstrap_mean(second - first, pairs.blocks).as_dict(),
    }


def decide(l1: dict[str, Any], judge: dict[str, Any] | None) -> tuple[str, str]:
    """The verdict and its sentence.

    `better` needs one of the two outcomes (distance to the real frame, judge's likeness) to lie on
    the winning side with its whole interval and the other one not to lie on the losing side.

    Returns:
        `better`, `worse` or `no difference`, and a sentence for people.
    """
    closer = l1["change"]["high"] < 0
    farther = l1["change"]["low"] > 0
    likelier = judge is not None and judge["change"]["low"] > 0
    unlikelier = judge is not None and judge["change"]["high"] < 0
    figures = f"{l1['before']:.2f} before, {l1['after']:.2f} after"
    if farther or unlikelier:
        return "worse", f"The tuned model is worse on held-out footage (distance: {figures})."
    if closer or likelier:
        return "better", f"The tuned model is better on held-out footage (distance: {figures})."
    return (
        "no difference",
        f"On held-out footage no difference can be shown (distance: {figures}).",
    )
