"""Records caches that are outside the person's folder, and deletes them."""

from pathlib import Path

from facefusion_finetune.people import elsewhere
from facefusion_finetune.people.profile import person_directory
from facefusion_finetune.runs.run import Run
from facefusion_finetune.training.cache.header import list_cache_files, read_owner, remove_cache


def remember_cache(run: Run, folder: Path | None) -> None:
    """Record the cache folder of a run before it is used.

    Args:
        run: The run.
        folder: The user's cache folder; None for the run's own folder.

    Raises:
        RegistryError: The record file is damaged.
        OSError: The record cannot be written, for example because the person was removed.
    """
    if folder is not None:
        directory = person_directory(run.record.person)
        elsewhere.remember(directory, folder.resolve(), "cache", run.reference)


def release_caches(run: Run) -> None:
    """Delete a finished run's caches in recorded folders; errors as in `remember_cache`."""
    directory = person_directory(run.record.person)
    for entry in elsewhere.list_locations(directory):
        if entry.kind != "cache" or entry.about != run.reference:
            continue
        for folder in list_cache_folders(Path(entry.path)):
            if read_owner(folder) == run.reference:
                remove_cache(folder)
        if not list_cache_folders(Path(entry.path)):
            elsewhere.forget(directory, entry.path)


def list_cache_folders(folder: Path) -> list[Path]:
    """Folders with caches at a cache location: the folder itself, or one subfolder per process."""
    below = [path for path in folder.glob("*") if path.name.isdecimal() and not path.is_symlink()]
    return [path for path in [folder, *sorted(below)] if list_cache_files(path)]
