"""`link` and `unlink`: add this package to FaceFusion, or remove it."""

from pathlib import Path
from typing import Annotated

import typer


def link(
    path: Annotated[Path | None, typer.Argument(help="FaceFusion's folder.")] = None,
) -> None:
    """Add this package to FaceFusion: writes three small files and edits none."""
    from facefusion_finetune.host.link import link as link_host

    host = link_host(path)
    typer.echo(f"Linked to {host.name} in {host.path}.")
    typer.echo("Use it with: facefusion run --processors finetuned_swapper")


def unlink(
    path: Annotated[Path | None, typer.Argument(help="FaceFusion's folder.")] = None,
) -> None:
    """Remove the files that `link` wrote, and nothing else."""
    from facefusion_finetune.host.link import unlink as unlink_host

    result = unlink_host(path)
    typer.echo(f"Unlinked from {result.host.path}: {len(result.removed)} files removed.")
    for warning in result.warnings:
        typer.echo(warning, err=True)
