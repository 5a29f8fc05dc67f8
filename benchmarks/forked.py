"""A function in a forked process: it need not load what this one has loaded."""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

CRASHED = 99
"""Exit code after a traceback."""


def fork(act: Callable[[], object], output: Path) -> int:
    """Run a function in a process of its own.

    It exits with 0, with the code of a SystemExit, or with `CRASHED`.

    Args:
        act: The function.
        output: Receives what it prints.

    Returns:
        The number of the process.
    """
    pid = os.fork()
    if pid:
        return pid
    code = CRASHED
    try:
        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(handle, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        act()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Taking the interpreter apart would touch, and so copy, all that was imported.
        os._exit(code)
