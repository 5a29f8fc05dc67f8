"""How much longer FaceFusion takes to start with the plug-in linked.

    python -m benchmarks.headless_start [--rounds 15]

Times `headless-run --help` alternately in two copies of the same checkout, one linked, so that a
busy machine slows both equally. Prints the medians and their ratio.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from facefusion_finetune.errors import HostError
from facefusion_finetune.home import HOME_VARIABLE
from facefusion_finetune.host.link import link
from facefusion_finetune.host.locate import locate

TARGET = 1.10
"""The linked start may take this many times as long as the unlinked one."""


def time_start(host: Path) -> float:
    """Seconds `headless-run --help` takes."""
    command = [sys.executable, "facefusion.py", "headless-run", "--help"]
    started = time.perf_counter()
    subprocess.run(command, cwd=host, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def measure(checkout: Path, folder: Path, rounds: int) -> tuple[float, float]:
    """Median seconds of the unlinked and of the linked start.

    Args:
        checkout: A FaceFusion folder; only read.
        folder: Where the two copies are placed.
        rounds: How many times each is started.
    """
    ignored = shutil.ignore_patterns(".git", ".assets", ".caches", ".jobs", "__pycache__")
    hosts = [
        Path(shutil.copytree(checkout, folder / name, ignore=ignored))
        for name in ("unlinked", "linked")
    ]
    link(hosts[1])
    for host in hosts:
        time_start(host)  # the first start compiles
    times = [[time_start(host) for host in hosts] for _ in range(rounds)]
    unlinked, linked = map(statistics.median, zip(*times, strict=True))
    return unlinked, linked


def main() -> None:
    """Print the figures; exit code 1 if the target is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    try:
        checkout = locate().path
    except HostError as error:
        sys.exit(str(error))
    with tempfile.TemporaryDirectory() as folder:
        os.environ[HOME_VARIABLE] = folder  # keeps the record of the user's own linked host
        unlinked, linked = measure(checkout, Path(folder), rounds)
    ratio = linked / unlinked
    print(
        f"unlinked {unlinked:.3f} s, linked {linked:.3f} s, medians of {rounds} alternating rounds"
    )
    print(f"ratio {ratio:.3f} (target: below {TARGET:.2f})")
    sys.exit(0 if ratio < TARGET else 1)


if __name__ == "__main__":
    main()
