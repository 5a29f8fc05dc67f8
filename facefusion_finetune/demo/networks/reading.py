"""Regression for the demo's recogniser and reader: factors read off freshly rendered pictures."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy
import torch
from torch import nn
from torch.nn import functional

from facefusion_finetune.demo.geometry import READ
from facefusion_finetune.demo.networks.crops import (
    draw_random_crowd,
    photograph,
    photograph_twins,
    pose_heads,
)
from facefusion_finetune.demo.networks.learning import SWAPPED, Report, normalise, spread_factors
from facefusion_finetune.demo.networks.modules import Reader, Recogniser
from facefusion_finetune.demo.people import COARSE, DETAIL, SCENE, Values

RATE = 3e-3
BATCH, STOCK, FRESH = 96, 4096, 32
"""Pictures in a step, kept ready, and rendered anew in each step."""
GROUPS, FITTED = 16, 32
"""Coarse identities in a step of four pictures each; such steps that the start is fitted on."""
BLIND_RATE = 1e-3


@dataclass(frozen=True)
class Lesson:
    """Pictures and what there is to read off them."""

    pictures: torch.Tensor
    """(count, 3, 64, 64), -1 to 1."""
    factors: torch.Tensor
    """(count, n)."""
    weights: torch.Tensor
    """(count, n): how much an error weighs."""

    def replace(self, start: int, other: "Lesson") -> None:
        """Put `other` in the place of as many rows, from `start` on."""
        end = start + len(other.pictures)
        self.pictures[start:end] = other.pictures
        self.factors[start:end] = other.factors
        self.weights[start:end] = other.weights


def pose_for_recogniser(generator: numpy.random.Generator, count: int) -> Lesson:
    """People of their own, half of them as true swaps; only coarse factors are asked for."""
    crowd = draw_random_crowd(generator, count)
    pictures = photograph(generator, crowd.coarse, crowd.detail, SWAPPED)
    factors = torch.from_numpy(crowd.coarse).float()
    return Lesson(normalise(pictures), factors, torch.ones_like(factors))


def pose_for_reader(generator: numpy.random.Generator, count: int) -> Lesson:
    """Pictures and true swaps, some blurred and noisy as a swapper's pictures are."""
    crowd = draw_random_crowd(generator, count)
    shoot = pose_heads(generator, crowd.coarse, crowd.detail, SWAPPED)
    pictures = soften(generator, shoot.render(crowd.coarse, crowd.detail))
    factors = torch.from_numpy(name_scenes(shoot.scenes)).float()
    weights = torch.ones_like(factors)
    # nobody can tell where closed eyes look
    weights[:, READ.index("gaze_x") :] = 1 - factors[:, READ.index("eye_close")][:, None]
    return Lesson(normalise(pictures), factors, weights)


def name_scenes(scenes: Values) -> Values:
    """(count, len(READ)) of (count, len(SCENE)); what is below closed counts as closed."""
    read = scenes[:, [SCENE.index(name) for name in READ]]
    for name in ("mouth_open", "eye_close"):
        column = READ.index(name)
        read[:, column] = read[:, column].clip(min=0)
    return read


def soften(generator: numpy.random.Generator, crops: torch.Tensor) -> torch.Tensor:
    """Crops with a random share of blur, and noise of up to 4 % of the range."""
    count = len(crops)
    blur, noise = (
        torch.from_numpy(generator.uniform(0, high, (count, 1, 1, 1))).float()
        for high in (1.0, 0.04)
    )
    smooth = functional.avg_pool2d(crops, 3, 1, 1, count_include_pad=False)
    grain = torch.from_numpy(generator.standard_normal(crops.shape, dtype=numpy.float32))
    return (torch.lerp(crops, smooth, blur.expand_as(crops)) + noise * grain).clamp(0, 1)


