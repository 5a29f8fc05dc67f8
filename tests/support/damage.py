"""Ways in which a file can be damaged, and put back."""

import functools
import json
import math
import os
import re
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy
import tomli_w

RECORDS = frozenset({".toml", ".json", ".jsonl"})
MODELS = frozenset({".onnx", ".hash"})
DIGITS = 6000
"""Of a number: more than Python turns into text."""
DEPTH = 100_000
LINE = 20 << 20
"""Bytes of one line."""

_DIGITS = (re.compile(rb'(": ?|= )\d+(?=[\s,}])'), re.compile(rb'(": ")\d+(?=")'))
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
    for pattern in _DIGITS:
        longer, count = pattern.subn(rb"\g<1>" + b"9" * DIGITS, content, count=1)
        if count:
            return longer
    return _write_value(b"9" * DIGITS, suffix)


def _nest(content: bytes, suffix: str) -> bytes:
    return _write_value(b"[" * DEPTH + b"]" * DEPTH, suffix)


def _nest_tables(content: bytes, suffix: str) -> bytes:
    if suffix == ".toml":
        return b"[" + b"a." * DEPTH + b"a]\n"
    return b'{"a":' * DEPTH + b"1" + b"}" * DEPTH + b"\n"


def _write_value(value: bytes, suffix: str) -> bytes:
    return (b"name = " if suffix == ".toml" else b"") + value + b"\n"


def _rewrite(change: Callable[[Any], Any]) -> Damage:
    """Damage of every value of a record, in a file of valid syntax."""

    def rewrite(content: bytes, suffix: str) -> bytes:
        text = content.decode("utf-8")
        if suffix == ".toml":
            return tomli_w.dumps(change(tomllib.loads(text))).encode("utf-8")
        lines = text.splitlines() if suffix == ".jsonl" else [text]
        return "".join(json.dumps(change(json.loads(line))) + "\n" for line in lines).encode()

    return rewrite


def replace_by_other_type(value: Any) -> Any:
    """A value of another type than this one."""
    others: dict[type, Any] = {str: [], bool: "yes", list: {"a": 1}, dict: 7, type(None): {}}
    return others.get(type(value), {"a": []})


def _change_types(values: Any) -> Any:
    if isinstance(values, list):
        return list(map(replace_by_other_type, values))
    return {key: replace_by_other_type(value) for key, value in values.items()}


def _replace_numbers(number: float, value: Any) -> Any:
    """Every number replaced; those in a text, too, as cards have them."""
    if isinstance(value, dict):
        return {key: _replace_numbers(number, part) for key, part in value.items()}
    if isinstance(value, list):
        return [_replace_numbers(number, part) for part in value]
    if isinstance(value, str) and re.fullmatch(r"[\[{\d].*[\]}\d]", value):
        try:
            return json.dumps(_replace_numbers(number, json.loads(value)))
        except ValueError:
            return value
    return number if isinstance(value, int | float) and not isinstance(value, bool) else value


def _set_numbers(number: float) -> Damage:
    change = _rewrite(functools.partial(_replace_numbers, number))
    # Python's own word for what others write as 1e999.
    return lambda content, suffix: change(content, suffix).replace(b"Infinity", b"1e999")


def change_every_value(content: bytes, suffix: str, wrong: Iterable[Any]) -> Iterator[bytes]:
    """A record with one of its values replaced, each by each of the wrong ones in turn.

    Args:
        content: Of a whole file; of several lines, the first is changed.
        suffix: Of the file.
        wrong: Values to put in.
    """
    first = content.splitlines()[0] if suffix == ".jsonl" else content
    values = tomllib.loads(content.decode()) if suffix == ".toml" else json.loads(first)
    for holder, key in _list_places(values):
        before = holder[key]
        for value in wrong:
            holder[key] = value
            yield tomli_w.dumps(values).encode() if suffix == ".toml" else _dump(values)
        holder[key] = before


def _list_places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every value of a record, as what holds it and its key; the first two of many alike."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    if isinstance(value, list) or all(isinstance(part, dict) for part in value.values()):
        keys = keys[:2]
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _list_places(value[key])


def _dump(values: Any) -> bytes:
    return json.dumps(values).encode() + b"\n"


_NUMBERS_BY_KIND = {"huge numbers": 1e308, "no numbers": math.nan, "endless numbers": math.inf}
CONTENTS: dict[str, Damage] = {
    "empty": lambda content, suffix: b"",
    "half": _cut,
    "random": _scramble,
    "another type": _change_type,
    "no UTF-8": _spoil_text,
    "6,000 digits": _lengthen_number,
    "100,000 deep": _nest,
    "other types": _rewrite(_change_types),
    "tables 100,000 deep": _nest_tables,
    "null": lambda content, suffix: _write_value(b'""' if suffix == ".toml" else b"null", suffix),
    **{kind: _set_numbers(number) for kind, number in _NUMBERS_BY_KIND.items()},
}
OF_CONTENTS = frozenset({"empty", "half", "random"})
"""Those that make sense for what some listing opens only."""
OF_RECORDS = frozenset({*CONTENTS, "20 MB in a line"}) - OF_CONTENTS
"""Those that make sense for text with a syntax only."""
KINDS = (
    *CONTENTS,
    "20 MB in a line",
    "folder",
    "pipe",
    "removed",
    "removed but for a link",
    "removed meanwhile",
)
UNSEEN = frozenset(
    {
        ("empty", "crops.jsonl"),
        *((kind, name) for kind in _NUMBERS_BY_KIND for name in ("job.json", "state.json")),
    }
)
"""Kinds and files that no listing calls damaged: nothing was found in the footage; what a job is to
do, and what it found, may be any numbers."""


def can_be_damaged(path: Path, kind: str) -> bool:
    """Whether a kind of damage means something for a file."""
    if kind == "no UTF-8":
        return path.suffix in RECORDS and b'"' in path.read_bytes()
    if kind in _NUMBERS_BY_KIND and path.suffix in RECORDS:
        content = path.read_bytes()
        same = _rewrite(lambda values: values)(content, path.suffix)
        return CONTENTS[kind](content, path.suffix) != same
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
    folder = Path(tempfile.mkdtemp(dir=spare))
    whole = folder / "whole"
    path.rename(whole)
    try:
        if kind == "folder":
            path.mkdir()
            (path / "inside.txt").write_text("in the way")
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "removed but for a link":
            path.symlink_to(spare / "nothing")
        elif kind == "20 MB in a line":
            line = spare / f"line{path.suffix}"
            if not line.exists():
                line.write_bytes(_write_value(b'"' + b"x" * LINE + b'"', path.suffix))
            path.hardlink_to(line)
        elif kind in CONTENTS:
            path.write_bytes(CONTENTS[kind](whole.read_bytes(), path.suffix))
        elif kind == "removed meanwhile":
            shutil.copy2(whole, path)
        yield
    finally:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        whole.rename(path)
        folder.rmdir()
