"""Files are whole or not there."""

from pathlib import Path
from typing import BinaryIO

import pytest

from facefusion_finetune import home


def test_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    home.write_text(path, "old")

    def fail(file: BinaryIO) -> None:
        file.write(b"new")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left") as caught:
        home.write_whole(path, fail)
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_home_follows_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(home.HOME_VARIABLE, str(tmp_path / "x"))
    assert home.people_directory() == tmp_path / "x" / "people"
    monkeypatch.delenv(home.HOME_VARIABLE)
    assert home.home_directory().name == "facefusion-finetune"


def test_every_missing_folder_is_private(tmp_path: Path) -> None:
    made = home.create_private_directory(tmp_path / "a" / "b")
    assert [path.stat().st_mode & 0o777 for path in (made, made.parent)] == [0o700, 0o700]
