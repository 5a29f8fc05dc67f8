"""`train` and `evaluate`: train and evaluate a model, or evaluate a finished one again."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facefusion_finetune.cli.shared import (
    FacesOption,
    HostOption,
    Json,
    JudgeOption,
    SetOption,
    TargetsOption,
    choose_analyser,
    create_console,
    interruptible,
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
    typer.Option(metavar="|".join(PRECISIONS), help="Precision of the networks during training."),
]
TrackerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--tracker",
        metavar="tensorboard|mlflow",
        help="Also log metrics to this experiment tracker; repeatable.",
    ),
]
DryRunOption = Annotated[
    bool,
    typer.Option("--dry-run", help="Run two steps and report time and memory; write nothing."),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        envvar=CACHE_VARIABLE,
        help="Cache folder for the frozen layers' activations; by default in the run's folder.",
    ),
]
CacheSizeOption = Annotated[
    str, typer.Option("--cache-size", metavar="SIZE", help="Maximum cache size; 0 turns it off.")
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
        help="Footage of other people, for training pairs with their frames; repeatable.",
    ),
]


def _print_dry_run(dry_run: "DryRun", as_json: bool) -> None:
    """Print a dry run's results, as a table or as JSON."""
    from facefusion_finetune.training.dry_run import create_table

    if as_json:
        typer.echo(json.dumps(dry_run.as_dict(), indent=2, sort_keys=True))
    else:
        create_console().print(create_table(dry_run))


def train(
    name: str,
    base: Annotated[
        str, typer.Option(help="FaceFusion's name of a swapper, or an ONNX file.")
    ] = "inswapper_128",
    preset: Annotated[str, typer.Option(help="A preset's name, or a .toml file.")] = "balanced",
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume the last unfinished run.")
    ] = False,
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
    """Tune a swapper to the person, and evaluate it on held-out footage."""
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
            "a dry run starts from scratch, so there is no run to resume.",
            "Remove one of the two.",
        )
    request.check()
    from facefusion_finetune.people.profile import load_person
    from facefusion_finetune.runs.run import next_version

    person = load_person(name)
    person.require_consent()
    version = next_version(person)

    def explain() -> str:
        if resume or next_version(person) > version:
            return f"Resume with: facefusion-finetune train {name} --resume"
        return "Nothing was begun: run the same command again."

    with interruptible(explain):
        from facefusion_finetune.training import recipe

        analyser = choose_analyser(host, settings, faces, [*request.targets, *request.others])
        if dry_run:
            with show_progress() as observer:
                measured = recipe.dry_run_person(person, analyser, request, observer)
            if is_first_process():
                _print_dry_run(measured, as_json)
            return
        with show_progress() as observer:
            run, report = recipe.train_person(person, analyser, request, observer)
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
    """Evaluate a finished model again, from its run's data, and update its card."""
    from facefusion_finetune.evaluation.rerun import evaluate_run
    from facefusion_finetune.runs.run import find_run

    person, version = load_reference(model)
    person.require_consent()
    run = find_run(person, version)
    with interruptible(lambda: "Nothing is lost: run the same command again."):
        analyser = choose_analyser(host, settings, faces, targets or (), run)
        report = evaluate_run(person, run, analyser, judge, targets)
    _print_result(run, report, as_json)


def _print_result(run: "Run", report: "Report", as_json: bool) -> None:
    if as_json:
        from facefusion_finetune.evaluation.report import encode_report

        typer.echo(encode_report(report), nl=False)
    else:
        print_report(run, report)
