"""`sources.jsonl`: which footage was looked through, so that given again it adds nothing."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from facefusion_finetune import home
from facefusion_finetune.dataset.manifest import (
    CropRecord,
    crops_directory,
    file_names,
    read_lines,
)
from facefusion_finetune.errors import DatasetError
from facefusion_finetune.people.profile import Person


class KnownSource(BaseModel):
    """One file that was looked through."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    sha256: str
    path: str
    """Where it lay, links resolved."""
    frames: int
    """Looked at."""
    faces: int
    """Found in them, of whomever."""
    shot: str | None
    """Name of its last shot, which the next picture of its folder may belong to."""


def sources_path(person: Person) -> Path:
    """The file."""
    return person.directory / home.SOURCES_FILE


def read_known_sources(person: Person, records: list[CropRecord]) -> dict[str, KnownSource]:
    """What was looked through, by sha256.

    Args:
        person: Whose.
        records: The person's; what they came from counts as known in any case.

    Raises:
        DatasetError: A line is damaged.
    """
    known: dict[str, KnownSource] = {}
    for record in records:
        known[record.source_sha256] = KnownSource(
            sha256=record.source_sha256, path=record.source, frames=0, faces=0, shot=record.shot
        )
    path = sources_path(person)
    for number, line in enumerate(read_lines(path, "all footage is looked through again"), 1):
        try:
            source = KnownSource.model_validate_json(line)
        except ValidationError as error:
            raise DatasetError(
                f"{path}, line {number}",
                "the line is damaged.",
                "Delete it: that footage is looked through again when it is given again.",
            ) from error
        known[source.sha256] = source
    return known


def find_incomplete(person: Person, records: list[CropRecord]) -> set[str]:
    """sha256 of the footage of whose crops a file is gone."""
    directory = crops_directory(person)
    there = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
    return {
        record.source_sha256
        for record in records
        if record.sha256 and not there.issuperset(file_names(record.id))
    }


def write_known_sources(person: Person, known: dict[str, KnownSource]) -> None:
    """Replace the file, whole or not at all."""
    lines = (source.model_dump_json() + "\n" for source in known.values())
    home.write_text(sources_path(person), "".join(lines))
