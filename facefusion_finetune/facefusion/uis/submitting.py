"""Submits jobs from the page, with uploaded files and FaceFusion's current settings."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from facefusion import state_manager

from facefusion_finetune.facefusion.uis import uploads
from facefusion_finetune.host import adapter
from facefusion_finetune.host.settings import collect_settings
from facefusion_finetune.jobs import queue
from facefusion_finetune.jobs.record import Job, Kind
from facefusion_finetune.people.profile import Person


class Draft:
    """A job that is not queued yet. Use it as a context manager.

    If the block fails, its files are deleted.
    """

    def __init__(self, person: Person, kind: Kind) -> None:
        """Create the folder of a new job.

        Args:
            person: The job's person.
            kind: Kind of the job.

        Raises:
            ConsentError: No valid consent is on record.
        """
        self._person = person
        self._kind = kind
        self._folder = queue.create_folder(person, kind)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def take_folder(self, paths: Sequence[Path], part: str) -> list[str]:
        """Move uploaded files to the job; they are deleted once it has succeeded.

        Args:
            paths: The files.
            part: Name of the subfolder in the job's folder.

        Returns:
            The folder they are in now, as a list; empty if there are no files.
        """
        return [str(self._folder / part)] if self.take_files(paths, part) else []

    def take_files(self, paths: Sequence[Path], part: str) -> list[str]:
        """Like `take_folder`, but returns the new paths of the files."""
        return [str(path) for path in uploads.move_uploads(paths, self._folder / part)]

    def submit(self, arguments: dict[str, Any]) -> Job:
        """Queue the job. Errors as in `queue.submit`."""
        return queue.submit(
            self._person,
            self._kind,
            arguments,
            host=adapter.HOST_PATH,
            settings=collect_settings(state_manager.get_item),
            folder=self._folder,
        )
