"""Reading files of this package that may be damaged: one error, with the reason in one line.

Callers turn that error into one of `errors`, with the path and what to do.
"""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pydantic import ValidationError

Parsed = TypeVar("Parsed")

MAX_REASON = 200
"""Characters; a parser's message may quote any amount of the file."""


class DamageError(ValueError):
    """A file's content is not what was written; the message gives the reason in one line."""


def read_file(path: Path, parse: Callable[[bytes], Parsed]) -> Parsed:
    """Read a file written by this package, which may have been damaged or replaced.

    Args:
        path: The file.
        parse: Parses its bytes; raises ValueError if that fails, as pydantic and the functions
            below do.

    Raises:
        FileNotFoundError: There is no such file.
        DamageError: It cannot be read or parsed.
    """
    try:
        return parse(path.read_bytes())
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise DamageError(explain(error)) from error


def parse_json(content: bytes | str) -> Any:
    """The value of a JSON text.

    Raises:
        DamageError: It is not valid JSON, nested too deeply, or contains a number that is too long.
    """
    return _parse(json.loads, content)


def parse_toml(content: bytes) -> dict[str, Any]:
    """The tables of a TOML text; errors as in `parse_json`."""
    tables: dict[str, Any] = _parse(lambda text: tomllib.loads(text.decode("utf-8")), content)
    return tables


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
    return line if len(line) <= MAX_REASON else line[: MAX_REASON - 3] + "..."


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
        return parse(content)
    except (ValueError, RecursionError) as error:
        raise DamageError(explain(error)) from error
