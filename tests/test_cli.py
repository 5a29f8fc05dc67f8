"""The commands as a user types them: what they print, where, and how they end."""

import functools
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table

from facefusion_finetune import analysers, home
from facefusion_finetune.cli.extract import _show_progress as show_files
from facefusion_finetune.cli.shared import choose_analyser, create_console, show_progress
from facefusion_finetune.dataset.extraction.extract import Progress
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.people.profile import Person
from tests.support.commands import run_command

Result = tuple[int, str, str]


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], analyser: DemoAnalyser
):
    """Run a command in this process, with the demo's analyser in FaceFusion's place."""
    monkeypatch.setattr(analysers, "open_analyser", lambda *options: analyser)
    return functools.partial(run_command, monkeypatch, capsys)


def test_the_whole_line(run, footage: Path, preset_file: Path, tmp_path: Path) -> None:
    host = tmp_path / "facefusion"
    (host / "facefusion").mkdir(parents=True)
    (host / "facefusion.py").touch()
    (host / "facefusion" / "metadata.py").write_text("METADATA = { 'version': '3.8.1' }")

    code, out, _ = run("person", "add", "ada", "--consent-note", "drawn")
    assert (code, "consent recorded" in out) == (0, True)
    code, out, _ = run("extract", "ada", footage)
    assert code == 0
    assert "ada: kept 36 crops of 36 faces in 36 frames and 6 shots" in out
    code, out, _ = run("train", "ada", "--base", "demo", "--preset", preset_file, "--seed", "11")
    assert code == 0
    assert "report:" in out
    code, out, _ = run("evaluate", "ada", "--json")
    assert (code, json.loads(out)["model"]) == (0, "ada@1")
    code, out, _ = run("models", "activate", "ada@1", "--force", "--host", host)
    assert code == 0
    assert (host / ".assets/models/finetuned/ada-1.onnx").is_file()
    code, out, _ = run("models", "list", "--json", "--host", host)
    assert [(row["model"], row["active"]) for row in json.loads(out)] == [("ada@1", True)]
    code, out, _ = run("models", "show", "ada", "--host", host)
    assert "base_licence: Apache-2.0" in out
    code, out, _ = run("models", "verify", "ada", "--host", host)
    assert (code, "ada-1.onnx: intact" in out) == (0, True)
    code, out, _ = run("person", "show", "ada", "--json")
    assert json.loads(out)["crops_kept"] == 36
    code, out, _ = run("models", "deactivate", "ada", "--host", host)
    assert (code, out.count("removed")) == (0, 4)
    code, _, err = run("models", "verify", "ada", "--host", host)
    assert (code, "it is not active" in err) == (1, True)
    code, out, _ = run("models", "remove", "ada@1", "--yes", "--host", host)
    assert code == 0
    code, out, _ = run("models", "list", "--host", host)
    assert "There are no models yet." in out
    code, out, _ = run("person", "remove", "ada", "--yes")
    assert "nothing is held about this person" in out
    code, out, _ = run("person", "list")
    assert "No persons are on record." in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["person", "add", "a/b", "--consent-note", "x"], 2, "only letters, digits"),
        (["person", "add", "ada"], 2, "exactly one proof of consent"),
        (["person", "show", "eve"], 2, "no such person is on record"),
        (["extract", "eve", "x.png"], 2, "no such person is on record"),
        (["extract", "ada", "missing.mp4"], 1, "no such file or folder"),
        (["train", "ada", "--preset", "best"], 2, "no such preset"),
        (["train", "ada", "--base", "demo", "--preset", "fast"], 1, "nothing was extracted"),
        (["train", "ada", "--judge", "no.onnx", "--base", "demo"], 1, "judge no.onnx"),
        (["train", "ada", "--resume"], 1, "nothing to resume"),
        (["evaluate", "ada"], 1, "no such version"),
        (["models", "activate", "ada@x"], 2, "not a version number"),
        (["train"], 2, "Missing argument"),
    ],
)
def test_wrong_use(run, person: Person, arguments: list[str], code: int, message: str) -> None:
    ended, _, err = run(*arguments)
    assert ended == code
    assert message in " ".join(err.split())
    assert "Traceback" not in err
    if "Missing argument" not in message:
        assert err.startswith("error: ")
        assert "why:" in err
        assert "do:" in err


def test_setting_that_is_no_pair() -> None:
    from facefusion_finetune.errors import UsageError

    with pytest.raises(UsageError, match="not KEY=VALUE"):
        choose_analyser(None, ["log_level"], None)


