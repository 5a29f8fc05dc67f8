"""Thumbnails of a person's crops, for a gallery: created once, and deleted with the person."""

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from facefusion_finetune import home, temporary
from facefusion_finetune.dataset import manifest
from facefusion_finetune.dataset.coverage import drawing
from facefusion_finetune.dataset.manifest import CropRecord
from facefusion_finetune.people.profile import Person
from facefusion_finetune.people.work import at_work

SIDE = 96
"""Width and height in pixels."""
QUALITY = 85
"""JPEG quality."""
MAX_WORKERS = 8


def thumbnails_directory(person: Person) -> Path:
    """The folder of a person's thumbnails, and, until the next extraction, the last comparison."""
    return person.directory / home.THUMBNAILS_FOLDER


def thumbnail_path(person: Person, record_id: str) -> Path:
    """The thumbnail of a crop; it may not exist."""
    return thumbnails_directory(person) / thumbnail_name(record_id)


def thumbnail_name(record_id: str) -> str:
    """File name of a thumbnail."""
    return f"{record_id}.jpg"


def write_thumbnails(
    person: Person,
    records: Sequence[CropRecord],
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> int:
    """Create missing thumbnails, and delete those of crops that no longer exist.

    Args:
        person: The person, whose folder must exist.
        records: All records of the person, kept or rejected. Those without a cut-out are skipped.
        progress: Called with the numbers done and total; may raise, and finished ones stay.

    Returns:
        The number of thumbnails created.

    Raises:
        BusyError: Another command is changing what is held about the person.
        ConsentError: The person was removed.
        OSError: A file cannot be written; the others stay, and none is partial.
    """
    with at_work(person, "the thumbnails") as work:

        def show(done: int, total: int) -> None:
            work.check()
            progress(done, total)

        return _write_missing(person, records, show)


def _write_missing(
    person: Person, records: Sequence[CropRecord], progress: Callable[[int, int], object]
) -> int:
    folder = thumbnails_directory(person)
    home.create_inner_directory(folder, person.directory)
    wanted = {
        thumbnail_path(person, record.id): record
        for record in records
        if record.sha256 and manifest.cutout_path(person, record.id).is_file()
    }
    temporary.sweep_folder(folder)
    for path in folder.iterdir():
        if path not in wanted and not temporary.is_temporary(path.name):
            path.unlink(missing_ok=True)
    missing = [(path, record) for path, record in wanted.items() if not path.exists()]
    drawn = 0
    with ThreadPoolExecutor(min(MAX_WORKERS, os.cpu_count() or 1)) as pool:
        try:
            results = pool.map(lambda entry: _write(person, *entry), missing)
            for number, is_drawn in enumerate(results, 1):
                drawn += is_drawn
                progress(number, len(missing))
        finally:
            pool.shutdown(cancel_futures=True)
    return drawn


def _write(person: Person, path: Path, record: CropRecord) -> bool:
    """Create one; returns whether there was a picture."""
    picture = drawing.read_face(person, record, SIDE)
    if picture is None:
        return False
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY)
    home.write_bytes(path, buffer.getvalue())
    return True
