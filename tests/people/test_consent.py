"""Without valid consent no command does anything: each one says why, and changes nothing."""

import hashlib
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from facefusion_finetune import analysers
from facefusion_finetune.cli import main
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.errors import ConsentError
from facefusion_finetune.people.profile import (
    Person,
    add_person,
    confirm_consent,
    create_consent,
    load_person,
)
from facefusion_finetune.runs.observer import Observer
from facefusion_finetune.runs.run import find_run
from facefusion_finetune.training.recipe import train_person
from facefusion_finetune.training.request import TrainRequest
from tests.support.host import create_fake_checkout

Command = Callable[..., tuple[int, str]]

COMMANDS = {
    "extract": ("extract", "ada", "{footage}"),
    "train": ("train", "ada", "--base", "demo", "--preset", "{preset}"),
    "dry run": ("train", "ada", "--base", "demo", "--preset", "{preset}", "--dry-run"),
    "resume": ("train", "ada", "--resume"),
    "evaluate": ("evaluate", "ada@1"),
    "activate": ("models", "activate", "ada@1", "--force", "--host", "{host}"),
    "export": ("models", "export", "ada@1", "--output", "{output}/sent.onnx"),
    "import": ("models", "import", "{output}/own.onnx", "--host", "{host}"),
}


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], analyser: DemoAnalyser
) -> Command:
    """Run a command in this process; its exit code and what it says on stderr."""
    monkeypatch.setattr(analysers, "open_analyser", lambda *_: analyser)

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["facefusion-finetune", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        return int(code) if isinstance(code, int) else 0, capsys.readouterr().err

    return call


@pytest.fixture
def half_trained(trained: Person, analyser: DemoAnalyser, preset_file: Path) -> Person:
    """The person with a finished run and one that was interrupted before its first step."""

    def stop(text: str) -> None:
        if text == "Converting the base":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_person(
            trained,
            analyser,
            TrainRequest(base="demo", preset=str(preset_file)),
            observer=Observer(on_stage=stop),
        )
    assert not find_run(trained, 2).is_finished
    return trained


@pytest.mark.parametrize("fault", ["expired", "missing", "damaged"])
def test_no_command_without_consent(
    half_trained: Person,
    command: Command,
    fault: str,
    footage: Path,
    preset_file: Path,
    tmp_path: Path,
) -> None:
    output = tmp_path / "output"
    output.mkdir()
    host = create_fake_checkout(tmp_path / "facefusion")
    (output / "own.onnx").write_bytes(find_run(half_trained, 1).model_path.read_bytes())
    words, todo = _spoil(half_trained, fault)
    before = _digest_all(tmp_path)
    places = {"footage": footage, "preset": preset_file, "host": host, "output": output}
    for name, arguments in COMMANDS.items():
        code, err = command(*(part.format(**places) for part in arguments))
        text = " ".join(err.split())
        assert (name, code) == (name, 1), text
        assert words in text, name
        assert todo in text, name
        assert _digest_all(tmp_path) == before, name


def _spoil(person: Person, fault: str) -> tuple[str, str]:
    """End the consent; what an error has to say of it, and what it has to advise."""
    path = person.directory / "person.toml"
    if fault == "missing":
        path.write_text(path.read_text().split("[consent]")[0])
        return "no consent is on record", "--consent FILE or --consent-note TEXT"
    if fault == "damaged":
        path.write_text(path.read_text().replace("sha256", "sha"))
        return "so consent cannot be proven", "Repair the file"
    past = date.today() - timedelta(days=1)
    consent = create_consent(None, "yes").model_copy(update={"expires": past})
    add_person(person.name, consent, renew=True)
    return f"expired on {past}", "person add ada --renew"


def _digest_all(folder: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in folder.rglob("*")
    }


def test_consent_is_confirmed_from_the_disk(person: Person) -> None:
    assert confirm_consent("ada") == person.consent
    _spoil(person, "missing")
    assert person.require_consent()
    with pytest.raises(ConsentError, match="no consent is on record"):
        confirm_consent("ada")


def test_removed_person_has_withdrawn(person: Person) -> None:
    (person.directory / "person.toml").unlink()
    with pytest.raises(ConsentError, match="which withdraws the consent"):
        confirm_consent("ada")


def test_last_day_is_a_day_by_the_local_calendar(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facefusion_finetune.people import profile

    class Calendar(date):
        day = 3

        @classmethod
        def today(cls) -> date:
            return date(2030, 5, cls.day)

    monkeypatch.setattr(profile, "date", Calendar)
    add_person("ada", create_consent(None, "yes", expires=date(2030, 5, 3)), renew=True)
    assert confirm_consent("ada").expires == date(2030, 5, 3)
    Calendar.day = 4
    with pytest.raises(ConsentError, match="expired on 2030-05-03"):
        confirm_consent("ada")


def test_renewal_does_not_paper_over_a_damaged_record(person: Person, command: Command) -> None:
    path = person.directory / "person.toml"
    path.write_text("name = ")
    code, err = command("person", "add", "ada", "--renew", "--consent-note", "yes")
    assert (code, "damaged" in err, "move it away and add the person again" in err) == (
        1,
        True,
        True,
    )
    assert path.read_text() == "name = "
    path.rename(person.directory / "person.toml.damaged")
    assert command("person", "add", "ada", "--consent-note", "yes")[0] == 0
    assert load_person("ada").require_consent().text == "yes"
