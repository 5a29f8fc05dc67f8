"""Shared by the commands: options, opening the analyser, progress, printing."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from facefusion_finetune import analysers
from facefusion_finetune.errors import UsageError, to_line
from facefusion_finetune.people.profile import Person, load_person, split_reference
from facefusion_finetune.runs.observer import format_seconds
from facefusion_finetune.training.request import JUDGE_VARIABLE

if TYPE_CHECKING:
    from facefusion_finetune.evaluation.report import Report
    from facefusion_finetune.faces.protocol import FaceAnalyser
    from facefusion_finetune.runs.observer import Observer
    from facefusion_finetune.runs.run import Run


Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
HostOption = Annotated[
    Path | None,
    typer.Option("--host", help="FaceFusion's folder; located automatically by default."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override one of FaceFusion's settings, e.g. face_detector_model=yunet.",
    ),
]
FacesOption = Annotated[
    str | None,
    typer.Option(
        "--faces",
        metavar="facefusion|insightface",
        help="Face analyser: FaceFusion, or insightface if FaceFusion is not installed.",
    ),
]

JudgeOption = Annotated[
    Path | None,
    typer.Option(
        "--judge",
        metavar="FILE.onnx",
        envvar=JUDGE_VARIABLE,
        help="A second face recogniser, independent of FaceFusion's, that scores the result.",
    ),
]
TargetsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--targets",
        metavar="PATH",
        help="Footage of other people to swap the person onto for evaluation; repeatable.",
    ),
]


def choose_analyser(
    host: Path | None,
    settings: list[str] | None,
    faces: str | None,
    footage: Sequence[Path] = (),
    run: "Run | None" = None,
) -> "FaceAnalyser":
    """Open the analyser selected by a command's options; see `analysers.open_analyser`.

    Args:
        host: From `--host`.
        settings: From `--set KEY=VALUE`.
        faces: From `--faces`.
        footage: The footage to analyse.
        run: The run to evaluate.

    Raises:
        UsageError: An option has an invalid value, or does not apply to the analyser.
        HostError: There is no usable FaceFusion or insightface.
    """
    chosen = analysers.check_faces(faces) or analysers.find_faces(run)
    if chosen == "insightface":
        _refuse_with_insightface(host, settings)
    return analysers.open_analyser(chosen, host, _parse_settings(settings), footage, run)


def _parse_settings(settings: list[str] | None) -> dict[str, str]:
    values = {}
    for setting in settings or []:
        key, mark, value = setting.partition("=")
        if not mark or not key:
            raise UsageError(
                f"--set {setting}", "it is not KEY=VALUE.", "Use for example --set log_level=debug."
            )
        values[key] = value
    return values


def _refuse_with_insightface(host: Path | None, settings: list[str] | None) -> None:
    given = [f"--set {setting}" for setting in settings or []]
    given += [] if host is None else [f"--host {host}"]
    if given:
        raise UsageError(
            ", ".join(given),
            "it applies to FaceFusion, but insightface is used.",
            "Remove it, or use --faces facefusion.",
        )


def create_console(stderr: bool = False) -> Console:
    """A console that prints texts of users and files as they are.

    By default, Rich takes `[clips]` for markup and `:key:` for a picture.
    """
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def load_reference(model: str) -> tuple[Person, int | None]:
    """Person and version of `NAME[@VERSION]`."""
    name, version = split_reference(model)
    return load_person(name), version


def is_first_process() -> bool:
    """Whether this is the main one of the processes started by `accelerate launch`."""
    return os.environ.get("RANK", "0") == "0"


@contextlib.contextmanager
def interruptible(explain: Callable[[], str]) -> Iterator[None]:
    """Let Ctrl-C end the command with a sentence, and exit code 130 as usual for it.

    Args:
        explain: Says what is kept and how to go on.
    """
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"Interrupted. {explain()}", err=True)
        raise typer.Exit(130) from None


@contextlib.contextmanager
def show_progress() -> "Iterator[Observer]":
    """A progress bar on stderr; yields its observer."""
    from facefusion_finetune.runs.observer import Observer

    # FaceFusion limits OpenMP to one thread in its child processes; training uses all cores.
    os.environ.pop("OMP_NUM_THREADS", None)
    if not is_first_process():
        yield Observer()
        return
    console = create_console(stderr=True)

    def on_note(text: str) -> None:
        console.print(to_line(text), soft_wrap=True)

    if not console.is_terminal:
        yield Observer(
            on_note, lambda step, total, values: _print_step(console, step, total, values), on_note
        )
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("Starting", total=None, figures="")

        def on_stage(text: str) -> None:
            progress.reset(task, description=to_line(text), total=None, figures="")

        def on_step(step: int, total: int, values: dict[str, float]) -> None:
            progress.update(task, completed=step, total=total, figures=_describe_step(values))

        yield Observer(on_stage, on_step, on_note)


def _print_step(console: Console, step: int, total: int, values: dict[str, float]) -> None:
    """Without a terminal, print a line every 10 % of the steps."""
    if step * 10 // total > (step - 1) * 10 // total:
        console.print(f"step {step} of {total}: {_describe_step(values)}")


def _describe_step(values: dict[str, float]) -> str:
    text = f"loss {values['loss']:.4f}"
    seconds = values.get("seconds_left")
    return text if seconds is None else f"{text}, {format_seconds(seconds)} left"


def print_report(run: "Run", report: "Report") -> None:
    """Print the verdict and the paths of the results."""
    typer.echo(f"{run.reference}: {report.sentence}")
    for note in report.notes:
        typer.echo(note)
    for reason in report.reasons:
        typer.echo(f"- {reason}")
    typer.echo(f"model:  {run.model_path}")
    typer.echo(f"report: {run.report_path}")
    if report.proven:
        typer.echo(f"Use it with: facefusion-finetune models activate {run.reference}")
    else:
        typer.echo(
            "It is not proven to be better. To use it anyway: facefusion-finetune models activate"
            f" {run.reference} --force"
        )


def describe(values: dict[str, Any]) -> str:
    """A nested dict as indented lines."""
    lines = []
    for key, value in values.items():
        if isinstance(value, dict):
            lines.append(f"{key}:")
            lines += [f"  {line}" for line in describe(value).splitlines()]
        elif isinstance(value, list):
            lines.append(f"{key}: {', '.join(map(str, value)) or 'none'}")
        else:
            lines.append(f"{key}: {value}")
    return "\n".join(lines)


def print_lines(lines: Iterable[str], otherwise: str) -> None:
    """Print lines, or `otherwise` if there are none; they may quote file names."""
    typer.echo("\n".join(map(to_line, lines)) or otherwise)
