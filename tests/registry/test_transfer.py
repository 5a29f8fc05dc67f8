"""Models to and from another machine: what is written, what is believed, what is refused."""

import json
import os
import resource
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy
import onnx
import pytest
from onnx import numpy_helper

from facefusion_finetune import home, temporary
from facefusion_finetune.cli import main
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.errors import (
    ConsentError,
    FinetuneError,
    RegistryError,
    SwapperError,
    TrainingError,
    UsageError,
)
from facefusion_finetune.evaluation.rerun import evaluate_run
from facefusion_finetune.host.models import models_directory
from facefusion_finetune.people.profile import Person, add_person, create_consent, load_person
from facefusion_finetune.registry import store, transfer
from facefusion_finetune.runs.run import Run, find_run, list_runs
from facefusion_finetune.swappers.card import PREFIX, ModelCard, encode_metadata
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.files.bases import bases_directory, digest_file
from facefusion_finetune.swappers.files.modelfile import open_model
from facefusion_finetune.training.recipe import train_person
from facefusion_finetune.training.request import TrainRequest
from tests.support.forked import ForkServer
from tests.support.inswapper import build_inswapper, run_inswapper
from tests.support.runs import create_card, create_finished_run, list_names


@pytest.fixture
def run(person: Person, options: SwapperOptions) -> Run:
    return create_finished_run(person, options, proven=True)


def _write_sent(tmp_path: Path, options: SwapperOptions, **changes: object) -> Path:
    """A plain file with such a card."""
    card = create_card("ada", 3, options)
    model = onnx.load(str(options.path))
    entries = encode_metadata(card)
    for key, value in changes.items():
        entries[PREFIX + key] = json.dumps(value)
    onnx.helper.set_model_props(model, entries)
    onnx.save(model, str(tmp_path / "made.onnx"))
    return tmp_path / "made.onnx"


def _assert_nothing_left(tmp_path: Path) -> None:
    person = load_person("ada")
    assert list_names(person.directory) == ["person.toml"]
    assert list_names(bases_directory()) == []


# Export


def test_small_file_and_what_it_needs(
    person: Person, run: Run, options: SwapperOptions, tmp_path: Path
) -> None:
    made = transfer.export_model(person, run, tmp_path / "sent.onnx")
    assert made.path.read_bytes() == run.model_path.read_bytes()
    assert made.size == made.path.stat().st_size < options.path.stat().st_size / 2
    assert made.base == f"demo (sha256 {digest_file(options.path)})"
    assert made.path.stat().st_mode & 0o077 == 0
    assert list_names(tmp_path / "home" / "people" / "ada" / "runs" / "1") == list_names(
        run.directory
    )


def test_standalone_file_runs_anywhere(person: Person, run: Run, tmp_path: Path) -> None:
    (tmp_path / "away").mkdir()
    path = tmp_path / "away" / "sent.onnx"
    made = transfer.export_model(person, run, path, standalone=True)
    assert made.base is None
    assert list_names(path.parent) == ["sent.onnx"]
    assert (run_inswapper(path) == run_inswapper(run.model_path)).all()
    model = onnx.load(str(path))
    onnx.checker.check_model(model, full_check=True)
    assert numpy_helper.to_array(model.graph.initializer[-1]).shape == (512, 512)
    assert store.read_card(path) == store.read_card(run.model_path)


def test_half_is_standalone_and_answers_nearly_alike(
    person: Person, run: Run, tmp_path: Path
) -> None:
    whole = transfer.export_model(person, run, tmp_path / "whole.onnx", standalone=True)
    half = transfer.export_model(person, run, tmp_path / "half.onnx", half=True)
    assert half.base is None
    assert half.size < 0.7 * whole.size
    assert numpy.abs(run_inswapper(half.path) - run_inswapper(whole.path)).max() < 0.02
    assert store.read_card(half.path) == store.read_card(run.model_path)


def test_plain_run_is_exported_plain(
    person: Person, options: SwapperOptions, tmp_path: Path
) -> None:
    plain = create_finished_run(person, options, is_linked=False)
    made = transfer.export_model(person, plain, tmp_path / "sent.onnx")
    assert made.base is None
    assert made.path.read_bytes() == plain.model_path.read_bytes()


def test_existing_output_is_kept_unless_told(person: Person, run: Run, tmp_path: Path) -> None:
    output = tmp_path / "sent.onnx"
    output.write_bytes(b"mine")
    with pytest.raises(UsageError, match="the file already exists") as caught:
        transfer.export_model(person, run, output)
    assert "--overwrite" in caught.value.todo
    assert output.read_bytes() == b"mine"
    transfer.export_model(person, run, output, overwrite=True)
    assert output.read_bytes() == run.model_path.read_bytes()


