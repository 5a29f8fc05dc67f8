"""Starts processes that outlive their parent, and ends them."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import psutil

from facefusion_finetune import home

# -P: modules are not imported from the current folder.
PYTHON = (sys.executable, "-P", "-m")
"""Command prefix to run a module of this package."""


def create_environment() -> dict[str, str]:
    """Environment of worker processes: all CPU cores, the same home, an unbuffered log."""
    environment = dict(os.environ)
    # FaceFusion limits OpenMP to one thread in its process and its child processes.
    environment.pop("OMP_NUM_THREADS", None)
    if home.HOME_VARIABLE in environment:
        # It may be relative to this process's current folder.
        environment[home.HOME_VARIABLE] = str(home.home_directory())
    environment["PYTHONUNBUFFERED"] = "1"
    environment["PYTHONIOENCODING"] = "utf-8:backslashreplace"
    return environment


def start_detached(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a process that continues when this one, or its terminal, ends.

    Raises:
        OSError: The process cannot be started.
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
    """Start a process that writes its output to a log.

    Raises:
        OSError: The process cannot be started, or the log cannot be created.
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
    """The processes that work on the job in a folder, which is their last argument."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            # It has ended, or belongs to another user.
            continue
        if words and words[-1] == str(folder):
            found.append(process)
    return found


def terminate(folder: Path) -> None:
    """Terminate the processes that work on a job, and their children."""
    for process in find_processes(folder):
        send(process, "terminate")


def kill(folder: Path) -> None:
    """Kill the processes that work on a job, and their children."""
    for process in find_processes(folder):
        send(process, "kill")


def send(process: psutil.Process, how: Literal["terminate", "kill"]) -> None:
    """Terminate or kill a process and its children; nothing happens if it has ended."""
    with contextlib.suppress(psutil.Error):
        # The parent first, so that it does not replace the killed children.
        for one in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                getattr(one, how)()
