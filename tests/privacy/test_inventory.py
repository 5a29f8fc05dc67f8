"""What is held about a person: all of it is named, and nothing is hidden."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from facefusion_finetune.cli import main
from facefusion_finetune.dataset.manifest import read_manifest, write_manifest
from facefusion_finetune.errors import UsageError
from facefusion_finetune.people import elsewhere
from facefusion_finetune.people.profile import Person
from facefusion_finetune.privacy.inventory import Inventory, take_inventory
from facefusion_finetune.privacy.traces import find_vectors
from facefusion_finetune.registry import store, transfer
from facefusion_finetune.runs.run import find_run


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def call(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["facefusion-finetune", "person", "show", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        return capsys.readouterr().out

    return call


def _sizes(held: Inventory) -> dict[str, tuple[int, int]]:
    return {part.name: (part.size.files, part.size.bytes) for part in held.parts}


def test_everything_is_named(trained: Person, tmp_path: Path, show: Callable[..., str]) -> None:
    run = find_run(trained, None)
    hosts = [tmp_path / "one", tmp_path / "two"]
    for host in hosts:
        store.activate(trained, run, host, force=True)
    store.deactivate(trained, hosts[1])
    output = tmp_path / "sent" / "model.onnx"
    output.parent.mkdir()
    transfer.export_model(trained, run, output)
    cache = tmp_path / "cache"
    elsewhere.remember(trained.directory, cache, "cache", "ada@2")
    (trained.directory / "extraction").mkdir()
    (trained.directory / "extraction" / "part.png").write_bytes(b"12345")
    (trained.directory / "coverage.json").write_text("{}")
    (trained.directory / ".diary").write_text("by hand")
    (trained.runs_directory / ".import-x").mkdir()

    text, values = show("ada"), json.loads(show("ada", "--json"))
    consent = trained.require_consent()
    assert values["consent"] == consent.model_dump(mode="json")
    for word in (consent.text, consent.sha256, consent.scope, str(consent.recorded), "never"):
        assert word in text
    parts = {part["name"]: part for part in values["parts"]}
    assert {path.name for path in trained.directory.iterdir()} == set(parts)
    assert parts["extraction"]["size"] == {"files": 1, "bytes": 5}
    assert parts["crops"]["size"]["files"] == 72
    assert parts["coverage.json"]["what"] == "coverage of the crops"
    assert parts[".diary"]["what"] is None
    assert ".diary: unknown (1 file, 7 bytes)" in text
    assert sum(part["size"]["files"] for part in parts.values()) == values["size"]["files"]
    assert values["runs"] == ["ada@1", ".import-x"]
    assert [run["state"] for run in values["run_details"]] == ["finished", "leftover"]
    assert (values["crops_kept"], values["crops_rejected"], values["shots"]) == (36, 0, 6)
    active = [str(path) for path in store.list_model_files("ada", hosts[0])]
    assert len(active) == 3
    assert values["hosts"] == {str(hosts[0]): active, str(hosts[1]): []}
    assert f"{hosts[1]}: no longer" in text
    described = [(entry["kind"], entry["path"], entry["about"]) for entry in values["elsewhere"]]
    assert described == [("export", str(output), "ada@1"), ("cache", str(cache), "ada@2")]
    assert values["elsewhere"][0]["size"]["bytes"] == output.stat().st_size
    assert values["elsewhere"][1]["size"] is None
    assert [Path(path).name for path in values["bases"]] == [
        path.name for path in run.directory.glob("*.base")
    ]
    expected = {trained.directory / "crops.jsonl": 36, run.model_path: 1}
    expected |= {Path(path): 1 for path in active if path.endswith((".onnx", ".json"))}
    assert {Path(path): count for path, count in values["vectors"].items()} == expected
    for path in [*active, output, cache, *expected, *values["bases"]]:
        assert str(path) in text


def test_crops_by_reason(extracted: Person, show: Callable[..., str]) -> None:
    records = read_manifest(extracted)
    for row, reason in ((0, "blurred"), (1, "blurred"), (2, "another face")):
        changes = {"kept": False, "reason": reason}
        if reason == "another face":
            changes["embedding"] = None
        records[row] = records[row].model_copy(update=changes)
    write_manifest(extracted, records)
    held = take_inventory("ada")
    assert (held.crops_kept, held.rejected) == (33, {"blurred": 2, "another face": 1})
    assert held.vectors == {str(extracted.directory / "crops.jsonl"): 35}
    assert "crops: 33 kept in 6 shots; rejected: 2 blurred, 1 another face" in show("ada")


def test_damaged_files_are_shown_as_such(trained: Person, show: Callable[..., str]) -> None:
    (trained.directory / "person.toml").write_text("name = ")
    manifest = trained.directory / "crops.jsonl"
    manifest.write_text(manifest.read_text() + "{broken\n")
    (trained.directory / "hosts.json").write_text('["/somewhere/facefusion", ')
    find_run(trained, None).record_path.write_text("=")
    text, values = show("ada"), json.loads(show("ada", "--json"))
    assert values["consent"] is None
    assert "consent: none that can be proven" in text
    assert f"1 lines of {manifest} are damaged" in text
    assert len(values["problems"]) == 3
    assert values["hosts"] == {"/somewhere/facefusion": []}
    assert [run["state"] for run in values["run_details"]] == ["damaged"]
    assert values["crops_kept"] == 36


def test_folder_without_a_record_is_shown(person: Person) -> None:
    (person.directory / "person.toml").rename(person.directory / "old.toml")
    held = take_inventory("ada")
    assert held.record is None
    assert [part.name for part in held.parts] == ["old.toml"]


def test_unknown_person() -> None:
    with pytest.raises(UsageError, match="no such person"):
        take_inventory("eve")


def test_links_are_not_followed_and_names_of_one_file_count_once(
    person: Person, tmp_path: Path
) -> None:
    far = tmp_path / "far"
    far.mkdir()
    (far / "big.png").write_bytes(b"x" * 1000)
    (person.directory / "crops").symlink_to(far)
    (person.directory / "a.txt").write_bytes(b"12345")
    os.link(person.directory / "a.txt", person.directory / "b.txt")
    held = take_inventory("ada")
    record = (person.directory / "person.toml").stat().st_size
    assert _sizes(held)["crops"][0] == 1
    assert held.size.bytes == record + 5 + len(str(far))


def test_vectors_are_found_in_manifest_and_model(trained: Person) -> None:
    vectors = find_vectors(trained.directory / "crops.jsonl")
    assert len(vectors) == 36
    run = find_run(trained, None)
    (own,) = find_vectors(run.model_path)
    assert own not in vectors, "the mean is none of them"
    assert find_vectors(run.report_path) == set()
    assert find_vectors(trained.directory / "none") == set()
