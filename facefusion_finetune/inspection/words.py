"""Short forms of a swapper's figures and names, for tables and drawings.

Names come from an untrusted file: what cannot be printed is replaced.
"""

from typing import TYPE_CHECKING

from facefusion_finetune.errors import cut_middle

if TYPE_CHECKING:
    from facefusion_finetune.inspection.blocks import Block


def clean(text: str) -> str:
    """A text with control characters, line breaks and direction marks replaced by `?`."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def shorten(text: str, length: int) -> str:
    """A printable text of at most `length` characters; the middle is cut if it is longer."""
    return cut_middle(clean(text), length)


def format_count(number: int) -> str:
    """A number with three digits and a unit prefix: 138 M."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size * 0.9995:
            value = number / size
            digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
            return f"{value:.{digits}f} {unit}"
    return str(number)


def name_layers(block: "Block", length: int) -> str:
    """Names of a block's first and last layers."""
    first, last = clean(block.layers[0].node), clean(block.layers[-1].node)
    if len(block.layers) == 1:
        return shorten(first, length)
    room = length - len(" .. ")
    half = room // 2
    if len(first) + len(last) > room:
        first, last = (
            shorten(first, max(half, room - len(last))),
            shorten(last, max(half, room - len(first))),
        )
    return f"{first} .. {last}"


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