def test_symlink_as_output_is_not_followed(person: Person, run: Run, tmp_path: Path) -> None:
    other = tmp_path / "other"
    link = tmp_path / "link.onnx"
    link.symlink_to(other)
    with pytest.raises(UsageError, match="the file already exists"):
        transfer.export_model(person, run, link)
    other.write_bytes(b"mine")
    transfer.export_model(person, run, link, overwrite=True)
    assert other.read_bytes() == b"mine"
    assert not link.is_symlink()


@pytest.mark.parametrize("overwrite", [False, True])
def test_folder_as_output(person: Person, run: Run, tmp_path: Path, overwrite: bool) -> None:
    with pytest.raises(UsageError, match="it is a folder"):
        transfer.export_model(person, run, tmp_path, overwrite=overwrite)


def test_output_in_no_folder(person: Person, run: Run, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="No such file or directory"):
        transfer.export_model(person, run, tmp_path / "nowhere" / "sent.onnx")


def test_output_where_nothing_can_be_written(
    person: Person, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root, whom rights do not stop, the kernel's answer has to be made up."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(temporary.tempfile, "mkstemp", refuse)
    with pytest.raises(RegistryError, match="Permission denied"):
        transfer.export_model(person, run, tmp_path / "sent.onnx")


@pytest.mark.parametrize("choices", [{}, {"standalone": True}, {"half": True}])
def test_full_disk_leaves_no_part(
    person: Person, run: Run, tmp_path: Path, choices: dict[str, bool], fork_server: ForkServer
) -> None:
    (tmp_path / "out").mkdir()
    code = f"""
import resource, signal
from pathlib import Path
from facefusion_finetune.people.profile import load_person
from facefusion_finetune.registry import transfer
from facefusion_finetune.runs.run import find_run
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
person = load_person("ada")
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    run = find_run(person, 1)
    transfer.export_model(person, run, Path({str(tmp_path / "out" / "sent.onnx")!r}), **{choices!r})
except Exception as error:
    print(type(error).__name__, error)
"""
    done = fork_server.run(code)
    assert done.stdout.startswith("RegistryError"), done.stdout + done.stderr
    assert "File too large" in done.stdout
    assert list_names(tmp_path / "out") == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_export_needs_consent_a_model_and_the_right_base(
    person: Person, run: Run, tmp_path: Path
) -> None:
    output = tmp_path / "sent.onnx"
    with pytest.raises(ConsentError):
        transfer.export_model(person.model_copy(update={"consent": None}), run, output)
    (base,) = run.directory.glob("*.base")
    base.write_bytes(bytes(base.stat().st_size))
    with pytest.raises(RegistryError, match="changed or replaced"):
        transfer.export_model(person, run, output, standalone=True)
    run.model_path.unlink()
    with pytest.raises(RegistryError, match="not finished"):
        transfer.export_model(person, run, output)
    assert not output.exists()


# Import


@pytest.mark.parametrize("standalone", [False, True])
def test_round_trip_is_linked_again(
    elsewhere: Callable[..., Path],
    run: Run,
    options: SwapperOptions,
    tmp_path: Path,
    standalone: bool,
) -> None:
    expected, size = run_inswapper(run.model_path), run.model_path.stat().st_size
    sent = elsewhere(standalone=standalone)
    made = transfer.import_model(sent, None, [options.path.parent])
    assert made.note is None
    assert made.run.is_imported
    assert made.run.reference == made.origin == "ada@1"
    assert (run_inswapper(made.run.model_path) == expected).all()
    assert abs(made.run.model_path.stat().st_size - size) < 1000
    assert sorted(path.suffix for path in made.run.directory.iterdir()) == [
        ".base",
        ".onnx",
        ".toml",
    ]
    (found,) = list_runs(load_person("ada"))
    assert found.record == made.run.record
    assert "imported = true" in (found.directory / "config.toml").read_text()
    for path in made.run.directory.iterdir():
        assert path.suffix == ".base" or path.stat().st_mode & 0o077 == 0
    assert os.listdir(found.directory.parent) == ["1"]


def test_nothing_is_proven_here(
    elsewhere: Callable[..., Path], options: SwapperOptions, tmp_path: Path
) -> None:
    made = transfer.import_model(elsewhere(), None, [options.path.parent])
    card = store.read_card(made.run.model_path)
    assert card.judge_result == {
        "verdict": "better",
        "judge": None,
        "proven": False,
        "proven_elsewhere": True,
        "made_elsewhere": True,
    }
    person, host = load_person("ada"), tmp_path / "facefusion"
    with pytest.raises(RegistryError, match="judged on another machine") as caught:
        store.activate(person, made.run, host)
    assert "--force" in caught.value.todo
    path = store.activate(person, made.run, host, force=True)
    assert store.verify(path).base_sha256 == digest_file(options.path)


def test_second_import_remembers_who_judged(
    elsewhere: Callable[..., Path], options: SwapperOptions, tmp_path: Path
) -> None:
    sent = elsewhere()
    first = transfer.import_model(sent, None, [options.path.parent])
    again = tmp_path / "again.onnx"
    transfer.export_model(load_person("ada"), first.run, again)
    second = transfer.import_model(again, None, [options.path.parent])
    assert second.run.reference == "ada@2"
    judged = store.read_card(second.run.model_path).judge_result
    assert (judged["proven"], judged["proven_elsewhere"]) == (False, True)


def test_another_name_here(elsewhere: Callable[..., Path], options: SwapperOptions) -> None:
    sent = elsewhere()
    eve = add_person("eve", create_consent(None, "Eve is Ada's name here."))
    create_finished_run(eve, options)
    made = transfer.import_model(sent, "eve", [options.path.parent])
    card = store.read_card(made.run.model_path)
    assert (card.person, card.version, made.origin) == ("eve", 2, "ada@1")
    assert load_person("ada").runs_directory.exists() is False


def test_standalone_without_its_base_stays_so(
    elsewhere: Callable[..., Path], run: Run, options: SwapperOptions
) -> None:
    expected = run_inswapper(run.model_path)
    sent = elsewhere(standalone=True)
    made = transfer.import_model(sent, None, [])
    assert made.note is not None
    assert "not on this machine" in made.note
    assert list_names(made.run.directory) == ["config.toml", "model.onnx"]
    assert (run_inswapper(made.run.model_path) == expected).all()


def test_half_stays_as_it_is(
    elsewhere: Callable[..., Path], options: SwapperOptions, tmp_path: Path
) -> None:
    sent = elsewhere(half=True)
    made = transfer.import_model(sent, None, [options.path.parent])
    assert made.note is not None
    assert (run_inswapper(made.run.model_path) == run_inswapper(sent)).all()
    path = store.activate(load_person("ada"), made.run, tmp_path / "facefusion", force=True)
    assert store.verify(path).person == "ada"


def test_linked_without_its_base_is_refused(
    elsewhere: Callable[..., Path], options: SwapperOptions, tmp_path: Path
) -> None:
    sent, digest = elsewhere(), digest_file(options.path)
    with pytest.raises(RegistryError, match=digest) as caught:
        transfer.import_model(sent, None, [tmp_path / "empty"])
    assert "linked to demo" in caught.value.why
    assert "Use demo once in FaceFusion" in caught.value.todo
    _assert_nothing_left(tmp_path)


def test_base_beside_the_hosts_models_stays_a_file_of_its_own(
    elsewhere: Callable[..., Path],
    person: Person,
    run: Run,
    options: SwapperOptions,
    tmp_path: Path,
) -> None:
    host = tmp_path / "facefusion"
    active = store.activate(person, run, host, force=True)
    sent = elsewhere()
    transfer.import_model(sent, None, [models_directory(host)])
    sent.unlink()
    assert store.verify(active).person == "ada"


def test_person_has_to_be_on_record_with_consent(
    elsewhere: Callable[..., Path], options: SwapperOptions, tmp_path: Path
) -> None:
    sent = elsewhere()
    folders = [options.path.parent]
    shutil.rmtree(load_person("ada").directory)
    with pytest.raises(ConsentError, match="no such person is on record here") as caught:
        transfer.import_model(sent, None, folders)
    assert "person add ada --consent FILE" in caught.value.todo
    with pytest.raises(ConsentError, match="'eve'"):
        transfer.import_model(sent, "eve", folders)
    with pytest.raises(UsageError, match="only letters, digits"):
        transfer.import_model(sent, "../eve", folders)
    ada = add_person("ada", create_consent(None, "yes"))
    record = ada.directory / "person.toml"
    record.write_text(record.read_text().split("[consent]")[0])
    with pytest.raises(ConsentError, match="no consent is on record"):
        transfer.import_model(sent, None, folders)
    assert list_names(tmp_path / "other-home" / "people") == ["person.toml"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"person": "../../etc"}, "only letters, digits"),
        ({"person": 7}, "card is damaged"),
        ({"version": 0}, "version"),
        ({"version": "1"}, "card is damaged"),
        ({"base_sha256": "../../x"}, "sha256"),
        ({"base_licence": "free\x1b[2J"}, "not printable"),
        ({"preset": "x" * 501}, "too long"),
        ({"judge_result": []}, "card is damaged"),
        ({"judge_result": {"judge": {"a": ["b\x07"]}}}, "not printable"),
        ({"size": [0, 64]}, "size"),
        ({"size": [64, 64, 64]}, "card is damaged"),
        ({"standard_deviation": [1, 0, 1]}, "normalisation"),
        ({"mean": [float("nan"), 0, 0]}, "normalisation"),
        ({"type": "deepfake"}, "deepfake"),
        ({"created": "yesterday"}, "card is damaged"),
        ({"person_vector": ""}, "card"),
        ({"format": 2}, "card"),
    ],
)
def test_card_that_cannot_be_believed(
    person: Person,
    options: SwapperOptions,
    tmp_path: Path,
    changes: dict[str, object],
    message: str,
) -> None:
    path = _write_sent(tmp_path, options, **changes)
    with pytest.raises(FinetuneError, match=message) as caught:
        transfer.import_model(path, None, [tmp_path])
    assert "\x1b" not in str(caught.value)
    _assert_nothing_left(tmp_path)


