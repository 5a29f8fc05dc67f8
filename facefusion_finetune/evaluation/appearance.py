"""Figures measured on the pictures themselves: distances, pose, expression, flicker, seams."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from facefusion_finetune.dataset.crops import AlignedCrop
from facefusion_finetune.evaluation import metrics
from facefusion_finetune.evaluation.figures import Figure, compare
from facefusion_finetune.evaluation.intervals import (
    Block,
    bootstrap_difference,
    bootstrap_mean,
)
from facefusion_finetune.evaluation.material import Material, Pairs, Swaps, name_blocks
from facefusion_finetune.evaluation.targets import find_followers
from facefusion_finetune.faces.protocol import FaceAnalyser, FaceAttributes, VisionFrame
from facefusion_finetune.runs.crops import spread
from facefusion_finetune.swappers.catalogue import SwapperOptions

ATTRIBUTES = ("pose", "blink", "mouth", "gaze")
DIFFERENCES = 7
"""Number of differences that `compare_attributes` returns."""

Values = NDArray[numpy.float64]


def compare_attributes(seen: FaceAttributes, expected: FaceAttributes) -> list[float]:
    """Signed differences of yaw and pitch, both eyelids, mouth, and gaze to the right and down."""
    lids = numpy.subtract(seen.eye_opening, expected.eye_opening)
    gaze = numpy.subtract(seen.gaze, expected.gaze)
    return [
        *(seen.yaw - expected.yaw, seen.pitch - expected.pitch),
        *(float(lid) for lid in lids),
        seen.mouth_opening - expected.mouth_opening,
        *(float(part) for part in gaze),
    ]


def join_differences(differences: Values) -> dict[str, Values]:
    """From (n, 7) differences to (n,) errors, in degrees, eye, mouth and eye widths."""
    yaw, pitch, left, right, mouth, across, down = numpy.abs(differences.T)
    return {
        "pose": numpy.hypot(yaw, pitch),
        "blink": (left + right) / 2,
        "mouth": mouth,
        "gaze": numpy.hypot(across, down),
    }


MAX_READ = 20
"""Maximum number of frames of each kind to measure attributes on, as detection is slow."""

MIN_READ_SHARE = 0.5
"""Minimum share of frames with measurable attributes for a figure."""

FIX_PERCENTILE = 90.0
"""Percentile of the base's scores above which a frame needs a fix."""

Missing = dict[str, str]
"""Reason for each figure that was not measured."""


def measure_held_out(pairs: Pairs, before: Any, after: Any) -> tuple[list[Figure], Missing]:
    """Distances to the real frames; `before` and `after` are (n, H, W, 3) swaps of both models."""
    scores: dict[str, Callable[[Any, Any, Any], Values]] = {
        "face_l1": metrics.measure_face_l1,
        "ssim": metrics.measure_ssim,
        "colour": metrics.measure_colour,
    }
    missing: Missing = {}
    if metrics.find_lpips_weights() is not None:
        scores["lpips"] = metrics.measure_lpips
    else:
        missing["lpips"] = (
            f"AlexNet's weights ({metrics.LPIPS_NETWORK}) are not in torch's cache, and are not"
            " downloaded."
        )
    truths, faces, blocks = pairs.truths, pairs.faces, pairs.blocks
    figures = [
        compare(key, [score(swaps, truths, faces) for swaps in (before, after)], blocks)
        for key, score in scores.items()
    ]
    return figures, missing


def measure_memorisation(material: Material, before: Swaps, after: Swaps) -> Figure:
    """Difference between the gain on training frames and the gain on held-out frames."""
    gains = []
    for pairs, first, second in (
        (material.trained, before.trained, after.trained),
        (material.held_out, before.held_out, after.held_out),
    ):
        scores = [
            metrics.measure_face_l1(swaps, pairs.truths, pairs.faces) for swaps in (first, second)
        ]
        gains.append((scores[1] - scores[0], pairs.blocks))
    (trained, trained_blocks), (held_out, blocks) = gains
    return Figure(
        "memorisation",
        None,
        None,
        bootstrap_difference(trained, trained_blocks, held_out, blocks),
        len(trained) + len(held_out),
        len(set(trained_blocks)) + len(set(blocks)),
    )


