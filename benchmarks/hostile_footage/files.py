"""What makers of hostile files share."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

SECRET = "secret.png"
SECRET_VIDEO = "secret.mkv"
SECRETS = (SECRET, SECRET_VIDEO)
"""Files beside the hostile ones, which some of them name; nothing may open them."""

Make = Callable[[Path], None]
"""Writes one file at a path."""
Maker = Callable[[Path], Iterator[tuple[str, Make]]]
"""Names of hostile files, and how each is written, given the folder that they will be in."""


def write(content: bytes | str) -> Make:
    """Writes some content."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    return lambda path: path.write_bytes(data) and None


def make_sparse(path: Path, content: bytes, size: int) -> None:
    """Write a file of a size of which next to nothing is on the disk."""
    path.write_bytes(content)
    os.truncate(path, size)
