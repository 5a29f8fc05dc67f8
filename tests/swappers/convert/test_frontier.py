"""Both parts together are the whole swapper, bit for bit."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.convert.frontier import Frontier, split_at_cut
from facefusion_finetune.swappers.convert.lora import add_low_rank
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.graphs.costs import measure_cost
from facefusion_finetune.swappers.graphs.graph import select_layers
from tests.support.families import create_inputs, open_graph

CASES = [
    ("inswapper_128", "last_2"),
    ("inswapper_128_fp16", "decoder"),
    ("simswap_256", "all"),
    ("simswap_unofficial_512", "decoder"),
    ("ghost_1_256", "last_2"),
    ("blendswap_256", "last_2"),
    ("uniface_256", "decoder"),
    ("hififace_unofficial_256", "last_2"),
    ("hyperswap_1a_256", "decoder"),
]
GIVEN_IN_CUT = {"blendswap_256", "hififace_unofficial_256"}
MAPPED = {"uniface_256"}
"""Of whose graphs PyTorch maps one sample's over the samples."""


def _open(name: str, choice: str, folder: Path) -> tuple[TorchSwapper, tuple[str, ...]]:
    graph = open_graph(name, folder)
    layers = select_layers(graph, choice)
    return TorchSwapper(graph, layers), measure_cost(graph.trace, layers).cut


def _create(name: str, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    inputs = create_inputs(name, count, seed)
    return torch.from_numpy(inputs["target"]), torch.from_numpy(inputs["source"])


def _measure_gradients(swapper: TorchSwapper, output: Tensor) -> dict[str, Tensor]:
    made = torch.autograd.grad(output.square().mean(), list(swapper.trained.values()))
    return dict(zip(swapper.trained, made, strict=True))


def _check_exact(swapper: TorchSwapper, frontier: Frontier, name: str, count: int) -> None:
    target, source = _create(name, count)
    whole = swapper(target, source)
    tensors = frontier.run_frozen(target, source)
    assert not any(tensor.requires_grad for tensor in tensors)
    assert all(len(tensor) == count for tensor in tensors)
    # As a cache gives them back: laid out anew.
    parted = frontier.run_live([tensor.clone().contiguous() for tensor in tensors])
    assert torch.equal(parted, whole)
    expected = _measure_gradients(swapper, whole)
    for key, gradient in _measure_gradients(swapper, parted).items():
        assert torch.equal(gradient, expected[key]), key
        assert gradient.any(), key


@pytest.mark.parametrize(("name", "choice"), CASES)
def test_live_part_gives_what_the_whole_gives(name: str, choice: str, tmp_path: Path) -> None:
    swapper, cut = _open(name, choice, tmp_path)
    assert ("target" in cut) == (name in GIVEN_IN_CUT)
    assert swapper.network.batchable == (name not in MAPPED)
    frontier = split_at_cut(swapper, cut)
    _check_exact(swapper, frontier, name, 2)
    _check_exact(swapper, frontier, name, 1)


@pytest.mark.parametrize("name", ["inswapper_128", "hyperswap_1a_256"])
def test_adapted_after_the_split_or_before(name: str, tmp_path: Path) -> None:
    swapper, cut = _open(name, "decoder", tmp_path)
    before = split_at_cut(swapper, cut)
    add_low_rank(swapper, 2, seed=0)
    with torch.no_grad():
        for key, parameter in swapper.trained.items():
            if key.endswith("/up"):
                parameter.normal_(std=0.01, generator=torch.Generator().manual_seed(1))
    _check_exact(swapper, before, name, 2)
    _check_exact(swapper, split_at_cut(swapper, cut), name, 2)


def test_both_parts_see_changed_weights(tmp_path: Path) -> None:
    swapper, cut = _open("inswapper_128", "last_2", tmp_path)
    frontier = split_at_cut(swapper, cut)
    target, source = _create("inswapper_128", 2)
    frozen = frontier.run_frozen(target, source)
    before = frontier.run_live(frozen).detach()
    optimiser = torch.optim.SGD(swapper.trained.values(), lr=0.1)
    frontier.run_live(frozen).square().mean().backward()
    optimiser.step()
    after = frontier.run_live(frozen)
    assert not torch.equal(after, before)
    assert torch.equal(after, swapper(target, source))


def test_frozen_part_depends_on_source_and_target_in_their_order(tmp_path: Path) -> None:
    # This file's first input is the source.
    swapper, cut = _open("hyperswap_1a_256", "decoder", tmp_path)
    assert swapper.graph.trace.inputs[0] == "source"
    frontier = split_at_cut(swapper, cut)
    target, source = _create("hyperswap_1a_256", 1)
    _, other = _create("hyperswap_1a_256", 1, seed=1)
    pairs = zip(
        frontier.run_frozen(target, source), frontier.run_frozen(target, other), strict=True
    )
    assert {torch.equal(first, second) for first, second in pairs} == {True, False}


@pytest.mark.parametrize(
    ("cut", "why"),
    [
        (["nothing"], "no such tensor"),
        (["source"], "leads around it"),
        ([], "leads around it"),
        (["behind"], "trained weight is before"),
    ],
)
def test_a_wrong_cut_is_refused(cut: list[str], why: str, tmp_path: Path) -> None:
    swapper, _ = _open("inswapper_128", "last_2", tmp_path)
    last = max(place.index for uses in swapper.places.values() for _, _, place in uses)
    behind = swapper.graph.trace.nodes[last].output[0]
    with pytest.raises(SwapperError, match=why):
        split_at_cut(swapper, [behind if name == "behind" else name for name in cut])
