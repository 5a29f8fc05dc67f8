"""Code that troubles the trainings of a FaceFusion, as long as a test wants that.

Trainings are short: the whole of a preset is trained by the test that goes from footage to a swap.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STEPS = 24
"""Of a training, whatever its preset says."""

TROUBLE = """
import os, pathlib, sys, time

FULL = pathlib.Path(os.environ["SWITCHES"], "out-of-memory")
SLOW = pathlib.Path(os.environ["SWITCHES"], "slow")
steps = 0


class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "facefusion_finetune.training.recipe":
            sys.meta_path.remove(self)
            make_trouble()


def make_trouble():
    import torch
    from facefusion_finetune.training import plan
    from facefusion_finetune.training.cache.feed import DirectFeed, CachedFeed

    load, steps = plan.load_preset, int(os.environ["STEPS"])
    plan.load_preset = lambda name: load(name).model_copy(update={"steps": steps})
    for kind in (DirectFeed, CachedFeed):
        kind.run = trouble(kind.run, torch.OutOfMemoryError)


def trouble(run, error):
    def troubled(*arguments, **options):
        if FULL.exists():
            raise error("CUDA out of memory. Tried to allocate 2.00 GiB.")
        global steps
        steps += 1
        end = time.monotonic() + (0.2 if steps <= 3 else 3)
        while SLOW.exists() and time.monotonic() < end:
            time.sleep(0.05)
        return run(*arguments, **options)

    return troubled


sys.meta_path.insert(0, Finder())
"""
"""As long as one file is there, no sample fits into the memory of the graphics card; as long as the
other one is, every step but the first ones takes three seconds, so that there is time to act."""


class Trouble:
    """What goes wrong in a FaceFusion that has run the code first.

    Args:
        folder: Of the files that stand for what goes wrong; exists.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.variables = {"SWITCHES": str(folder), "STEPS": str(STEPS)}
        """For FaceFusion's environment."""

    @contextmanager
    def fill_memory(self) -> Iterator[Path]:
        """There is no memory left on the graphics card until the file is deleted."""
        with _touch(self._folder / "out-of-memory") as path:
            yield path

    @contextmanager
    def slow_down(self) -> Iterator[Path]:
        """Trainings are slow until the file is deleted."""
        with _touch(self._folder / "slow") as path:
            yield path


@contextmanager
def _touch(path: Path) -> Iterator[Path]:
    path.touch()
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
