"""FaceFusion is found in a fixed order, and what is wrong with a folder is said in words."""

from pathlib import Path

import pytest

from facefusion_finetune.errors import HostError
from facefusion_finetune.host.locate import (
    UNNUMBERED_VERSION,
    Host,
    forget,
    locate,
    recall,
    remember,
)
from tests.support.host import create_fake_checkout


@pytest.fixture(autouse=True)
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who has no FaceFusion anywhere."""
    for name in ("home", "work", "data"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FACEFUSION_FINETUNE_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("FACEFUSION_PATH", raising=False)
    monkeypatch.chdir(tmp_path / "work")


def test_every_place_is_looked_at_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_home = create_fake_checkout(tmp_path / "home" / "facefusion")
    assert locate().path == at_home

    here = create_fake_checkout(tmp_path / "here")
    monkeypatch.chdir(here)
    assert locate().path == here

    linked = create_fake_checkout(tmp_path / "linked")
    remember(Host(linked, (3, 8, 1)))
    assert locate().path == linked

    configured = create_fake_checkout(tmp_path / "configured")
    monkeypatch.setenv("FACEFUSION_PATH", str(configured))
    assert locate().path == configured

    given = create_fake_checkout(tmp_path / "given", "3.7.1")
    assert locate(given) == Host(given, (3, 7, 1))
    assert locate(given).name == "facefusion 3.7.1"


def test_nothing_found_lists_the_places(tmp_path: Path) -> None:
    remember(Host(tmp_path / "gone", (3, 8, 1)))
    with pytest.raises(HostError, match="no FaceFusion folder was found") as caught:
        locate()
    for place in ("FACEFUSION_PATH (not set)", "gone (linked last)", "work (the current folder)"):
        assert place in str(caught.value)
    assert str(Path("home", "facefusion")) in str(caught.value)
    assert "facefusion-finetune link PATH" in caught.value.todo


def test_a_named_folder_must_be_a_facefusion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_fake_checkout(tmp_path / "home" / "facefusion")
    with pytest.raises(HostError, match=r"facefusion\.py and facefusion/metadata\.py are missing"):
        locate(tmp_path / "work")
    with pytest.raises(HostError, match="is not a folder"):
        locate(tmp_path / "nowhere")
    monkeypatch.setenv("FACEFUSION_PATH", str(tmp_path / "work"))
    with pytest.raises(HostError, match=r"FACEFUSION_PATH=.*is not a FaceFusion folder"):
        locate()


def test_too_old_is_refused_by_its_version(tmp_path: Path) -> None:
    old = create_fake_checkout(tmp_path / "old", "3.3.2")
    with pytest.raises(HostError, match=r"FaceFusion 3\.3\.2 loads its processors") as caught:
        locate(old)
    assert "FaceFusion 3.5 or newer" in caught.value.todo


@pytest.mark.parametrize(
    ("text", "version"),
    [("3.4.0", (3, 4, 0)), ("4.0.0", (4, 0, 0)), ("NEXT", UNNUMBERED_VERSION)],
)
def test_newer_than_tested_is_allowed(tmp_path: Path, text: str, version: tuple[int, ...]) -> None:
    assert locate(create_fake_checkout(tmp_path / "new", text)).version == version


def test_only_the_linked_host_is_forgotten(tmp_path: Path) -> None:
    linked = Host(tmp_path / "linked", (3, 8, 1))
    remember(linked)
    forget(Host(tmp_path / "other", (3, 8, 1)))
    assert recall() == linked.path
    forget(linked)
    assert recall() is None


def test_a_damaged_memory_is_no_obstacle(tmp_path: Path) -> None:
    create_fake_checkout(tmp_path / "home" / "facefusion")
    (tmp_path / "data" / "host.json").write_text("{")
    assert locate().path == tmp_path / "home" / "facefusion"
