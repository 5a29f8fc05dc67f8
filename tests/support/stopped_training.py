"""A tiny training that is asked to stop.

Run as a script by `torch.distributed.run`, with a folder, it is one of several processes that stop
and go on.
"""

import atexit
import os
import sys
from pathlib import Path

import torch
from torch import Tensor

from facefusion_finetune.errors import StoppedError
from facefusion_finetune.runs.observer import Observer
from facefusion_finetune.training.engine.checkpoint import load_checkpoint
from tests.support.tiny_training import TinyWorld


class Stopper:
    """Wants a stop after some steps; notes the steps it sees."""

    def __init__(self, *steps: int) -> None:
        self.steps = steps
        self.seen: list[int] = []

    def create_observer(self) -> Observer:
        """Tells this stopper of every step."""
        return Observer(
            on_step=lambda step, total, values: self.seen.append(step),
            is_stopped=lambda: self.seen[-1] in self.steps,
        )


def train_until_stopped(
    world: TinyWorld, stopper: Stopper, resume: bool = False
) -> dict[str, Tensor]:
    """Train until the stopper stops it; the weights, if it never does."""
    world.create_trainer().train(resume, stopper.create_observer(), world.previews.append)
    return {name: tensor.detach().clone() for name, tensor in world.swapper.trained.items()}


def train_as_one_of_many(folder: Path) -> None:
    """Stop after four steps, go on to the end, and leave the weights in `final.pt`."""
    world = TinyWorld(folder, steps=9)
    try:
        train_until_stopped(world, Stopper(4))
    except StoppedError:
        assert load_checkpoint(world.run.checkpoint_path).step == 4
    else:
        raise AssertionError("it was not stopped")
    again = TinyWorld(folder, steps=9, accelerator=world.accelerator)
    weights = train_until_stopped(again, Stopper(), resume=True)
    if world.accelerator.is_main_process:
        torch.save(weights, folder / "final.pt")


def leave_word(folder: Path) -> None:
    """Leave a file if this process has left the others: what runs at its very end sees that."""
    if not torch.distributed.is_initialized():
        (folder / f"left-{os.environ['RANK']}").touch()


if __name__ == "__main__":
    atexit.register(leave_word, Path(sys.argv[1]))
    train_as_one_of_many(Path(sys.argv[1]))
