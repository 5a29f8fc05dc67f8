"""Installs the guarded shim files in a FaceFusion folder, and removes exactly these."""

from configparser import ConfigParser, Error
from dataclasses import dataclass
from pathlib import Path

from facefusion_finetune.errors import HostError
from facefusion_finetune.home import write_bytes
from facefusion_finetune.host.locate import Host, forget, locate, remember
from facefusion_finetune.host.models import models_directory

MARKER = "# Written by `facefusion-finetune link`"
SHIM_FOLDER = Path("facefusion", "processors", "modules", "finetuned_swapper")
LAYOUT_SHIM = Path("facefusion", "uis", "layouts", "finetune.py")
SHIMS = {
    SHIM_FOLDER / "__init__.py": "__init__.py.txt",
    SHIM_FOLDER / "core.py": "core.py.txt",
    LAYOUT_SHIM: "finetune.py.txt",
}
"""Shim files, relative to the FaceFusion folder, and their templates in this package."""

_TEMPLATES = Path(__file__).parent / "shims"
_FORMER_EXCLUDE_BLOCK = f"# facefusion-finetune\n/{SHIM_FOLDER.as_posix()}/\n".encode()
"""Written by versions without the tab."""
_EXCLUDE_BLOCK = _FORMER_EXCLUDE_BLOCK + f"/{LAYOUT_SHIM.as_posix()}\n".encode()


@dataclass(frozen=True)
class UnlinkResult:
    """What `unlink` did, and warnings for the user."""

    host: Host
    removed: tuple[Path, ...]
    warnings: tuple[str, ...]


def link(given: Path | None = None) -> Host:
    """Write the shim files into FaceFusion and remember its folder.

    Repeating it is harmless, and completes a link made by an older version.

    Args:
        given: The FaceFusion folder; if None, the one that `locate` finds.

    Raises:
        HostError: There is no FaceFusion, it is too old, it is not writable, or it has files at
            these paths that this package did not write.
    """
    host = locate(given)
    _refuse_foreign_files(host)
    try:
        (host.path / SHIM_FOLDER).mkdir(exist_ok=True)
        for shim, template in SHIMS.items():
            write_bytes(host.path / shim, (_TEMPLATES / template).read_bytes(), mode=0o644)
        _exclude_from_git(host)
    except OSError as error:
        raise _cannot_change(host, error) from error
    remember(host)
    return host


def unlink(given: Path | None = None) -> UnlinkResult:
    """Remove the shim files and every trace of them; persons' models stay.

    Args:
        given: The FaceFusion folder; if None, the one that `locate` finds.

    Raises:
        HostError: There is no FaceFusion, it is not writable, or it has files at these paths that
            this package did not write.
    """
    host = locate(given)
    _refuse_foreign_files(host)
    removed = tuple(shim for shim in SHIMS if (host.path / shim).is_file())
    try:
        for shim in removed:
            (host.path / shim).unlink()
        _remove_bytecode(host)
        _remove_if_empty(host.path / SHIM_FOLDER)
        _include_in_git(host)
        _remove_if_empty(models_directory(host.path))
    except OSError as error:
        raise _cannot_change(host, error) from error
    forget(host)
    return UnlinkResult(host, removed, tuple(_list_leftovers(host)))


def is_linked(host: Host) -> bool:
    """Whether all shim files are in the host's folder."""
    return all(_is_ours(host.path / shim) for shim in SHIMS)


def _is_ours(path: Path) -> bool:
    try:
        return path.read_text("utf-8", errors="replace").startswith(MARKER)
    except OSError:
        return False


def _refuse_foreign_files(host: Host) -> None:
    for shim in SHIMS:
        path = host.path / shim
        if path.is_symlink() or (path.exists() and not _is_ours(path)):
            raise HostError(
                str(path),
                "this file was not written by facefusion-finetune, so it is left alone.",
                "Move it away and try again.",
            )


def _cannot_change(host: Host, error: OSError) -> HostError:
    return HostError(
        str(error.filename or host.path),
        f"FaceFusion's folder cannot be changed ({error.strerror}).",
        "Make it writable, or use a copy of FaceFusion that is.",
    )


def _remove_bytecode(host: Host) -> None:
    for shim in SHIMS:
        folder = (host.path / shim).parent / "__pycache__"
        for bytecode in folder.glob(f"{shim.stem}.*.pyc"):
            bytecode.unlink()
        _remove_if_empty(folder)


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _find_exclude_file(host: Host) -> Path | None:
    """`info/exclude` of the repository, also if `.git` is a file (worktree, submodule)."""
    git = host.path / ".git"
    if git.is_file():
        pointer = git.read_text("utf-8").strip().removeprefix("gitdir:").strip()
        git = (host.path / pointer).resolve()
        common = git / "commondir"
        if common.is_file():
            git = (git / common.read_text("utf-8").strip()).resolve()
    return git / "info" / "exclude" if git.is_dir() else None


def _exclude_from_git(host: Host) -> None:
    path = _find_exclude_file(host)
    if path is None:
        return
    content = path.read_bytes() if path.is_file() else b""
    if _EXCLUDE_BLOCK not in content:
        path.parent.mkdir(exist_ok=True)
        # at the front, so that removing it restores a last line without a newline
        write_bytes(path, _EXCLUDE_BLOCK + _remove_block(content), mode=0o644)


def _include_in_git(host: Host) -> None:
    path = _find_exclude_file(host)
    if path is None or not path.is_file():
        return
    content = path.read_bytes()
    rest = _remove_block(content)
    if rest == content:
        return
    if rest:
        write_bytes(path, rest, mode=0o644)
    else:
        path.unlink()


def _remove_block(content: bytes) -> bytes:
    return content.replace(_EXCLUDE_BLOCK, b"").replace(_FORMER_EXCLUDE_BLOCK, b"")


def _list_leftovers(host: Host) -> list[str]:
    """Warnings for the user after unlinking."""
    warnings = []
    config = host.path / "facefusion.ini"
    for section, option, value in (
        ("processors", "processors", "finetuned_swapper"),
        ("uis", "ui_layouts", "finetune"),
    ):
        if value in _read_option(config, section, option):
            warnings.append(
                f"{config} still has `{option} = ... {value}`: FaceFusion refuses to start until"
                f" you remove `{value}` from that line."
            )
    directory = models_directory(host.path)
    if directory.is_dir():
        warnings.append(f"Persons' models were not removed; they are in {directory}.")
    return warnings


def _read_option(config: Path, section: str, option: str) -> list[str]:
    parser = ConfigParser(interpolation=None)
    try:
        parser.read(config, encoding="utf-8")
    except (Error, UnicodeDecodeError):
        return []
    return parser.get(section, option, fallback="").split()
