"""What was uploaded for jobs: kept until it has been used, and then no longer."""

import shutil
from pathlib import Path
from typing import Any

from facefusion_finetune.jobs.queue import list_jobs
from facefusion_finetune.jobs.record import Job


def release_uploads(job: Job) -> None:
    """Delete what was uploaded for a job that is done.

    So goes what was uploaded for an ended job that this one did again, or went on with. What cannot
    be deleted stays until the job, or the person, is removed.
    """
    state = job.state
    for other in list_jobs(job.request.person):
        is_same_run = state.version is not None and other.state.version == state.version
        for folder in other.upload_directories:
            if not folder.exists():
                continue
            is_used = any(_is_in(path, folder) for path in _list_paths(job.request.arguments))
            if other.id == job.id or (other.state.is_ended and (is_used or is_same_run)):
                shutil.rmtree(folder, ignore_errors=True)


def _list_paths(arguments: dict[str, Any]) -> list[Path]:
    lists = [value for value in arguments.values() if isinstance(value, list)]
    return [Path(text) for texts in lists for text in texts]


def _is_in(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents
