"""What the commands share: opening the host's analyser, progress, printing."""

import contextlib
import os
from collections.abc import Iterable, Iterator
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

from facefusion_finetune.errors import UsageError
from facefusion_finetune.people.profile import Person, load_person, split_reference
from facefusion_finetune.training.engine.schedule import format_seconds
from facefusion_finetune.training.options import JUDGE_VARIABLE

if TYPE_CHECKING:
    from facefusion_finetune.faces.protocol import FaceAnalyser
    from facefusion_finetune.runs.run import Run
    from facefusion_finetune.training.observer import Observer

FACEFUSION = "facefusion"
INSIGHTFACE = "insightface"

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
HostOption = Annotated[
    Path | None,
    typer.Option("--host", help="FaceFusion's folder; otherwise it is looked for."),
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
        help="Who finds faces: FaceFusion, or insightface where there is none.",
    ),
]

JudgeOption = Annotated[
    Path | None,
    typer.Option(
        "--judge",
        metavar="FILE.onnx",
        envvar=JUDGE_VARIABLE,
        help="A second face recogniser, independent of FaceFusion's, that judges the result.",
    ),
]
TargetsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--targets",
        metavar="PATH",
        help="Footage of other people that the person is swapped onto to be judged; repeatable.",
    ),
]


def open_analyser(
    host: Path | None, settings: list[str] | None, faces: str | None = None
) -> "FaceAnalyser":
    """Whoever finds faces.

    Args:
        host: FaceFusion's folder; otherwise it is looked for.
        settings: Of FaceFusion, from `--set KEY=VALUE`.
        faces: `facefusion`, which is meant by None too, or `insightface`.

    Raises:
        UsageError: A setting is not KEY=VALUE, or what is given does not go together.
        HostError: There is no FaceFusion, or no insightface, that can be used.
    """
    if faces == INSIGHTFACE:
        _refuse_with_insightface(host, settings)
        from facefusion_finetune.faces.insightface import InsightFaceAnalyser

        return InsightFaceAnalyser()
    if faces not in (None, FACEFUSION):
        raise UsageError(
            f"--faces {faces}", "there is no such analyser.", f"Use {FACEFUSION} or {INSIGHTFACE}."
        )
    from facefusion_finetune.faces.facefusion import FaceFusionAnalyser
    from facefusion_finetune.host.locate import locate

    # FaceFusion's own progress bars would be drawn over ours.
    overrides: dict[str, Any] = {"log_level": "warn"}
    for setting in settings or []:
        key, mark, value = setting.partition("=")
        if not mark or not key:
            raise UsageError(
                f"--set {setting}", "it is not KEY=VALUE.", "For example: --set log_level=debug."
            )
        overrides[key] = value
    return FaceFusionAnalyser(locate(host), overrides)


def _refuse_with_insightface(host: Path | None, settings: list[str] | None) -> None:
    given = [f"--set {setting}" for setting in settings or []]
    given += [] if host is None else [f"--host {host}"]
    if given:
        raise UsageError(
            ", ".join(given),
            "it is for FaceFusion, and insightface finds the faces.",
            f"Leave it out, or use --faces {FACEFUSION}.",
        )


def reopen_analyser(
    run: "Run", host: Path | None, settings: list[str] | None, faces: str | None = None
) -> "FaceAnalyser":
    """The analyser a run was trained with, or the one that is asked for.

    Args:
        run: A finished run; that of the demo's world knows no other analyser.
        host: See `open_analyser`.
        settings: See `open_analyser`.
        faces: See `open_analyser`; None for the run's own.

    Raises:
        UsageError: See `open_analyser`.
        HostError: See `open_analyser`.
    """
    analyser = run.config.analyser
    if analyser.startswith("demo "):
        from facefusion_finetune.demo.analyser import DemoAnalyser

        # Judging warps and reads stored pictures; no footage has to be known for that.
        return DemoAnalyser([])
    if faces is None and analyser.startswith(f"{INSIGHTFACE} "):
        faces = INSIGHTFACE
    return open_analyser(host, settings, faces)


def load_reference(model: str) -> tuple[Person, int | None]:
    """Person and version of `NAME[@VERSION]`."""
    name, version = split_reference(model)
    return load_person(name), version


def is_first_process() -> bool:
    """Whether this process is the one that speaks, of those `accelerate launch` started."""
    return os.environ.get("RANK", "0") == "0"


@contextlib.contextmanager
def show_progress() -> "Iterator[Observer]":
    """A progress bar on stderr; yields who has to be told."""
    from facefusion_finetune.training.observer import Observer

    # FaceFusion limits OpenMP to one thread in the processes it starts; training wants them all.
    os.environ.pop("OMP_NUM_THREADS", None)
    if not is_first_process():
        yield Observer()
        return
    console = Console(stderr=True)

    def on_note(text: str) -> None:
        console.print(text, highlight=False)

    if not console.is_terminal:
        yield Observer(
            on_note, lambda step, total, values: _print_step(console, step, total, values), on_note
        )
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("Starting", total=None, figures="")

        def on_stage(text: str) -> None:
            progress.reset(task, description=text, total=None, figures="")

        def on_step(step: int, total: int, values: dict[str, float]) -> None:
            progress.update(task, completed=step, total=total, figures=_describe_step(values))

        yield Observer(on_stage, on_step, on_note)


def _print_step(console: Console, step: int, total: int, values: dict[str, float]) -> None:
    """In a log file one line for each tenth of the way."""
    if step * 10 // total > (step - 1) * 10 // total:
        console.print(f"step {step} of {total}: {_describe_step(values)}", highlight=False)


def _describe_step(values: dict[str, float]) -> str:
    text = f"loss {values['loss']:.4f}"
    seconds = values.get("seconds_left")
    return text if seconds is None else f"{text}, {format_seconds(seconds)} left"


def print_report(run: "Run", report: dict[str, Any]) -> None:
    """The verdict, and where things lie."""
    typer.echo(f"{run.reference}: {report['sentence']}")
    for note in report["notes"]:
        typer.echo(note)
    for reason in report["reasons"]:
        typer.echo(f"- {reason}")
    typer.echo(f"model:  {run.model_path}")
    typer.echo(f"report: {run.report_path}")
    if report["proven"]:
        typer.echo(f"Use it: facefusion-finetune models activate {run.reference}")
    else:
        typer.echo(
            "It is not proven to be better. To use it all the same: facefusion-finetune models"
            f" activate {run.reference} --force"
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
    """Print lines, or a sentence where there are none."""
    typer.echo("\n".join(lines) or otherwise)
