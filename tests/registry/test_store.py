"""Activation: whole or not at all, and only with consent and proof."""

import resource
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from facefusion_finetune import home
from facefusion_finetune.errors import ConsentError, RegistryError, TrainingError
from facefusion_finetune.host.models import card_path, hash_path, models_directory
from facefusion_finetune.people.profile import Person
from facefusion_finetune.privacy.removal import remove_person
from facefusion_finetune.registry import store
from facefusion_finetune.registry.versions import list_versions
from facefusion_finetune.runs.run import Run, find_run
from facefusion_finetune.swappers.card import (
    decode_card,
    decode_metadata,
    encode_card,
    encode_metadata,
)
from tests.support.forked import ForkServer
from tests.support.inswapper import write_inswapper
from tests.support.runs import create_finished_run


@pytest.fixture(params=["linked", "plain"])
def trained(person: Person, tmp_path: Path, request: pytest.FixtureRequest) -> Person:
    """The person with one finished run; each test is done with both kinds of file."""
    options = write_inswapper(tmp_path / "demo.onnx")
    create_finished_run(person, options, is_linked=request.param == "linked")
    return person


@pytest.fixture
def run(trained: Person) -> Run:
    return find_run(trained, None)


@pytest.fixture
def bases(run: Run) -> list[str]:
    """The base that has to lie beside the model, if it needs one."""
    return [path.name for path in run.directory.glob("*.base")]


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_card_survives_file_and_text(run: Run) -> None:
    card = store.read_card(run.model_path)
    assert decode_metadata(encode_metadata(card), "x") == card
    assert decode_card(encode_card(card), "x") == card
    assert "synthetic" in card.label


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"facefusion_finetune.format": "2"}'])
def test_damaged_card(text: str) -> None:
    with pytest.raises(RegistryError, match=r"card"):
        decode_card(text, "jane-1.json")


def test_active_model_is_whole(trained: Person, run: Run, host: Path, bases: list[str]) -> None:
    path = store.activate(trained, run, host, force=True)
    assert _files(host) == ["ada-1.hash", "ada-1.json", "ada-1.onnx", *bases]
    assert path.read_bytes() == run.model_path.read_bytes()
    digest = hash_path(path).read_bytes()
    assert len(digest) == 8
    assert digest == digest.lower()
    assert store.verify(path).person == "ada"
    assert store.known_hosts(trained) == [host.resolve()]
    assert [version.is_active for version in list_versions(host).versions] == [True]
    assert [version.is_active for version in list_versions(None).versions] == [False]


def test_unproven_model_needs_force(trained: Person, run: Run, host: Path) -> None:
    _set_proven(run, False)
    with pytest.raises(RegistryError, match="not proven to be better") as caught:
        store.activate(trained, run, host)
    assert "--force" in caught.value.todo
    assert not host.exists()
    _set_proven(run, True)
    assert store.activate(trained, run, host).is_file()


def test_expired_consent_forbids_activation(trained: Person, run: Run, host: Path) -> None:
    with pytest.raises(ConsentError):
        store.activate(trained.model_copy(update={"consent": None}), run, host, force=True)
    assert not host.exists()


def test_full_disk_leaves_nothing_half_written(
    trained: Person, run: Run, host: Path, home_folder: Path, fork_server: ForkServer
) -> None:
    """A real limit on file sizes, in a process of its own, stands for the full disk."""
    size = run.model_path.stat().st_size
    code = f"""
import resource, signal, sys
from pathlib import Path
from facefusion_finetune.people.profile import load_person
from facefusion_finetune.registry import store
from facefusion_finetune.runs.run import find_run
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
person = load_person('ada')
run = find_run(person, None)
resource.setrlimit(resource.RLIMIT_FSIZE, ({size // 2}, {size // 2}))
try:
    store.activate(person, run, Path({str(host)!r}), force=True)
except Exception as error:
    print(type(error).__name__, error)
"""
    before = run.model_path.read_bytes()
    done = fork_server.run(code)
    assert "RegistryError model ada@1: it cannot be written to" in done.stdout, done.stderr
    assert "File too large" in done.stdout
    assert _files(host) == []
    assert run.model_path.read_bytes() == before
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    assert store.activate(trained, run, host, force=True).is_file()


