"""Programs that are killed just before one of their calls that change the disk."""

from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.forked import ForkServer

MAX_CALLS = 200

PROGRAM = """
import sys
from benchmarks.kills.processes import Counter
sys.addaudithook(Counter(sys.argv[1], int(sys.argv[2])).see)
"""


def kill_everywhere(
    server: ForkServer, code: str, folder: Path, prepare: Callable[[], object], every: int = 1
) -> Iterator[int]:
    """Kill a program before each of its calls that change a folder, in a process of its own.

    Args:
        server: Runs the program.
        code: The program.
        folder: The folder; calls elsewhere do not count.
        prepare: Called before each time.
        every: Leave out all but every so many calls.

    Yields:
        The number of the call, after the program was killed there.
    """
    for call in range(1, MAX_CALLS, every):
        prepare()
        ended = server.run(PROGRAM + code, f"{folder}/", call)
        if ended.returncode == 0:
            assert call > 1, "it changed nothing"
            return
        assert ended.returncode == -9, ended.stderr
        yield call
    raise AssertionError(f"more than {MAX_CALLS} calls")
