"""Builds pairs from crops in the preset's mix; every picture is stored once."""

from collections.abc import Callable
from typing import Any

import numpy
from numpy.typing import NDArray

from facefusion_finetune.dataset.crops import AlignedCrop
from facefusion_finetune.faces.protocol import FaceAnalyser
from facefusion_finetune.presets.preset import Preset
from facefusion_finetune.runs.base_swapper import BaseSwapper
from facefusion_finetune.runs.sources import SourceTable
from facefusion_finetune.training.pairs.cycle import create_checked_inputs, find_no_leaks
from facefusion_finetune.training.pairs.degrade import choose_degraded, degrade_picture
from facefusion_finetune.training.pairs.leakage import LeakageCheck
from facefusion_finetune.training.pairs.pair_set import CROSS, CYCLE, PRIOR, SELF, PairSet

Rows = NDArray[numpy.int64]

SWAP_BATCH = 64
"""Swaps kept at full size and precision at a time, before they are rounded or pooled."""

ANCHOR_POOL = 8
"""Kernel size of the anchors' average pooling, in pixels."""


class PairBuilder:
    """Collects pairs; the first pictures are the crops themselves."""

    def __init__(
        self, crops: list[AlignedCrop], analyser: FaceAnalyser, sources: NDArray[Any]
    ) -> None:
        """Start without pairs.

        Args:
            crops: The crops to build pairs from.
            analyser: Aligns faces, also to its recogniser's crops.
            sources: (m, ...), the sources that can drive a pair.
        """
        recogniser = analyser.get_recogniser()
        matrices = [crop.matrix_to(analyser, recogniser) for crop in crops]
        self.matrix = numpy.stack(matrices).astype(numpy.float32)
        """(crops, 2, 3), from crop pixels to the recogniser's crop pixels."""
        self._face = _to_bytes([crop.face for crop in crops])
        self._features = _to_bytes([crop.features for crop in crops])
        self._sources = sources
        self._pictures = [numpy.stack([crop.crop for crop in crops])]
        self._parts: list[dict[str, Rows]] = []
        height, width = self._pictures[0].shape[1:3]
        self.prior_truths = numpy.empty((0, 3, height, width), dtype=numpy.float16)
        """As `PairSet.prior_truths`."""
        self.anchors = pool_anchors(self.prior_truths)
        """As `PairSet.anchors`."""

    def add_pictures(self, pictures: NDArray[numpy.uint8]) -> Rows:
        """Add (k, H, W, 3) pictures, BGR; returns their rows."""
        first = sum(map(len, self._pictures))
        self._pictures.append(pictures)
        return numpy.arange(first, first + len(pictures))

    def get_pictures(self, rows: Rows) -> NDArray[numpy.uint8]:
        """The pictures at (k,) rows, (k, H, W, 3), BGR."""
        if len(self._pictures) > 1:
            self._pictures = [numpy.concatenate(self._pictures)]
        return self._pictures[0][rows]

    def swap(
        self,
        base: BaseSwapper,
        rows: Rows,
        source: Rows,
        reduce: Callable[[NDArray[Any]], NDArray[Any]],
    ) -> NDArray[Any]:
        """Swap pictures with the base.

        Args:
            base: The frozen base.
            rows: (k,), rows of the pictures.
            source: (k,), the source of each.
            reduce: Converts (j, 3, H, W) swaps, RGB, 0 to 1, to the form that is stored.
        """
        parts = []
        for start in range(0, len(rows), SWAP_BATCH):
            part = slice(start, start + SWAP_BATCH)
            swaps = base.swap(self.get_pictures(rows[part]), self._sources[source[part]])
            parts.append(reduce(swaps.clip(0, 1)))
        return numpy.concatenate(parts)

    def add(
        self, kind: int, crop: Rows, target: Rows, source: Rows, goal: Rows, is_picture: bool
    ) -> None:
        """Add k pairs of one kind.

        Args:
            kind: Index of the kind.
            crop: (k,), the crop each pair is built from.
            target: (k,), row of the input picture.
            source: (k,), row of the source.
            goal: (k,), row of the goal; see `PairSet.goal`.
            is_picture: Whether `goal` is a row of the pictures.
        """
        columns = {"crop": crop, "target": target, "source": source, "goal": goal}
        columns["kind"] = numpy.full(len(crop), kind)
        columns["is_picture"] = numpy.full(len(crop), is_picture, dtype=numpy.int64)
        self._parts.append(columns)

    def build(self, degraded: float, generator: numpy.random.Generator) -> dict[str, Any]:
        """The arrays of a `PairSet`.

        Args:
            degraded: Share of each kind's inputs that are degraded; the goals are not.
            generator: Draws the degraded inputs.
        """
        columns: dict[str, NDArray[Any]] = {
            name: numpy.concatenate([part[name] for part in self._parts]) for name in self._parts[0]
        }
        target, kind = columns["target"], columns["kind"]
        is_picture = columns.pop("is_picture") == 1
        for each in numpy.unique(kind):
            of_kind = numpy.flatnonzero(kind == each)
            chosen = of_kind[choose_degraded(len(of_kind), degraded, generator)]
            if len(chosen):
                clean = self.get_pictures(target[chosen])
                copies = [degrade_picture(picture, generator) for picture in clean]
                target[chosen] = self.add_pictures(numpy.stack(copies))
        # A picture that is used only as a degraded copy is dropped.
        referenced = numpy.concatenate([target, columns["goal"][is_picture]])
        used, places = numpy.unique(referenced, return_inverse=True)
        columns["target"] = places[: len(target)]
        columns["goal"][is_picture] = places[len(target) :]
        return {
            **columns,
            "pictures": self.get_pictures(used),
            "sources": self._sources,
            "face": self._face,
            "features": self._features,
            "matrix": self.matrix,
            "prior_truths": self.prior_truths,
            "anchors": self.anchors,
        }


