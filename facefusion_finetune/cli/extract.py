"""`facefusion-finetune extract`."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from facefusion_finetune.cli.dataset import print_advice
from facefusion_finetune.cli.shared import (
    FacesOption,
    HostOption,
    SetOption,
    choose_analyser,
    create_console,
    interruptible,
)
from facefusion_finetune.errors import to_line

if TYPE_CHECKING:
    from facefusion_finetune.dataset.extraction.extract import ExtractionResult, Progress


def extract(
    name: str,
    sources: Annotated[list[Path], typer.Argument(help="Images, folders, videos.")],
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            help="A picture of the person, if the footage shows several people; repeatable, one per"
            " look."
        ),
    ] = None,
    fps: Annotated[
        float, typer.Option(min=0.1, max=60, help="Maximum frames taken per second.")
    ] = 6.0,
    most_frames: Annotated[
        int, typer.Option(min=1, help="Maximum frames taken per video, spread over its shots.")
    ] = 1800,
    others: Annotated[
        bool, typer.Option("--others", help="Keep other people's faces, for `train --others`.")
    ] = False,
    review: Annotated[
        bool, typer.Option("--review", help="Write contact sheets of all crops.")
    ] = False,
    faces: FacesOption = None,
    host: HostOption = None,
    settings: SetOption = None,
) -> None:
    """Extract crops of the person's face from footage, aligned as in FaceFusion."""
    from facefusion_finetune.dataset.coverage.report import write_report
    from facefusion_finetune.dataset.extraction.extract import ExtractSettings, extract_footage
    from facefusion_finetune.people.profile import load_person

    person = load_person(name)
    person.require_consent()
    extract_settings = ExtractSettings(tuple(reference or ()), fps, most_frames, others)
    with interruptible(lambda: "Nothing is lost: run the same command to continue."):
        analyser = choose_analyser(host, settings, faces, sources)
        with _show_progress() as progress:
            result = extract_footage(person, sources, analyser, extract_settings, progress)
    _print_result(name, result)
    report = write_report(person)
    print_advice(report.advice)
    typer.echo(f"coverage: {report.path}")
    if review:
        from facefusion_finetune.dataset.manifest import read_manifest
        from facefusion_finetune.dataset.review.sheets import write_sheets

        for sheet in write_sheets(person, read_manifest(person)):
            typer.echo(f"review: {sheet}")


def _print_result(name: str, result: "ExtractionResult") -> None:
    from facefusion_finetune.dataset.extraction.others import ANOTHER_FACE

    for note in result.notes:
        typer.echo(to_line(note), err=True)
    rejected = ", ".join(f"{count} {reason}" for reason, count in result.rejected.items())
    typer.echo(
        f"{name}: kept {result.kept} crops of {result.faces} faces in {result.frames} frames and"
        f" {result.shots} shots; rejected: {rejected or 'none'};"
        f" {result.known_sources} sources already known; {result.total_kept} crops in total."
    )
    if result.resumed_frames:
        typer.echo(
            f"{result.resumed_frames} frames were already processed before the interruption."
        )
    if result.others:
        people = "1 other person was" if result.others == 1 else f"{result.others} others were"
        count = result.rejected.get(ANOTHER_FACE, 0)
        typer.echo(f"{people} seen; {count} faces that are not {name}'s were left out.")
    if result.look_alikes:
        typer.echo(
            f"{result.look_alikes} faces look like the person, but less than the person's faces"
            " look like each other, and were left out. If they are the person at another age or"
            " with glasses, give --reference IMAGE for each look."
        )
    if result.others_folder is not None:
        typer.echo(f"Faces of others: train {name} --others {result.others_folder}")


@contextlib.contextmanager
def _show_progress() -> "Iterator[Callable[[Progress], None]]":
    """A progress bar on stderr, or one line per file if that is not a terminal."""
    console = create_console(stderr=True)
    if not console.is_terminal:
        latest: list[tuple[str, int]] = []

        def on_file(progress: "Progress") -> None:
            if latest != [(progress.stage, progress.number)]:
                latest[:] = [(progress.stage, progress.number)]
                console.print(_describe(progress), soft_wrap=True)

        yield on_file
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("Starting", total=None)

        def on_frame(progress: "Progress") -> None:
            bar.update(
                task,
                description=_describe(progress),
                completed=progress.frames,
                total=progress.planned,
            )

        yield on_frame


def _describe(progress: "Progress") -> str:
    verb = "Checking" if progress.stage == "checking" else "Extracting"
    return to_line(f"{verb} {progress.name} ({progress.number} of {progress.total})")
