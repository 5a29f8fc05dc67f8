"""The base beside linked models: one for all, checked, put back, taken away with the last."""

import errno
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy
import pytest

from facefusion_finetune import home
from facefusion_finetune.errors import RegistryError, SwapperError
from facefusion_finetune.host.models import models_directory
from facefusion_finetune.people.profile import Person, add_person, create_consent
from facefusion_finetune.privacy.removal import remove_person
from facefusion_finetune.registry import bases, store
from facefusion_finetune.registry.versions import list_versions
from facefusion_finetune.runs.run import Run
from facefusion_finetune.swappers.card import encode_metadata
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.files.bases import (
    bases_directory,
    check_base,
    digest_file,
    name_base,
    remove_unused_bases,
)
from facefusion_finetune.swappers.files.modelfile import open_model
from tests.support.inswapper import run_inswapper, write_inswapper
from tests.support.runs import create_card, create_finished_run, list_names, move_weights


@pytest.fixture
def run(person: Person, options: SwapperOptions) -> Run:
    return create_finished_run(person, options)


@pytest.fixture
def active(person: Person, run: Run, host: Path) -> Path:
    return store.activate(person, run, host, force=True)


def _base_of(model: Path) -> Path:
    (base,) = model.parent.glob("*.base")
    return base


def test_run_is_small_and_answers_as_the_plain_file(
    person: Person, options: SwapperOptions, run: Run
) -> None:
    plain = create_finished_run(person, options, is_linked=False)
    saved = plain.model_path.stat().st_size - run.model_path.stat().st_size
    frozen = sum(
        stored.payload.length
        for stored in open_model(run.model_path).tensors.values()
        if stored.payload and stored.payload.path != run.model_path
    )
    assert abs(saved - frozen) < 10_000
    assert saved > options.path.stat().st_size / 2
    assert (run_inswapper(run.model_path) == run_inswapper(plain.model_path)).all()
    assert not (run_inswapper(run.model_path) == run_inswapper(options.path)).all()


def test_base_is_on_the_disk_once(run: Run, options: SwapperOptions) -> None:
    kept = bases_directory() / _base_of(run.model_path).name
    assert kept.name == name_base("demo", digest_file(options.path))
    assert os.path.samefile(kept, options.path)
    assert os.path.samefile(kept, _base_of(run.model_path))


