"""Shared by the pictures of a data set: colours, text, and a face from its cut-out.

Uses only Pillow: it comes with torchvision and includes a scalable font.
"""

import bisect
import functools
import io

import numpy
from PIL import Image, ImageDraw, ImageFont

from facefusion_finetune.dataset import manifest
from facefusion_finetune.dataset.coverage.text import to_printable
from facefusion_finetune.dataset.manifest import CropRecord
from facefusion_finetune.faces.images import read_png
from facefusion_finetune.people.profile import Person

PAPER = "#ffffff"
INK = "#1f2328"
FAINT = "#5c636b"
LINE = "#c9ced4"
EMPTY = "#f3f4f6"
BLUE = "#0072b2"
VERMILION = "#c44e00"
"""Blue and vermilion are distinguishable with all kinds of colour blindness: Okabe and Ito, Color
Universal Design, 2008; the vermilion is darkened so that white text on it is legible."""

FACE_MARGIN = 1.3
"""Side of a face's picture in longer sides of its box, so that hair and chin are included."""

OTHER_FONTS = (
    "DejaVuSans.ttf",
    "NotoSansCJK-Regular.ttc",
    "Arial Unicode.ttf",
    "msyh.ttc",
    "arial.ttf",
)
"""System fonts to try for characters that Pillow's own font lacks."""

NO_LETTER = "\U0010ffff"
"""In no font, so it is drawn as the font's symbol for a missing character."""

COMPRESSION = 3
"""PNG compression level: twice as fast as the default 6."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@functools.cache
def list_fonts(size: int) -> tuple[Font, ...]:
    """Pillow's own font, then those of `OTHER_FONTS` that the system has."""
    fonts: list[Font] = [ImageFont.load_default(size)]
    for name in OTHER_FONTS:
        try:
            fonts.append(ImageFont.truetype(name, size))
        except OSError:
            continue
    return tuple(fonts)


def write(
    draw: ImageDraw.ImageDraw,
    position: tuple[float, float],
    text: str,
    size: int,
    colour: str = INK,
    align: str = "l",
) -> None:
    """Write one line.

    Args:
        draw: The picture's drawing context.
        position: x and the baseline's y, in pixels.
        text: Any characters; those in no font are drawn as `?`.
        size: Font size in pixels.
        colour: `#rrggbb`.
        align: Whether x is the text's `l`eft, `m`iddle or `r`ight.
    """
    font, text = _choose_font(text, size)
    draw.text(position, text, fill=colour, font=font, anchor=f"{align}s")


def measure_text(text: str, size: int) -> float:
    """Width in pixels."""
    font, text = _choose_font(text, size)
    return font.getlength(text)


@functools.lru_cache(maxsize=4096)
def shorten(text: str, size: int, width: float) -> str:
    """Cut the middle of a text wider than `width` pixels; the end of a name is informative."""
    if measure_text(text, size) <= width:
        return text
    longest = bisect.bisect_right(
        range(1, len(text)), width, key=lambda length: measure_text(_cut_middle(text, length), size)
    )
    return _cut_middle(text, longest) if longest else ""


def wrap(text: str, size: int, width: float) -> list[str]:
    """Lines of at most `width` pixels, wrapped between words; longer words are shortened."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and measure_text(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(shorten(word, size, width))
    return lines


def read_face(person: Person, record: CropRecord, side: int) -> Image.Image | None:
    """A square picture of a crop's face.

    Args:
        person: The crop's person.
        record: The crop's record.
        side: Width and height in pixels.

    Returns:
        None if the cut-out is missing or damaged.
    """
    left, top, right, bottom = record.bounding_box
    pixels = read_png(manifest.cutout_path(person, record.id))
    if pixels is None:
        return None
    cutout = Image.fromarray(numpy.ascontiguousarray(pixels[..., ::-1]))
    reach = max(right - left, bottom - top) * FACE_MARGIN
    length = max(1.0, min(reach, *cutout.size))
    # Shift the box of a face at the frame's edge, rather than showing black next to it.
    x, y = (
        min(max((low + high - length) / 2 - start, 0.0), size - length)
        for low, high, start, size in zip(
            (left, top), (right, bottom), record.offset, cutout.size, strict=True
        )
    )
    box = (x, y, x + length, y + length)
    return cutout.resize((side, side), Image.Resampling.LANCZOS, box)


def encode_drawing(picture: Image.Image) -> bytes:
    """A picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=COMPRESSION)
    return buffer.getvalue()


def _cut_middle(text: str, length: int) -> str:
    """Keep `length` characters, half of them at each end."""
    head = (length + 1) // 2
    return f"{text[:head]}...{text[len(text) - length + head :]}"


@functools.lru_cache(maxsize=4096)
def _choose_font(text: str, size: int) -> tuple[Font, str]:
    """The font that lacks the fewest characters of a text, and the text without those."""
    text = to_printable(text)
    fonts = list_fonts(size)
    lacking = [{letter for letter in set(text) if not _has_letter(font, letter)} for font in fonts]
    best = min(range(len(fonts)), key=lambda number: len(lacking[number]))
    return fonts[best], "".join("?" if letter in lacking[best] else letter for letter in text)


@functools.cache
def _has_letter(font: Font, letter: str) -> bool:
    if letter.isspace():
        return True
    return _draw_letter(font, letter) != _draw_letter(font, NO_LETTER)


@functools.lru_cache(maxsize=64)
def _draw_letter(font: Font, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)
