"""The gallery of a person's crops, and their coverage."""

import html
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facefusion_finetune import home
from facefusion_finetune.damage import parse_json, read_file
from facefusion_finetune.dataset.coverage.report import write_report
from facefusion_finetune.dataset.manifest import CropRecord, read_manifest
from facefusion_finetune.dataset.review.sheets import MIN_ID_DIGITS, describe_state, list_tiles
from facefusion_finetune.dataset.review.thumbnails import thumbnail_name, thumbnails_directory
from facefusion_finetune.errors import FinetuneError
from facefusion_finetune.facefusion.uis import embed, page
from facefusion_finetune.facefusion.uis.page import translate
from facefusion_finetune.facefusion.uis.people_text import fingerprint_file
from facefusion_finetune.people.profile import Person, load_person, person_directory

FILTERS = ("all", "kept", "rejected")


@dataclass(frozen=True)
class CropsView:
    """Contents of the gallery."""

    records: list[CropRecord]
    """All of the person's crops that have a thumbnail."""
    shown: list[CropRecord]
    """Crops that pass the filter, in the order of the gallery."""
    html: str
    """HTML of the gallery, with a checkbox per crop whose value is the id."""


def create_view(name: str | None, shown: str) -> CropsView:
    """A person's crops that pass a filter: kept ones by shot, then rejected ones by reason.

    Args:
        name: Name of the person; None gives an empty gallery.
        shown: One of `FILTERS`.
    """
    if not name:
        return CropsView([], [], "")
    try:
        person = load_person(name)
        records = [tile.record for tile in list_tiles(read_manifest(person))]
    except FinetuneError as error:
        page.warn(str(error))
        return CropsView([], [], "")
    embed.serve_shown(person)
    folder = thumbnails_directory(person).resolve()
    names = set(os.listdir(folder)) if folder.is_dir() else set()
    drawn = [record for record in records if thumbnail_name(record.id) in names]
    chosen = [record for record in drawn if shown in ("all", _name(record))]
    return CropsView(drawn, chosen, _draw_gallery(chosen, folder))


def _draw_gallery(records: list[CropRecord], folder: Path) -> str:
    """HTML of the crops; thumbnails are loaded lazily."""
    tiles = []
    for record in records:
        path = embed.link(folder / thumbnail_name(record.id))
        words = html.escape(_describe(record), quote=True)
        caption = html.escape(_caption(record))
        tiles.append(
            f'<label class="finetune-crop is-{_name(record)}" title="{words}">'
            f'<input type="checkbox" value="{record.id}" aria-label="{words}">'
            f'<img src="{path}" alt="" loading="lazy" width="96" height="96">'
            f"<span>{caption}</span></label>"
        )
    return f'<div class="finetune-crops">{"".join(tiles)}</div>' if tiles else ""


def label_filters(records: list[CropRecord]) -> list[tuple[str, str]]:
    """Label, with the number of crops, and name of each filter."""
    counts = {
        shown: sum(shown in ("all", _name(record)) for record in records) for shown in FILTERS
    }
    return [
        (translate(f"footage.crops_{shown}", count=count), shown) for shown, count in counts.items()
    ]


def fingerprint_crops(name: str | None) -> Any:
    """A value that changes whenever the gallery or the coverage does."""
    if not name:
        return None
    folder = person_directory(name)
    # Thumbnails are written after the crops; the folder's time changes with new ones.
    parts = (home.MANIFEST_FILE, home.COVERAGE_PICTURE, home.THUMBNAILS_FOLDER)
    return name, *(fingerprint_file(folder / part) for part in parts)


def update_coverage(person: Person) -> None:
    """Update the coverage; if that fails, the old picture stays."""
    try:
        write_report(person)
    except FinetuneError as error:
        page.warn(str(error))


def draw_coverage(name: str | None) -> str:
    """HTML of the coverage picture, and what to film next."""
    if not name:
        return ""
    path = person_directory(name) / home.COVERAGE_PICTURE
    picture = embed.embed_picture(path, translate("footage.coverage", name=name))
    advice = _read_advice(path.with_suffix(".json"))
    if not picture or not advice:
        return picture
    return f"{picture}{embed.paragraph(translate('footage.advice'))}{embed.bullets(advice)}"


def _read_advice(path: Path) -> list[str]:
    try:
        return [str(sentence) for sentence in read_file(path, parse_json)["advice"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _name(record: CropRecord) -> str:
    return "kept" if record.kept else "rejected"


def _caption(record: CropRecord) -> str:
    return record.id[:MIN_ID_DIGITS] if record.kept else record.reason


def _describe(record: CropRecord) -> str:
    return translate(
        "footage.crop",
        id=record.id[:MIN_ID_DIGITS],
        state=describe_state(record),
        source=Path(record.source).name,
        frame=record.frame,
        reason=record.reason,
    )
