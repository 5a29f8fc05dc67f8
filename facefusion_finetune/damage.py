"""Reading files of this package that may be damaged: one error, with the reason in one line.

Callers turn that error into one of `errors`, with the path and what to do.
"""

import json
import os
import re
import stat
import tomllib
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from facefusion_finetune.errors import cut_middle

if TYPE_CHECKING:
    from pydantic import ValidationError

Parsed = TypeVar("Parsed")

MAX_BYTES = 16 << 20
"""Of a record; this package writes some hundred kilobytes for a person of 20,000 crops."""
MAX_REASON = 200
"""Characters; a parser's message may quote any amount of the file."""
MAX_DEPTH = 50
"""Tables and lists in each other; this package writes four."""
_DEEP_KEY = re.compile(
    rb"""(?<![\w-])(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){%d}""" % MAX_DEPTH
)
MAX_NUMBER = 1 << 63
"""Larger integers overflow where they are computed with."""


class DamageError(ValueError):
    """A file's content is not what was written; the message gives the reason in one line."""


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file, and nothing else, for reading.

    Raises:
        OSError: It is not a regular file, or cannot be read.
    """
    file = open(path, "rb", opener=_open_nonblocking)  # noqa: SIM115 - closed by the caller
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError("it is not a regular file")
    return file


def _open_nonblocking(name: str, flags: int) -> int:
    # A named pipe would otherwise block until someone writes to it.
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


def read_content(path: Path, limit: int | None = MAX_BYTES) -> bytes:
    """The bytes of a file written by this package, which may have been damaged or replaced.

    Args:
        path: The file.
        limit: Most bytes; None for a file of lines, of which there may be any number.

    Raises:
        FileNotFoundError: There is no such file.
        DamageError: It cannot be read, or is too large.
    """
    try:
        with open_regular(path) as file:
            if limit is not None and os.fstat(file.fileno()).st_size > limit:
                raise DamageError(f"it is larger than {limit >> 20} MiB")
            return file.read()
    except FileNotFoundError as error:
        if path.is_symlink():
            raise DamageError("it is a link to a file that does not exist") from error
        raise
    except OSError as error:
        raise DamageError(explain(error)) from error


def read_file(path: Path, parse: Callable[[bytes], Parsed]) -> Parsed:
    """Read a record; see `read_content`.

    Args:
        path: The file.
        parse: Parses its bytes; raises ValueError if that fails, as pydantic and the functions
            below do.

    Raises:
        FileNotFoundError: There is no such file.
        DamageError: It cannot be read or parsed.
    """
    content = read_content(path)
    try:
        return parse(content)
    except (ValueError, RecursionError) as error:
        raise DamageError(explain(error)) from error


def read_lines(path: Path) -> list[bytes]:
    """The lines of a file with one record per line; errors as in `read_content`."""
    return read_content(path, limit=None).splitlines()


def parse_json(content: bytes | str) -> Any:
    """The value of a JSON text.

    Raises:
        DamageError: It is not valid JSON; and as `check_bounds`.
    """
    return _parse(json.loads, content)


def parse_toml(content: bytes) -> dict[str, Any]:
    """The tables of a TOML text; errors as in `parse_json`."""
    tables: dict[str, Any] = _parse(_load_toml, content)
    return tables


def _load_toml(content: bytes) -> dict[str, Any]:
    # tomllib takes time that grows with the square of a key's parts.
    if _DEEP_KEY.search(content):
        raise DamageError("it is nested too deeply")
    return tomllib.loads(content.decode("utf-8"))


def check_bounds(value: Any) -> Any:
    """A value parsed from a file, of which any depth and any number would be valid syntax.

    Raises:
        DamageError: It is nested too deeply, or contains an integer of `MAX_NUMBER` or more.
    """
    level, depth = [value], 0
    while level:
        if depth > MAX_DEPTH:
            raise DamageError("it is nested too deeply")
        below: list[Any] = []
        for part in level:
            if isinstance(part, dict):
                below += part.values()
            elif isinstance(part, list | tuple):
                below += part
            elif isinstance(part, int) and abs(part) >= MAX_NUMBER:
                raise DamageError("a number in it is too large")
        level, depth = below, depth + 1
    return value


def explain(error: Exception) -> str:
    """An exception's message as one short, printable line."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        place, reason = describe_fault(error)
        text = f"{place}: {reason}" if place else reason
    elif isinstance(error, UnicodeDecodeError):
        text = "it is not UTF-8 text"
    elif isinstance(error, RecursionError):
        text = "it is nested too deeply"
    elif isinstance(error, OSError):
        text = error.strerror or str(error)
    else:
        text = str(error) or type(error).__name__
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return cut_middle(line, MAX_REASON)


def describe_fault(error: "ValidationError", number: int = 0) -> tuple[str, str]:
    """One fault that pydantic found: the place, keys joined by dots, and the reason.

    Args:
        error: The exception raised by pydantic.
        number: Index of the fault.
    """
    fault = error.errors(include_url=False, include_context=False, include_input=False)[number]
    # Pydantic puts the exception's type before the messages of our own validators.
    reason = fault["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return ".".join(map(str, fault["loc"])), reason


def _parse(parse: Callable[[Any], Any], content: bytes | str) -> Any:
    if not content.strip():
        raise DamageError("it is empty")
    try:
        return check_bounds(parse(content))
    except (ValueError, RecursionError) as error:
        raise DamageError(explain(error)) from error
