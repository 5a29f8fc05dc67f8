"""Processes that outlive the one that starts them, and how they are ended."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import psutil

from facefusion_finetune import home

# -P: modules are not looked for in the current folder.
PYTHON = (sys.executable, "-P", "-m")
"""How a module of this package is run."""


def create_environment() -> dict[str, str]:
    """For the processes that work: all processors, the same home, a log without delay."""
    environment = dict(os.environ)
    # FaceFusion limits OpenMP to one thread in its process and all it starts.
    environment.pop("OMP_NUM_THREADS", None)
    if home.HOME_VARIABLE in environment:
        # It may be relative to this process's folder.
        environment[home.HOME_VARIABLE] = str(home.home_directory())
    environment["PYTHONUNBUFFERED"] = "1"
    environment["PYTHONIOENCODING"] = "utf-8:backslashreplace"
    return environment


def start_detached(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a process that goes on when this one, or its terminal, ends.

    Raises:
        OSError: It cannot be started.
    """
    options: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        options = {"creationflags": flags}
    return subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=home.create_private_directory(home.home_directory()),
        env=create_environment(),
        **options,
    )


def start_worker(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process that writes all it says to a log.

    Raises:
        OSError: It cannot be started, or there cannot be a log.
    """
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=subprocess.STDOUT,
            cwd=home.home_directory(),
            env=create_environment(),
        )
    finally:
        os.close(handle)


def find_processes(folder: Path) -> list[psutil.Process]:
    """The processes that work on the job in a folder: it is the last word of their command."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            # It ended, or is another user's.
            continue
        if words and words[-1] == str(folder):
            found.append(process)
    return found


def terminate(folder: Path) -> None:
    """Tell whoever works on a job to end, and with it what it started."""
    _signal(folder, "terminate")


def kill(folder: Path) -> None:
    """End whoever works on a job, and with it what it started."""
    _signal(folder, "kill")


def _signal(folder: Path, how: Literal["terminate", "kill"]) -> None:
    for process in find_processes(folder):
        with contextlib.suppress(psutil.Error):
            # Itself first, lest it starts something in the place of what is gone.
            for one in [process, *process.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    getattr(one, how)()
