"""`facefusion-finetune dataset ...`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facefusion_finetune.cli.shared import Json
from facefusion_finetune.errors import UsageError

if TYPE_CHECKING:
    from facefusion_finetune.dataset.review.curation import CurationResult

dataset_app = typer.Typer(
    help="Inspect the crops, see what is missing, and select which are used.", no_args_is_help=True
)

Ids = Annotated[
    list[str],
    typer.Argument(metavar="ID...", help="Ids from the contact sheets; may be abbreviated."),
]


@dataset_app.command("show")
def show(
    name: str,
    as_json: Json = False,
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Also write the coverage picture to this file."),
    ] = None,
) -> None:
    """Show which poses, expressions and lighting the crops cover, and what to film next."""
    from facefusion_finetune import home
    from facefusion_finetune.dataset.coverage.report import write_report
    from facefusion_finetune.people.profile import load_person

    _check_picture(picture)
    report = write_report(load_person(name))
    if picture is not None:
        home.write_bytes(picture, report.picture)
    if as_json:
        typer.echo(report.json)
        return
    typer.echo(report.text)
    print_advice(report.advice)
    typer.echo(f"\npicture: {picture or report.path}")


@dataset_app.command("review")
def review(name: str) -> None:
    """Write contact sheets of all crops, kept and rejected, with their ids."""
    from facefusion_finetune.dataset.manifest import read_manifest
    from facefusion_finetune.dataset.review.sheets import write_sheets
    from facefusion_finetune.people.profile import load_person

    person = load_person(name)
    paths = write_sheets(person, read_manifest(person))
    for path in paths:
        typer.echo(path)
    if not paths:
        typer.echo(f"{name}: there are no crops.")


@dataset_app.command("reject")
def reject(name: str, ids: Ids) -> None:
    """Exclude crops from training; they stay on disk, and later extractions keep the choice."""
    from facefusion_finetune.dataset.review import curation
    from facefusion_finetune.people.profile import load_person

    _print_curation(name, curation.reject(load_person(name), ids), "rejected")


@dataset_app.command("restore")
def restore(name: str, ids: Ids) -> None:
    """Include rejected crops in training, regardless of why they were rejected."""
    from facefusion_finetune.dataset.review import curation
    from facefusion_finetune.people.profile import load_person

    _print_curation(name, curation.restore(load_person(name), ids), "kept")


def print_advice(advice: list[str]) -> None:
    """Print what to film next, as a list."""
    typer.echo("\nWhat to film next:")
    for sentence in advice:
        typer.echo(f"- {sentence}")


def _check_picture(path: Path | None) -> None:
    if path is None:
        return
    if path.suffix.lower() != ".png":
        raise UsageError(f"--picture {path}", "the picture is a PNG file.", "Use a .png file name.")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--picture {path}", "its folder does not exist.", "Create it first.")


def _print_curation(name: str, result: "CurationResult", state: str) -> None:
    for record in result.changed:
        typer.echo(f"{record.id}: {record.reason}")
    for record in result.unchanged:
        typer.echo(f"{record.id}: already {state} ({record.reason})")
    typer.echo(f"{name}: {len(result.changed)} changed, {result.kept} crops kept in total.")