def test_label_is_ours(person: Person, options: SwapperOptions, tmp_path: Path) -> None:
    path = _write_sent(tmp_path, options, label="a real photograph")
    made = transfer.import_model(path, None, [tmp_path])
    assert store.read_card(made.run.model_path).label == ModelCard.label


def _point_at_passwords(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    length = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": "../../../etc/passwd", "length": str(length)}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def _point_at_itself(model: onnx.ModelProto) -> None:
    _point_at_passwords(model)
    model.graph.initializer[0].external_data[0].value = "model.onnx"


def _foreign_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "evil"


def _no_emap(model: onnx.ModelProto) -> None:
    del model.graph.initializer[-1]


def _no_source(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.input[:] = ["other" if name == "source" else name for name in node.input]
    next(value for value in model.graph.input if value.name == "source").name = "other"


def _not_finite(model: onnx.ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == "Conv_612.bias")
    values = numpy.full(tensor.dims, numpy.nan, numpy.float32)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_point_at_passwords, "not the base its card names"),
        (_point_at_itself, "not the base its card names"),
        (_foreign_operator, "domain 'evil'"),
        (_no_emap, "not a face swapper of type 'inswapper'"),
        (_no_source, "not a face swapper of type 'inswapper'"),
        (_not_finite, "not finite"),
    ],
)
def test_file_that_is_not_what_it_says(
    person: Person,
    options: SwapperOptions,
    tmp_path: Path,
    damage: Callable[[onnx.ModelProto], None],
    message: str,
) -> None:
    path = _write_sent(tmp_path, options)
    model = onnx.load(str(path))
    damage(model)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(RegistryError, match=message) as caught:
        transfer.import_model(path, None, [tmp_path])
    assert caught.value.given == str(path)
    _assert_nothing_left(tmp_path)


