"""The coverage report of a person: text, JSON and a picture, kept in the person's folder."""

import json
from dataclasses import dataclass
from pathlib import Path

from facefusion_finetune import home
from facefusion_finetune.dataset.coverage.advice import advise
from facefusion_finetune.dataset.coverage.measure import measure_coverage, to_dict
from facefusion_finetune.dataset.coverage.picture import draw_coverage
from facefusion_finetune.dataset.coverage.text import describe
from facefusion_finetune.dataset.manifest import read_manifest
from facefusion_finetune.people.profile import Person
from facefusion_finetune.people.work import lock_person


@dataclass(frozen=True)
class CoverageReport:
    """What a person's crops show, and what they lack."""

    text: str
    """For a terminal."""
    advice: list[str]
    """What to film next, most valuable first."""
    json: str
    """Everything as JSON."""
    picture: bytes
    """A PNG."""
    path: Path
    """Path of the picture."""


def write_report(person: Person) -> CoverageReport:
    """Create the report from the manifest, and write `coverage.json` and `coverage.png`.

    Raises:
        DatasetError: The manifest is damaged.
        BusyError: Another command is changing what is held about the person.
        ConsentError: The person was removed.
        OSError: A file cannot be written.
    """
    records = read_manifest(person)
    found = measure_coverage(records)
    advice = advise(found)
    values = {"person": person.name, **to_dict(found), "advice": advice}
    text = json.dumps(values, indent=2)
    picture = draw_coverage(person, records, found, advice)
    path = person.directory / home.COVERAGE_PICTURE
    with lock_person(person):
        home.write_text(path.with_suffix(".json"), text + "\n")
        home.write_bytes(path, picture)
    return CoverageReport(describe(person.name, found), advice, text, picture, path)
