"""Linking writes exactly the shim files; unlinking leaves no trace."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from facefusion_finetune.errors import HostError
from facefusion_finetune.host.link import (
    LAYOUT_SHIM,
    SHIM_FOLDER,
    SHIMS,
    is_linked,
    link,
    unlink,
)
from facefusion_finetune.host.locate import locate, recall
from facefusion_finetune.host.models import models_directory
from tests.support.forked import ForkServer
from tests.support.host import create_fake_checkout, list_files
from tests.support.killed import kill_everywhere

IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@example.org")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACEFUSION_FINETUNE_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("FACEFUSION_PATH", raising=False)
    return create_fake_checkout(tmp_path / "checkout")


def git(folder: Path, *arguments: str) -> str:
    command = ["git", *IDENTITY, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def test_exactly_the_shims_are_written(checkout: Path) -> None:
    before = list_files(checkout)
    host = link(checkout)
    written = set(list_files(checkout)) - set(before)
    assert written == {path.as_posix() for path in SHIMS}
    assert written == {
        "facefusion/processors/modules/finetuned_swapper/__init__.py",
        "facefusion/processors/modules/finetuned_swapper/core.py",
        "facefusion/uis/layouts/finetune.py",
    }
    assert is_linked(host)
    assert recall() == checkout
    after = list_files(checkout)
    link(checkout)
    assert list_files(checkout) == after


def test_unlinking_leaves_no_trace(checkout: Path) -> None:
    before, folders = list_files(checkout, without=()), sorted(checkout.rglob("*"))
    link(checkout)
    for shim in SHIMS:
        bytecode = (checkout / shim).parent / "__pycache__" / f"{shim.stem}.cpython-312.pyc"
        bytecode.parent.mkdir(exist_ok=True)
        bytecode.write_bytes(b"")
    (checkout / ".assets" / "models" / "finetuned").mkdir(parents=True)
    result = unlink(checkout)
    assert list_files(checkout, without=()) == before
    assert [path for path in sorted(checkout.rglob("*")) if ".assets" not in path.parts] == folders
    assert not models_directory(checkout).exists()
    assert set(result.removed) == set(SHIMS)
    assert result.warnings == ()
    assert recall() is None
    assert unlink(checkout).removed == ()


def test_bytecode_of_other_layouts_stays(checkout: Path) -> None:
    bytecode = checkout / LAYOUT_SHIM.parent / "__pycache__"
    bytecode.mkdir()
    for name in ("default", "finetune_more"):
        (bytecode / f"{name}.cpython-312.pyc").write_bytes(b"")
    before = list_files(checkout, without=())
    link(checkout)
    (bytecode / "finetune.cpython-312.pyc").write_bytes(b"")
    unlink(checkout)
    assert list_files(checkout, without=()) == before


@pytest.fixture
def older_link(checkout: Path) -> Path:
    """A checkout with git, linked by a version of this package that had no tab."""
    git(checkout, "init", "-q")
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "all")
    link(checkout)
    (checkout / LAYOUT_SHIM).unlink()
    exclude = checkout / ".git" / "info" / "exclude"
    text = exclude.read_text()
    assert text.startswith(f"# facefusion-finetune\n/{SHIM_FOLDER}/\n/{LAYOUT_SHIM}\n")
    exclude.write_text(text.replace(f"/{LAYOUT_SHIM}\n", "", 1))
    return checkout


def test_an_older_link_is_completed(older_link: Path) -> None:
    assert not is_linked(locate(older_link))
    assert is_linked(link(older_link))
    assert git(older_link, "status", "--porcelain") == ""
    assert (older_link / ".git" / "info" / "exclude").read_text().count("finetuned_swapper") == 1
    unlink(older_link)
    assert "finetune" not in (older_link / ".git" / "info" / "exclude").read_text()


def test_an_older_link_is_taken_out(older_link: Path) -> None:
    result = unlink(older_link)
    assert set(result.removed) == set(SHIMS) - {LAYOUT_SHIM}
    assert "finetune" not in (older_link / ".git" / "info" / "exclude").read_text()
    assert git(older_link, "status", "--porcelain") == ""


def test_models_of_persons_stay_and_are_named(checkout: Path) -> None:
    link(checkout)
    model = models_directory(checkout) / "jane-1.onnx"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"")
    (warning,) = unlink(checkout).warnings
    assert model.is_file()
    assert str(model.parent) in warning


def test_left_over_settings_are_named(checkout: Path) -> None:
    link(checkout)
    (checkout / "facefusion.ini").write_text(
        "[processors]\nprocessors = face_swapper finetuned_swapper\n"
        "[uis]\nui_layouts = default finetune\n"
    )
    warnings = unlink(checkout).warnings
    assert len(warnings) == 2
    assert "processors = ... finetuned_swapper" in warnings[0]
    assert "ui_layouts = ... finetune" in warnings[1]
    link(checkout)
    (checkout / "facefusion.ini").write_text("[processors]\nprocessors = face_swapper\n")
    assert unlink(checkout).warnings == ()


@pytest.mark.parametrize("exclude", [b"", b"# mine\n*.tmp", b"*.tmp\n", None])
def test_git_sees_nothing(checkout: Path, exclude: bytes | None) -> None:
    git(checkout, "init", "-q")
    path = checkout / ".git" / "info" / "exclude"
    path.unlink(missing_ok=True)
    if exclude is not None:
        path.write_bytes(exclude)
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "all")
    link(checkout)
    link(checkout)
    assert git(checkout, "status", "--porcelain") == ""
    assert path.read_bytes().count(b"finetuned_swapper") == 1
    assert path.read_bytes().count(b"layouts/finetune.py") == 1
    unlink(checkout)
    if exclude:
        assert path.read_bytes() == exclude
    else:
        assert not path.exists() or path.read_bytes() == b""


def test_git_worktree(checkout: Path, tmp_path: Path) -> None:
    git(checkout, "init", "-q")
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "all")
    worktree = tmp_path / "worktree"
    git(checkout, "worktree", "add", "-q", str(worktree))
    assert (worktree / ".git").is_file()
    link(worktree)
    assert git(worktree, "status", "--porcelain") == ""
    unlink(worktree)
    assert "finetuned" not in (checkout / ".git" / "info" / "exclude").read_text()


@pytest.mark.parametrize("act", [link, unlink])
@pytest.mark.parametrize("shim", [SHIM_FOLDER / "core.py", LAYOUT_SHIM])
def test_a_foreign_file_is_left_alone(checkout: Path, shim: Path, act: object) -> None:
    foreign = checkout / shim
    foreign.parent.mkdir(exist_ok=True)
    foreign.write_text("print('mine')\n")
    assert callable(act)
    with pytest.raises(HostError, match="not written by facefusion-finetune"):
        act(checkout)
    assert foreign.read_text() == "print('mine')\n"
    assert not is_linked(locate(checkout))


@pytest.mark.skipif(
    os.name == "nt" or os.geteuid() == 0, reason="the superuser may write everywhere"
)
def test_a_read_only_folder_is_said(checkout: Path) -> None:
    modules = checkout / SHIM_FOLDER.parent
    modules.chmod(0o500)
    try:
        with pytest.raises(HostError, match="cannot be changed"):
            link(checkout)
    finally:
        modules.chmod(0o700)


def test_an_unwritable_folder_is_said(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise PermissionError(13, "Permission denied", str(checkout))

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(HostError, match=r"cannot be changed \(Permission denied\)"):
        link(checkout)


@pytest.mark.parametrize("folder", [LAYOUT_SHIM.parent, SHIM_FOLDER.parent])
def test_a_missing_place_is_said_before_anything_is_written(checkout: Path, folder: Path) -> None:
    shutil.rmtree(checkout / folder)
    before = sorted(checkout.rglob("*"))
    with pytest.raises(HostError, match=f"no folder {folder.as_posix()}") as caught:
        link(checkout)
    assert "release of FaceFusion from 3.5 to 3.8" in caught.value.todo
    assert "writable" not in str(caught.value)
    assert sorted(checkout.rglob("*")) == before
    assert recall() is None
    assert unlink(checkout).removed == ()


def test_unlinking_works_after_the_layouts_have_moved(checkout: Path) -> None:
    link(checkout)
    shutil.rmtree(checkout / LAYOUT_SHIM.parent)
    assert len(unlink(checkout).removed) == 2
    assert not (checkout / SHIM_FOLDER).exists()


@pytest.mark.parametrize("left", [(), ("__init__.py",), ("core.py",)])
def test_a_folder_that_a_former_version_left_half_written(
    checkout: Path, left: tuple[str, ...]
) -> None:
    def leave() -> None:
        (checkout / SHIM_FOLDER).mkdir()
        for name in left:
            (checkout / SHIM_FOLDER / name).write_text("# Written by `facefusion-finetune link`, x")
        (checkout / SHIM_FOLDER / ".core.py.k3_9abcd.part").write_text("# Writ")
        (checkout / LAYOUT_SHIM.parent / ".finetune.py.k3_9abcd.part").touch()

    before = list_files(checkout)
    leave()
    assert is_linked(link(checkout))
    linked = list_files(checkout)
    assert linked.keys() - before.keys() == {shim.as_posix() for shim in SHIMS}
    unlink(checkout)
    leave()
    unlink(checkout)
    assert list_files(checkout) == before
    assert not (checkout / SHIM_FOLDER).exists()


def test_unlinking_does_not_leave_a_foreign_file_alone(checkout: Path) -> None:
    link(checkout)
    for name in ("notes.txt", "__pycache__/other.cpython-312.pyc"):
        foreign = checkout / SHIM_FOLDER / name
        foreign.parent.mkdir(exist_ok=True)
        foreign.write_text("mine")
        with pytest.raises(HostError, match="not written by facefusion-finetune") as caught:
            unlink(checkout)
        assert caught.value.given == str(foreign)
        assert is_linked(locate(checkout))
        foreign.unlink()
    killed = checkout / SHIM_FOLDER / "__pycache__" / "core.cpython-312.pyc.140023"
    killed.touch()
    unlink(checkout)
    assert not killed.parent.parent.exists()


@pytest.mark.parametrize("command", ["link", "unlink"])
def test_killed_at_any_moment_and_repeated(
    checkout: Path, tmp_path: Path, fork_server: ForkServer, command: str
) -> None:
    git(checkout, "init", "-q")
    act = {"link": link, "unlink": unlink}[command]
    if command == "unlink":
        link(checkout)
    shutil.copytree(checkout, tmp_path / "saved")
    act(checkout)
    expected = list_files(checkout, without=()), sorted(checkout.rglob("*"))

    def prepare() -> None:
        shutil.rmtree(checkout)
        shutil.copytree(tmp_path / "saved", checkout)

    code = f"""
from pathlib import Path
from facefusion_finetune.host.link import {command}
{command}(Path(sys.argv[1]))
"""
    calls = 0
    for calls in kill_everywhere(fork_server, code, checkout, prepare):
        processor = checkout / SHIM_FOLDER
        assert not processor.exists() or len(list(processor.glob("*.py"))) == 2, calls
        act(checkout)
        assert (list_files(checkout, without=()), sorted(checkout.rglob("*"))) == expected, calls
    assert calls > 5
