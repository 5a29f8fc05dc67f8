"""Training pairs: input, source and truth.

G0 is the frozen base, P the person.

| kind | input | source | goal |
|---|---|---|---|
| cycle | G0's swap of someone else onto a frame of P | P | the real frame |
| self | a frame of P | P, from another frame | the frame |
| cross | someone else's frame, or a cycle input | P | P's identity; coarsely, G0's swap |
| prior | a frame | someone else | G0's swap |
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from facefusion_finetune.presets.preset import PairMix
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.sessions import normalise_crops
from facefusion_finetune.swappers.vectors import prepare_source_inputs

Kind = Literal["cycle", "self", "cross", "prior"]
KINDS: tuple[Kind, ...] = ("cycle", "self", "cross", "prior")
CYCLE, SELF, CROSS, PRIOR = range(len(KINDS))


@dataclass(frozen=True)
class Batch:
    """The samples of a step, on one device."""

    target: Tensor
    """(n, 3, H, W): normalised input crops; (0, 3, H, W) if not requested."""
    source: Tensor
    """(n, 512) or (n, 3, h, w): sources as the swapper's input; (0, ...) if not requested."""
    truth: Tensor
    """(n, 3, H, W): RGB, 0 to 1; zeros for cross pairs, which have none."""
    face: Tensor
    """(n, 1, H, W): 1 on the face."""
    features: Tensor
    """(n, 1, H, W): 1 on eyes and mouth."""
    matrix: Tensor
    """(n, 2, 3): from crop pixels to the recogniser's crop pixels."""
    kind: Tensor
    """(n,): index into `KINDS`."""
    anchor: Tensor
    """(n, 3, H / 8, W / 8): RGB, 0 to 1, G0's swap of a cross pair's clean input, pooled by 8 x 8;
    zeros for other kinds."""


@dataclass(frozen=True)
class PairSet:
    """All pairs of a run. Each picture is stored once, as bytes, even if several pairs use it."""

    kind: NDArray[numpy.int64]
    """(n,): index into `KINDS`."""
    crop: NDArray[numpy.int64]
    """(n,): the crop each pair was built from; P's come first, then others'."""
    target: NDArray[numpy.int64]
    """(n,): row of the input in `pictures`."""
    goal: NDArray[numpy.int64]
    """(n,): row of the goal, in `pictures`; for cross pairs in `anchors`, for prior pairs in
    `prior_truths`."""
    source: NDArray[numpy.int64]
    """(n,): row of the source in `sources`."""
    sources: NDArray[Any]
    """(m, 512) float32, or (m, h, w, 3) BGR bytes; see `SourceTable.stack`."""
    pictures: NDArray[numpy.uint8]
    """(p, H, W, 3), BGR."""
    prior_truths: NDArray[numpy.float16]
    """(prior pairs, 3, H, W), RGB, 0 to 1: G0's swaps, more precise than bytes since other people's
    swaps must not change."""
    anchors: NDArray[numpy.float32]
    """(cross inputs, 3, H / 8, W / 8), RGB, 0 to 1."""
    face: NDArray[numpy.uint8]
    """(crops, H, W): 255 on the face."""
    features: NDArray[numpy.uint8]
    """(crops, H, W): 255 on eyes and mouth."""
    matrix: NDArray[numpy.float32]
    """(crops, 2, 3)."""
    drawn_again: int = 0
    """How many times someone else was drawn because a swap had not removed the person."""
    left_out: int = 0
    """Number of cycle inputs left out for the same reason."""

    def __len__(self) -> int:
        return len(self.kind)

    @cached_property
    def pools(self) -> dict[Kind, NDArray[numpy.int64]]:
        """The rows of each kind."""
        return {name: numpy.flatnonzero(self.kind == at) for at, name in enumerate(KINDS)}

    def count(self, kind: Kind) -> int:
        """Number of pairs of a kind."""
        return len(self.pools[kind])

    def select(
        self, indices: Sequence[int], options: SwapperOptions, device: str, inputs: bool = True
    ) -> Batch:
        """The pairs at `indices` as tensors.

        Args:
            indices: n rows.
            options: The base's options.
            device: Device of the tensors.
            inputs: Whether to include `target` and `source`; otherwise they are empty.
        """
        rows = numpy.asarray(indices, dtype=numpy.int64)
        kind, crop, goal = self.kind[rows], self.crop[rows], self.goal[rows]
        fed = rows if inputs else rows[:0]
        height, width = self.pictures.shape[1:3]
        truth = numpy.zeros((len(rows), 3, height, width), dtype=numpy.float32)
        anchor = numpy.zeros((len(rows), *self.anchors.shape[1:]), dtype=numpy.float32)
        is_real = (kind == CYCLE) | (kind == SELF)
        truth[is_real] = _to_rgb(self.pictures[goal[is_real]])
        truth[kind == PRIOR] = self.prior_truths[goal[kind == PRIOR]]
        anchor[kind == CROSS] = self.anchors[goal[kind == CROSS]]

        def place(array: NDArray[Any]) -> Tensor:
            return torch.from_numpy(numpy.ascontiguousarray(array)).to(device)

        return Batch(
            target=place(_normalise(self.pictures[self.target[fed]], options)),
            source=place(prepare_source_inputs(self.sources[self.source[fed]])),
            truth=place(truth),
            face=place(_to_shares(self.face[crop])),
            features=place(_to_shares(self.features[crop])),
            matrix=place(self.matrix[crop]),
            kind=place(kind),
            anchor=place(anchor),
        )

    def digest(self) -> str:
        """sha256 of all pairs; a cache of other pairs is not reused."""
        digest = hashlib.sha256()
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, numpy.ndarray):
                digest.update(f"{each.name} {value.dtype.str} {value.shape}\n".encode("ascii"))
                digest.update(numpy.ascontiguousarray(value).data)
        return digest.hexdigest()


