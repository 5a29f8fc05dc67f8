"""`train` and `evaluate`: crops to a judged model, and a finished model judged again."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from facefusion_finetune.cli.shared import (
    FacesOption,
    HostOption,
    Json,
    JudgeOption,
    SetOption,
    TargetsOption,
    choose_analyser,
    is_first_process,
    load_reference,
    print_report,
    show_progress,
)
from facefusion_finetune.errors import UsageError
from facefusion_finetune.training.request import (
    CACHE_VARIABLE,
    DEFAULT_CACHE,
    PRECISIONS,
    TrainRequest,
)

if TYPE_CHECKING:
    from facefusion_finetune.evaluation.report import Report
    from facefusion_finetune.runs.run import Run
    from facefusion_finetune.training.dry_run import DryRun

PrecisionOption = Annotated[
    str,
    typer.Option(metavar="|".join(PRECISIONS), help="What the networks compute in while training."),
]
TrackerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--tracker",
        metavar="tensorboard|mlflow",
        help="Where to log metrics as well as to metrics.jsonl; repeatable.",
    ),
]
DryRunOption = Annotated[
    bool,
    typer.Option("--dry-run", help="Do two steps, say what the training would be, write nothing."),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        envvar=CACHE_VARIABLE,
        help="Where results of the frozen part are kept while training; by default with the run.",
    ),
]
CacheSizeOption = Annotated[
    str, typer.Option("--cache-size", metavar="SIZE", help="Most room they may take; 0 for none.")
]
CommercialOption = Annotated[
    bool,
    typer.Option("--commercial", help="Refuse a base whose licence does not allow commercial use."),
]
OthersOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--others",
        metavar="FOOTAGE",
        help="Footage of other people, for pairs with their frames; repeatable.",
    ),
]


def _print_dry_run(dry_run: "DryRun", as_json: bool) -> None:
    """What a dry run found, as a table or for a program."""
    from facefusion_finetune.training.dry_run import create_table

    if as_json:
        typer.echo(json.dumps(dry_run.as_dict(), indent=2, sort_keys=True))
    else:
        Console().print(create_table(dry_run))


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
    request = TrainRequest.parse(
        base=base,
        preset=preset,
        seed=seed,
        resume=resume,
        judge=judge,
        targets=targets or (),
        others=others or (),
        commercial=commercial,
        precision=precision,
        cache=cache,
        cache_size=cache_size,
        trackers=tuple(dict.fromkeys(tracker or ())),
    )
    if dry_run and resume:
        raise UsageError(
            "--dry-run with --resume",
            "a dry run trains anew, so there is no run to continue.",
            "Leave one of them out.",
        )
    request.check()
    from facefusion_finetune.people.profile import load_person
    from facefusion_finetune.training import recipe

    person = load_person(name)
    person.require_consent()
    analyser = choose_analyser(host, settings, faces, [*request.targets, *request.others])
    if dry_run:
        with show_progress() as observer:
            measured = recipe.dry_run_person(person, analyser, request, observer)
        if is_first_process():
            _print_dry_run(measured, as_json)
        return
    try:
        with show_progress() as observer:
            run, report = recipe.train_person(person, analyser, request, observer)
    except KeyboardInterrupt:
        typer.echo(
            f"Interrupted. Nothing is lost: facefusion-finetune train {name} --resume", err=True
        )
        raise typer.Exit(1) from None
    if report is not None:
        _print_result(run, report, as_json)


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
    analyser = choose_analyser(host, settings, faces, targets or (), run)
    _print_result(run, evaluate_run(person, run, analyser, judge, targets), as_json)


def _print_result(run: "Run", report: "Report", as_json: bool) -> None:
    if as_json:
        from facefusion_finetune.evaluation.report import encode_report

        typer.echo(encode_report(report), nl=False)
    else:
        print_report(run, report)
