"""Contact sheets of a person's crops, to see which are used for training and which are not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePath

from PIL import Image, ImageDraw

from facefusion_finetune import home
from facefusion_finetune.dataset.coverage import drawing
from facefusion_finetune.dataset.coverage.measure import list_shots
from facefusion_finetune.dataset.coverage.text import count, describe_time
from facefusion_finetune.dataset.manifest import CropRecord
from facefusion_finetune.people.profile import Person
from facefusion_finetune.people.work import Work, at_work

COLUMNS, ROWS = 10, 6
PER_PAGE = COLUMNS * ROWS
MIN_ID_DIGITS = 8
"""Digits of an id shown, if they are unique."""

FACE = 144
BORDER = 4
TILE = FACE + 2 * BORDER
GAP = 14
BAND = 24
"""Height of the group's name above the tiles."""
CAPTION = 60
TILE_HEIGHT = BAND + TILE + CAPTION
MARGIN = 32
HEAD = 84
WIDTH = 2 * MARGIN + COLUMNS * (TILE + GAP) - GAP
TITLE, TEXT, SMALL = 26, 15, 13
"""Font sizes in pixels."""


@dataclass(frozen=True)
class Tile:
    """One crop on a sheet."""

    record: CropRecord
    group: str
    """The shot of a kept crop, or the reason for rejection."""


def review_directory(person: Person) -> Path:
    """The folder of a person's contact sheets."""
    return person.directory / home.REVIEW_FOLDER


def write_sheets(person: Person, records: Sequence[CropRecord]) -> list[Path]:
    """Write contact sheets, replacing earlier ones.

    Kept crops come first, by shot, then rejected ones, by reason. One page is in memory at a time.

    Args:
        person: The person.
        records: All records of the person, in the order of the manifest.

    Returns:
        The pages; empty if there is no crop of the person.

    Raises:
        BusyError: Another command is changing what is held about the person.
        ConsentError: The person was removed.
        OSError: A page cannot be written; earlier sheets are deleted, and no page is partial.
    """
    with at_work(person, "the contact sheets") as work:
        return _write_sheets(work, records)


