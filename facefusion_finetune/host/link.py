"""Installs the guarded shim files in a FaceFusion folder, and removes exactly these.

FaceFusion imports `core.py` of every folder of processors at every command, and does not start
without one: the processor's folder is there complete or not at all, however the process ends.
"""

import re
from configparser import ConfigParser, Error
from dataclasses import dataclass
from pathlib import Path

from facefusion_finetune import temporary
from facefusion_finetune.errors import HostError
from facefusion_finetune.home import write_bytes
from facefusion_finetune.host.locate import Host, forget, locate, remember
from facefusion_finetune.host.models import models_directory

MARKER = "# Written by `facefusion-finetune link`"
SHIM_FOLDER = Path("facefusion", "processors", "modules", "finetuned_swapper")
LAYOUT_SHIM = Path("facefusion", "uis", "layouts", "finetune.py")
PROCESSOR_SHIMS = {
    SHIM_FOLDER / "core.py": "core.py.txt",
    SHIM_FOLDER / "__init__.py": "__init__.py.txt",
}
SHIMS = {**PROCESSOR_SHIMS, LAYOUT_SHIM: "finetune.py.txt"}
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
        HostError: There is no FaceFusion, it is too old, it has no place for a file, it is not
            writable, or it has files at these paths that this package did not write.
    """
    host = locate(given)
    _require_places(host)
    _refuse_foreign_files(host)
    try:
        _sweep(host)
        _write_processor(host)
        _write_shim(LAYOUT_SHIM, host.path / LAYOUT_SHIM)
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
        HostError: There is no FaceFusion, it is not writable, or it has files at these paths, or
            beside the processor, that this package did not write.
    """
    host = locate(given)
    _refuse_foreign_files(host)
    _refuse_strangers(host)
    removed = tuple(shim for shim in SHIMS if (host.path / shim).is_file())
    try:
        _sweep(host)
        (host.path / LAYOUT_SHIM).unlink(missing_ok=True)
        _remove_bytecode(host.path / LAYOUT_SHIM)
        if (host.path / SHIM_FOLDER).is_dir():
            temporary.remove_folder(host.path / SHIM_FOLDER)
        _include_in_git(host)
        temporary.sweep_folder(models_directory(host.path))
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


def _require_places(host: Host) -> None:
    """Check that FaceFusion has every folder that a file goes into."""
    for folder in (SHIM_FOLDER.parent, LAYOUT_SHIM.parent):
        if not (host.path / folder).is_dir():
            raise HostError(
                str(host.path),
                f"this FaceFusion has no folder {folder.as_posix()}, so it loads its processors or"
                " its page in another way. Nothing was written.",
                "Use a release of FaceFusion from 3.5 to 3.8, for example"
                " `git checkout 3.8.1` in that folder.",
            )


def _refuse_foreign_files(host: Host) -> None:
    for shim in SHIMS:
        path = host.path / shim
        if path.is_symlink() or (path.exists() and not _is_ours(path)):
            raise HostError(
                str(path),
                "this file was not written by facefusion-finetune, so it is left alone.",
                "Move it away and try again.",
            )


def _refuse_strangers(host: Host) -> None:
    """Check that the processor's folder holds nothing else: without it, that would be lost."""
    folder = host.path / SHIM_FOLDER
    if not folder.is_dir():
        return
    names = {shim.name for shim in PROCESSOR_SHIMS}
    for path in sorted(folder.rglob("*")):
        if path == folder / "__pycache__" or temporary.is_temporary(path.name):
            continue
        is_file = path.parent == folder and path.name in names
        if not is_file and not any(_is_bytecode(path, shim) for shim in PROCESSOR_SHIMS):
            raise HostError(
                str(path),
                "this was not written by facefusion-finetune, and FaceFusion would not start if it"
                " were left there alone. Nothing was removed.",
                "Move it away and try again.",
            )


def _sweep(host: Host) -> None:
    """Delete what a killed `link` or `unlink` left."""
    for path in (SHIM_FOLDER, *SHIMS):
        temporary.sweep(host.path / path)
    exclude = _find_exclude_file(host)
    if exclude is not None:
        temporary.sweep(exclude)


def _write_processor(host: Host) -> None:
    folder = host.path / SHIM_FOLDER
    if folder.is_dir():
        # In this order: a former version may have left the folder without `core.py`.
        for shim in PROCESSOR_SHIMS:
            _write_shim(shim, host.path / shim)
        return
    with temporary.stage_folder(folder) as staged:
        # As FaceFusion's own folders: another user may run it.
        staged.chmod(folder.parent.stat().st_mode & 0o777)
        for shim in PROCESSOR_SHIMS:
            _write_shim(shim, staged / shim.name)
        staged.rename(folder)


def _write_shim(shim: Path, path: Path) -> None:
    write_bytes(path, (_TEMPLATES / SHIMS[shim]).read_bytes(), mode=0o644)


def _cannot_change(host: Host, error: OSError) -> HostError:
    return HostError(
        str(error.filename or host.path),
        f"FaceFusion's folder cannot be changed ({error.strerror}).",
        "Make it writable, or use a copy of FaceFusion that is.",
    )


def _remove_bytecode(shim: Path) -> None:
    folder = shim.parent / "__pycache__"
    for path in folder.glob("*"):
        if _is_bytecode(path, shim):
            path.unlink()
    _remove_if_empty(folder)


def _is_bytecode(path: Path, shim: Path) -> bool:
    """Whether it is a shim's bytecode, or what a killed Python left of it."""
    return re.fullmatch(rf"{re.escape(shim.stem)}\..+\.pyc(\.[0-9]+)?", path.name) is not None


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
