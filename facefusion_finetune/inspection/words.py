"""Short forms of a swapper's figures and names, for tables and drawings.

Names come from an untrusted file: what cannot be printed is replaced.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache, partial
from itertools import repeat, takewhile
from typing import TYPE_CHECKING

from facefusion_finetune.errors import cut_middle

if TYPE_CHECKING:
    from facefusion_finetune.inspection.blocks import Block

GAP = "..."
RANGE = " .. "
MAX_PARTS = 8
"""How far from the end of a path a part of it is looked for that tells a name apart."""


def clean(text: str) -> str:
    """A text with control characters, line breaks and direction marks replaced by `?`."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def shorten(text: str, length: int) -> str:
    """A printable text of at most `length` characters; the middle is cut if it is longer."""
    return cut_middle(clean(text), length)


def shorten_names(rows: Sequence[Sequence[str]], length: int) -> dict[str, str]:
    """Shorten names so that different ones stay different wherever a cut can show it.

    Where names are paths, as newer exporters write them, the path that those of a row share is left
    out first, then the middle. If that makes a name look like another one, the cut moves.

    Args:
        rows: The names that are shown, as the file has them; those of a row are neighbours.
        length: The most characters of a short name.

    Returns:
        The short, printable form of each name.
    """
    texts = {name: clean(name) for row in rows for name in row}
    shared = _find_path(texts.values())
    forms: dict[str, list[str]] = {}
    for row in rows:
        path = _find_path([texts[name] for name in row]) or shared
        for name in row:
            forms[name] = list(_list_forms(texts[name], (path, shared), length))
    short: dict[str, str] = {}
    for ways in zip(*forms.values(), strict=True):
        uses = Counter(ways)
        for name, form in zip(forms, ways, strict=True):
            if uses[form] == 1:
                short.setdefault(name, form)
        if len(short) == len(texts):
            break
    return {name: short.get(name) or shorten(text, length) for name, text in texts.items()}


def _find_path(texts: Collection[str]) -> int:
    """Length of the path that all texts start with, up to a separator; 0 for a single one."""
    if len(texts) < 2:
        return 0
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(min(texts), max(texts), strict=False))
    return max((place for place, pair in enumerate(pairs, 1) if pair[0] in "/."), default=0)


def _list_forms(text: str, paths: Iterable[int], length: int) -> Iterator[str]:
    """A text shortened in all ways, the preferred ones first; equally many for every text."""
    if len(text) <= length:
        yield from repeat(text, 2 + length + MAX_PARTS)
        return
    kept, inside = max(0, length - len(GAP)), max(0, length - 2 * len(GAP))
    for path in paths:
        yield GAP + shorten(text[path:], kept) if path > len(GAP) else shorten(text, length)
    for end in (*range(kept // 2, kept + 1), *reversed(range(kept // 2))):
        yield _cut(text, kept - end, end)
    yield from repeat(shorten(text, length), length - kept - 1)
    starts = [0, *(found.end() for found in re.finditer(r"[/.]", text))]
    for part in range(1, MAX_PARTS + 1):
        start = max(0, min(starts[-part:][0], len(text) - inside))
        yield f"{GAP}{text[start : start + inside]}{GAP}" if inside else shorten(text, length)


def _cut(text: str, start: int, end: int) -> str:
    return f"{text[:start]}{GAP}{text[len(text) - end :]}"


def format_count(number: int) -> str:
    """A number with three digits and a unit prefix: 138 M."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size * 0.9995:
            value = number / size
            digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
            return f"{value:.{digits}f} {unit}"
    return str(number)


def name_layers(blocks: Sequence["Block"], length: int, lines: int) -> dict[int, list[str]]:
    """Names of each block's first and last layers, by the block's number.

    Args:
        blocks: All blocks that are shown together; their names stay apart.
        length: The most characters of a line.
        lines: The most lines of a block, 1 or 2; the second is used if one is too short.
    """
    ends = {
        block.number: [layer.node for layer in (block.layers[0], *block.layers[1:][-1:])]
        for block in blocks
    }
    fit = cache(partial(shorten_names, list(ends.values())))

    named = {}
    for number, (first, *others) in ends.items():
        whole = RANGE.join(clean(name) for name in (first, *others))
        if len(whole) <= length:
            named[number] = [whole]
        elif not others:
            named[number] = [fit(length)[first]]
        elif lines > 1:
            room = length - len(RANGE.rstrip())
            named[number] = [fit(room)[first] + RANGE.rstrip(), fit(room)[others[0]]]
        else:
            room = length - len(RANGE)
            sizes = [max(room // 2, room - len(clean(name))) for name in (others[0], first)]
            both = (fit(size)[name] for size, name in zip(sizes, (first, others[0]), strict=True))
            named[number] = [RANGE.join(both)]
    return named


def describe_shape(shape: tuple[int, ...]) -> str:
    """Height x width x channels of a map, or the size of a vector."""
    if len(shape) == 3 and shape[1:] != (1, 1):
        return f"{shape[1]}x{shape[2]}x{shape[0]}"
    if len(shape) in (1, 3):
        return f"vector {shape[0]}"
    return "x".join(map(str, shape))


def describe_output(block: "Block") -> list[str]:
    """Output shape of its first layer and, if different, of its last."""
    shapes = [describe_shape(shape) for shape in (block.first_output, block.last_output)]
    return shapes[:1] if shapes[0] == shapes[1] else [shapes[0], f"-> {shapes[1]}"]


def describe_inputs(block: "Block") -> str:
    """Which of the two inputs it depends on."""
    return "both" if len(block.depends_on) == 2 else "".join(block.depends_on) or "neither"
