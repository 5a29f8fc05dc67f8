"""Training pairs: what goes in, who drives it, what should come out.

G0 is the frozen base, P the person. A cycle pair's input is G0's swap of somebody else onto a frame
of P, pasted back through the host's mask and cropped again; its truth is the real frame.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from facefusion_finetune.dataset.crops import AlignedCrop
from facefusion_finetune.faces.protocol import FaceAnalyser, VisionFrame
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.sessions import normalise_crops, rgb_to_crops, scale_output
from facefusion_finetune.swappers.vectors import prepare_source_inputs
from facefusion_finetune.training.presets import PairMix, Preset
from facefusion_finetune.training.sources import SourceTable

Kind = Literal["cycle", "self", "prior"]
KINDS: tuple[Kind, ...] = ("cycle", "self", "prior")

FORWARD_BATCH = 8


@dataclass(frozen=True)
class Batch:
    """Samples of one step, on one device."""

    target: Tensor
    """(n, 3, H, W): normalised input crops."""
    source: Tensor
    """(n, 512) or (n, 3, h, w): sources as the swapper takes them."""
    truth: Tensor
    """(n, 3, H, W): RGB, 0 to 1."""
    face: Tensor
    """(n, 1, H, W): 1 on the face."""
    matrix: Tensor
    """(n, 2, 3): from crop pixels to the recogniser's crop pixels."""
    is_person: Tensor
    """(n,): whether the truth shows P, so that identity may be asked for."""


@dataclass(frozen=True)
class PairSet:
    """All pairs of a run. Each picture is kept once, as bytes, however many pairs show it."""

    kinds: list[Kind]
    crop: NDArray[numpy.int64]
    """(n,): the crop each pair was made from."""
    slot: NDArray[numpy.int64]
    """(n,): where a cycle pair's input lies in `inputs`, and a prior pair's truth in `made`."""
    source: NDArray[numpy.int64]
    """(n,): where the pair's source lies in `sources`."""
    sources: NDArray[Any]
    """(m, 512) float32, or (m, h, w, 3) BGR bytes; see `SourceTable.stack`."""
    pictures: NDArray[numpy.uint8]
    """(crops, H, W, 3), BGR: the real frames."""
    inputs: NDArray[numpy.uint8]
    """(cycle pairs, H, W, 3), BGR."""
    made: NDArray[numpy.float16]
    """(prior pairs, 3, H, W), RGB, 0 to 1: what the base made of the frame."""
    face: NDArray[numpy.float32]
    """(crops, H, W)."""
    matrix: NDArray[numpy.float32]
    """(crops, 2, 3)."""

    def select(self, indices: Sequence[int], options: SwapperOptions, device: str) -> Batch:
        """The pairs at `indices` as tensors."""
        rows = numpy.asarray(indices)
        crops = self.crop[rows]
        targets = [
            self.inputs[self.slot[row]] if self.kinds[row] == "cycle" else self.pictures[crop]
            for row, crop in zip(rows, crops, strict=True)
        ]
        truths = [
            self.made[self.slot[row]].astype(numpy.float32)
            if self.kinds[row] == "prior"
            else _to_rgb(self.pictures[crop])
            for row, crop in zip(rows, crops, strict=True)
        ]
        is_person = [self.kinds[row] != "prior" for row in rows]

        def place(array: NDArray[numpy.float32]) -> Tensor:
            return torch.from_numpy(numpy.ascontiguousarray(array)).to(device)

        return Batch(
            target=place(normalise_crops(numpy.stack(targets), options)),
            source=place(prepare_source_inputs(self.sources[self.source[rows]])),
            truth=place(numpy.stack(truths)),
            face=place(self.face[crops][:, None]),
            matrix=place(self.matrix[crops]),
            is_person=torch.tensor(is_person, device=device),
        )


Forward = Callable[[NDArray[numpy.float32], NDArray[numpy.float32]], NDArray[numpy.float32]]
"""(n, 3, H, W) target inputs and (n, ...) source inputs to (n, 3, H, W) outputs of the file."""


class BaseSwapper:
    """G0: runs the frozen base on whole arrays of crops."""

    def __init__(self, forward: Forward, options: SwapperOptions) -> None:
        self._forward = forward
        self.options = options

    def swap(self, crops: NDArray[numpy.uint8], sources: NDArray[Any]) -> NDArray[Any]:
        """Swap each crop.

        Args:
            crops: (n, H, W, 3), BGR.
            sources: (n, ...), kept as `PersonSource.source` is.

        Returns:
            (n, 3, H, W), RGB, 0 to 1 but not clipped.
        """
        outputs = []
        for start in range(0, len(crops), FORWARD_BATCH):
            part = slice(start, start + FORWARD_BATCH)
            targets = normalise_crops(crops[part], self.options)
            output = self._forward(targets, prepare_source_inputs(sources[part]))
            outputs.append(scale_output(output, self.options))
        return numpy.concatenate(outputs)


