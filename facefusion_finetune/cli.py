"""The command line. Heavy modules are imported inside the commands, so that `--help` is quick."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facefusion_finetune import __version__
from facefusion_finetune.cli_dataset import dataset_app
from facefusion_finetune.cli_extract import extract
from facefusion_finetune.cli_inspect import inspect
from facefusion_finetune.cli_jobs import jobs_app
from facefusion_finetune.cli_models import models_app
from facefusion_finetune.cli_person import person_app
from facefusion_finetune.cli_support import (
    FacesOption,
    HostOption,
    Json,
    JudgeOption,
    SetOption,
    TargetsOption,
    is_first_process,
    load_reference,
    open_analyser,
    print_report,
    reopen_analyser,
    show_progress,
)
from facefusion_finetune.cli_train import (
    CacheOption,
    CacheSizeOption,
    CommercialOption,
    DryRunOption,
    OthersOption,
    PrecisionOption,
    TrackerOption,
    create_train_options,
    print_rehearsal,
)
from facefusion_finetune.errors import FinetuneError, UsageError
from facefusion_finetune.training.options import DEFAULT_CACHE

if TYPE_CHECKING:
    from facefusion_finetune.runs.run import Run

app = typer.Typer(
    name="facefusion-finetune",
    help="Tune FaceFusion's face swappers to one consenting person.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(person_app, name="person")
app.add_typer(dataset_app, name="dataset")
app.add_typer(models_app, name="models")
app.add_typer(jobs_app, name="jobs")
app.command()(inspect)
app.command()(extract)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"facefusion-finetune {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder to write to; must be new or empty.")] = Path(
        "facefusion-finetune-demo"
    ),
    preset: Annotated[str, typer.Option(help="Preset to train with.")] = "balanced",
    seed: Annotated[int, typer.Option(min=0, help="Draws the person, the footage, the run.")] = 0,
) -> None:
    """See the whole job done on drawn people: no FaceFusion, no download, no GPU."""
    from facefusion_finetune.demo.run import run_demo

    with show_progress() as observer:
        result = run_demo(output, preset, seed, observer)
    typer.echo(result.describe())


@app.command()
def link(
    path: Annotated[Path | None, typer.Argument(help="FaceFusion's folder.")] = None,
) -> None:
    """Make FaceFusion find this package: three small guarded files, nothing edited."""
    from facefusion_finetune.host.link import link as link_host

    host = link_host(path)
    typer.echo(f"Linked with {host.name} in {host.path}.")
    typer.echo("Use it with: facefusion run --processors finetuned_swapper")


@app.command()
def unlink(
    path: Annotated[Path | None, typer.Argument(help="FaceFusion's folder.")] = None,
) -> None:
    """Remove what `link` wrote, and nothing else."""
    from facefusion_finetune.host.link import unlink as unlink_host

    result = unlink_host(path)
    typer.echo(f"Unlinked from {result.host.path}: {len(result.removed)} files removed.")
    for warning in result.warnings:
        typer.echo(warning, err=True)


@app.command()
def train(
    name: str,
    base: Annotated[
        str, typer.Option(help="FaceFusion's name of a swapper, or an ONNX file.")
    ] = "inswapper_128",
    preset: Annotated[str, typer.Option(help="Name, or a .toml file.")] = "balanced",
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the last run.")] = False,
    dry_run: DryRunOption = False,
    as_json: Json = False,
    others: OthersOption = None,
    commercial: CommercialOption = False,
    precision: PrecisionOption = "auto",
    cache: CacheOption = None,
    cache_size: CacheSizeOption = DEFAULT_CACHE,
    tracker: TrackerOption = None,
    judge: JudgeOption = None,
    targets: TargetsOption = None,
    host: HostOption = None,
    settings: SetOption = None,
    faces: FacesOption = None,
) -> None:
    """Tune a swapper to the person, and judge it on held-out footage."""
    if dry_run and resume:
        raise UsageError(
            "--dry-run with --resume", "a rehearsal goes on with nothing.", "Leave one of them out."
        )
    options = create_train_options(precision, tracker, cache, cache_size, commercial, others)
    from facefusion_finetune.people.profile import load_person
    from facefusion_finetune.training import recipe

    person = load_person(name)
    person.require_consent()
    analyser = open_analyser(host, settings, faces)
    if dry_run:
        with show_progress() as observer:
            rehearsal = recipe.rehearse_person(
                person, analyser, base, preset, seed, observer, settings=options
            )
        if is_first_process():
            print_rehearsal(rehearsal, as_json)
        return
    try:
        with show_progress() as observer:
            if resume:
                run, report = recipe.resume_person(
                    person, analyser, observer, judge, targets, settings=options
                )
            else:
                run, report = recipe.train_person(
                    person, analyser, base, preset, seed, observer, judge, targets, settings=options
                )
    except KeyboardInterrupt:
        typer.echo(
            f"Interrupted. Nothing is lost: facefusion-finetune train {name} --resume", err=True
        )
        raise typer.Exit(1) from None
    if is_first_process():
        _print_result(run, report, as_json)


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(metavar="NAME[@VERSION]")],
    as_json: Json = False,
    judge: JudgeOption = None,
    targets: TargetsOption = None,
    host: HostOption = None,
    settings: SetOption = None,
    faces: FacesOption = None,
) -> None:
    """Judge a finished model again, from what its run keeps; the card then says the result."""
    from facefusion_finetune.evaluation.rerun import evaluate_run
    from facefusion_finetune.runs.run import find_run

    person, version = load_reference(model)
    person.require_consent()
    run = find_run(person, version)
    analyser = reopen_analyser(run, host, settings, faces)
    _print_result(run, evaluate_run(person, run, analyser, judge, targets), as_json)


def _print_result(run: "Run", report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report, indent=2, sort_keys=True))
    else:
        print_report(run, report)


def main() -> None:
    """Run a command; errors in words on stderr, 0 good, 1 the job failed, 2 wrong use."""
    try:
        app()
    except FinetuneError as error:
        _fail(f"{error.given}\n  why:  {error.why}\n  do:   {error.todo}", error.exit_code)
    except ModuleNotFoundError as error:
        if error.name not in {"cv2", "onnxruntime"}:
            raise
        _fail(
            f"the Python module {error.name}\n"
            "  why:  it is not installed; FaceFusion's environment brings it.\n"
            "  do:   run in that environment, or: pip install 'facefusion-finetune[demo]'",
            1,
        )
    except OSError as error:
        _fail(
            f"{error.filename or 'a file'}\n  why:  {error.strerror or error}.\n"
            "  do:   check the path, your rights and the room on the disk; what was there is kept.",
            1,
        )


def _fail(text: str, exit_code: int) -> None:
    typer.echo(f"error: {text}", err=True)
    sys.exit(exit_code)