def pool_anchors(swaps: NDArray[Any]) -> NDArray[numpy.float32]:
    """Average-pool (n, 3, H, W) to (n, 3, H // 8, W // 8); a remainder at the border is cropped."""
    height, width = (side // ANCHOR_POOL for side in swaps.shape[2:])
    cut = swaps[..., : height * ANCHOR_POOL, : width * ANCHOR_POOL]
    squares = cut.reshape(len(cut), 3, height, ANCHOR_POOL, width, ANCHOR_POOL)
    return numpy.asarray(squares.mean(axis=(3, 5)), dtype=numpy.float32)


def _to_half(swaps: NDArray[Any]) -> NDArray[numpy.float16]:
    return swaps.astype(numpy.float16)


def _to_bytes(masks: list[NDArray[numpy.float32]]) -> NDArray[numpy.uint8]:
    return (numpy.stack(masks) * 255).round().astype(numpy.uint8)


def create_pairs(
    crops: list[AlignedCrop],
    sources: SourceTable,
    base: BaseSwapper,
    analyser: FaceAnalyser,
    preset: Preset,
    generator: numpy.random.Generator,
    progress: Callable[[int, int], None] = lambda done, total: None,
    others: list[AlignedCrop] | None = None,
    centroid: NDArray[numpy.float64] | None = None,
    on_note: Callable[[str], None] = lambda text: None,
) -> PairSet:
    """Build all pairs of a preset.

    Args:
        crops: The training crops, at least two.
        sources: Sources of these crops, of P as deployed, and of others.
        base: The frozen base.
        analyser: Aligns, masks, pastes back, and has the training recogniser.
        preset: Has the kinds, the number of variants, and the share of degraded inputs.
        generator: Draws the sources and the degraded inputs.
        progress: Called with the number of completed rounds over the crops and the total.
        others: Other people's frames, for cross pairs and half of the prior pairs. If None, cycle
            inputs and P's own frames are used instead.
        centroid: (512,), direction of P's vectors; by default that of the deployed vector.
        on_note: Called with notes for the user.

    Raises:
        TrainingError: The base's swaps of others do not remove P from any frame.
    """
    count, mix = len(crops), preset.pairs
    builder = PairBuilder([*crops, *(others or [])], analyser, sources.stack())
    foreign = numpy.arange(count, count + len(others or []))
    crop, target = foreign, foreign
    inputs = None

    def draw_own(crop: Rows) -> Rows:
        # Half the deployed source, half that of another frame, but never that of the truth.
        other = (crop + generator.integers(1, count, len(crop))) % count
        return numpy.where(generator.random(len(crop)) < 0.5, 0, 1 + other)

    rounds = numpy.tile(numpy.arange(count), preset.variants)
    if mix.self:
        builder.add(SELF, rounds, rounds, draw_own(rounds), rounds, True)
    if mix.cycle or (mix.cross and not others):
        vector = sources.person.vector if centroid is None else centroid
        check = LeakageCheck(analyser, vector, builder.matrix)
        inputs = create_checked_inputs(
            crops,
            sources.others,
            base,
            analyser,
            preset.variants,
            check.find_leaks if mix.cycle else find_no_leaks,
            generator,
            progress,
        )
        swapped = builder.add_pictures(inputs.pictures)
        if mix.cycle:
            check.report(inputs, base.options.name, mix.self > 0, on_note)
            clean = numpy.flatnonzero(~inputs.leaks)
            frames = inputs.crop[clean]
            builder.add(CYCLE, frames, swapped[clean], draw_own(frames), frames, True)
        if not others:
            crop, target = inputs.crop, swapped
    else:
        progress(0, 1)
    if mix.cross:
        person = numpy.zeros_like(crop)
        builder.anchors = builder.swap(base, target, person, pool_anchors)
        builder.add(CROSS, crop, target, person, numpy.arange(len(crop)), False)
    if mix.prior:
        crop = rounds.copy()
        if others:
            # every second one, and the rest in the next round
            is_foreign = (rounds + numpy.arange(len(rounds)) // count) % 2 == 1
            crop[is_foreign] = numpy.resize(generator.permutation(foreign), is_foreign.sum())
        source = 1 + count + generator.integers(0, len(sources.others), len(crop))
        builder.prior_truths = builder.swap(base, crop, source, _to_half)
        builder.add(PRIOR, crop, crop, source, numpy.arange(len(crop)), False)
    return PairSet(
        **builder.build(preset.degraded, generator),
        drawn_again=inputs.drawn_again if inputs else 0,
        left_out=inputs.left_out if inputs else 0,
    )
