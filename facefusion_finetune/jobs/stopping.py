"""Stops running jobs: by request, then by terminating, then by killing them."""

import contextlib
import os
import time
from pathlib import Path

import psutil

from facefusion_finetune import home, locks
from facefusion_finetune.jobs import processes
from facefusion_finetune.jobs.queue import lock_path
from facefusion_finetune.jobs.record import (
    LOCK_FILE,
    STATE_FILE,
    STOP_FILE,
    read_state,
)
from facefusion_finetune.people.profile import person_directory
from facefusion_finetune.people.work import Announcement, list_others

STOP_SECONDS = 10.0
"""How long a job may take to stop on request before it is terminated."""
STEP_SECONDS = 60.0
"""The same for a job in its training steps: it checks for requests after each step, and would lose
the steps since its last checkpoint."""
END_SECONDS = 10.0
"""How long a terminated process may take to end before it is killed."""
RUNNER_SECONDS = 3.0
"""How long the runner may take to notice that a process has ended."""
_PAUSE = 0.1


def stop_all(person_name: str, seconds: float = STOP_SECONDS) -> list[str]:
    """Stop a person's queued and running jobs: by request, terminating, or killing.

    Args:
        person_name: The person; neither their record nor their jobs need be readable.
        seconds: How long a job may take to stop on request.

    Returns:
        Ids of jobs whose process is still alive, which is rare.
    """
    folders = []
    for folder in (person_directory(person_name) / home.JOBS_FOLDER).glob("*"):
        state = read_state(folder / STATE_FILE)
        if folder.is_symlink() or not folder.is_dir() or (state and state.is_ended):
            continue
        folders.append(folder)
        # If this cannot be written, its process is terminated anyway.
        with contextlib.suppress(OSError):
            (folder / STOP_FILE).touch(mode=0o600)
    alive = _wait(folders, seconds)
    for end in (processes.terminate, processes.kill):
        for folder in alive:
            end(folder)
        alive = _wait(alive, END_SECONDS)
    _wait_for_runner(folders)
    return [folder.name for folder in alive]


def end_others(directory: Path) -> list[Announcement]:
    """End commands other than jobs that are at work on a person's data.

    The removal of the person must have been marked, so that they stop by themselves. A process that
    does nothing else is terminated and then killed if it does not.

    Args:
        directory: The person's folder.

    Returns:
        The work that still goes on.
    """
    left = _wait_for_others(directory, STOP_SECONDS)
    for how in ("terminate", "kill"):
        found = [
            process
            for path, work in left.items()
            if work.is_command and (process := _find_process(work.pid, path))
        ]
        for process in found:
            processes.send(process, how)
        if found:
            left = _wait_for_others(directory, END_SECONDS)
    return list(left.values())


def _find_process(pid: int, path: Path) -> psutil.Process | None:
    """The other process with this id, if it has the file open.

    In a container, the same id may be another process's.
    """
    if pid == os.getpid():
        return None
    try:
        process = psutil.Process(pid)
        names = {file.path for file in process.open_files()}
    except psutil.Error:
        return None
    return process if str(path.resolve()) in names else None


def _wait_for_others(directory: Path, seconds: float) -> dict[Path, Announcement]:
    deadline = time.monotonic() + seconds
    while (left := list_others(directory)) and time.monotonic() < deadline:
        time.sleep(_PAUSE)
    return left


def _wait(folders: list[Path], seconds: float) -> list[Path]:
    """Wait until no process works on the jobs in the folders; returns those still worked on."""
    deadline = time.monotonic() + seconds
    while True:
        # A process started a moment ago may not have its lock yet.
        folders = [
            folder
            for folder in folders
            if locks.is_held(folder / LOCK_FILE) or processes.find_processes(folder)
        ]
        if not folders or time.monotonic() > deadline:
            return folders
        time.sleep(_PAUSE)


def _wait_for_runner(folders: list[Path]) -> None:
    """Wait until the runner has recorded the ends; later, it would recreate the folders."""
    deadline = time.monotonic() + RUNNER_SECONDS
    while (
        any((folder / LOCK_FILE).exists() for folder in folders)
        and locks.is_held(lock_path())
        and time.monotonic() < deadline
    ):
        time.sleep(_PAUSE)
