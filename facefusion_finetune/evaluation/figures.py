"""The figures of a report: their titles, and the comparison of two models."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from facefusion_finetune.evaluation.intervals import Block, Interval, bootstrap_mean
from facefusion_finetune.evaluation.report import Better, Change, PairScores, ReportedFigure

Values = NDArray[numpy.float64]


@dataclass(frozen=True)
class Kind:
    """Title, unit and meaning of a figure."""

    title: str
    group: str
    unit: str
    better: Better
    explanation: str


KINDS: dict[str, Kind] = {
    "judge_targets": Kind(
        "Likeness of swaps onto others, according to the judge",
        "outcomes",
        "cosine",
        "more",
        "Cosine of the swap to the mean embedding of the person's real held-out frames.",
    ),
    "face_l1": Kind(
        "Distance to the real photograph",
        "outcomes",
        "grey levels",
        "less",
        "Mean absolute difference inside the face, after swapping someone else onto a held-out"
        " frame and then the person back.",
    ),
    "own_targets": Kind(
        "Likeness of swaps onto others, according to the training recogniser",
        "identity",
        "cosine",
        "more",
        "The same for the recogniser that drives the swap, which the model may overfit to.",
    ),
    "recogniser_gap": Kind(
        "Training recogniser minus judge",
        "identity",
        "cosine",
        "same",
        "A growing gap means that the model has overfitted to its training recogniser.",
    ),
    "retrieval_margin": Kind(
        "Closer to the person than to the target's own face",
        "identity",
        "cosine",
        "more",
        "Cosine to the person minus cosine to the target's own face, according to the judge.",
    ),
    "judge_held_out": Kind(
        "Likeness on the person's own held-out frames, according to the judge",
        "identity",
        "cosine",
        "more",
        "On the frames used for the distance to the real photograph.",
    ),
    "ssim": Kind(
        "SSIM to the real photograph",
        "picture",
        "0 to 1",
        "more",
        "Structural similarity inside the face.",
    ),
    "lpips": Kind(
        "LPIPS to the real photograph",
        "picture",
        "distance",
        "less",
        "Perceptual distance inside the face (AlexNet).",
    ),
    "colour": Kind(
        "Colour difference to the real photograph",
        "picture",
        "delta E",
        "less",
        "Distance between the face's mean colours in CIELAB.",
    ),
    "pose": Kind(
        "Pose difference to the target",
        "pose and expression",
        "degrees",
        "less",
        "Difference in yaw and pitch.",
    ),
    "blink": Kind(
        "Eyelid difference to the target",
        "pose and expression",
        "eye widths",
        "less",
        "Difference in eye opening.",
    ),
    "mouth": Kind(
        "Mouth difference to the target",
        "pose and expression",
        "mouth widths",
        "less",
        "Difference in mouth opening.",
    ),
    "gaze": Kind(
        "Gaze difference to the target",
        "pose and expression",
        "eye widths",
        "less",
        "Difference in iris position.",
    ),
    "lost_faces": Kind(
        "Frames in which no face is found",
        "pose and expression",
        "share",
        "less",
        "After pasting the swap back.",
    ),
    "others_identity": Kind(
        "Other people swapped in: likeness to themselves",
        "other people",
        "cosine",
        "more",
        "The tuned model driven by other people, according to the training recogniser.",
    ),
    "others_towards_person": Kind(
        "Other people swapped in: likeness to the person",
        "other people",
        "cosine",
        "less",
        "Others must not become more similar to the person: cosine to the person, minus the mean"
        " cosine to the people in other clips.",
    ),
    "others_drift": Kind(
        "Other people swapped in: distance to the base's swap",
        "other people",
        "grey levels",
        "same",
        "Difference between the tuned model and the base where nothing should change.",
    ),
    "others_l1": Kind(
        "Other people swapped in: distance to their true swap",
        "other people",
        "grey levels",
        "less",
        "Inside the face; known only in a synthetic world.",
    ),
    "flicker": Kind(
        "Flicker",
        "motion and paste",
        "grey levels",
        "less",
        "Change of the face from one frame to the next, beyond the target's own change.",
    ),
    "seam": Kind(
        "Paste seam",
        "motion and paste",
        "grey levels per pixel",
        "less",
        "Edges along the paste mask's border.",
    ),
    "needs_fix": Kind(
        "Frames that need a fix",
        "motion and paste",
        "share",
        "less",
        "Frames worse than 90% of the base's in seam, pose, eyelids, mouth or likeness.",
    ),
    "segments": Kind(
        "Stretches that need a fix",
        "motion and paste",
        "stretches per clip",
        "less",
        "Contiguous stretches of frames that need a fix.",
    ),
    "memorisation": Kind(
        "Gain on training frames minus gain on held-out frames",
        "memory",
        "grey levels",
        "same",
        "Far below 0: the model has memorised its training frames.",
    ),
    "true_swap": Kind(
        "Distance to the true swap on other people",
        "true swap",
        "grey levels",
        "less",
        "Inside the face; known only in a synthetic world.",
    ),
}
"""Every figure, in the order of the report."""


@dataclass(frozen=True)
class Figure:
    """One metric of base and tuned model on the same frames."""

    key: str
    before: float | None
    after: float | None
    change: Interval
    pairs: int
    blocks: int
    ceiling: float | None = None
    """Score of the person's real frames."""
    scores: tuple[Values, Values] | None = None
    """Scores before and after, (n,) each."""
    places: tuple[Block, ...] = ()
    """(n,): block of each pair."""

    def list_pairs(self, ids: Sequence[str]) -> PairScores:
        """The pairwise scores; `ids` names the pairs."""
        assert self.scores is not None
        before, after = self.scores
        return PairScores(
            ids=tuple(ids),
            clips=tuple(place.clip for place in self.places),
            parts=tuple(place.part for place in self.places),
            before=tuple(_round(value) for value in before),
            after=tuple(_round(value) for value in after),
        )

    def as_reported(self) -> ReportedFigure:
        """The figure as stored in a report."""
        kind, change = KINDS[self.key], self.change
        return ReportedFigure(
            title=kind.title,
            group=kind.group,
            order=list(KINDS).index(self.key),
            unit=kind.unit,
            better=kind.better,
            explanation=kind.explanation,
            before=_round(self.before),
            after=_round(self.after),
            change=Change(
                mean=_round(change.mean), low=_round(change.low), high=_round(change.high)
            ),
            ceiling=_round(self.ceiling),
            pairs=self.pairs,
            blocks=self.blocks,
        )


def compare(
    key: str,
    scores: Iterable[Values],
    blocks: Sequence[Block],
    ceiling: float | None = None,
) -> Figure:
    """Compare two models pair by pair.

    Args:
        key: One of `KINDS`.
        scores: Scores of the base and of the tuned model, (n,) each; pairs with a NaN are left out.
        blocks: (n,), block of each pair.
        ceiling: Score of the person's real frames.
    """
    before, after = scores
    known = numpy.isfinite(before) & numpy.isfinite(after)
    kept = [block for block, use in zip(blocks, known, strict=True) if use]
    return Figure(
        key,
        float(before[known].mean()) if known.any() else None,
        float(after[known].mean()) if known.any() else None,
        bootstrap_mean(after[known] - before[known], kept),
        int(known.sum()),
        len(set(kept)),
        ceiling,
        (before, after),
        tuple(blocks),
    )


def _round(value: float | None) -> float | None:
    """Round to five digits; None for NaN and infinity."""
    return None if value is None or not numpy.isfinite(value) else round(float(value), 5)