def learn_to_read(
    network: Recogniser | Reader,
    pose: Callable[[numpy.random.Generator, int], Lesson],
    steps: int,
    seed: int,
    report: Report,
    stock: int = STOCK,
) -> None:
    """Train in place by squared error; afterwards the network is in evaluation mode.

    Args:
        network: A reader, or a recogniser whose hidden layer is read by a linear head; the head is
            dropped, `learn_blindness` puts a better one in its place.
        pose: Makes that many pictures.
        steps: Steps of the optimiser.
        seed: Decides people, pictures and order.
        report: Gets the error; a factor that is guessed without looking has about 0.33.
        stock: Pictures kept ready.
    """
    generator = numpy.random.default_rng([15, seed])
    head = nn.Linear(network.HIDDEN, len(COARSE)) if isinstance(network, Recogniser) else None
    parameters = [*network.parameters(), *(head.parameters() if head else ())]
    optimiser = torch.optim.Adam(parameters, lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RATE, total_steps=max(steps, 2), pct_start=0.1
    )
    network.to(memory_format=torch.channels_last)
    network.train()
    parts = [pose(generator, 64) for _ in range(stock // 64)]
    ready = Lesson(*(torch.cat([getattr(part, name) for part in parts]) for name in _PARTS))
    for step in range(steps):
        ready.replace(step * FRESH % (stock - FRESH + 1), pose(generator, FRESH))
        rows = torch.from_numpy(generator.permutation(stock)[:BATCH])
        pictures = ready.pictures[rows].contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            if isinstance(network, Recogniser):
                assert head is not None
                told = head(network.describe(pictures))
            else:
                told = network(pictures)
        gap = told.float() - ready.factors[rows]
        loss = (ready.weights[rows] * gap * gap).mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        if step % 100 == 99 or step == steps - 1:
            report(step + 1, {"error": loss.item()})
    network.eval()


_PARTS = ("pictures", "factors", "weights")


def learn_blindness(
    recogniser: Recogniser, blindness: float, steps: int, seed: int, report: Report
) -> None:
    """Go on with a recogniser that `learn_to_read` has trained, until its vectors hide detail.

    What tells siblings apart is a shift that detail makes in every scene alike. Its square is
    estimated without bias as the product of the shifts in two scenes, and added to the error. Every
    picture is used once: a product of pictures seen before can be made negative by heart.
    At the end each factor gets a direction of its own in the vector.

    Args:
        recogniser: Is trained in place; afterwards it is in evaluation mode.
        blindness: How much worse such a shift is than any other error.
        steps: Steps of the optimiser.
        seed: Decides people, pictures and order.
        report: Gets the error and the shift.
    """
    generator = numpy.random.default_rng([16, seed])
    head = nn.Linear(recogniser.HIDDEN, len(COARSE))
    lessons = [pose_twins(generator, GROUPS) for _ in range(FITTED)]
    with torch.no_grad():
        hidden = torch.cat([recogniser.describe(lesson.pictures) for lesson in lessons])
        _fit(head, hidden, torch.cat([lesson.factors for lesson in lessons]))
    optimiser = torch.optim.Adam([*recogniser.parameters(), *head.parameters()], lr=BLIND_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, BLIND_RATE, total_steps=max(steps, 2), pct_start=0.1
    )
    recogniser.train()
    for step in range(steps):
        lesson = pose_twins(generator, GROUPS)
        with torch.autocast("cpu", torch.bfloat16):
            hidden = recogniser.describe(
                lesson.pictures.contiguous(memory_format=torch.channels_last)
            )
        told = head(hidden.float())
        error = functional.mse_loss(told, lesson.factors)
        first, twin, second, other = told.view(-1, 4, len(COARSE)).unbind(1)
        shift = ((first - twin) * (second - other)).mean() / 2
        loss = error + blindness * shift
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        if step % 100 == 99 or step == steps - 1:
            report(step + 1, {"error": error.item(), "shift": shift.item()})
    recogniser.eval()
    directions = spread_factors()
    with torch.no_grad():
        recogniser.vector.weight.copy_(directions.T @ head.weight)
        recogniser.vector.bias.copy_(directions.T @ head.bias)


def pose_twins(generator: numpy.random.Generator, groups: int) -> Lesson:
    """Four pictures of each coarse identity: with two details in one scene and in another."""
    coarse = draw_random_crowd(generator, groups).coarse
    details = tuple(generator.uniform(-1, 1, (groups, len(DETAIL))) for _ in range(2))
    pictures = [
        picture
        for _ in range(2)
        for picture in photograph_twins(generator, coarse, details, SWAPPED)
    ]
    factors = torch.from_numpy(numpy.repeat(coarse, 4, axis=0)).float()
    crops = torch.stack(pictures, dim=1).flatten(0, 1)
    return Lesson(normalise(crops), factors, torch.ones_like(factors))


def _fit(head: nn.Linear, hidden: torch.Tensor, factors: torch.Tensor) -> None:
    """Least squares, with a trace of a ridge in case a layer has not learnt anything."""
    mean, goal = hidden.double().mean(dim=0), factors.double()
    rows = hidden.double() - mean
    spread = rows.T @ rows
    spread = spread + 1e-6 * spread.diagonal().mean() * torch.eye(len(spread))
    weight = torch.linalg.solve(spread, rows.T @ goal).T
    head.weight.copy_(weight)
    head.bias.copy_(goal.mean(dim=0) - weight @ mean)
