"""Ways in which a file can be damaged, and put back."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy

RECORDS = frozenset({".toml", ".json", ".jsonl"})
MODELS = frozenset({".onnx", ".hash"})
DIGITS = 6000
"""Of a number: more than Python turns into text."""
DEPTH = 100_000

_NUMBERS = (re.compile(rb'(": ?|= )\d+(?=[\s,}])'), re.compile(rb'(": ")\d+(?=")'))
"""A number; and one in a text, as cards have them."""
Damage = Callable[[bytes, str], bytes]
"""Content and suffix of a whole file to the content of a damaged one."""


def _cut(content: bytes, suffix: str) -> bytes:
    return content[: len(content) // 2]


def _scramble(content: bytes, suffix: str) -> bytes:
    return numpy.random.default_rng(len(content)).bytes(min(len(content), 5000))


def _change_type(content: bytes, suffix: str) -> bytes:
    values = {".toml": b"person = []\nname = []\n", ".json": b"[[]]\n", ".jsonl": b"[]\n7\n"}
    return values[suffix] if not content.startswith(b"[") else b'{"a": {}}\n'


def _spoil_text(content: bytes, suffix: str) -> bytes:
    place = content.index(b'"') + 1
    return content[:place] + b"\xff\xfe" + content[place:]


def _lengthen_number(content: bytes, suffix: str) -> bytes:
    for pattern in _NUMBERS:
        longer, count = pattern.subn(rb"\g<1>" + b"9" * DIGITS, content, count=1)
        if count:
            return longer
    return _write_value(b"9" * DIGITS, suffix)


def _nest(content: bytes, suffix: str) -> bytes:
    return _write_value(b"[" * DEPTH + b"]" * DEPTH, suffix)


def _write_value(value: bytes, suffix: str) -> bytes:
    return (b"name = " if suffix == ".toml" else b"") + value + b"\n"


CONTENTS: dict[str, Damage] = {
    "empty": lambda content, suffix: b"",
    "half": _cut,
    "random": _scramble,
    "another type": _change_type,
    "no UTF-8": _spoil_text,
    "6,000 digits": _lengthen_number,
    "100,000 deep": _nest,
}
OF_RECORDS = frozenset({"another type", "no UTF-8", "6,000 digits", "100,000 deep"})
"""Those that make sense for text with a syntax only."""
OF_CONTENTS = frozenset({"empty", "half", "random"})
"""Those that make sense for what some listing opens only."""
KINDS = (*CONTENTS, "folder", "removed", "removed meanwhile")


def can_be_damaged(path: Path, kind: str) -> bool:
    """Whether a kind of damage means something for a file."""
    if kind == "no UTF-8":
        return path.suffix in RECORDS and b'"' in path.read_bytes()
    if kind in OF_CONTENTS:
        return path.suffix in RECORDS | MODELS
    return kind not in OF_RECORDS or path.suffix in RECORDS


@contextmanager
def damaged(path: Path, kind: str, spare: Path) -> Iterator[None]:
    """Let a file be damaged while the block runs.

    Args:
        path: The file. It is moved, not written to: it may be one of several names of a file.
        kind: One of `KINDS`.
        spare: A folder on the same disk for the whole file.
    """
    whole = spare / "whole"
    path.rename(whole)
    try:
        if kind == "folder":
            path.mkdir()
            (path / "inside.txt").write_text("in the way")
        elif kind in CONTENTS:
            path.write_bytes(CONTENTS[kind](whole.read_bytes(), path.suffix))
        elif kind == "removed meanwhile":
            shutil.copy2(whole, path)
        yield
    finally:
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        whole.rename(path)