def test_file_that_is_no_model(person: Person, tmp_path: Path) -> None:
    (tmp_path / "garbage").write_bytes(b"\xff" * 1000)
    (tmp_path / "empty").touch()
    (tmp_path / "no-card").write_bytes(build_inswapper().SerializeToString())
    os.mkfifo(tmp_path / "pipe")
    for name in ("garbage", "empty", "no-card", "pipe", "missing", "."):
        with pytest.raises(RegistryError):
            transfer.import_model(tmp_path / name, None, [])
        with pytest.raises(RegistryError):
            transfer.import_model(tmp_path / name, "ada", [])
    _assert_nothing_left(tmp_path)


def test_cut_off_file(elsewhere: Callable[..., Path], options: SwapperOptions) -> None:
    sent = elsewhere()
    sent.write_bytes(sent.read_bytes()[:-100])
    with pytest.raises(RegistryError):
        transfer.import_model(sent, None, [options.path.parent])


def test_full_disk_leaves_nothing_of_an_import(
    elsewhere: Callable[..., Path], options: SwapperOptions, tmp_path: Path, fork_server: ForkServer
) -> None:
    sent = elsewhere(standalone=True)
    code = f"""
import resource, signal
from pathlib import Path
from facefusion_finetune.registry import transfer
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    transfer.import_model(Path({str(sent)!r}), None, [])
except Exception as error:
    print(type(error).__name__, error)
"""
    done = fork_server.run(code)
    assert done.stdout.startswith("RegistryError"), done.stdout + done.stderr
    assert "File too large" in done.stdout
    _assert_nothing_left(tmp_path)


