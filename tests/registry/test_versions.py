"""All versions at a glance, damaged ones among them, and the way back."""

from pathlib import Path

import pytest

from facefusion_finetune.errors import RegistryError
from facefusion_finetune.host.models import find_active, models_directory
from facefusion_finetune.people.profile import Person, add_person, create_consent
from facefusion_finetune.registry import store
from facefusion_finetune.registry.versions import (
    find_previous,
    fingerprint_versions,
    list_versions,
    require_version,
    roll_back,
)
from facefusion_finetune.swappers.catalogue import SwapperOptions
from tests.support.runs import create_finished_run


@pytest.fixture
def trained(person: Person, options: SwapperOptions) -> Person:
    """Four versions: unproven, proven, not finished, proven."""
    for proven in (False, True, False, True):
        create_finished_run(person, options, proven=proven)
    (person.runs_directory / "3" / "model.onnx").unlink()
    return person


def _list(host: Path, name: str | None = None) -> list[tuple[str, str, bool, bool]]:
    return [
        (version.reference, version.verdict, version.is_proven, version.is_active)
        for version in list_versions(host, name).versions
    ]


def _activate(person: Person, version: int, host: Path) -> None:
    found = require_version(host, f"{person.name}@{version}")
    store.activate(person, found.run, host, force=True)


def test_all_persons_are_listed(trained: Person, options: SwapperOptions, host: Path) -> None:
    other = add_person("bea", create_consent(None, "Bea agreed."))
    create_finished_run(other, options)
    _activate(trained, 2, host)
    assert _list(host) == [
        ("ada@1", "better", False, False),
        ("ada@2", "better", True, True),
        ("ada@3", "not finished", False, False),
        ("ada@4", "better", True, False),
        ("bea@1", "better", False, False),
    ]
    assert [entry[0] for entry in _list(host, "bea")] == ["bea@1"]
    assert list_versions(host).problems == []
    assert not any(version.is_active for version in list_versions(None).versions)


def test_damage_hides_nothing_else(trained: Person, options: SwapperOptions, host: Path) -> None:
    other = add_person("bea", create_consent(None, "Bea agreed."))
    create_finished_run(other, options)
    (other.directory / "person.toml").write_text("name = ")
    (trained.runs_directory / "1" / "config.toml").write_text("version = 'one'")
    (trained.runs_directory / "2" / "model.onnx").write_bytes(b"no model")
    listing = list_versions(host)
    assert [(version.reference, version.verdict) for version in listing.versions] == [
        ("ada@2", "damaged"),
        ("ada@3", "not finished"),
        ("ada@4", "better"),
    ]
    assert len(listing.problems) == 3
    places = ("runs/1/config.toml", "runs/2/model.onnx", "bea/person.toml")
    for place in places:
        assert any(place in problem for problem in listing.problems), listing.problems


def test_signature_follows_what_is_listed(trained: Person, host: Path) -> None:
    seen = [fingerprint_versions(host), fingerprint_versions(host, "ada")]
    assert [fingerprint_versions(host), fingerprint_versions(host, "ada")] == seen
    (trained.runs_directory / "4" / "metrics.jsonl").write_text("{}\n")
    assert fingerprint_versions(host) == seen[0], "what is not listed is no change"
    _activate(trained, 2, host)
    assert fingerprint_versions(host) != seen[0]
    seen = [fingerprint_versions(host), fingerprint_versions(host, "bea")]
    (trained.runs_directory / "4" / "model.onnx").unlink()
    assert fingerprint_versions(host) != seen[0]
    assert fingerprint_versions(host, "bea") == seen[1], "somebody else's"


def test_back_to_the_newest_finished_one_below(trained: Person, host: Path) -> None:
    _activate(trained, 4, host)
    assert roll_back(host, "ada").reference == "ada@2"
    assert list(find_active(models_directory(host))["ada"]) == [2]
    previous = find_previous(host, "ada")
    assert previous is not None
    assert previous.reference == "ada@1"
    with pytest.raises(RegistryError, match="not proven to be better"):
        roll_back(host, "ada")
    assert list(find_active(models_directory(host))["ada"]) == [2]
    assert roll_back(host, "ada", force=True).reference == "ada@1"


def test_nothing_to_go_back_to(trained: Person, host: Path) -> None:
    with pytest.raises(RegistryError, match="none is active"):
        roll_back(host, "ada")
    _activate(trained, 1, host)
    with pytest.raises(RegistryError, match="no earlier finished one"):
        roll_back(host, "ada")
    assert find_previous(host, "ada") is None


@pytest.mark.parametrize("reference", [None, "", "ada@9", "nobody@1"])
def test_unknown_version(trained: Person, host: Path, reference: str | None) -> None:
    with pytest.raises(RegistryError, match="no such version"):
        require_version(host, reference)
