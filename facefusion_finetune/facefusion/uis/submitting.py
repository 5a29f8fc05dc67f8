"""From the page to the queue: a job with its uploaded files and FaceFusion's current settings."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from facefusion import state_manager

from facefusion_finetune.facefusion.uis import uploads
from facefusion_finetune.host import adapter
from facefusion_finetune.host.settings import collect_settings
from facefusion_finetune.jobs import queue
from facefusion_finetune.jobs.record import Job, Kind
from facefusion_finetune.people.profile import Person


class Draft:
    """A job that is not in the queue yet."""

    def __init__(self, person: Person, kind: Kind) -> None:
        """Begin one.

        Args:
            person: Whose job it is.
            kind: What is to be done.
        """
        self._person = person
        self._kind = kind
        self._folder = queue.create_folder(person, kind)

    @contextlib.contextmanager
    def kept_on_success(self) -> Iterator[None]:
        """Leave nothing behind where it does not come to the queue."""
        try:
            yield
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

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