def _normalise(pictures: NDArray[numpy.uint8], options: SwapperOptions) -> NDArray[numpy.float32]:
    """`normalise_crops` of (n, H, W, 3), with the same values from a lookup table."""
    every = numpy.arange(256, dtype=numpy.uint8)[None, :, None, None].repeat(3, axis=3)
    table = normalise_crops(every, options)[0, :, :, 0]
    return numpy.stack([table[at].take(pictures[..., 2 - at]) for at in range(3)], axis=1)


def _to_rgb(pictures: NDArray[numpy.uint8]) -> NDArray[numpy.float32]:
    """(n, H, W, 3) BGR bytes to (n, 3, H, W), RGB, 0 to 1."""
    rgb = pictures[..., ::-1].transpose(0, 3, 1, 2)
    return numpy.divide(rgb, 255, dtype=numpy.float32)


def _to_shares(masks: NDArray[numpy.uint8]) -> NDArray[numpy.float32]:
    """(n, H, W) bytes to (n, 1, H, W), 0 to 1."""
    return numpy.divide(masks[:, None], 255, dtype=numpy.float32)


def draw_batch(pairs: PairSet, mix: PairMix, size: int, seed: int, step: int) -> list[int]:
    """The pairs that step `step` trains on; they depend only on the arguments.

    Over the steps, the kinds' shares follow `mix` exactly, also in a resumed run. Kinds without
    pairs get no share.
    """
    generator = numpy.random.default_rng([seed, step])
    kinds = [kind for kind in KINDS if getattr(mix, kind) > 0 and pairs.count(kind)]
    weights = numpy.array([getattr(mix, kind) for kind in kinds], dtype=numpy.float64)
    ends = numpy.cumsum(weights / weights.sum())
    # Evenly spaced positions with one random offset: 5 : 3 in a batch of 8 is 5 and 3.
    positions = (numpy.arange(size) + generator.random()) / size
    places = numpy.searchsorted(ends, positions, side="right").clip(max=len(kinds) - 1)
    return [int(generator.choice(pairs.pools[kinds[place]])) for place in places]
