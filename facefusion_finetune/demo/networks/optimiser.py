"""An optimiser that trains the swapper in fewer steps than Adam."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

MOMENTUM, BETAS = 0.95, (0.9, 0.99)
MIN_OUTPUTS = 32
"""Layers with fewer outputs are updated with Adam."""


class Orthogonal(torch.optim.Optimizer):
    """Muon: orthogonalised momentum for matrices, and Adam for other parameters.

    Steps are scaled so that a learning rate has about the same effect for both.

    Source: Jordan et al., Muon (kellerjordan.github.io/posts/muon, 2024); scale by Liu et al.,
    arXiv 2502.16982.
    """

    def __init__(self, network: nn.Module, rate: float) -> None:
        """Update all parameters of `network`; `rate` is Adam's learning rate."""
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for parameter in network.parameters():
            wide = parameter.ndim > 1 and parameter.shape[0] >= MIN_OUTPUTS
            (matrices if wide else others).append(parameter)
        groups = [{"params": matrices, "matrix": True}, {"params": others, "matrix": False}]
        super().__init__(groups, {"lr": rate})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            update = self._update_matrix if group["matrix"] else self._update_adam
            for parameter in group["params"]:
                parameter.add_(update(parameter), alpha=-group["lr"])

    def _update_matrix(self, parameter: nn.Parameter) -> torch.Tensor:
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        momentum: torch.Tensor = state.setdefault("momentum", torch.zeros_like(gradient))
        momentum.lerp_(gradient, 1 - MOMENTUM)
        look = torch.lerp(gradient, momentum, MOMENTUM).reshape(len(gradient), -1)
        scale: float = 0.2 * max(look.shape) ** 0.5
        return (scale * orthogonalise(look)).view(parameter.shape)

    def _update_adam(self, parameter: nn.Parameter) -> torch.Tensor:
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if not state:
            state.update(mean=torch.zeros_like(gradient), square=torch.zeros_like(gradient), step=0)
        state["step"] += 1
        state["mean"].lerp_(gradient, 1 - BETAS[0])
        state["square"].lerp_(gradient * gradient, 1 - BETAS[1])
        mean = state["mean"] / (1 - BETAS[0] ** state["step"])
        spread = state["square"] / (1 - BETAS[1] ** state["step"])
        return torch.as_tensor(mean / (spread.sqrt() + 1e-8))


def orthogonalise(matrix: torch.Tensor) -> torch.Tensor:
    """(rows, columns): the same singular vectors, with singular values near 1.

    Five Newton-Schulz iterations with Muon's coefficients.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    x: torch.Tensor = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-12)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if tall else x
