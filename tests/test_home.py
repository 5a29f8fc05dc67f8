"""Files are whole or not there."""

import pwd
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from facefusion_finetune import home
from facefusion_finetune.errors import FinetuneError, UsageError
from facefusion_finetune.faces.content import find_content_directory
from facefusion_finetune.faces.insightface_pack import find_pack
from facefusion_finetune.host.locate import locate
from facefusion_finetune.swappers.known import find_models_directory


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


NOBODY = "~nosuchuser/x"


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a home folder, as services and containers have: no HOME, no passwd entry."""

    def refuse(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    for name in ("HOME", "XDG_DATA_HOME", "FACEFUSION_PATH", home.HOME_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", refuse)


def test_a_user_without_a_home_folder(
    homeless: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="this user has no home folder"):
        home.people_directory()
    with pytest.raises(UsageError, match="there is no such home folder"):
        home.resolve_path("~/x")
    monkeypatch.setenv(home.HOME_VARIABLE, str(tmp_path / "x"))
    assert home.people_directory() == tmp_path / "x" / "people"
    with pytest.raises(FinetuneError, match="no FaceFusion folder was found"):
        locate()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (NOBODY, "there is no such home folder"),
        ("a\0b", "it cannot be resolved"),
        ("circle", "it cannot be resolved"),
    ],
)
def test_a_path_that_leads_nowhere(given: str, why: str, tmp_path: Path) -> None:
    path = given if given == NOBODY else str(tmp_path / given)
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(UsageError, match=why) as caught:
        home.resolve_path(path, "--output")
    assert caught.value.given == "--output"


@pytest.mark.parametrize(
    ("variable", "use"),
    [
        (home.HOME_VARIABLE, home.people_directory),
        ("FACEFUSION_PATH", locate),
        ("FACEFUSION_FINETUNE_MODELS", find_models_directory),
        ("FACEFUSION_FINETUNE_INSIGHTFACE", find_pack),
        ("FACEFUSION_FINETUNE_CONTENT_MODELS", lambda: find_content_directory(Path())),
    ],
)
def test_a_variable_that_names_the_home_of_nobody(
    variable: str, use: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, NOBODY)
    with pytest.raises(FinetuneError, match="there is no such home folder") as caught:
        use()
    assert NOBODY in caught.value.given


def test_the_command_line_says_so() -> None:
    program = "from facefusion_finetune.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "person", "list"],
        capture_output=True,
        text=True,
        env={home.HOME_VARIABLE: NOBODY, "PYTHONPATH": ":".join(sys.path)},
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {home.HOME_VARIABLE}={NOBODY}\n  why:  there is no such")