def test_failed_second_activation_keeps_the_active_model(
    trained: Person, run: Run, host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.activate(trained, run, host, force=True)
    real = home.write_whole

    def full(target: Path, write: object, mode: int = 0o600) -> None:
        if target.suffix == ".onnx":
            raise OSError(28, "No space left on device")
        real(target, write, mode)  # type: ignore[arg-type]

    monkeypatch.setattr(home, "write_whole", full)
    with pytest.raises(RegistryError, match="No space left on device"):
        store.activate(trained, run, host, force=True)
    assert store.verify(path).version == 1


def test_host_is_on_record_before_the_model_is_there(
    trained: Person, run: Run, host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = home.write_whole

    def killed(target: Path, write: object, mode: int = 0o600) -> None:
        if target.suffix == ".onnx":
            assert store.known_hosts(trained) == [host.resolve()]
            raise KeyboardInterrupt
        real(target, write, mode)  # type: ignore[arg-type]

    monkeypatch.setattr(home, "write_whole", killed)
    with pytest.raises(KeyboardInterrupt):
        store.activate(trained, run, host, force=True)


def test_new_version_takes_the_place_of_the_old(
    trained: Person, run: Run, host: Path, bases: list[str]
) -> None:
    directory = models_directory(host)
    store.activate(trained, run, host, force=True)
    for suffix in ("onnx", "hash", "json"):
        (directory / f"ada-1.{suffix}").rename(directory / f"ada-3.{suffix}")
    other = directory / "ada-b-1.onnx"
    other.write_bytes(b"somebody else's")
    hash_path(other).write_text("0")
    card_path(other).write_text("{}")
    store.activate(trained, run, host, force=True)
    assert _files(directory) == [
        "ada-1.hash",
        "ada-1.json",
        "ada-1.onnx",
        "ada-b-1.hash",
        "ada-b-1.json",
        "ada-b-1.onnx",
        *bases,
    ]


@pytest.mark.parametrize("fault", ["flipped", "short", "no hash", "foreign card", "renamed"])
def test_damage_is_found(trained: Person, run: Run, host: Path, fault: str) -> None:
    path = store.activate(trained, run, host, force=True)
    content = path.read_bytes()
    if fault == "flipped":
        path.write_bytes(content[:5000] + bytes([content[5000] ^ 1]) + content[5001:])
    elif fault == "short":
        path.write_bytes(content[:-1])
    elif fault == "no hash":
        hash_path(path).unlink()
    elif fault == "foreign card":
        text = card_path(path).read_text()
        card_path(path).write_text(text.replace('\\"ada\\"', '\\"eve\\"'))
    else:
        for suffix in ("onnx", "hash", "json"):
            (path.parent / f"ada-1.{suffix}").rename(path.parent / f"eve-1.{suffix}")
        path = path.parent / "eve-1.onnx"
    with pytest.raises(RegistryError):
        store.verify(path)


def test_unfinished_run_has_no_model(trained: Person, run: Run, host: Path) -> None:
    run.model_path.unlink()
    with pytest.raises(RegistryError, match="not finished"):
        store.activate(trained, run, host, force=True)


def test_unknown_version_lists_the_known(trained: Person) -> None:
    with pytest.raises(TrainingError, match="known: ada@1"):
        find_run(trained, 9)


def test_removing_the_person_empties_every_host(
    trained: Person, run: Run, tmp_path: Path, home_folder: Path
) -> None:
    hosts = [tmp_path / "one", tmp_path / "two"]
    for host in hosts:
        store.activate(trained, run, host, force=True)
    removed = remove_person("ada").removed
    assert len(removed) > 6
    assert [_files(host) for host in hosts] == [[], []]
    assert _files(home_folder) == []


def _set_proven(run: Run, proven: bool) -> None:
    card = store.read_card(run.model_path)
    result = {**card.judge_result, "proven": proven}
    model = onnx.load(str(run.model_path), load_external_data=False)
    onnx.helper.set_model_props(model, encode_metadata(replace(card, judge_result=result)))
    run.model_path.write_bytes(model.SerializeToString())
