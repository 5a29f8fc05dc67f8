"""Low-rank adaptation (LoRA): a tuned weight is the base's plus a product of two thin matrices.

The product is added to the weight before the layer runs, so that what is written to the file, the
sum, is exactly what was trained.
Source: Hu et al., LoRA (arXiv 2106.09685); PyTorch's parametrisations.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.convert.network import TorchSwapper, find_channel_axis


class LowRank(nn.Module):
    """Adds `strength * up @ down` to a weight, viewed as a matrix of its first axis by the rest."""

    def __init__(self, weight: Tensor, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        rows, columns = weight.shape[0], weight[0].numel()
        drawn = torch.randn(rank, columns, generator=generator) / math.sqrt(columns)
        # `up` starts at zero, so that nothing changes before the first step.
        self.up = nn.Parameter(torch.zeros(rows, rank, device=weight.device))
        self.down = nn.Parameter(drawn.to(weight.device))
        self.strength = 1.0
        self.register_buffer("open", torch.ones((), device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        """The adapted weight, of the same shape."""
        change = (self.up @ self.down).view(weight.shape) * self.strength
        return weight + change * self.get_buffer("open")


def add_low_rank(swapper: TorchSwapper, rank: int, seed: int) -> None:
    """Train low-rank changes to a swapper's trainable weights instead of its weights and biases.

    Args:
        swapper: Afterwards its `trained` holds `NAME/up` and `NAME/down` for each weight NAME.
        rank: Of the changes.
        seed: For the random initial values.

    Raises:
        SwapperError: The rank is below 1, or the swapper already has low-rank changes.
    """
    if rank < 1:
        raise SwapperError(f"rank {rank}", "it is below 1.", "Give a rank such as 8.")
    if any("/" in name for name in swapper.trained):
        raise SwapperError(
            "the swapper", "it already has low-rank changes.", "Convert the base again."
        )
    generator = torch.Generator().manual_seed(seed)
    trained: dict[str, nn.Parameter] = {}
    for name, parameter in swapper.trained.items():
        parameter.requires_grad_(False)
        if parameter.ndim < 2:
            continue
        change = LowRank(parameter.detach(), rank, generator)
        for module, owned, layer in swapper.places[name]:
            if layer.mask_rows:
                change.register_buffer("open", _open_rows(parameter, layer.mask_rows, layer.kind))
            parametrize.register_parametrization(module, owned.role, change)
        trained |= {f"{name}/up": change.up, f"{name}/down": change.down}
    swapper.trained = trained


def set_strength(swapper: TorchSwapper, strength: float) -> None:
    """Set how much of the change is added: 0 gives the base, 1 the tuned model."""
    for module in swapper.modules():
        if isinstance(module, LowRank):
            module.strength = strength


def _open_rows(weight: Tensor, rows: tuple[int, ...], kind: str) -> Tensor:
    """1 where a weight may change, 0 for mask rows; broadcasts to the weight."""
    axis = find_channel_axis(kind)
    shape = [1] * weight.ndim
    shape[axis] = weight.shape[axis]
    mask = torch.ones(shape, device=weight.device)
    return mask.index_fill(axis, torch.tensor(rows, device=weight.device), 0.0)
