"""How much a graph would need, counted while it is traced and before anything is allocated.

A file of a thousand bytes can describe constants, weights and activations of any size, and create
them a thousand times. FaceFusion's largest swapper stays far below every limit here.
"""

import math
from collections.abc import Iterable, Sequence

from facefusion_finetune.swappers.files.checks import MAX_RANK

MAX_ACTIVATION = 1 << 27
"""Elements of one tensor at batch 1."""
MAX_TOTAL_ACTIVATIONS = 1 << 32
"""Elements of all tensors that depend on the inputs."""
MAX_TOTAL_WEIGHTS = 1 << 29
"""Elements of all constants that nodes take, counted once per node."""
MAX_CONSTANT = 1 << 26
"""Elements of one constant computed from others."""
MAX_TOTAL_KEPT = 1 << 24
"""Elements of all small constants."""
MAX_FOLDING_WORK = 1 << 30
"""Elements read and written while constants are folded."""
MAX_CONSTANT_DEPTH = 100
"""Length of a chain of nodes that computes a constant."""


class BudgetError(ValueError):
    """The graph needs more than any swapper does; the message gives the reason."""


class Budget:
    """What the graph has needed so far."""

    def __init__(self) -> None:
        self._costs: dict[str, int] = {}
        """Elements to read and write to compute a constant; 0 for one that is kept."""
        self._depths: dict[str, int] = {}
        self._activations = self._weights = self._work = self._kept = 0

    def add_initializer(self, name: str, count: int, kept: bool) -> None:
        """Count an initializer of `count` elements."""
        self._costs[name] = 0 if kept else count
        self._keep(count if kept else 0)

    def add_constants(
        self, inputs: Iterable[str], outputs: Iterable[str], counts: Sequence[int], kept: bool
    ) -> None:
        """Count a node whose inputs are all constant.

        Args:
            inputs: Names of its inputs.
            outputs: Names of its outputs.
            counts: Number of elements of each output.
            kept: Whether its outputs are computed now and kept, not recomputed on demand.

        Raises:
            BudgetError: A limit is exceeded.
        """
        names = [name for name in inputs if name]
        cost = sum(counts) + sum(self._costs.get(name, 0) for name in names)
        depth = 1 + max((self._depths.get(name, 0) for name in names), default=0)
        if max(counts) > MAX_CONSTANT:
            raise BudgetError(f"it would create a constant of {max(counts)} elements")
        if depth > MAX_CONSTANT_DEPTH:
            raise BudgetError(f"more than {MAX_CONSTANT_DEPTH} nodes in a row compute one constant")
        if kept:
            self._keep(sum(counts))
            self._spend(cost)
        elif cost > MAX_FOLDING_WORK:
            raise BudgetError("its constant takes too much work to compute")
        for name in outputs:
            self._costs[name], self._depths[name] = 0 if kept else cost, depth

    def add_node(
        self, constants: Iterable[tuple[str, int]], shapes: Iterable[Sequence[int]]
    ) -> None:
        """Count a node that depends on the inputs.

        Args:
            constants: Names and element counts of its constant inputs.
            shapes: Shapes of its outputs.

        Raises:
            BudgetError: A limit is exceeded.
        """
        for name, count in constants:
            self._weights += count
            self._spend(self._costs.get(name, 0))
        for shape in shapes:
            if len(shape) > MAX_RANK or 0 in shape:
                raise BudgetError(f"it would create a tensor of {list(shape)[:20]}")
            self._activations += math.prod(shape)
        if self._weights > MAX_TOTAL_WEIGHTS:
            raise BudgetError("the weights of all nodes are larger than any swapper's")
        if self._activations > MAX_TOTAL_ACTIVATIONS:
            raise BudgetError("the outputs of all nodes are larger than any swapper's")

    def _keep(self, count: int) -> None:
        self._kept += count
        if self._kept > MAX_TOTAL_KEPT:
            raise BudgetError("its constants are larger than any swapper's")

    def _spend(self, cost: int) -> None:
        self._work += cost
        if self._work > MAX_FOLDING_WORK:
            raise BudgetError("its constants take too much work to compute")
