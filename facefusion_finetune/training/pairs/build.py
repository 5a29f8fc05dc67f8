"""How pairs are made of crops, in the mix the preset names; every picture is kept once."""

from collections.abc import Callable
from typing import Any

import numpy
from numpy.typing import NDArray

from facefusion_finetune.dataset.crops import AlignedCrop
from facefusion_finetune.faces.protocol import FaceAnalyser
from facefusion_finetune.presets.preset import Preset
from facefusion_finetune.runs.base_swapper import BaseSwapper
from facefusion_finetune.runs.sources import SourceTable
from facefusion_finetune.training.pairs.cycle import create_checked_inputs, find_none
from facefusion_finetune.training.pairs.degrade import choose_degraded, degrade_picture
from facefusion_finetune.training.pairs.leakage import LeakageCheck
from facefusion_finetune.training.pairs.pair_set import CROSS, CYCLE, PRIOR, SELF, PairSet

Rows = NDArray[numpy.int64]

SWAP_PART = 64
"""Swaps that are held as the base makes them, in full, before they are rounded or pooled."""

ANCHOR_POOL = 8
"""Side of the squares that an anchor is the mean of, in pixels."""


class Draft:
    """A growing list of pairs, whose first pictures are the crops themselves."""

    def __init__(
        self, crops: list[AlignedCrop], analyser: FaceAnalyser, sources: NDArray[Any]
    ) -> None:
        """Begin without pairs.

        Args:
            crops: What pairs are made of.
            analyser: Aligns, and says how its recogniser's crops lie.
            sources: (m, ...), who may drive a pair.
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
        self.made: NDArray[numpy.float16] = numpy.empty((0, 3, height, width), dtype=numpy.float16)
        """As `PairSet.made`."""
        self.anchors = pool_anchors(self.made)
        """As `PairSet.anchors`."""

    def lay(self, pictures: NDArray[numpy.uint8]) -> Rows:
        """Keep (k, H, W, 3) further pictures, BGR; the rows they are found at."""
        first = sum(map(len, self._pictures))
        self._pictures.append(pictures)
        return numpy.arange(first, first + len(pictures))

    def gather(self, rows: Rows) -> NDArray[numpy.uint8]:
        """The pictures at (k,) rows: (k, H, W, 3), BGR."""
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
        """What the base makes of pictures.

        Args:
            base: The frozen base.
            rows: (k,), the pictures.
            source: (k,), who drives each.
            reduce: Takes (j, 3, H, W) swaps, RGB, 0 to 1, to what is kept of them.
        """
        parts = []
        for start in range(0, len(rows), SWAP_PART):
            part = slice(start, start + SWAP_PART)
            swaps = base.swap(self.gather(rows[part]), self._sources[source[part]])
            parts.append(reduce(swaps.clip(0, 1)))
        return numpy.concatenate(parts)

    def add(
        self, kind: int, crop: Rows, target: Rows, source: Rows, goal: Rows, is_shown: bool
    ) -> None:
        """Further k pairs of one kind.

        Args:
            kind: Index of the kind.
            crop: (k,), the crop each is made of.
            target: (k,), the picture that goes in.
            source: (k,), who drives it.
            goal: (k,), where what should come out lies; see `PairSet.goal`.
            is_shown: Whether `goal` is a row of the pictures.
        """
        columns = {"crop": crop, "target": target, "source": source, "goal": goal}
        columns["kind"] = numpy.full(len(crop), kind)
        columns["is_shown"] = numpy.full(len(crop), is_shown, dtype=numpy.int64)
        self._parts.append(columns)

    def finish(self, degraded: float, generator: numpy.random.Generator) -> dict[str, Any]:
        """The arrays of a `PairSet`.

        Args:
            degraded: Share of each kind's inputs that are degraded; what should come out is not.
            generator: Draws them.
        """
        columns: dict[str, NDArray[Any]] = {
            name: numpy.concatenate([part[name] for part in self._parts]) for name in self._parts[0]
        }
        target, kind, is_shown = columns["target"], columns["kind"], columns.pop("is_shown") == 1
        for each in numpy.unique(kind):
            of_kind = numpy.flatnonzero(kind == each)
            chosen = of_kind[choose_degraded(len(of_kind), degraded, generator)]
            if len(chosen):
                clean = self.gather(target[chosen])
                made = [degrade_picture(picture, generator) for picture in clean]
                target[chosen] = self.lay(numpy.stack(made))
        # A picture of which only a degraded copy is shown is not kept.
        shown = numpy.concatenate([target, columns["goal"][is_shown]])
        used, places = numpy.unique(shown, return_inverse=True)
        columns["target"] = places[: len(target)]
        columns["goal"][is_shown] = places[len(target) :]
        return {
            **columns,
            "pictures": self.gather(used),
            "sources": self._sources,
            "face": self._face,
            "features": self._features,
            "matrix": self.matrix,
            "made": self.made,
            "anchors": self.anchors,
        }


def pool_anchors(swaps: NDArray[Any]) -> NDArray[numpy.float32]:
    """(n, 3, H, W) to (n, 3, H / 8, W / 8): means of squares; what is left at the rim is cut."""
    height, width = (side // ANCHOR_POOL for side in swaps.shape[2:])
    cut = swaps[..., : height * ANCHOR_POOL, : width * ANCHOR_POOL]
    squares = cut.reshape(len(cut), 3, height, ANCHOR_POOL, width, ANCHOR_POOL)
    return numpy.asarray(squares.mean(axis=(3, 5)), dtype=numpy.float32)


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
    """Every pair a preset asks for.

    Args:
        crops: The crops that train, at least two.
        sources: Of these crops, of P as deployed, and of others.
        base: The frozen base.
        analyser: Aligns, masks, pastes and has the training recogniser.
        preset: Says which kinds, how many variants of each, and how many inputs are degraded.
        generator: Draws the sources and the degraded inputs.
        progress: Told how many of how many rounds over the crops are done.
        others: Other people's frames, for cross pairs and half of the prior pairs. Without them
            cycle inputs and P's own frames are taken.
        centroid: (512,), direction of P's vectors; without it that of the deployed vector.
        on_note: Told what the user should know.

    Raises:
        TrainingError: The base's swaps of others do not remove P from any frame.
    """
    count, mix = len(crops), preset.pairs
    draft = Draft([*crops, *(others or [])], analyser, sources.stack())
    foreign = numpy.arange(count, count + len(others or []))
    crop, target = foreign, foreign
    inputs = None

    def draw_own(crop: Rows) -> Rows:
        # Half the deployed source, half that of another frame: never the truth's own.
        other = (crop + generator.integers(1, count, len(crop))) % count
        return numpy.where(generator.random(len(crop)) < 0.5, 0, 1 + other)

    rounds = numpy.tile(numpy.arange(count), preset.variants)
    if mix.self:
        draft.add(SELF, rounds, rounds, draw_own(rounds), rounds, True)
    if mix.cycle or (mix.cross and not others):
        vector = sources.person.vector if centroid is None else centroid
        check = LeakageCheck(analyser, vector, draft.matrix)
        inputs = create_checked_inputs(
            crops,
            sources.others,
            base,
            analyser,
            preset.variants,
            check.find_leaks if mix.cycle else find_none,
            generator,
            progress,
        )
        swapped = draft.lay(inputs.pictures)
        if mix.cycle:
            check.report(inputs, base.options.name, mix.self > 0, on_note)
            honest = numpy.flatnonzero(~inputs.leaks)
            frames = inputs.crop[honest]
            draft.add(CYCLE, frames, swapped[honest], draw_own(frames), frames, True)
        if not others:
            crop, target = inputs.crop, swapped
    else:
        progress(0, 1)
    if mix.cross:
        person = numpy.zeros_like(crop)
        draft.anchors = draft.swap(base, target, person, pool_anchors)
        draft.add(CROSS, crop, target, person, numpy.arange(len(crop)), False)
    if mix.prior:
        crop = rounds.copy()
        if others:
            # every second one, and the others of P's frames in the next round
            is_foreign = (rounds + numpy.arange(len(rounds)) // count) % 2 == 1
            crop[is_foreign] = numpy.resize(generator.permutation(foreign), is_foreign.sum())
        source = 1 + count + generator.integers(0, len(sources.others), len(crop))
        draft.made = draft.swap(base, crop, source, lambda swaps: swaps.astype(numpy.float16))
        draft.add(PRIOR, crop, crop, source, numpy.arange(len(crop)), False)
    return PairSet(
        **draft.finish(preset.degraded, generator),
        drawn_again=inputs.drawn_again if inputs else 0,
        left_out=inputs.left_out if inputs else 0,
    )
