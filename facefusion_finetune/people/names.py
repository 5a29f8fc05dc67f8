"""What a person may be called, since the name becomes a folder and a file name."""

import re

from facefusion_finetune.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9_])?")
_RESERVED = {"con", "prn", "aux", "nul"} | {
    f"{device}{number}" for device in ("com", "lpt") for number in range(10)
}


def validate_name(name: str) -> str:
    """Return `name` if it can be a person's name.

    Raises:
        UsageError: It is empty, too long, or holds anything but letters, digits, `_`, `-`, `.`.
    """
    if not _NAME.fullmatch(name) or name.split(".")[0].lower() in _RESERVED:
        raise UsageError(
            f"person name {name!r}",
            "it becomes a folder and file name, so it may hold only letters, digits, '_', '-' and"
            " '.', begins with a letter or digit, and has 1 to 64 characters.",
            "Choose another name, for example 'jane_doe'.",
        )
    return name


def split_reference(reference: str) -> tuple[str, int | None]:
    """Split `NAME` or `NAME@VERSION`.

    Raises:
        UsageError: The name or the version is not valid.
    """
    name, mark, version = reference.partition("@")
    validate_name(name)
    if not mark:
        return name, None
    if not version.isdecimal() or int(version) < 1:
        raise UsageError(
            f"model {reference!r}",
            "the part after '@' is no version.",
            "Write NAME@VERSION, for example jane_doe@2.",
        )
    return name, int(version)
