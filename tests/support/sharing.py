"""What takes long to make is made once for all workers of a run."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def make_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first worker makes who needs it, while the others wait.

    Args:
        factory: Of this worker.
        name: Of the folder, one for what is made.
        make: Makes the folder at a path where nothing is.

    Returns:
        The folder, which nobody may change.
    """
    base = factory.getbasetemp()
    # A worker's folder lies in the run's; without workers it is the run's own.
    run = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, made = run / "shared" / name, run / "shared" / f"{name}.made"
    folder.parent.mkdir(exist_ok=True)
    with FileLock(run / "shared" / f"{name}.lock"):
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            made.touch()
    return folder
