"""What a killed process left is deleted; what anyone else has, or still writes, stays."""

import os
from pathlib import Path

import pytest

from facefusion_finetune import home, temporary
from tests.support.forked import ForkServer
from tests.support.killed import kill_everywhere

FOREIGN = (
    "a.txt",
    "a.txt.part",
    ".a.txt.part",
    ".a.txt.x1.part",
    ".a.txt.ABCDEFGH.part",
    ".a.txt.abcdefgh.part.old",
    ".b.txt.abcdefgh.part",
    "..abcdefgh.part",
)
"""Names beside `a.txt` that are not its temporary files."""


def test_killed_write_is_swept_by_the_next_one(tmp_path: Path, fork_server: ForkServer) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    code = """
import os, signal, sys
from pathlib import Path
from facefusion_finetune import home
def write(file):
    file.write(b"new")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
home.write_whole(Path(sys.argv[1]), write)
"""
    for _ in range(2):
        assert fork_server.run(code, path).returncode == -9
    (left,) = tmp_path.glob(".*")
    assert left.read_text() == "new"
    assert path.read_text() == "old"
    home.write_text(path, "next")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "next"


def test_write_in_progress_is_not_swept(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    handle, part = temporary.create_file(path)
    assert temporary.sweep(path) == []
    home.write_text(path, "by another")
    assert part.exists()
    os.close(handle)
    assert temporary.sweep(path) == [part]
    assert path.read_text() == "by another"


def test_folder_in_progress_is_not_swept(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with temporary.stage_folder(path) as staged:
        (staged / "a.txt").touch()
        assert staged.stat().st_mode & 0o777 == 0o700
        assert temporary.sweep(path) == temporary.sweep_folder(tmp_path, deep=True) == []
        with temporary.stage_folder(path) as other:
            assert other != staged
    assert list(tmp_path.iterdir()) == []
    with temporary.stage_folder(path) as staged:
        (staged / "a.txt").touch()
        staged.rename(path)
    assert list(tmp_path.rglob("*")) == [path, path / "a.txt"]


@pytest.mark.parametrize("name", FOREIGN)
def test_other_names_stay(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    assert temporary.sweep(tmp_path / "a.txt") == []
    assert (tmp_path / name).read_text() == "mine"


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / ".a.txt.abcdefgh.part").touch()
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "below").symlink_to(outside)
    (folder / ".a.txt.abcdefgh.part").symlink_to(outside / ".a.txt.abcdefgh.part")
    assert temporary.sweep_folder(folder, deep=True) == []
    assert (outside / ".a.txt.abcdefgh.part").exists()


def test_folders_of_former_versions_are_swept(tmp_path: Path) -> None:
    for name in ("runs/.import-k3_9abcd/incoming", ".dry-run-abcdefgh", "runs/.import-mine"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "model.onnx").touch()
    swept = temporary.sweep_folder(tmp_path, deep=True)
    assert [path.name for path in swept] == [".dry-run-abcdefgh", ".import-k3_9abcd"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        ".import-mine",
        "model.onnx",
        "runs",
    ]


def test_folder_is_deleted_whole_or_not_at_all(tmp_path: Path, fork_server: ForkServer) -> None:
    path = tmp_path / "folder"
    names = {f"{number}.txt" for number in range(3)}

    def prepare() -> None:
        path.mkdir(exist_ok=True)
        for name in names:
            (path / name).touch()

    code = """
from pathlib import Path
from facefusion_finetune import temporary
temporary.remove_folder(Path(sys.argv[1]) / "folder")
"""
    calls = []
    for call in kill_everywhere(fork_server, code, tmp_path, prepare):
        calls.append(call)
        if path.exists():
            assert {entry.name for entry in path.iterdir()} == names
        temporary.sweep(path)
        assert [entry.name for entry in tmp_path.iterdir()] in ([], ["folder"])
    assert len(calls) >= 5
    assert list(tmp_path.iterdir()) == []
