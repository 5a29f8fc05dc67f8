"""Delete one version of a person's model."""

import shutil
from pathlib import Path

from facefusion_finetune.people.profile import Person
from facefusion_finetune.registry import bases, store
from facefusion_finetune.registry.exports import list_exports
from facefusion_finetune.runs.run import Run


def remove_version(person: Person, run: Run, host: Path | None) -> list[Path]:
    """Delete a run, and its model and exports wherever this package keeps them.

    Args:
        person: Whose run.
        run: Finished or not.
        host: A FaceFusion folder to look into beside those that are on record.

    Returns:
        The files and folders that were removed, bases that no model needs any more among them.

    Raises:
        RegistryError: The file that remembers the FaceFusion folders is damaged.
        OSError: Something cannot be deleted.
    """
    version = run.record.version
    folders = {*store.known_hosts(person), *([host.resolve()] if host else [])}
    removed = [
        path for folder in sorted(folders) for path in store.deactivate(person, folder, version)
    ]
    for path in list_exports(person, version):
        path.unlink(missing_ok=True)
        removed.append(path)
    shutil.rmtree(run.directory)
    return [*removed, run.directory, *bases.release_home_bases()]
