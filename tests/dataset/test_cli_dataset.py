"""`facefusion-finetune dataset ...`, as a user types it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from facefusion_finetune.cli.dataset import dataset_app
from facefusion_finetune.dataset.manifest import read_manifest
from facefusion_finetune.errors import UsageError
from facefusion_finetune.people.profile import Person
from tests.support.records import make_complete, make_other, write_records


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(dataset_app, [str(argument) for argument in arguments])


def test_show_prints_the_coverage_and_keeps_it(extracted: Person) -> None:
    result = _run("show", "ada")
    assert result.exit_code == 0, result.output
    assert "ada: 36 crops kept in 6 shots." in result.stdout
    assert "What to film next:" in result.stdout
    path = extracted.directory / "coverage.png"
    assert f"picture: {path}" in result.stdout
    assert Image.open(path).format == "PNG"
    assert json.loads((extracted.directory / "coverage.json").read_text())["kept"] == 36


def test_json_is_what_is_kept(person: Person, tmp_path: Path) -> None:
    write_records(person, [*make_complete(), make_other()])
    picture = tmp_path / "mine.png"
    result = _run("show", "ada", "--json", "--picture", picture)
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert (values["person"], values["kept"], values["others"]) == ("ada", 120, 1)
    assert values["advice"] == ["Nothing obvious is missing."]
    assert values == json.loads((person.directory / "coverage.json").read_text())
    assert picture.read_bytes() == (person.directory / "coverage.png").read_bytes()


def test_show_before_any_extraction(person: Person) -> None:
    result = _run("show", "ada")
    assert result.exit_code == 0, result.output
    assert "There are no crops yet" in result.stdout


@pytest.mark.parametrize(
    ("name", "why"), [("mine.jpg", "is a PNG"), ("no/mine.png", "folder does not exist")]
)
def test_picture_that_cannot_be_written(
    extracted: Person, tmp_path: Path, name: str, why: str
) -> None:
    result = _run("show", "ada", "--picture", tmp_path / name)
    assert isinstance(result.exception, UsageError)
    assert why in result.exception.why
    assert not (extracted.directory / "coverage.png").exists()


def test_review_reject_restore(extracted: Person) -> None:
    result = _run("review", "ada")
    assert result.stdout.split() == [str(extracted.directory / "review" / "sheet-01.png")]
    first, second = (record.id for record in read_manifest(extracted)[:2])
    result = _run("reject", "ada", first[:8], second)
    assert result.stdout.splitlines() == [
        f"{first}: rejected by hand",
        f"{second}: rejected by hand",
        "ada: 2 changed, 34 crops kept in total.",
    ]
    result = _run("reject", "ada", first)
    assert result.exit_code == 0
    assert f"{first}: already rejected (rejected by hand)" in result.stdout
    result = _run("restore", "ada", first)
    assert result.stdout.splitlines()[-1] == "ada: 1 changed, 35 crops kept in total."
    assert "rejected by hand 1" in _run("show", "ada").stdout


def test_review_of_nothing(person: Person) -> None:
    assert _run("review", "ada").stdout == "ada: there are no crops.\n"


def test_unknown_id_is_wrong_use(extracted: Person) -> None:
    result = _run("reject", "ada", "zzzz")
    assert isinstance(result.exception, UsageError)
    assert result.exception.exit_code == 2
    assert "'zzzz' is unknown" in result.exception.why


def test_help_is_quick() -> None:
    code = (
        "import sys; from facefusion_finetune.cli.dataset import dataset_app\n"
        "try: dataset_app(['show', '--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'PIL', 'cv2'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--picture" in done.stdout
