"""Ending work that is under way: asked, then told, then killed."""

import contextlib
import time
from pathlib import Path

from facefusion_finetune import home
from facefusion_finetune.jobs import locks, processes
from facefusion_finetune.jobs.queue import lock_path
from facefusion_finetune.jobs.record import (
    LOCK_FILE,
    STATE_FILE,
    STOP_FILE,
    read_state,
)

STOP_SECONDS = 10.0
"""How long a job that was asked to stop is waited for before its process is ended."""
STEP_SECONDS = 60.0
"""The same for one that makes steps: it hears of that after each, and ended before, it loses those
since its last checkpoint."""
END_SECONDS = 10.0
"""How long a process that was told to end is waited for before it is killed."""
RUNNER_SECONDS = 3.0
"""How long the runner may take to see that a process has ended."""
_PAUSE = 0.1


def stop_all(person_name: str, seconds: float = STOP_SECONDS) -> list[str]:
    """Take back a person's queued jobs, and end the one at work: asked, told, killed at last.

    Args:
        person_name: Whose; neither the record nor a job need be legible.
        seconds: How long a job that was asked to stop is waited for.

    Returns:
        Ids of jobs whose process still lives, which hardly ever happens.
    """
    folders = []
    for folder in (home.people_directory() / person_name / home.JOBS_FOLDER).glob("*"):
        state = read_state(folder / STATE_FILE)
        if folder.is_symlink() or not folder.is_dir() or (state and state.is_ended):
            continue
        folders.append(folder)
        # Where that cannot be written, its process is ended all the same.
        with contextlib.suppress(OSError):
            (folder / STOP_FILE).touch(mode=0o600)
    alive = _wait(folders, seconds)
    for end in (processes.terminate, processes.kill):
        for folder in alive:
            end(folder)
        alive = _wait(alive, END_SECONDS)
    _wait_for_runner(folders)
    return [folder.name for folder in alive]


def _wait(folders: list[Path], seconds: float) -> list[Path]:
    """Wait until nobody works on the jobs in some folders; those that somebody still works on."""
    deadline = time.monotonic() + seconds
    while True:
        # A process that was started a moment ago may not have its lock yet.
        folders = [
            folder
            for folder in folders
            if locks.is_held(folder / LOCK_FILE) or processes.find_processes(folder)
        ]
        if not folders or time.monotonic() > deadline:
            return folders
        time.sleep(_PAUSE)


def _wait_for_runner(folders: list[Path]) -> None:
    """Let the runner say how the jobs ended: later it would bring their folders back."""
    deadline = time.monotonic() + RUNNER_SECONDS
    while (
        any((folder / LOCK_FILE).exists() for folder in folders)
        and locks.is_held(lock_path())
        and time.monotonic() < deadline
    ):
        time.sleep(_PAUSE)