def paste_others(
    crops: list[AlignedCrop],
    sources: NDArray[Any],
    base: BaseSwapper,
    analyser: FaceAnalyser,
) -> list[VisionFrame]:
    """Each crop's cut-out with somebody else swapped on and pasted back.

    Args:
        crops: n crops of P.
        sources: (n, ...), of others.
        base: The frozen base.
        analyser: Whose mask and paste are used.
    """
    cutouts = []
    for start in range(0, len(crops), FORWARD_BATCH):
        part = crops[start : start + FORWARD_BATCH]
        pictures = numpy.stack([crop.crop for crop in part])
        swapped = rgb_to_crops(base.swap(pictures, sources[start : start + FORWARD_BATCH]))
        cutouts += [crop.paste(swap, analyser) for crop, swap in zip(part, swapped, strict=True)]
    return cutouts


def create_cycle_inputs(
    crops: list[AlignedCrop],
    sources: NDArray[Any],
    base: BaseSwapper,
    analyser: FaceAnalyser,
) -> NDArray[numpy.uint8]:
    """(n, H, W, 3), BGR: what `paste_others` makes, cropped as a second swap would see it."""
    cutouts = paste_others(crops, sources, base, analyser)
    return numpy.stack(
        [
            crop.crop_again(cutout, analyser, base.options)
            for crop, cutout in zip(crops, cutouts, strict=True)
        ]
    )


def create_pairs(
    crops: list[AlignedCrop],
    sources: SourceTable,
    base: BaseSwapper,
    analyser: FaceAnalyser,
    preset: Preset,
    generator: numpy.random.Generator,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PairSet:
    """Every pair a preset asks for.

    Args:
        crops: The crops that train, at least two.
        sources: Of these crops, of P as deployed, and of others.
        base: The frozen base.
        analyser: Aligns, masks and pastes.
        preset: Says which kinds and how many of each.
        generator: Draws the sources.
        progress: Told how many of how many rounds over the crops are done.
    """
    pictures = numpy.stack([crop.crop for crop in crops])
    table = sources.stack()
    count = len(crops)

    def draw_own() -> NDArray[numpy.int64]:
        # Half the deployed source, half that of another frame: never the truth's own.
        rows = []
        for index in range(count):
            other = (index + int(generator.integers(1, count))) % count
            rows.append(0 if generator.random() < 0.5 else 1 + other)
        return numpy.array(rows)

    def draw_other() -> NDArray[numpy.int64]:
        return 1 + count + generator.integers(0, len(sources.others), count)

    kinds: list[Kind] = []
    drawn = []
    inputs = [numpy.empty((0, *pictures.shape[1:]), dtype=numpy.uint8)]
    made = [numpy.empty((0, 3, *pictures.shape[1:3]), dtype=numpy.float16)]
    if preset.pairs.self:
        kinds.append("self")
        drawn.append(draw_own())
    for variant in range(preset.variants):
        progress(variant, preset.variants)
        if preset.pairs.cycle:
            kinds.append("cycle")
            inputs.append(create_cycle_inputs(crops, table[draw_other()], base, analyser))
            drawn.append(draw_own())
        if preset.pairs.prior:
            kinds.append("prior")
            drawn.append(draw_other())
            made.append(base.swap(pictures, table[drawn[-1]]).clip(0, 1).astype(numpy.float16))
    recogniser = analyser.get_recogniser()
    matrices = [crop.matrix_to(analyser, recogniser) for crop in crops]
    return PairSet(
        kinds=[kind for kind in kinds for _ in range(count)],
        crop=numpy.tile(numpy.arange(count), len(kinds)),
        slot=numpy.concatenate(
            [
                kinds[:position].count(kind) * count + numpy.arange(count)
                for position, kind in enumerate(kinds)
            ]
        ),
        source=numpy.concatenate(drawn),
        sources=table,
        pictures=pictures,
        inputs=numpy.concatenate(inputs),
        made=numpy.concatenate(made),
        face=numpy.stack([crop.face for crop in crops]),
        matrix=numpy.stack(matrices).astype(numpy.float32),
    )


def _to_rgb(picture: NDArray[numpy.uint8]) -> NDArray[numpy.float32]:
    """(H, W, 3) BGR bytes to (3, H, W) RGB in 0..1."""
    return numpy.asarray(picture[..., ::-1].transpose(2, 0, 1) / 255.0, dtype=numpy.float32)


def draw_batch(pairs: PairSet, mix: PairMix, size: int, seed: int, step: int) -> list[int]:
    """Which pairs step number `step` trains on; depends on nothing but the arguments.

    The kinds' shares follow `mix` exactly over the steps, so that a resumed run goes on as the
    interrupted one would have.
    """
    generator = numpy.random.default_rng([seed, step])
    kinds = [kind for kind in KINDS if getattr(mix, kind) > 0]
    weights = numpy.array([getattr(mix, kind) for kind in kinds], dtype=numpy.float64)
    ends = numpy.cumsum(weights / weights.sum())
    pools = {
        kind: [index for index, other in enumerate(pairs.kinds) if other == kind] for kind in kinds
    }
    # Evenly spread positions with one random shift: 5 : 3 in a batch of 8 is 5 and 3.
    positions = (numpy.arange(size) + generator.random()) / size
    chosen = []
    for position in positions:
        kind = kinds[min(int(numpy.searchsorted(ends, position, side="right")), len(kinds) - 1)]
        chosen.append(int(generator.choice(pools[kind])))
    return chosen
