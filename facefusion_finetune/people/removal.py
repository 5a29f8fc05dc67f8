"""Delete a person: crops, vectors, runs, and models wherever they were activated."""

from pathlib import Path

from facefusion_finetune.people.profile import Person, remove_directory
from facefusion_finetune.registry import bases, store


def remove_person(person: Person, host: Path | None) -> list[Path]:
    """Delete everything held about a person.

    Args:
        person: Who is to be forgotten.
        host: A FaceFusion folder to look into beside those that are on record.

    Returns:
        All files that are gone, bases that no model needs any more among them.
    """
    hosts = {path.resolve() for path in store.known_hosts(person)}
    if host is not None:
        hosts.add(host.resolve())
    removed = [file for path in sorted(hosts) for file in store.deactivate(person, path)]
    return removed + remove_directory(person) + bases.release_home_bases()