def test_what_an_imported_run_cannot_do(
    elsewhere: Callable[..., Path], options: SwapperOptions, analyser: DemoAnalyser
) -> None:
    made = transfer.import_model(elsewhere(), None, [options.path.parent])
    person = load_person("ada")
    with pytest.raises(TrainingError, match="it was imported") as caught:
        evaluate_run(person, made.run, analyser)
    assert "train ada" in caught.value.todo
    with pytest.raises(TrainingError, match="nothing to resume"):
        train_person(person, analyser, TrainRequest(resume=True))
    assert find_run(person, None).is_finished


def test_card_of_an_import_is_the_run_record(
    elsewhere: Callable[..., Path], run: Run, options: SwapperOptions
) -> None:
    claimed = store.read_card(run.model_path)
    made = transfer.import_model(elsewhere(), None, [options.path.parent])
    card = store.read_card(made.run.model_path)
    assert card == replace(claimed, judge_result=card.judge_result)
    assert made.run.record.base_sha256 == card.base_sha256
    assert made.run.record.consent_digest == card.consent_digest


# Commands


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["facefusion-finetune", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return call


def test_commands(
    command: Callable[..., tuple[int, str, str]],
    run: Run,
    options: SwapperOptions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = tmp_path / "facefusion"
    (host / "facefusion").mkdir(parents=True)
    (host / "facefusion.py").touch()
    (host / "facefusion" / "metadata.py").write_text("METADATA = { 'version': '3.8.1' }")
    models = models_directory(host).parent
    models.mkdir(parents=True)
    shutil.copy(options.path, models / "demo.onnx")
    sent = tmp_path / "sent.onnx"

    code, out, _ = command("models", "export", "ada", "--output", sent)
    assert code == 0
    assert "ada@1: " in out
    assert f"demo (sha256 {digest_file(options.path)})" in out
    code, _, err = command("models", "export", "ada", "--output", sent)
    assert (code, "--overwrite" in err) == (2, True)
    half = tmp_path / "half.onnx"
    code, out, _ = command("models", "export", "ada@1", "--output", half, "--precision", "fp16")
    assert (code, "The other machine" in out) == (0, False)
    code, _, err = command("models", "export", "ada@7", "--output", sent, "--overwrite")
    assert (code, "no such version" in err) == (1, True)

    monkeypatch.setenv(home.HOME_VARIABLE, str(tmp_path / "other-home"))
    code, _, err = command("models", "import", sent, "--host", host)
    assert code == 1
    assert err.startswith("error: person 'ada'")
    assert "do:   Add the person: facefusion-finetune person add ada" in err
    assert command("person", "add", "jane", "--consent-note", "yes")[0] == 0
    code, out, err = command("models", "import", sent, "--as", "jane", "--host", host)
    assert code == 0, err
    assert "jane@1: imported from" in out
    assert "originally ada@1), unproven" in out
    assert "linked to demo" in out
    code, out, _ = command("models", "list", "--host", host)
    assert "jane@1" in out
    assert "imported" in out
    assert "unproven" in out
    code, _, err = command("models", "activate", "jane", "--host", host)
    assert (code, "judged on another machine" in err) == (1, True)
    code, out, _ = command("models", "activate", "jane", "--force", "--host", host)
    assert (code, "(unproven)" in out) == (0, True)
    code, out, _ = command("models", "verify", "jane", "--host", host)
    assert (code, "jane-1.onnx: intact" in out) == (0, True)
    code, out, _ = command("models", "show", "jane", "--json", "--host", host)
    assert json.loads(out)["judge_result"]["made_elsewhere"]
    code, out, _ = command("person", "show", "jane", "--json")
    assert json.loads(out)["runs"] == ["jane@1"]
    code, out, _ = command("models", "remove", "jane@1", "--yes", "--host", host)
    assert code == 0
    assert out.count("removed") == 6
    assert list_names(tmp_path / "other-home" / "people") == ["hosts.json", "person.toml"]


def test_half_that_is_refused_leaves_nothing(
    person: Person, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facefusion_finetune.swappers import precision

    monkeypatch.setattr(precision, "MAX_DIFFERENCE", 1e-9)
    with pytest.raises(SwapperError, match="differs by"):
        transfer.export_model(person, run, tmp_path / "half.onnx", half=True)
    assert not (tmp_path / "half.onnx").exists()


def test_open_model_still_refuses_what_has_no_base(run: Run, tmp_path: Path) -> None:
    shutil.copy(run.model_path, tmp_path / "alone.onnx")
    with pytest.raises(SwapperError, match="is missing"):
        open_model(tmp_path / "alone.onnx")
    assert store.read_card(tmp_path / "alone.onnx").person == "ada"
