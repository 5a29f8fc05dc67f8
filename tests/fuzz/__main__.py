"""`python -m tests.fuzz --count 5000 --seed 0`: exit 1 if any model does harm."""

import argparse
import sys
import time
from pathlib import Path

from tests.fuzz import describe, run


def main() -> int:
    """Run and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--plant", action="store_true")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"))
    given = parser.parse_args()
    start = time.monotonic()
    report = run(given.count, given.seed, given.keep, given.plant, given.first)
    for line in describe(report):
        print(line)
    print(f"{time.monotonic() - start:.0f} s")
    return 1 if report.failures or report.count < given.count else 0


if __name__ == "__main__":
    sys.exit(main())
