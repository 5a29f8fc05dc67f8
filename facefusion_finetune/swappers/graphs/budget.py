"""How much a graph asks for, counted while it is traced and before anything makes room for it.

A file of a thousand bytes can describe constants, weights and activations of any size, and make
them a thousand times. FaceFusion's largest swapper stays far below every limit here.
"""

import math
from collections.abc import Iterable, Sequence

from facefusion_finetune.swappers.files.checks import LARGEST_RANK

LARGEST_ACTIVATION = 1 << 27
"""Numbers in one tensor at batch 1."""
MOST_ACTIVATIONS = 1 << 32
"""Numbers in all tensors that depend on the inputs."""
MOST_WEIGHTS = 1 << 29
"""Numbers in all constants that nodes take, once for each node."""
LARGEST_CONSTANT = 1 << 26
"""Numbers in one constant that is worked out from others."""
MOST_KEPT = 1 << 24
"""Numbers in all small constants."""
MOST_WORK = 1 << 30
"""Numbers that are made and read while constants are worked out."""
DEEPEST_CONSTANT = 100
"""Nodes one after the other that work out a constant."""


class AbsurdError(ValueError):
    """The graph asks for more than any swapper needs; the reason in words."""


class Budget:
    """What has been asked for so far."""

    def __init__(self) -> None:
        self._costs: dict[str, int] = {}
        """Numbers to make and read until a constant is there; none for one that is kept."""
        self._depths: dict[str, int] = {}
        self._activations = self._weights = self._work = self._kept = 0

    def add_initializer(self, name: str, count: int, kept: bool) -> None:
        """Count an initializer of `count` numbers."""
        self._costs[name] = 0 if kept else count
        self._keep(count if kept else 0)

    def add_constants(
        self, inputs: Iterable[str], outputs: Iterable[str], counts: Sequence[int], kept: bool
    ) -> None:
        """Count what a node makes of constants.

        Args:
            inputs: What it takes.
            outputs: What it makes.
            counts: Of the numbers in each output.
            kept: Whether it is worked out now and kept, not later and again.

        Raises:
            AbsurdError: It is too much.
        """
        names = [name for name in inputs if name]
        cost = sum(counts) + sum(self._costs.get(name, 0) for name in names)
        depth = 1 + max((self._depths.get(name, 0) for name in names), default=0)
        if max(counts) > LARGEST_CONSTANT:
            raise AbsurdError(f"it would make a constant of {max(counts)} numbers")
        if depth > DEEPEST_CONSTANT:
            raise AbsurdError(f"more than {DEEPEST_CONSTANT} nodes work out one constant")
        if kept:
            self._keep(sum(counts))
            self._spend(cost)
        elif cost > MOST_WORK:
            raise AbsurdError("its constant takes too much to work out")
        for name in outputs:
            self._costs[name], self._depths[name] = 0 if kept else cost, depth

    def add_node(
        self, constants: Iterable[tuple[str, int]], shapes: Iterable[Sequence[int]]
    ) -> None:
        """Count a node that depends on the inputs.

        Args:
            constants: What it takes of them, with the number of numbers.
            shapes: Of what it makes.

        Raises:
            AbsurdError: It is too much.
        """
        for name, count in constants:
            self._weights += count
            self._spend(self._costs.get(name, 0))
        for shape in shapes:
            if len(shape) > LARGEST_RANK or 0 in shape:
                raise AbsurdError(f"it would make a tensor of {list(shape)[:20]}")
            self._activations += math.prod(shape)
        if self._weights > MOST_WEIGHTS:
            raise AbsurdError("the weights of all nodes are larger than any swapper's")
        if self._activations > MOST_ACTIVATIONS:
            raise AbsurdError("what all nodes make is larger than in any swapper")

    def _keep(self, count: int) -> None:
        self._kept += count
        if self._kept > MOST_KEPT:
            raise AbsurdError("its constants are larger than any swapper's")

    def _spend(self, cost: int) -> None:
        self._work += cost
        if self._work > MOST_WORK:
            raise AbsurdError("its constants take too much to work out")
