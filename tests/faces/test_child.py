"""A child that reads somebody else's file: limited, and gone with its parent."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from facefusion_finetune.faces.child import start_child

needs_limits = pytest.mark.skipif(os.name != "posix", reason="only POSIX has such limits")
only_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children")

PARENT = """
import sys, time
from facefusion_finetune.faces.child import start_child
print(start_child([sys.executable, "-c", "import time; time.sleep(60)"], 60, 10**9).pid, flush=True)
time.sleep(60)
"""
"""Starts a child that would outlive it by far, and says its number."""


def _run(code: str, seconds: int = 60, memory: int = 10**9) -> subprocess.Popen[bytes]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return start_child([sys.executable, "-c", code], seconds, memory, **pipes)


def test_it_is_the_program_itself() -> None:
    with _run("import os, sys; print(os.getpid(), sys.stdin.read() == '')") as child:
        said = child.communicate()[0]
    assert said.split() == [str(child.pid).encode(), b"True"]
    assert child.returncode == 0


@needs_limits
def test_it_ends_after_its_computing_time() -> None:
    with _run("while True: pass", seconds=1) as child:
        child.communicate()
    assert child.returncode == -signal.SIGKILL


@only_linux
def test_it_gets_no_more_memory() -> None:
    code = "bytearray(50 * 2**20); print('little'); bytearray(300 * 2**20); print('much')"
    with _run(code, memory=200 * 2**20) as child:
        said, messages = child.communicate()
    assert said.split() == [b"little"]
    assert b"MemoryError" in messages


@only_linux
def test_it_ends_with_its_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert _is_alive(child)
        parent.kill()
    end = time.monotonic() + 10
    while _is_alive(child) and time.monotonic() < end:
        time.sleep(0.02)
    assert not _is_alive(child)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
