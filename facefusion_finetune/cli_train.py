"""Options of `train` that are not part of the recipe, and what a dry run prints."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from facefusion_finetune.errors import UsageError
from facefusion_finetune.training.options import PRECISIONS, TrainOptions, parse_size

if TYPE_CHECKING:
    from facefusion_finetune.training.dry_run import Rehearsal

PrecisionOption = Annotated[
    str,
    typer.Option(metavar="|".join(PRECISIONS), help="What the networks compute in while training."),
]
TrackerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--tracker",
        metavar="tensorboard|mlflow",
        help="Log there too, beside metrics.jsonl; repeatable.",
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


def create_train_options(
    precision: str,
    trackers: list[str] | None,
    cache: Path | None,
    cache_size: str,
    commercial: bool,
    others: list[Path] | None,
) -> TrainOptions:
    """What was given on the command line.

    Raises:
        UsageError: A value is none, a tracker is not installed, or the cache is no folder.
    """
    known = {name: name for name in PRECISIONS}
    if precision not in known:
        raise UsageError(
            f"--precision {precision}", "there is none.", f"Use one of {', '.join(PRECISIONS)}."
        )
    if cache is not None and cache.exists() and not cache.is_dir():
        raise UsageError(f"--cache {cache}", "it is a file.", "Give a folder, or a new name.")
    if trackers:
        from facefusion_finetune.training.engine.trackers import check_trackers

        check_trackers(trackers)
    return TrainOptions(
        precision=known[precision],
        trackers=tuple(dict.fromkeys(trackers or [])),
        cache_directory=cache,
        cache_bytes=parse_size(cache_size),
        commercial=commercial,
        others=others or [],
    )


def print_rehearsal(rehearsal: "Rehearsal", as_json: bool) -> None:
    """What a dry run found, as a table or for a program."""
    from facefusion_finetune.training.dry_run import create_table

    if as_json:
        typer.echo(json.dumps(rehearsal.as_dict(), indent=2, sort_keys=True))
    else:
        Console().print(create_table(rehearsal))