def _write_sheets(work: Work, records: Sequence[CropRecord]) -> list[Path]:
    person = work.person
    folder = review_directory(person)
    home.create_inner_directory(folder, person.directory)
    for former in folder.glob("sheet-*.png"):
        former.unlink()
    tiles = list_tiles(records)
    digits = count_digits([record.id for record in records])
    pages = -(-len(tiles) // PER_PAGE)
    paths = []
    for page in range(pages):
        work.check()
        part = tiles[page * PER_PAGE : (page + 1) * PER_PAGE]
        title = f"{person.name}, sheet {page + 1} of {pages}"
        path = folder / f"sheet-{page + 1:0{max(2, len(str(pages)))}}.png"
        home.write_bytes(path, _draw_sheet(person, part, title, digits))
        paths.append(path)
    return paths


def list_tiles(records: Sequence[CropRecord]) -> list[Tile]:
    """The person's crops in the order of the sheets, each with its group."""
    kept = [record for record in records if record.kept]
    names = {
        shot.name: f"shot {shot.number}: {count(shot.crops, 'crop')}, {shot.source}"
        for shot in list_shots(kept)
    }
    places = {shot: place for place, shot in enumerate(names)}
    kept.sort(key=lambda record: places[record.shot])
    rejected = [record for record in records if record.is_person and not record.kept]
    rejected.sort(key=lambda record: record.reason)
    tiles = [Tile(record, names[record.shot]) for record in kept]
    return tiles + [Tile(record, record.reason) for record in rejected]


def count_digits(ids: Sequence[str]) -> int:
    """How many leading digits make all ids unique, at least `MIN_ID_DIGITS`."""
    longest = max(map(len, ids), default=MIN_ID_DIGITS)
    for digits in range(MIN_ID_DIGITS, longest):
        if len({identifier[:digits] for identifier in ids}) == len(set(ids)):
            return digits
    return max(longest, MIN_ID_DIGITS)


def describe_state(record: CropRecord) -> str:
    """Whether a crop is kept, and whether that was decided by hand."""
    if record.choice is not None:
        return f"{record.choice} by hand"
    return "kept" if record.kept else "rejected"


def _draw_sheet(person: Person, tiles: Sequence[Tile], title: str, digits: int) -> bytes:
    rows = -(-len(tiles) // COLUMNS)
    height = HEAD + rows * (TILE_HEIGHT + GAP) + MARGIN
    sheet = Image.new("RGB", (WIDTH, height), drawing.PAPER)
    draw = ImageDraw.Draw(sheet)
    drawing.write(draw, (MARGIN, 44), title, TITLE)
    kept = sum(tile.record.kept for tile in tiles)
    summary = f"{kept} kept (blue), {len(tiles) - kept} rejected (orange)."
    summary += f" To change this: facefusion-finetune dataset reject {person.name} ID, or restore."
    drawing.write(draw, (MARGIN, 68), summary, TEXT, drawing.FAINT)
    for row in range(rows):
        y = HEAD + row * (TILE_HEIGHT + GAP)
        part = tiles[row * COLUMNS : (row + 1) * COLUMNS]
        for start, length, group in _find_groups(part):
            _draw_band(draw, _find_left(start), y, length * (TILE + GAP) - GAP, group)
        for column, tile in enumerate(part):
            _draw_tile(sheet, draw, (_find_left(column), y + BAND), person, tile, digits)
    return drawing.encode_drawing(sheet)


def _find_left(column: int) -> int:
    return MARGIN + column * (TILE + GAP)


def _find_groups(tiles: Sequence[Tile]) -> Iterator[tuple[int, int, str]]:
    """Start, length and name of the groups of one row."""
    start = 0
    for group, members in groupby(tiles, key=lambda tile: tile.group):
        length = sum(1 for _ in members)
        yield start, length, group
        start += length


def _draw_band(draw: ImageDraw.ImageDraw, x: int, y: int, width: int, group: str) -> None:
    """The group's name above a line as long as the group."""
    drawing.write(draw, (x, y + 13), drawing.shorten(group, SMALL, width), SMALL)
    draw.line((x, y + 18, x + width - 1, y + 18), fill=drawing.LINE, width=2)


def _draw_tile(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    person: Person,
    tile: Tile,
    digits: int,
) -> None:
    x, y = corner
    record = tile.record
    colour = drawing.BLUE if record.kept else drawing.VERMILION
    draw.rectangle((x, y, x + TILE - 1, y + TILE - 1), fill=colour)
    face = drawing.read_face(person, record, FACE)
    if face is None:
        inside = (x + BORDER, y + BORDER, x + TILE - BORDER - 1, y + TILE - BORDER - 1)
        draw.rectangle(inside, fill=drawing.EMPTY)
        middle = (x + TILE / 2, y + TILE / 2)
        drawing.write(draw, middle, "no picture kept", SMALL, drawing.FAINT, "m")
    else:
        sheet.paste(face, (x + BORDER, y + BORDER))
    state = describe_state(record)
    width = drawing.measure_text(state, SMALL) + 12
    draw.rectangle((x, y + TILE - 20, x + width, y + TILE - 1), fill=colour)
    drawing.write(draw, (x + 6, y + TILE - 6), state, SMALL, drawing.PAPER)
    name = drawing.shorten(PurePath(record.source).name, SMALL, TILE)
    time = "picture" if record.time is None else describe_time(record.time)
    drawing.write(draw, (x, y + TILE + 17), record.id[:digits], TEXT)
    drawing.write(draw, (x, y + TILE + 34), name, SMALL, drawing.FAINT)
    drawing.write(draw, (x, y + TILE + 50), time, SMALL, drawing.FAINT)
