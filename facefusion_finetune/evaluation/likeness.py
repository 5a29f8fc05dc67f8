"""Figures that recognisers give: is it the person, and are others still themselves."""

from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from facefusion_finetune.dataset.crops import AlignedCrop
from facefusion_finetune.evaluation.figures import Figure, compare
from facefusion_finetune.evaluation.intervals import Block
from facefusion_finetune.evaluation.judges import Judge, check_can_tell
from facefusion_finetune.evaluation.material import Material, Swaps, name_blocks
from facefusion_finetune.evaluation.metrics import warp_crops
from facefusion_finetune.faces.protocol import FaceGeometry
from facefusion_finetune.faces.vectors import create_centroid, leave_one_out, measure_similarity


@dataclass(frozen=True)
class Likeness:
    """What the recognisers say."""

    figures: list[Figure]
    fault: str | None
    """Why the judge's figures prove nothing, if so."""
    judge_targets: tuple[NDArray[numpy.float64], NDArray[numpy.float64]] | None
    """(targets,) each: the judge's likeness before and after."""


class _View:
    """One recogniser's vectors of everything, each picture looked at once."""

    def __init__(
        self, judge: Judge, material: Material, before: Swaps, after: Swaps, analyser: FaceGeometry
    ) -> None:
        self._judge = judge
        self._analyser = analyser
        pairs = material.held_out
        self.real = self._embed(pairs.crops, pairs.truths)
        self.clips = [crop.record.shot for crop in pairs.crops]
        self.centroid = create_centroid(self.real)
        self.owners = self._embed(
            material.targets, numpy.stack([target.crop for target in material.targets])
        )
        both = (before, after)
        self.held_out = [self._embed(pairs.crops, swaps.held_out) for swaps in both]
        self.targets = [self._embed(material.targets, swaps.targets) for swaps in both]
        rows = [material.targets[row] for row in material.rows[:, 0]]
        self.others = [
            self._embed(rows, swaps.others) for swaps in both if swaps.others is not None
        ]

    def _embed(self, crops: list[AlignedCrop], pictures: NDArray[Any]) -> NDArray[numpy.float32]:
        options = self._judge.options
        matrices = numpy.stack([crop.matrix_to(self._analyser, options) for crop in crops])
        return self._judge.embed(warp_crops(pictures, matrices, options.size))

    def compare_to_person(self, vectors: NDArray[numpy.float32]) -> NDArray[numpy.float64]:
        return measure_similarity(vectors, self.centroid)

    def find_ceiling(self) -> float | None:
        """What real held-out frames of the person score against the mean of the others."""
        if len(self.real) < 2:
            return None
        return float(leave_one_out(self.real, self.clips).mean())


def measure_likeness(
    material: Material,
    before: Swaps,
    after: Swaps,
    recogniser: Judge,
    judge: Judge | None,
    analyser: FaceGeometry,
) -> Likeness:
    """Let both recognisers look.

    Args:
        material: What was run on.
        before: The base's swaps.
        after: The tuned model's swaps.
        recogniser: The training recogniser.
        judge: Trained independently of it; None where there is none.
        analyser: Aligns.
    """
    own = _View(recogniser, material, before, after, analyser)
    sharp = _View(judge, material, before, after, analyser) if judge else None
    blocks = name_blocks([target.record for target in material.targets])
    own_scores = [own.compare_to_person(vectors) for vectors in own.targets]
    figures = [compare("own_targets", own_scores, blocks, own.find_ceiling())]
    fault, scores = None, None
    if sharp is not None:
        scores = [sharp.compare_to_person(vectors) for vectors in sharp.targets]
        kept = [measure_similarity(vectors, _unit(sharp.owners)) for vectors in sharp.targets]
        held_out = [sharp.compare_to_person(vectors) for vectors in sharp.held_out]
        ceiling = sharp.find_ceiling()
        figures += [
            compare("judge_targets", scores, blocks, ceiling),
            compare("recogniser_gap", _subtract(own_scores, scores), blocks),
            compare("retrieval_margin", _subtract(scores, kept), blocks),
            compare("judge_held_out", held_out, material.held_out.blocks, ceiling),
        ]
        fault = check_can_tell(sharp.real, sharp.owners, sharp.clips)
    figures += _measure_others(material, own, sharp or own, blocks)
    return Likeness(figures, fault, (scores[0], scores[1]) if scores else None)


def _measure_others(
    material: Material, own: _View, sharp: _View, blocks: list[Block]
) -> list[Figure]:
    if not own.others:
        return []
    at = [blocks[row] for row in material.rows[:, 0]]
    scores = [sharp.compare_to_person(vectors) for vectors in sharp.others]
    if material.are_people:
        # A sharper picture is more like every real face; only what goes to the person alone counts.
        anybody = _compare_to_anybody(material, sharp, blocks)
        scores = _subtract(scores, anybody)
    figures = [compare("others_towards_person", scores, at)]
    if material.other_vectors is not None:
        wanted = _unit(material.other_vectors[material.rows[:, 1]])
        scores = [measure_similarity(vectors, wanted) for vectors in own.others]
        figures.insert(0, compare("others_identity", scores, at))
    return figures


def _compare_to_anybody(
    material: Material, view: _View, blocks: list[Block]
) -> list[NDArray[numpy.float64]]:
    """(m,) before and after: mean cosine of swaps of others to real faces of other clips."""
    owners = _unit(view.owners)
    clips = numpy.array([block.clip for block in blocks])
    foreign = clips[material.rows[:, 0]][:, None] != clips[None]
    shares = foreign / numpy.maximum(foreign.sum(axis=1, keepdims=True), 1)
    return [((_unit(vectors) @ owners.T) * shares).sum(axis=1) for vectors in view.others]


def _subtract(
    first: list[NDArray[numpy.float64]], second: list[NDArray[numpy.float64]]
) -> list[NDArray[numpy.float64]]:
    return [one - other for one, other in zip(first, second, strict=True)]


def _unit(vectors: NDArray[Any]) -> NDArray[numpy.float64]:
    lengths = numpy.maximum(numpy.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return numpy.asarray(vectors / lengths, dtype=numpy.float64)
