"""From the page to the queue: a job with its uploaded files and FaceFusion's current settings."""

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
    """A job that is not in the queue yet. Use it as a context manager.

    Where the block fails nothing of it is left.
    """

    def __init__(self, person: Person, kind: Kind) -> None:
        """Begin one.

        Args:
            person: Whose job it is.
            kind: What is to be done.

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
            part: Name of the folder inside the job's.

        Returns:
            The one folder they lie in now; none where there are no files.
        """
        return [str(self._folder / part)] if self.take_files(paths, part) else []

    def take_files(self, paths: Sequence[Path], part: str) -> list[str]:
        """As `take_folder`, but for where the files lie now."""
        return [str(path) for path in uploads.move_uploads(paths, self._folder / part)]

    def submit(self, arguments: dict[str, Any]) -> Job:
        """Put it into the queue. Errors as in `queue.submit`."""
        return queue.submit(
            self._person,
            self._kind,
            arguments,
            host=adapter.HOST_PATH,
            settings=collect_settings(state_manager.get_item),
            folder=self._folder,
        )