def measure_others(material: Material, before: Swaps, after: Swaps) -> list[Figure]:
    """Figures of the swaps of other people."""
    if before.others is None or after.others is None:
        return []
    rows = material.rows[:, 0]
    faces = numpy.stack([target.face for target in material.targets])
    blocks = name_blocks([target.record for target in material.targets])
    at = [blocks[row] for row in rows]
    drift = metrics.measure_face_l1(after.others, before.others, faces[rows])
    interval = bootstrap_mean(drift, at)
    figures = [Figure("others_drift", None, None, interval, len(drift), len(set(at)))]
    if material.truths is not None:
        truths = material.truths
        scores = [
            metrics.measure_face_l1(swaps, truths.others, faces[rows])
            for swaps in (before.others, after.others)
        ]
        figures.append(compare("others_l1", scores, at))
        scores = [
            metrics.measure_face_l1(swaps, truths.person, faces)
            for swaps in (before.targets, after.targets)
        ]
        figures.append(compare("true_swap", scores, blocks))
    return figures


@dataclass(frozen=True)
class _Reading:
    """Attribute errors and seams of one model."""

    errors: dict[str, Values]
    seams: Values


class AppearanceOnTargets:
    """Measures pose, expression, seams and flicker on held-out frames and on targets."""

    def __init__(self, material: Material, analyser: FaceAnalyser, options: SwapperOptions) -> None:
        self._material = material
        self._analyser = analyser
        self._options = options
        self._masks = numpy.stack(
            [analyser.create_paste_mask(target.crop) for target in material.targets]
        )

    def measure(
        self, before: Swaps, after: Swaps, likeness: tuple[Values, Values] | None
    ) -> tuple[list[Figure], Missing]:
        """Measure all figures of this kind.

        Args:
            before: The base's swaps.
            after: The tuned model's swaps.
            likeness: The judge's likeness before and after, (targets,) each.
        """
        material = self._material
        targets = material.targets
        blocks = name_blocks([target.record for target in targets])
        figures: list[Figure] = []
        missing: Missing = {}
        readings = [self._read(swaps) for swaps in (before, after)]
        pairs, pair_blocks = material.held_out, material.held_out.blocks
        rows = self._pick(len(pairs.crops))
        places = [pair_blocks[row] for row in rows]
        if material.are_people:
            places += [blocks[row] for row in self._pick(len(targets))]
        for key in ATTRIBUTES:
            first, second = (reading.errors[key] for reading in readings)
            known = numpy.isfinite(first) & numpy.isfinite(second)
            if known.mean() < MIN_READ_SHARE:
                missing[key] = (
                    f"it could be measured on only {int(known.sum())} of {len(known)} frames; in"
                    " the others, no face was found, or the eyes were closed."
                )
            else:
                figures.append(compare(key, [first, second], places))
        lost = [numpy.isnan(reading.errors["pose"]).astype(float) for reading in readings]
        figures.append(compare("lost_faces", lost, places))
        figures.append(compare("seam", [reading.seams for reading in readings], blocks))
        figures += self._compare_flicker(before, after, blocks, missing)
        figures += self._count_fixes(readings, likeness, blocks)
        return figures, missing

    def _read(self, swaps: Swaps) -> _Reading:
        material = self._material
        pairs, targets = material.held_out, material.targets
        held_out = []
        for row in self._pick(len(pairs.crops)):
            crop = pairs.crops[row]
            frame = crop.paste(swaps.held_out[row], self._analyser, pairs.cutouts[row])
            held_out.append(self._compare_frames(crop, frame, crop.cutout))
        table = numpy.array(held_out, dtype=numpy.float64)
        pasted = [
            target.paste(swap, self._analyser)
            for target, swap in zip(targets, swaps.targets, strict=True)
        ]
        if material.are_people:
            shown = numpy.array(
                [
                    self._compare_frames(targets[row], pasted[row], targets[row].cutout)
                    for row in self._pick(len(targets))
                ]
            )
            # On a different face, the same pose is measured with an offset due to the face's shape
            # (a longer nose looks like a different pitch). The offset is not an error and is
            # removed. A model that tilts all heads is found on held-out frames, which have none.
            known = numpy.isfinite(shown)
            shift = numpy.where(known, shown, 0).sum(axis=0) / numpy.maximum(known.sum(axis=0), 1)
            table = numpy.concatenate([table, shown - shift])
        crops = [
            target.crop_again(frame, self._analyser, self._options)
            for target, frame in zip(targets, pasted, strict=True)
        ]
        seams = metrics.measure_seam(
            numpy.stack(crops), numpy.stack([target.crop for target in targets]), self._masks
        )
        return _Reading(join_differences(table), seams)

    def _compare_frames(
        self, crop: AlignedCrop, frame: VisionFrame, reference: VisionFrame
    ) -> list[float]:
        points = crop.record.landmarks_in_cutout()
        seen = [
            self._analyser.measure_attributes(picture, points) for picture in (frame, reference)
        ]
        if seen[0] is None or seen[1] is None:
            return [float("nan")] * DIFFERENCES
        return compare_attributes(seen[0], seen[1])

    def _pick(self, count: int) -> list[int]:
        return spread(list(range(count)), MAX_READ)

    def _compare_flicker(
        self, before: Swaps, after: Swaps, blocks: list[Block], missing: Missing
    ) -> list[Figure]:
        targets = self._material.targets
        followers = find_followers([target.record for target in targets])
        if not self._material.are_people or not len(followers):
            missing["flicker"] = (
                "the targets (--targets) have no consecutive frames of other people."
            )
            return []
        crops = numpy.stack([target.crop for target in targets])
        faces = numpy.stack([target.face for target in targets])
        scores = [
            metrics.measure_flicker(swaps.targets, crops, faces, followers)
            for swaps in (before, after)
        ]
        return [compare("flicker", scores, [blocks[row] for row in followers[:, 0]])]

    def _count_fixes(
        self,
        readings: list[_Reading],
        likeness: tuple[Values, Values] | None,
        blocks: list[Block],
    ) -> list[Figure]:
        """Frames and stretches of the targets that exceed limits set by the base's scores."""
        rows = self._pick(len(self._material.targets))
        scores: list[list[Values]] = [[reading.seams[rows] for reading in readings]]
        if likeness is not None:
            scores.append([-likeness[0][rows], -likeness[1][rows]])
        if self._material.are_people:
            start = -len(rows)
            scores += [
                [reading.errors[key][start:] for reading in readings]
                for key in ("pose", "blink", "mouth")
            ]
        flags = [numpy.zeros(len(rows), dtype=bool), numpy.zeros(len(rows), dtype=bool)]
        for pair in scores:
            known = pair[0][numpy.isfinite(pair[0])]
            if not len(known):
                continue
            limit = float(numpy.percentile(known, FIX_PERCENTILE))
            # a frame in which no face is found also needs a fix
            flags = [flag | ~(values <= limit) for flag, values in zip(flags, pair, strict=True)]
        at = [blocks[row] for row in rows]
        shares = [flag.astype(numpy.float64) for flag in flags]
        clips = sorted({block.clip for block in at})
        stretches = [
            numpy.array(
                [_count_stretches(flag[[block.clip == clip for block in at]]) for clip in clips]
            )
            for flag in flags
        ]
        return [
            compare("needs_fix", shares, at),
            compare("segments", stretches, [Block(clip, "") for clip in clips]),
        ]


def _count_stretches(flags: NDArray[numpy.bool_]) -> float:
    """Number of contiguous stretches of flagged frames."""
    return float((numpy.diff(flags.astype(int), prepend=0) == 1).sum())
