"""Processes that are forked for one command each, and killed at a moment."""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.forked import fork

CHANGES = {
    *("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink"),
    *("os.chmod", "os.truncate", "os.utime"),
}
"""Audit events of calls that change the disk, besides `open` for writing."""


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    """Negative is the signal that ended it."""
    output: str
    calls: int
    """Calls that change the disk; 0 if it was killed."""
    seconds: float


@dataclass(frozen=True)
class Moment:
    """When to kill: before a call, counted from 1, or after a time."""

    call: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"call {self.call}" if self.call else f"{self.seconds * 1000:.0f} ms"


def run_forked(act: Callable[[], object], folder: Path, moment: Moment | None = None) -> Ended:
    """Run a function in a forked process."""
    output, counted = folder / "output.txt", folder / "calls.txt"
    counted.write_text("0")
    began = time.perf_counter()
    child = fork(lambda: _count(act, folder, moment, counted), output)
    if moment and moment.seconds:
        time.sleep(moment.seconds)
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    seconds = time.perf_counter() - began
    return Ended(code, output.read_text(errors="replace"), int(counted.read_text() or 0), seconds)


def _count(act: Callable[[], object], folder: Path, moment: Moment | None, counted: Path) -> None:
    counter = Counter(str(folder / "disk") + os.sep, moment.call if moment else 0)
    sys.addaudithook(counter.see)
    try:
        act()
    finally:
        counted.write_text(str(counter.calls))


class Counter:
    """Counts the calls that change the disk below a folder, and kills before one of them."""

    def __init__(self, folder: str, last: int) -> None:
        self.calls = 0
        self._folder = folder
        self._last = last

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Called by Python before each audited call."""
        if event == "open":
            if not isinstance(arguments[2], int) or not arguments[2] & (os.O_WRONLY | os.O_RDWR):
                return
        elif event not in CHANGES:
            return
        path = arguments[0]
        if isinstance(path, int):
            return
        # Names relative to an open folder are those of a tree that is being deleted.
        text = os.fsdecode(path)
        if os.path.isabs(text) and not text.startswith(self._folder):
            return
        self.calls += 1
        if self.calls == self._last:
            os.kill(os.getpid(), signal.SIGKILL)
