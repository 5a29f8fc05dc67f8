"""Waiting for what other threads and processes do, however busy the machine is."""

import time
from collections.abc import Callable

HANGS = 600.0
"""Seconds after which something hangs. It ends tests that would never end, and decides nothing."""


def wait_until(is_so: Callable[[], object], what: Callable[[], object] | str) -> None:
    """Wait until something is so.

    Args:
        is_so: Asked again and again.
        what: To be said if it never is, or what says it then.

    Raises:
        AssertionError: It never is.
    """
    deadline = time.monotonic() + HANGS
    while not is_so():
        assert time.monotonic() < deadline, what() if callable(what) else what
        time.sleep(0.02)