def test_help_of_every_command_is_quick_and_needs_no_torch() -> None:
    code = (
        "import sys; from facefusion_finetune.cli.app import app\n"
        "try: app(['train', '--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "assert 'torch' not in sys.modules and 'onnxruntime' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--resume" in done.stdout


def test_version(run) -> None:
    assert run("--version")[:2] == (0, "facefusion-finetune 0.1.0\n")


@pytest.mark.parametrize("name", ["cv2", "onnxruntime"])
def test_a_missing_extra_says_how_to_install_it(name: str, tmp_path: Path) -> None:
    code = (
        f"import sys; sys.modules[{name!r}] = None\n"
        f"sys.argv = ['facefusion-finetune', 'demo', '--output', {str(tmp_path / 'demo')!r}]\n"
        "from facefusion_finetune.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"the Python module {name}" in done.stderr
    assert "pip install 'facefusion-finetune[demo]'" in done.stderr
    assert "Traceback" not in done.stderr


ODD = "/my [clips]/[/b] :warning: [red]x[/red] {task} \\[a" + "/long" * 30
"""What Rich would take for markup, for pictures, or break."""


@pytest.mark.parametrize("is_terminal", [False, True])
def test_notes_stages_and_files_are_printed_as_they_are(
    is_terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if is_terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "300")
        monkeypatch.setenv("TERM", "xterm")
    with show_progress() as observer:
        observer.on_note(f"note {ODD}")
        observer.on_stage(f"stage {ODD}")
    with show_files() as on_progress:
        on_progress(Progress("extracting", f"file {ODD}", 1, 2, 3, 4))
    err = capsys.readouterr().err
    for word in ("note", "stage", "file"):
        assert f"{word} {ODD}" in err


def test_tables_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(title="[title]")
    table.add_row("[/b] :key:", "[red]x")
    create_console().print(table)
    out = capsys.readouterr().out
    assert all(text in out for text in ("[title]", "[/b] :key:", "[red]x"))


def test_a_note_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress() as observer:
        observer.on_note("\x1b[2J\x07\udcff a\nb")
    assert capsys.readouterr().err == "?[2J?? a b\n"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        *((["person", "show", name], 2) for name in ("x" * 300, "../../evil", "a/b", "a\0b")),
        *((["extract", name, "x.png"], 2) for name in ("x" * 300, "../../evil", "a/b", "a\0b")),
        (["person", "remove", "../../evil", "--yes"], 2),
        (["person", "add", "../../evil", "--consent-note", "yes"], 2),
        (["train", "../../evil"], 2),
        (["dataset", "show", "../../evil"], 2),
        (["models", "deactivate", "../../evil"], 2),
        (["models", "import", "x.onnx", "--as", "../../evil"], 2),
        (["models", "show", "jane@" + "9" * 5000], 2),
        (["models", "activate", "jane@" + "[" * 5000], 2),
        (["train", "ada", "--preset", "x" * 5000], 2),
        (["train", "ada", "--preset", "x" * 5000 + ".toml"], 2),
        (["train", "ada", "--cache-size", "9" * 5000], 2),
        (["train", "ada", "--cache-size", "9999999999T"], 2),
        (["train", "ada", "--seed", "9" * 40], 2),
        (["train", "ada", "--base", "x" * 5000 + ".onnx"], 1),
        (["extract", "ada", "x" * 5000], 1),
        (["extract", "ada", "x.png", "--fps", "nan"], 2),
        (["inspect", "x" * 5000 + ".onnx"], 1),
        (["jobs", "show", "x" * 5000], 1),
        (["evaluate", "ada@" + "1" * 10], 2),
        (["dataset", "reject", "ada", "x" * 5000], 2),
    ],
)
def test_arguments_of_any_length_and_size_end_in_a_short_sentence(
    run, person: Person, arguments: list[str], code: int
) -> None:
    ended, out, err = run(*arguments)
    assert (ended, out) == (code, "")
    assert "Traceback" not in err
    assert len(err) < 2000


def test_names_that_the_terminal_cannot_encode(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(home.HOME_VARIABLE, str(tmp_path / "caf\u00e9 \udcff"))
    out = io.TextIOWrapper(io.BytesIO(), "utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        code, *_ = run("person", "add", "ada", "--consent-note", "yes")
    out.seek(0)
    assert code == 0
    assert "caf\u00e9 \\udcff/people/ada/person.toml" in out.read()


def test_a_text_that_cannot_be_recorded(run) -> None:
    code, out, err = run("person", "add", "ada", "--consent-note", "signed \udcff")
    assert (code, out) == (1, "")
    assert err.startswith("error: signed ?\n  why:  it has characters that are no Unicode text")
    assert run("person", "list")[1] == "No persons are on record.\n"
