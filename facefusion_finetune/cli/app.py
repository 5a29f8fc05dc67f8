"""The command line. Heavy modules are imported inside the commands, so that `--help` is fast."""

import io
import sys
from pathlib import Path
from typing import Annotated

import typer

from facefusion_finetune import __version__
from facefusion_finetune.cli.dataset import dataset_app
from facefusion_finetune.cli.extract import extract
from facefusion_finetune.cli.inspect import inspect
from facefusion_finetune.cli.jobs import jobs_app
from facefusion_finetune.cli.link import link, unlink
from facefusion_finetune.cli.models import models_app
from facefusion_finetune.cli.person import person_app
from facefusion_finetune.cli.shared import show_progress
from facefusion_finetune.cli.train import evaluate, train
from facefusion_finetune.errors import FinetuneError
from facefusion_finetune.people.work import ending_with_removal


def demo(
    output: Annotated[Path, typer.Option(help="Folder to write to; must be new or empty.")] = Path(
        "facefusion-finetune-demo"
    ),
    preset: Annotated[str, typer.Option(help="Preset to train with.")] = "balanced",
    seed: Annotated[int, typer.Option(min=0, help="Seed of person, footage and run.")] = 0,
) -> None:
    """Run the whole workflow on synthetic people: no FaceFusion, no download, no GPU."""
    from facefusion_finetune.demo.run import run_demo

    with show_progress() as observer:
        result = run_demo(output, preset, seed, observer)
    typer.echo(result.describe())


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
for command in (demo, link, unlink, inspect, extract, train, evaluate):
    app.command()(command)


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


def main() -> None:
    """Run a command; prints errors to stderr.

    Exits with 0, 1 (failure), 2 (wrong use) or 130 (interrupted by Ctrl-C).
    """
    for stream in (sys.stdout, sys.stderr):
        # File names may have characters that the terminal or pipe cannot encode.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with ending_with_removal():
            app()
    except FinetuneError as error:
        _fail(error)
    except ModuleNotFoundError as error:
        if error.name not in {"cv2", "onnxruntime"}:
            raise
        _fail(
            FinetuneError(
                f"the Python module {error.name}",
                "it is not installed; FaceFusion's environment includes it.",
                "run in that environment, or: pip install 'facefusion-finetune[demo]'",
            )
        )
    except UnicodeEncodeError as error:
        _fail(
            FinetuneError(
                str(error.object),
                "it has characters that are no Unicode text, so it cannot be recorded.",
                "rename the file, or write the text differently; nothing was changed.",
            )
        )
    except OSError as error:
        _fail(
            FinetuneError(
                str(error.filename or "a file"),
                f"{error.strerror or error}.",
                "check the path, its permissions and the free disk space; existing files are kept.",
            )
        )


def _fail(error: FinetuneError) -> None:
    typer.echo(f"error: {error.given}\n  why:  {error.why}\n  do:   {error.todo}", err=True)
    sys.exit(error.exit_code)
