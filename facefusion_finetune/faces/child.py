"""Starts a decoder as a child process that has limits and does not outlive this process.

Run as a script, this file is the step in between: it limits itself and becomes the decoder.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

SET_PARENT_DEATH_SIGNAL = 1
"""Linux's PR_SET_PDEATHSIG."""


def start_child(
    command: Sequence[str], seconds: int, memory: int, **options: Any
) -> subprocess.Popen[bytes]:
    """Start a program that reads a file somebody else made.

    On Linux, the kernel ends it when the thread that called this function ends, however that
    happens. Windows has no such limits; there the program is only started.

    Args:
        command: The program's path and its arguments.
        seconds: Computing time after which it is ended, summed over its threads. Waiting for
            whoever takes its output does not count.
        memory: Bytes of memory that it can have.
        options: Further options of `subprocess.Popen`.
    """
    # Not `preexec_fn`: Python code between fork and exec can hang in a process with threads.
    if os.name == "posix" and sys.executable:
        limits = map(str, (os.getpid(), seconds, memory))
        command = [sys.executable, "-I", "-S", __file__, *limits, *command]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)


def _become(parent: int, seconds: int, memory: int, command: Sequence[str]) -> None:
    """Limit this process, tie it to its parent and replace it by the program."""
    import resource

    # Both limits alike, so that the kernel kills it: ffmpeg would end as if all was read.
    for limit, wanted in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_CORE, 0),
    ):
        allowed = resource.getrlimit(limit)[1]
        most = wanted if allowed == resource.RLIM_INFINITY else min(wanted, allowed)
        # Not every system has every limit.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(limit, (most, most))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            # It has ended already, so no signal will come.
            os._exit(1)
    os.execv(command[0], list(command))


if __name__ == "__main__":
    _become(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
