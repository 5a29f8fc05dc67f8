"""Small pictures of a person's crops, for a gallery: drawn once, and gone with the person."""

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from facefusion_finetune import home
from facefusion_finetune.dataset import manifest
from facefusion_finetune.dataset.coverage import drawing
from facefusion_finetune.dataset.manifest import CropRecord
from facefusion_finetune.people.profile import Person

SIDE = 96
"""In pixels."""
QUALITY = 85
"""Of JPEG."""
MOST_WORKERS = 8


def shown_directory(person: Person) -> Path:
    """Folder of a person's thumbnails, and of the last comparison, until the next extraction."""
    return person.directory / home.THUMBNAILS_FOLDER


def thumbnail_path(person: Person, record_id: str) -> Path:
    """The thumbnail of a crop; not there where it was not drawn, or could not be."""
    return shown_directory(person) / thumbnail_name(record_id)


def thumbnail_name(record_id: str) -> str:
    """File name of a thumbnail."""
    return f"{record_id}.jpg"


def write_thumbnails(
    person: Person,
    records: Sequence[CropRecord],
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> int:
    """Draw what is missing, and delete what belongs to no crop any more.

    Args:
        person: Whose crops they are; the person's folder must exist.
        records: All of the person, kept or rejected. Those without a cut-out have no thumbnail.
        progress: Told how many of how many were drawn; may raise, and what was drawn stays.

    Returns:
        How many were drawn.

    Raises:
        OSError: One cannot be written; the others stay, and none is partial.
    """
    folder = shown_directory(person)
    # Without parents: a person who is being removed must not come back.
    folder.mkdir(mode=0o700, exist_ok=True)
    wanted = {
        thumbnail_path(person, record.id): record
        for record in records
        if record.sha256 and manifest.cutout_path(person, record.id).is_file()
    }
    for path in folder.iterdir():
        if path not in wanted:
            path.unlink(missing_ok=True)
    missing = [(path, record) for path, record in wanted.items() if not path.exists()]
    drawn = 0
    with ThreadPoolExecutor(min(MOST_WORKERS, os.cpu_count() or 1)) as pool:
        try:
            results = pool.map(lambda entry: _write(person, *entry), missing)
            for number, is_drawn in enumerate(results, 1):
                drawn += is_drawn
                progress(number, len(missing))
        finally:
            pool.shutdown(cancel_futures=True)
    return drawn


def _write(person: Person, path: Path, record: CropRecord) -> bool:
    """Draw one; whether there was something to draw."""
    picture = drawing.read_face(person, record, SIDE)
    if picture is None:
        return False
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY)
    home.write_bytes(path, buffer.getvalue())
    return True
