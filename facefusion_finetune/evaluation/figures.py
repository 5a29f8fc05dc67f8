"""The figures of a report: what each is called, and how two models are compared on it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from facefusion_finetune.evaluation.intervals import Block, Interval, bootstrap_mean
from facefusion_finetune.evaluation.report import Better, Change, PairScores, ReportedFigure

Values = NDArray[numpy.float64]


@dataclass(frozen=True)
class Kind:
    """What a figure says."""

    title: str
    group: str
    unit: str
    better: Better
    explanation: str


KINDS: dict[str, Kind] = {
    "judge_targets": Kind(
        "Likeness of swaps onto others, by the judge",
        "outcomes",
        "cosine",
        "more",
        "Cosine of the swap to the mean of the person's real held-out frames.",
    ),
    "face_l1": Kind(
        "Distance to the real photograph",
        "outcomes",
        "grey levels",
        "less",
        "Mean absolute difference inside the face, after somebody else was swapped onto a held-out"
        " frame and the person back.",
    ),
    "own_targets": Kind(
        "Likeness of swaps onto others, by the training recogniser",
        "identity",
        "cosine",
        "more",
        "As the judge's, by the recogniser that drives the swap and may be fooled.",
    ),
    "recogniser_gap": Kind(
        "Training recogniser minus judge",
        "identity",
        "cosine",
        "same",
        "A growing gap means that the model learnt to please its own recogniser.",
    ),
    "retrieval_margin": Kind(
        "Nearer to the person than to the target's own face",
        "identity",
        "cosine",
        "more",
        "Cosine to the person minus cosine to whoever is really in the frame, by the judge.",
    ),
    "judge_held_out": Kind(
        "Likeness on the person's own held-out frames, by the judge",
        "identity",
        "cosine",
        "more",
        "Of the frames that the distance is measured on.",
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
        "Colour against the real photograph",
        "picture",
        "delta E",
        "less",
        "Distance of the face's mean colours in CIELAB.",
    ),
    "pose": Kind(
        "Pose against the target",
        "pose and expression",
        "degrees",
        "less",
        "Difference of yaw and pitch.",
    ),
    "blink": Kind(
        "Eyelids against the target",
        "pose and expression",
        "eye widths",
        "less",
        "Difference of how far the eyes are open.",
    ),
    "mouth": Kind(
        "Mouth against the target",
        "pose and expression",
        "mouth widths",
        "less",
        "Difference of how far the mouth is open.",
    ),
    "gaze": Kind(
        "Gaze against the target",
        "pose and expression",
        "eye widths",
        "less",
        "Difference of where the irises are.",
    ),
    "lost_faces": Kind(
        "Frames in which no face is found",
        "pose and expression",
        "share",
        "less",
        "After the swap was pasted back.",
    ),
    "others_identity": Kind(
        "Other people swapped in: likeness to themselves",
        "other people",
        "cosine",
        "more",
        "By the training recogniser: what the tuned model does when it is driven by others.",
    ),
    "others_towards_person": Kind(
        "Other people swapped in: likeness to the person",
        "other people",
        "cosine",
        "less",
        "Others must not start to look like the person: cosine to the person, less the mean cosine"
        " to the people of other clips.",
    ),
    "others_drift": Kind(
        "Other people swapped in: distance to the base's swap",
        "other people",
        "grey levels",
        "same",
        "How far the tuned model leaves the base where nothing should change.",
    ),
    "others_l1": Kind(
        "Other people swapped in: distance to their true swap",
        "other people",
        "grey levels",
        "less",
        "Inside the face; known in a drawn world only.",
    ),
    "flicker": Kind(
        "Flicker",
        "motion and paste",
        "grey levels",
        "less",
        "How differently from the target the face changes from one frame to the next.",
    ),
    "seam": Kind(
        "Seam of the paste",
        "motion and paste",
        "grey levels a pixel",
        "less",
        "Edges where the swap is blended into the frame.",
    ),
    "needs_fix": Kind(
        "Frames that need a fix",
        "motion and paste",
        "share",
        "less",
        "Frames worse than nine in ten of the base's in seam, pose, eyelids, mouth or likeness.",
    ),
    "segments": Kind(
        "Clips with a stretch that needs a fix",
        "motion and paste",
        "stretches a clip",
        "less",
        "Unbroken stretches of such frames.",
    ),
    "memorisation": Kind(
        "Gain on training frames minus gain on held-out frames",
        "memory",
        "grey levels",
        "same",
        "Far below 0: the model learnt its training frames by heart.",
    ),
    "true_swap": Kind(
        "Distance to the true swap on other people",
        "true swap",
        "grey levels",
        "less",
        "Inside the face; known in a drawn world only.",
    ),
}
"""Every figure, in the order of the report."""


@dataclass(frozen=True)
class Figure:
    """One measure of base and tuned model on the same frames."""

    key: str
    before: float | None
    after: float | None
    change: Interval
    pairs: int
    blocks: int
    ceiling: float | None = None
    """What the person's real frames score."""
    scores: tuple[Values, Values] | None = None
    """(n,) each, before and after, pair by pair."""
    places: tuple[Block, ...] = ()
    """(n,): what each pair was taken with."""

    def list_pairs(self, ids: Sequence[str]) -> PairScores:
        """The scores pair by pair; `ids` names the pairs."""
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
        """What a report says of it."""
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
        scores: (n,) of the base and (n,) of the tuned model; pairs of which one is not a number are
            left out.
        blocks: (n,), what each pair was taken with.
        ceiling: What the person's real frames score.
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
    """To five digits; None for what is not a number."""
    return None if value is None or not numpy.isfinite(value) else round(float(value), 5)
