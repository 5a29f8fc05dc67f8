"""Figures measured with recognisers: likeness to the person, and other people's identity."""

from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from facefusion_finetune.dataset.crops import AlignedCrop
from facefusion_finetune.evaluation.figures import Figure, compare
from facefusion_finetune.evaluation.intervals import Block
from facefusion_finetune.evaluation.judges import LoadedRecogniser, check_discrimination
from facefusion_finetune.evaluation.material import Material, Swaps, name_blocks
from facefusion_finetune.evaluation.metrics import warp_crops
from facefusion_finetune.faces.protocol import FaceGeometry
from facefusion_finetune.faces.vectors import create_centroid, leave_one_out, measure_similarity


@dataclass(frozen=True)
class Likeness:
    """Results of the recognisers."""

    figures: list[Figure]
    fault: str | None
    """Why the judge's figures prove nothing; None if they do."""
    judge_targets: tuple[NDArray[numpy.float64], NDArray[numpy.float64]] | None
    """The judge's likeness before and after, (targets,) each."""


class _Embeddings:
    """One recogniser's embeddings of all pictures, each computed once."""

    def __init__(
        self,
        judge: LoadedRecogniser,
        material: Material,
        before: Swaps,
        after: Swaps,
        analyser: FaceGeometry,
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
        """Mean score of the person's real held-out frames against the centroid of the others."""
        if len(self.real) < 2:
            return None
        return float(leave_one_out(self.real, self.clips).mean())


def measure_likeness(
    material: Material,
    before: Swaps,
    after: Swaps,
    recogniser: LoadedRecogniser,
    judge: LoadedRecogniser | None,
    analyser: FaceGeometry,
) -> Likeness:
    """Measure the figures of both recognisers.

    Args:
        material: The material the models were run on.
        before: The base's swaps.
        after: The tuned model's swaps.
        recogniser: The training recogniser.
        judge: A recogniser trained independently of it; None if there is none.
        analyser: Aligns faces.
    """
    own = _Embeddings(recogniser, material, before, after, analyser)
    judged = _Embeddings(judge, material, before, after, analyser) if judge else None
    blocks = name_blocks([target.record for target in material.targets])
    own_scores = [own.compare_to_person(vectors) for vectors in own.targets]
    figures = [compare("own_targets", own_scores, blocks, own.find_ceiling())]
    fault, scores = None, None
    if judged is not None:
        scores = [judged.compare_to_person(vectors) for vectors in judged.targets]
        to_owners = [
            measure_similarity(vectors, _unit(judged.owners)) for vectors in judged.targets
        ]
        held_out = [judged.compare_to_person(vectors) for vectors in judged.held_out]
        ceiling = judged.find_ceiling()
        figures += [
            compare("judge_targets", scores, blocks, ceiling),
            compare("recogniser_gap", _subtract(own_scores, scores), blocks),
            compare("retrieval_margin", _subtract(scores, to_owners), blocks),
            compare("judge_held_out", held_out, material.held_out.blocks, ceiling),
        ]
        fault = check_discrimination(judged.real, judged.owners, judged.clips)
    figures += _measure_others(material, own, judged or own, blocks)
    return Likeness(figures, fault, (scores[0], scores[1]) if scores else None)


def _measure_others(
    material: Material, own: _Embeddings, judged: _Embeddings, blocks: list[Block]
) -> list[Figure]:
    if not own.others:
        return []
    at = [blocks[row] for row in material.rows[:, 0]]
    scores = [judged.compare_to_person(vectors) for vectors in judged.others]
    if material.are_people:
        # A sharper picture is more similar to every real face, so the general gain is subtracted.
        general = _compare_to_anyone(material, judged, blocks)
        scores = _subtract(scores, general)
    figures = [compare("others_towards_person", scores, at)]
    if material.other_vectors is not None:
        identities = _unit(material.other_vectors[material.rows[:, 1]])
        scores = [measure_similarity(vectors, identities) for vectors in own.others]
        figures.insert(0, compare("others_identity", scores, at))
    return figures


def _compare_to_anyone(
    material: Material, view: _Embeddings, blocks: list[Block]
) -> list[NDArray[numpy.float64]]:
    """Mean cosine of swaps of others to real faces in other clips, (m,) before and after."""
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
