"""The optimiser of the swapper's training."""

import pytest
import torch

from facefusion_finetune.demo.networks.optimiser import Orthogonal, orthogonalise


@pytest.mark.parametrize("shape", [(6, 20), (20, 6)])
def test_directions_become_about_equally_long(shape: tuple[int, int]) -> None:
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    left, _, right = torch.linalg.svd(drawn, full_matrices=False)
    made = left.T @ orthogonalise(left * torch.linspace(1, 8, 6) @ right) @ right.T
    assert (made.diagonal() > 0.6).all()
    assert (made.diagonal() < 1.3).all()
    assert (made - torch.diag(made.diagonal())).abs().max() < 1e-3


def test_it_solves_a_small_regression() -> None:
    torch.manual_seed(1)
    network = torch.nn.Sequential(torch.nn.Linear(8, 40), torch.nn.ReLU(), torch.nn.Linear(40, 2))
    taken = torch.randn(256, 8)
    goal = torch.stack([taken[:, 0] * taken[:, 1], taken.abs().mean(dim=1)], dim=1)
    optimiser = Orthogonal(network, 5e-3)
    losses = []
    for _ in range(200):
        loss = ((network(taken) - goal) ** 2).mean()
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[-1] < 0.1 * losses[0]
