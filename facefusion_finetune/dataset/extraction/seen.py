"""`sources.jsonl`: the footage that was processed, so that giving it again adds nothing."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from facefusion_finetune import home
from facefusion_finetune.damage import explain
from facefusion_finetune.dataset.manifest import (
    Count,
    CropRecord,
    crops_directory,
    file_names,
    read_lines,
)
from facefusion_finetune.errors import DatasetError
from facefusion_finetune.people.profile import Person


class KnownSource(BaseModel):
    """One file that was processed."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    sha256: str
    path: str
    """Its path, links resolved."""
    frames: Count
    """Number of frames processed."""
    faces: Count
    """Number of faces found, of anyone."""
    shot: str | None
    """Name of its last shot, to which the folder's next picture may also belong."""


def sources_path(person: Person) -> Path:
    """Path of the file."""
    return person.directory / home.SOURCES_FILE


def read_known_sources(person: Person, records: list[CropRecord]) -> dict[str, KnownSource]:
    """The footage that was processed, by sha256.

    Args:
        person: The person.
        records: The person's records; their footage always counts as known.

    Raises:
        DatasetError: A line is damaged.
    """
    known: dict[str, KnownSource] = {}
    for record in records:
        known[record.source_sha256] = KnownSource(
            sha256=record.source_sha256, path=record.source, frames=0, faces=0, shot=record.shot
        )
    return known | read_listed_sources(person)


def read_listed_sources(person: Person) -> dict[str, KnownSource]:
    """The footage in the file, by sha256; errors as in `read_known_sources`."""
    known: dict[str, KnownSource] = {}
    path = sources_path(person)
    for number, line in enumerate(read_lines(path, "all footage is processed again"), 1):
        try:
            source = KnownSource.model_validate_json(line)
        except ValidationError as error:
            raise DatasetError(
                f"{path}, line {number}",
                f"the line is damaged ({explain(error)}).",
                "Delete it: that footage is then processed again if it is given again.",
            ) from error
        known[source.sha256] = source
    return known


def find_incomplete(person: Person, records: list[CropRecord]) -> set[str]:
    """sha256 of the footage for which a file of a crop is missing."""
    directory = crops_directory(person)
    there = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
    return {
        record.source_sha256
        for record in records
        if record.sha256 and not there.issuperset(file_names(record.id))
    }


def write_known_sources(person: Person, known: dict[str, KnownSource]) -> None:
    """Replace the file atomically."""
    lines = (source.model_dump_json() + "\n" for source in known.values())
    home.write_text(sources_path(person), "".join(lines))
