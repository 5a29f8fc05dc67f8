"""A person's removal: everything goes, at once or in the end, and the disk is searched for it."""

import base64
import functools
import hashlib
import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from facefusion_finetune import home
from facefusion_finetune.dataset.extraction.extract import extract_footage
from facefusion_finetune.dataset.manifest import read_manifest
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.errors import UsageError
from facefusion_finetune.evaluation.targets import collect_targets
from facefusion_finetune.host.models import models_directory
from facefusion_finetune.people import elsewhere
from facefusion_finetune.people.profile import (
    Person,
    add_person,
    create_consent,
    list_names,
    load_person,
)
from facefusion_finetune.privacy import removal
from facefusion_finetune.privacy.removal import RemovalError, remove_person
from facefusion_finetune.privacy.traces import NamePattern, collect_traces
from facefusion_finetune.registry import store, transfer
from facefusion_finetune.runs.observer import Observer
from facefusion_finetune.runs.run import find_run
from facefusion_finetune.training.cache import feed
from facefusion_finetune.training.recipe import train_person
from facefusion_finetune.training.request import TrainRequest
from tests.support.commands import run_command
from tests.support.demo_world import NOBODY
from tests.support.forked import ForkServer
from tests.support.inswapper import write_inswapper
from tests.support.runs import create_finished_run

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command in this process."""

    return functools.partial(run_command, monkeypatch, capsys)


@pytest.fixture
def known(person: Person, tmp_path: Path) -> Person:
    """The person with a finished run that was not trained, quick to make."""
    create_finished_run(person, write_inswapper(tmp_path / "demo.onnx"))
    return person


def _list_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_symlink() or path.is_file()]


def _grep(folder: Path, patterns: list[bytes], digests: set[str]) -> set[Path]:
    """Files that hold one of the patterns or are of one of the digests, found without our code."""
    found = set()
    expression = re.compile(b"|".join(map(re.escape, patterns)))
    for path in _list_files(folder):
        content = path.read_bytes()
        if expression.search(content) or hashlib.sha256(content).hexdigest() in digests:
            found.add(path)
        if re.search(rb"(?<![a-z])ada(?![a-z])", os.fsencode(path.relative_to(folder))):
            found.add(path)
    return found


def test_nothing_is_left_on_the_disk(
    trained: Person,
    analyser: DemoAnalyser,
    preset_file: Path,
    tmp_path: Path,
    home_folder: Path,
    command: Command,
    footage: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The whole job: crops, two trainings, two hosts, an exported file, a cache elsewhere."""
    run = find_run(trained, None)
    hosts = [tmp_path / "one", tmp_path / "two"]
    for host in hosts:
        store.activate(trained, run, host, force=True)
    output = tmp_path / "sent.onnx"
    transfer.export_model(trained, run, output)
    cache = tmp_path / "scratch" / "cache"
    # Of so few steps a cache does not pay.
    monkeypatch.setattr(feed, "MIN_SAVING", -1e9)

    def stop(done: int, total: int, values: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_person(
            trained,
            analyser,
            TrainRequest(base="demo", preset=str(preset_file), cache=cache),
            observer=Observer(on_step=stop),
        )
    assert sum(path.stat().st_size for path in cache.iterdir()) > 1000

    records = read_manifest(trained)
    vectors = [record.embedding.tobytes() for record in records if record.embedding is not None]
    card = store.read_card(run.model_path)
    vectors.append(card.get_vector().astype("<f4").tobytes())
    texts = [base64.b64encode(vector) for vector in vectors]
    cutouts = {record.sha256 for record in records if record.kept}
    assert len(cutouts) == 36
    patterns = [*texts, *vectors, *(digest.encode() for digest in cutouts)]
    patterns += [b'"ada"', b"'ada'", b"ada@", b"ada-1", b'\\"ada\\"']
    before = _grep(tmp_path, patterns, cutouts)
    expected = {trained.directory / "crops.jsonl", run.model_path, output}
    expected |= {models_directory(host) / "ada-1.json" for host in hosts}
    expected |= {cache / "frontier-cache.json"}
    assert expected <= before, "the search finds what is there"

    code, out, err = command("person", "remove", "ada", "--yes")
    assert code == 0, err
    assert _grep(tmp_path, patterns, cutouts) == {output}
    assert _list_files(home_folder) == []
    assert not cache.exists()
    assert f"{output} was exported of ada@1" in out
    assert "Delete it yourself" in out
    assert "footage was not touched:" in out
    assert str(footage) in out
    assert "for the name, 37 face embeddings and 36 cut-outs" in out
    gone = {Path(line.removeprefix("removed ")) for line in out.splitlines() if "removed " in line}
    assert expected - {output} <= gone
    assert len(read_footage := _list_files(footage)) >= 36
    assert all(path.stat().st_size for path in read_footage)


def test_exports_go_on_request_if_they_are_still_the_persons(
    known: Person, tmp_path: Path, command: Command
) -> None:
    run = find_run(known, None)
    own, other, gone = (tmp_path / f"{name}.onnx" for name in ("own", "other", "gone"))
    for path in (own, other, gone):
        transfer.export_model(known, run, path)
    eve = add_person("eve", create_consent(None, "yes"))
    create_finished_run(eve, write_inswapper(tmp_path / "demo.onnx"))
    transfer.export_model(eve, find_run(eve, None), other, overwrite=True)
    gone.unlink()
    rest = tmp_path / ".own.onnx.abc.part"
    rest.write_bytes(b"half of it")
    code, out, err = command("person", "remove", "ada", "--yes", "--exports")
    assert code == 0, err
    assert not own.exists()
    assert not rest.exists()
    assert store.read_card(other).person == "eve"
    assert f"{other} was exported of ada@1" in out
    assert "but is not a model of this person now" in out
    assert str(gone) not in out
    assert store.read_card(find_run(eve, None).model_path).person == "eve"


def test_failed_export_is_not_remembered(known: Person, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="cannot be written"):
        transfer.export_model(known, find_run(known, None), tmp_path / "nowhere" / "sent.onnx")
    assert elsewhere.list_locations(known.directory) == []
    path = tmp_path / "sent.onnx"
    for _ in range(2):
        transfer.export_model(known, find_run(known, None), path, overwrite=True)
    assert [entry.path for entry in elsewhere.list_locations(known.directory)] == [str(path)]


@pytest.mark.parametrize("after", [1, 4, 7, 10, 13])
def test_killed_removal_can_be_repeated(
    known: Person, tmp_path: Path, home_folder: Path, after: int, fork_server: ForkServer
) -> None:
    host = tmp_path / "facefusion"
    store.activate(known, find_run(known, None), host, force=True)
    (known.directory / "crops").mkdir()
    for number in range(4):
        (known.directory / "crops" / f"{number}.png").write_bytes(b"face")
    vector = base64.b64encode(bytes(2048)).decode()
    (known.directory / "crops.jsonl").write_text(json.dumps({"embedding": vector}) + "\n")
    total = len(_list_files(home_folder)) + len(_list_files(host))
    code = f"""
import os, pathlib, signal
from facefusion_finetune.privacy.removal import remove_person
real, left = pathlib.Path.unlink, [{after}]
def unlink(path, missing_ok=False):
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    real(path, missing_ok)
pathlib.Path.unlink = unlink
remove_person("ada")
"""
    done = fork_server.run(code)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(_list_files(home_folder)) + len(_list_files(host)) == total - after
    assert list_names() == ["ada"], "as long as anything is left, the person is listed"
    has_manifest = (known.directory / "crops.jsonl").exists()
    assert has_manifest == (after < 13), "what says what to search for goes late"
    again = remove_person("ada")
    again.require_complete()
    assert bool(again.traces.vectors) == has_manifest
    assert _list_files(home_folder) == []
    assert _list_files(host) == []


def test_killed_before_the_empty_folder_went(person: Person) -> None:
    (person.directory / "person.toml").unlink()
    remove_person("ada").require_complete()
    assert not person.directory.exists()
    with pytest.raises(UsageError, match="no such person"):
        remove_person("ada")


def test_what_cannot_be_deleted_is_named_and_the_rest_goes(
    known: Person, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = known.directory / "crops" / "stuck.png"
    stuck.parent.mkdir()
    stuck.write_bytes(b"face")
    (stuck.parent / "other.png").write_bytes(b"face")
    real = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path == stuck:
            raise PermissionError(13, "Permission denied", str(path))
        real(path, missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", unlink)
        code, out, err = command("person", "remove", "ada", "--yes")
    assert code == 1
    assert f"1 files could not be removed: {stuck} (Permission denied)" in err
    assert f"removed {stuck.parent / 'other.png'}" in out
    assert "nothing is held" not in out
    assert "were searched" not in out
    assert {path.name for path in _list_files(known.directory)} == {"person.toml", "stuck.png"}
    assert command("person", "remove", "ada", "--yes")[0] == 0
    assert not known.directory.exists()


@pytest.mark.parametrize("file", ["person.toml", "crops.jsonl", "runs/1/config.toml"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe{", b'{"embedding": [1, 2'])
def test_damaged_person_can_be_removed(
    known: Person, home_folder: Path, command: Command, file: str, content: bytes
) -> None:
    (known.directory / file).write_bytes(content)
    find_run_path = known.runs_directory / "1" / "model.onnx"
    find_run_path.write_bytes(content)
    code, out, err = command("person", "remove", "ada", "--yes")
    assert (code, "nothing is held about this person." in out) == (0, True), err
    assert _list_files(home_folder) == []


def test_damaged_memory_is_read_as_far_as_it_goes_and_said(
    known: Person, tmp_path: Path, command: Command
) -> None:
    host, output = tmp_path / "facefusion", tmp_path / "sent.onnx"
    run = find_run(known, None)
    store.activate(known, run, host, force=True)
    transfer.export_model(known, run, output)
    for name in ("hosts.json", "elsewhere.json"):
        path = known.directory / name
        path.write_text(path.read_text()[:-3])
    code, out, _ = command("person", "remove", "ada", "--yes", "--exports")
    assert code == 0
    assert _list_files(host) == []
    assert not output.exists()
    assert "some places that hold the person's models or caches may be unknown" in out
    assert "nothing is held about this person except for the above" in out


def test_host_that_is_not_there_is_named(known: Person, tmp_path: Path, command: Command) -> None:
    host = tmp_path / "facefusion"
    store.activate(known, find_run(known, None), host, force=True)
    host.rename(tmp_path / "unplugged")
    code, out, _ = command("person", "remove", "ada", "--yes")
    assert code == 0
    assert f"{host} does not exist now, but a model of the person was active in it" in out


def test_half_written_activation_goes_too(known: Person, tmp_path: Path) -> None:
    host = tmp_path / "facefusion"
    store.activate(known, find_run(known, None), host, force=True)
    folder = models_directory(host)
    (folder / "ada-1.hash").unlink()
    left = [folder / ".ada-2.onnx.x1.part", folder / "ada-3.json"]
    others = [folder / "ada-b-1.onnx", folder / "lovelace-1.onnx", folder / "ada.txt"]
    for path in left + others:
        path.write_bytes(b"\0half")
    done = remove_person("ada")
    assert set(_list_files(folder)) == set(others)
    assert set(left) <= set(done.removed)


def test_linked_host_is_looked_into(known: Person, tmp_path: Path, home_folder: Path) -> None:
    host = tmp_path / "facefusion"
    store.activate(known, find_run(known, None), host, force=True)
    (known.directory / "hosts.json").unlink()
    home.write_text(home_folder / "host.json", json.dumps({"path": str(host)}))
    assert remove_person("ada").hosts == [host]
    assert _list_files(host) == []


def test_links_are_deleted_and_not_followed(known: Person, tmp_path: Path) -> None:
    far = tmp_path / "far"
    far.mkdir()
    (far / "holiday.png").write_bytes(b"not ours")
    (known.directory / "crops").symlink_to(far)
    (known.directory / "crops.jsonl").symlink_to(tmp_path / "list.jsonl")
    (tmp_path / "list.jsonl").write_text("")
    done = remove_person("ada")
    done.require_complete()
    assert (far / "holiday.png").read_bytes() == b"not ours"
    assert (tmp_path / "list.jsonl").exists()
    told = {found.path for found in done.findings}
    assert told == {str(far), str(tmp_path / "list.jsonl")}


def test_person_folder_that_is_a_link_is_refused(known: Person, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    known.directory.rename(moved)
    known.directory.symlink_to(moved)
    before = _list_files(moved)
    with pytest.raises(RemovalError, match="is a link to"):
        remove_person("ada")
    assert _list_files(moved) == before


def test_mentions_out_of_reach_are_told_and_left(
    known: Person, tmp_path: Path, home_folder: Path, command: Command
) -> None:
    host = tmp_path / "facefusion"
    store.activate(known, find_run(known, None), host, force=True)
    job = host / ".jobs" / "queued" / "job-7.json"
    job.parent.mkdir(parents=True)
    job.write_text('{"finetuned_swapper_model": "ada"}')
    settings = host / "facefusion.ini"
    settings.write_text("[processors]\nfinetuned_swapper_model = ada-1\n")
    (host / ".jobs" / "queued" / "job-8.json").write_text('{"model": "adam", "x": "canada"}')
    (host / "notes.txt").write_text("ada: FaceFusion's own files are not searched")
    note = home_folder / "people" / "eve" / "person.toml"
    add_person("eve", create_consent(None, "Ada's sister; see ada for the form."))
    before = {path: path.read_bytes() for path in (job, settings, note)}
    code, out, err = command("person", "remove", "ada", "--yes")
    assert code == 0, err
    assert f"{job} contains the person's name. Delete that job in FaceFusion:" in out
    assert "job-delete job-7" in out
    assert (
        f"{settings} contains the person's name. Remove the person's model from that file." in out
    )
    assert f"{note} contains the person's name. Check whether" in out
    assert "job-8" not in out
    assert "notes.txt" not in out
    assert {path: path.read_bytes() for path in before} == before


def test_renamed_copy_of_the_model_in_facefusion_is_found(
    known: Person, tmp_path: Path, command: Command
) -> None:
    host = tmp_path / "facefusion"
    path = store.activate(known, find_run(known, None), host, force=True)
    copy = path.with_name("holiday.onnx")
    shutil.copy(path, copy)
    code, out, err = command("person", "remove", "ada", "--yes")
    assert code == 1
    assert f"{copy} (holds a face embedding of the person)" in err
    assert "nothing is held" not in out


def test_same_footage_under_another_name_is_told(
    extracted: Person, analyser: DemoAnalyser, footage: Path, command: Command
) -> None:
    eve = add_person("eve", create_consent(None, "yes"))
    extract_footage(eve, [footage], analyser)
    kept = {path: path.read_bytes() for path in _list_files(eve.directory)}
    code, out, err = command("person", "remove", "ada", "--yes")
    assert code == 0, err
    manifest = eve.directory / "crops.jsonl"
    assert f"{manifest} holds a face embedding of the person. Also remove eve" in out
    assert f"{manifest} lists a cut-out of the person" in out
    assert out.count("is a cut-out of the person") == 36
    assert {path: path.read_bytes() for path in _list_files(eve.directory)} == kept


def test_faces_that_train_or_judge_somebody_else_are_told(
    extracted: Person, analyser: DemoAnalyser, footage: Path, tmp_path: Path, command: Command
) -> None:
    eve = add_person("eve", create_consent(None, "yes"))
    run = create_finished_run(eve, write_inswapper(tmp_path / "demo.onnx"))
    collect_targets(run, [footage], analyser, NOBODY)
    gallery = run.directory / "targets"
    (eve.directory / "others").mkdir()
    listed = eve.directory / "others" / "others.jsonl"
    listed.write_text((gallery / "targets.jsonl").read_text())
    code, out, err = command("person", "remove", "ada", "--yes")
    assert code == 0, err
    assert f"{gallery / 'targets.jsonl'} lists faces from the person's footage" in out
    assert f"Delete the folder {gallery}, or the whole run: models remove eve@1." in out
    assert f"{listed} lists faces from the person's footage" in out
    assert gallery.is_dir()


@pytest.mark.parametrize("what", ["foreign cache", "holiday pictures", "no header"])
def test_only_the_persons_own_cache_is_deleted(
    known: Person, tmp_path: Path, command: Command, what: str
) -> None:
    cache = tmp_path / "cache"
    elsewhere.remember(known.directory, cache, "cache", "ada@1")
    cache.mkdir()
    if what == "holiday pictures":
        (cache / "beach.png").write_bytes(b"sand")
    else:
        (cache / "frontier-cache.bin").write_bytes(b"\0" * 64)
    if what == "foreign cache":
        header = {"origin": {"run": "ada-b@1", "base": "0", "digest": ""}, "limit": 1, "rows": 1}
        header |= {"tensors": [], "chunked": False}
        (cache / "frontier-cache.json").write_text(json.dumps(header))
    before = _list_files(cache)
    code, out, err = command("person", "remove", "ada", "--yes")
    assert code == 0, err
    assert _list_files(cache) == before
    if what != "holiday pictures":
        owner = "ada-b@1" if what == "foreign cache" else "an unknown run"
        assert f"{cache} holds a cache of {owner}" in out


def test_caches_of_several_processes_go(known: Person, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    elsewhere.remember(known.directory, cache, "cache", "ada@1")
    header = {"origin": {"run": "ada@1", "base": "0", "digest": ""}, "limit": 1, "rows": 1}
    header |= {"tensors": [], "chunked": False}
    for number in ("0", "1"):
        (cache / number).mkdir(parents=True)
        (cache / number / "frontier-cache.bin").write_bytes(b"\0" * 64)
        (cache / number / "frontier-cache.json").write_text(json.dumps(header))
    remove_person("ada").require_complete()
    assert _list_files(cache) == []


def test_job_that_still_writes_is_told(
    known: Person, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    real = removal._remove_folders

    def write(directory: Path) -> None:
        real(directory)
        (directory / "runs").mkdir(exist_ok=True)
        (directory / "runs" / "metrics.jsonl").write_text("{}")

    with monkeypatch.context() as patched:
        patched.setattr(removal, "_remove_folders", write)
        code, _, err = command("person", "remove", "ada", "--yes")
    assert code == 1
    assert "something still writes to it" in err
    assert list_names() == ["ada"]
    assert command("person", "remove", "ada", "--yes")[0] == 0


def test_command_asks_first_and_tells_of_exports(
    known: Person, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "sent.onnx"
    transfer.export_model(known, find_run(known, None), output)
    asked = []

    def refuse(text: str) -> bool:
        asked.append(text)
        return False

    monkeypatch.setattr("typer.confirm", refuse)
    code, out, _ = command("person", "remove", "ada")
    assert (code, asked) == (1, ["Delete everything held about ada?"])
    assert f"kept unless you add --exports: {output}" in out
    assert load_person("ada") == known


@pytest.mark.parametrize(
    ("text", "is_meant"),
    [
        ("jane", True),
        ("jane-1.onnx", True),
        ("'jane@2'", True),
        ("/data/jane/clip.mp4", True),
        ("maryjane jane_b janet", False),
        ("jane-b", False),
        ("jane-b-1.onnx and jane.doe@1", False),
        ("jane-b and jane", True),
        ("mary-jane-2", False),
    ],
)
def test_name_is_told_from_longer_ones(text: str, is_meant: bool) -> None:
    pattern = NamePattern("jane", ["jane-b", "jane.doe", "mary-jane", "eve"])
    assert pattern.is_in(text.encode()) == is_meant


def test_traces_are_collected_from_all_lists_and_not_from_galleries(person: Person) -> None:
    vector = base64.b64encode(bytes(2048)).decode()
    digests = {key: hashlib.sha256(key.encode()).hexdigest() for key in "abcdefgh"}

    def write(name: str, *records: object) -> None:
        path = person.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(record) + "\n" for record in records) + "[1]\n{")

    face = {"sha256": digests["a"], "source_sha256": digests["b"], "source": "/f/one.png"}
    write("crops.jsonl", face, {**face, "sha256": "", "embedding": vector})
    write("sources.jsonl", {"sha256": digests["c"], "path": "/f/two.png", "faces": 3})
    write("extraction/x.jsonl", {"number": 1, "faces": [{**face, "sha256": digests["d"]}, 5]})
    write("others/others.jsonl", {**face, "source_sha256": digests["e"], "sha256": digests["f"]})
    write("runs/1/targets/targets.jsonl", {**face, "source_sha256": digests["g"]})
    traces = collect_traces("ada", person.directory)
    assert traces.vectors == {vector.encode()}
    assert traces.cutouts == {digests["a"].encode(), digests["d"].encode()}
    assert traces.sources == {digests["b"], digests["c"]}
    assert traces.footage == {"/f/one.png", "/f/two.png"}


def test_memory_keeps_one_entry_for_a_path(person: Person, tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    for about in ("ada@1", "ada@2"):
        elsewhere.remember(person.directory, path, "export", about)
    elsewhere.remember(person.directory, person.directory / "runs" / "cache", "cache", "ada@1")
    (entry,) = elsewhere.list_locations(person.directory)
    assert (entry.about, entry.kind) == ("ada@2", "export")
    assert entry.recorded.tzinfo is not None
    assert abs((datetime.now(UTC) - entry.recorded).total_seconds()) < 600
    elsewhere.forget(person.directory, path)
    assert elsewhere.list_locations(person.directory) == []