def test_other_file_system_gets_one_copy(
    person: Person, options: SwapperOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.link

    def link(source: Path, target: Path) -> None:
        if options.path.parent == Path(source).parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(source, target)

    monkeypatch.setattr(os, "link", link)
    runs = [create_finished_run(person, options) for _ in range(2)]
    first, second = (_base_of(run.model_path) for run in runs)
    assert not os.path.samefile(first, options.path)
    assert os.path.samefile(first, second)
    assert os.path.samefile(first, bases_directory() / first.name)


def test_base_beside_active_models_is_a_file_of_its_own(active: Path, run: Run) -> None:
    assert _base_of(active).stat().st_nlink == 1
    assert _base_of(active).read_bytes() == _base_of(run.model_path).read_bytes()
    assert store.verify(active).person == "ada"
    check_base(active)


def test_model_where_everything_is_tuned_is_plain(
    person: Person, options: SwapperOptions, tmp_path: Path
) -> None:
    base = open_model(options.path)
    everything = tuple(
        stored.name
        for stored in base.tensors.values()
        if stored.dtype == numpy.float32 and stored.payload and stored.payload.length > 4096
    )
    card = create_card("ada", 1, options)
    note = bases.write_run_model(
        base,
        card.base_sha256,
        card.base_name,
        home.create_private_directory(person.runs_directory / "1") / "model.onnx",
        move_weights(base, everything),
        encode_metadata(card),
    )
    assert note is not None
    assert "Nearly all weights were tuned" in note
    assert list_names(person.runs_directory) == ["model.onnx"]
    assert not bases_directory().exists()


def test_linked_base_gives_a_plain_model(person: Person, run: Run) -> None:
    tuned = open_model(run.model_path)
    folder = home.create_private_directory(person.runs_directory / "2")
    weights = move_weights(tuned)
    note = bases.write_run_model(tuned, "0" * 64, "x", folder / "model.onnx", weights, {})
    assert note is not None
    assert "itself linked" in note
    assert list_names(folder) == ["model.onnx"]


def test_base_that_changed_during_training_is_noticed(
    person: Person, options: SwapperOptions
) -> None:
    base = open_model(options.path)
    folder = home.create_private_directory(person.runs_directory / "1")
    with pytest.raises(RegistryError, match="required base has 0000000000000000"):
        bases.write_run_model(base, "0" * 64, "demo", folder / "model.onnx", move_weights(base), {})
    assert list_names(folder) == []
    assert list_names(bases_directory()) == []


@pytest.mark.parametrize("suffix", [".base", ".onnx"])
def test_full_disk_leaves_no_model_and_no_base(
    person: Person, options: SwapperOptions, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    def full(target: Path, write: Callable[[BinaryIO], object], mode: int = 0o600) -> None:
        def half(file: BinaryIO) -> None:
            file.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

        real(target, half if target.suffix == suffix else write, mode)

    real = home.write_whole
    monkeypatch.setattr(home, "write_whole", full)
    monkeypatch.setattr(os, "link", _refuse_links)
    with pytest.raises(OSError, match="No space left"):
        create_finished_run(person, options)
    assert list_names(person.runs_directory) == ["config.toml"]
    assert list_names(bases_directory()) == []
    monkeypatch.undo()


def _refuse_links(source: Path, target: Path) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


def _delete(base: Path) -> str:
    base.unlink()
    return "it was deleted or moved"


def _change(base: Path) -> str:
    status = base.stat()
    with base.open("r+b") as file:
        file.seek(status.st_size // 2)
        byte = file.read(1)[0]
        file.seek(status.st_size // 2)
        file.write(bytes([byte ^ 1]))
    # Whoever sets the time back cannot set back the one of the last change of the file's status.
    os.utime(base, ns=(status.st_atime_ns, status.st_mtime_ns))
    return "it was changed or replaced"


def _replace(base: Path) -> str:
    content = bytes(base.stat().st_size)
    base.unlink()
    base.write_bytes(content)
    return "it was changed or replaced"


def _shorten(base: Path) -> str:
    os.truncate(base, 1000)
    return "it was changed or replaced"


def _point_elsewhere(base: Path) -> str:
    elsewhere = base.parent.parent / "elsewhere"
    base.rename(elsewhere)
    base.symlink_to(elsewhere)
    return "it is a symbolic link"


def _put_folder(base: Path) -> str:
    base.unlink()
    base.mkdir()
    return "it is not a regular file"


def _link_again(base: Path) -> str:
    os.link(base, base.parent.parent / "elsewhere")
    return "it has 2 hard links"


FAULTS = [_delete, _change, _replace, _shorten, _point_elsewhere, _link_again]


@pytest.mark.parametrize("fault", [*FAULTS, _put_folder])
def test_fault_of_the_base_is_found_and_named(active: Path, fault: Callable[[Path], str]) -> None:
    check_base(active)
    message = fault(_base_of(active))
    for check in (store.verify, check_base):
        with pytest.raises(RegistryError, match=message) as caught:
            check(active)
        assert str(active.parent) in caught.value.given
        assert "models activate ada@1" in caught.value.todo


@pytest.mark.parametrize("fault", FAULTS)
def test_activation_puts_the_base_back(
    person: Person, run: Run, host: Path, active: Path, fault: Callable[[Path], str]
) -> None:
    content = _base_of(active).read_bytes()
    fault(_base_of(active))
    store.activate(person, run, host, force=True)
    assert store.verify(active).version == 1
    assert _base_of(active).read_bytes() == content
    assert not _base_of(active).is_symlink()


def test_activation_repairs_the_run_from_the_host(
    person: Person, run: Run, options: SwapperOptions, host: Path
) -> None:
    """The user's FaceFusion has the file under its own name; nothing else is left of it."""
    models = models_directory(host).parent
    models.mkdir(parents=True)
    shutil.move(options.path, models / "inswapper_anything.onnx")
    expected = run_inswapper(run.model_path)
    _base_of(run.model_path).unlink()
    shutil.rmtree(bases_directory())
    (models / "larger.onnx").write_bytes(bytes(10_000_000))
    path = store.activate(person, run, host, force=True)
    assert store.verify(path)
    assert (run_inswapper(run.model_path) == expected).all()


def test_base_overwritten_where_it_came_from_is_put_back_from_the_host(
    person: Person, run: Run, options: SwapperOptions, host: Path, active: Path
) -> None:
    """The home's links are the same file; the host's copy is not, and must not become one."""
    expected = run_inswapper(active)
    _change(options.path)
    with pytest.raises(RegistryError, match="changed or replaced"):
        check_base(run.model_path, hard_links=True)
    assert store.activate(person, run, host, force=True) == active
    check_base(run.model_path, hard_links=True)
    assert store.verify(active)
    assert _base_of(active).stat().st_nlink == 1
    assert (run_inswapper(run.model_path) == expected).all()


def test_base_that_is_nowhere(
    person: Person, run: Run, options: SwapperOptions, host: Path
) -> None:
    digest = digest_file(options.path)
    options.path.unlink()
    _base_of(run.model_path).unlink()
    shutil.rmtree(bases_directory())
    with pytest.raises(RegistryError, match=digest) as caught:
        store.activate(person, run, host, force=True)
    assert "linked to demo" in caught.value.why
    assert str(host) in caught.value.why
    assert "Use demo once in FaceFusion" in caught.value.todo
    assert list_names(host) == []
    assert list_versions(host).versions[0].card is not None


def test_two_persons_share_one_base_until_the_last_goes(
    person: Person, run: Run, options: SwapperOptions, host: Path, active: Path, home_folder: Path
) -> None:
    eve = add_person("eve", create_consent(None, "yes"))
    other = store.activate(eve, create_finished_run(eve, options), host, force=True)
    base = _base_of(active)
    kept = bases_directory() / base.name
    removed = remove_person("ada", host).removed
    assert base not in removed
    assert kept.is_file()
    assert store.verify(other).person == "eve"
    removed = remove_person("eve", host).removed
    assert {base, kept} <= set(removed)
    assert list_names(host) == []
    assert list_names(home_folder) == []


def test_deactivation_takes_the_base_away_and_leaves_the_run(
    person: Person, run: Run, host: Path, active: Path
) -> None:
    removed = store.deactivate(person, host)
    assert [path.suffix for path in removed] == [".onnx", ".hash", ".json", ".base"]
    assert list_names(host) == []
    check_base(run.model_path, hard_links=True)


def test_version_of_another_base_takes_the_former_base_along(
    person: Person, active: Path, host: Path, tmp_path: Path
) -> None:
    former = _base_of(active)
    (tmp_path / "other").mkdir()
    other = write_inswapper(tmp_path / "other" / "demo.onnx", seed=2)
    store.activate(person, create_finished_run(person, other), host, force=True)
    assert not former.exists()
    assert len(list_names(host)) == 4


def test_base_without_a_model_that_can_be_read_is_kept(
    person: Person, active: Path, host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another user's file needs cannot be seen, so nothing is taken from it."""
    from facefusion_finetune.swappers.files import bases

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    foreign = active.parent / "eve-1.onnx"
    foreign.write_bytes(b"x")
    monkeypatch.setattr(bases, "scan_links", refuse)
    store.deactivate(person, host)
    assert [path.suffix for path in active.parent.iterdir() if path != foreign] == [".base"]


def test_model_activated_in_the_middle_of_a_release_keeps_its_base(
    active: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facefusion_finetune.swappers.files import bases

    base = _base_of(active)
    answers = iter([False, True])
    monkeypatch.setattr(bases, "is_needed", lambda path: next(answers))
    assert remove_unused_bases(active.parent) == []
    monkeypatch.undo()
    assert store.verify(active).person == "ada"
    assert base.is_file()


def test_foreign_base_files_are_left_alone(person: Person, active: Path, host: Path) -> None:
    foreign = active.parent / "knowledge.base"
    foreign.write_bytes(b"somebody else's")
    store.deactivate(person, host)
    assert list_names(host) == ["knowledge.base"]


def test_interrupted_activation_leaves_nothing(
    person: Person, run: Run, host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = home.write_whole

    def stop(target: Path, write: Callable[[BinaryIO], object], mode: int = 0o600) -> None:
        if target.suffix == ".onnx":
            raise KeyboardInterrupt
        real(target, write, mode)

    monkeypatch.setattr(home, "write_whole", stop)
    with pytest.raises(KeyboardInterrupt):
        store.activate(person, run, host, force=True)
    assert list_names(host) == []


def test_damaged_run_is_not_activated(person: Person, run: Run, host: Path) -> None:
    content = bytearray(run.model_path.read_bytes())
    position = content.index(b"Conv_590.weight")
    content[position : position + 4] = b"XXXX"
    run.model_path.write_bytes(content)
    with pytest.raises(RegistryError, match="not a valid ONNX file"):
        store.activate(person, run, host, force=True)
    assert list_names(host) == []


def test_weights_that_do_not_fit_leave_nothing(person: Person, options: SwapperOptions) -> None:
    wrong: Mapping[str, object] = {"Conv_612.bias": numpy.full(3, numpy.nan, numpy.float32)}
    with pytest.raises(SwapperError, match="not finite"):
        create_finished_run(person, options, weights=wrong)
    assert list_names(person.runs_directory) == ["config.toml"]
    assert list_names(bases_directory()) == []
