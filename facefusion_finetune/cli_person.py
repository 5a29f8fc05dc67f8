"""`facefusion-finetune person ...`."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from facefusion_finetune.cli_support import HostOption, Json, describe, print_lines

person_app = typer.Typer(help="Who: record consent, show and remove persons.", no_args_is_help=True)


@person_app.command("add")
def add_person(
    name: Annotated[str, typer.Argument(help="Letters, digits, '_', '-', '.'.")],
    consent: Annotated[
        Path | None, typer.Option(help="A signed form or recording; its digest is recorded.")
    ] = None,
    consent_note: Annotated[
        str | None, typer.Option(help="Who agreed to what, and when, in a sentence.")
    ] = None,
    consent_scope: Annotated[str | None, typer.Option(help="What the consent covers.")] = None,
    consent_expires: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day it holds.")
    ] = None,
    renew: Annotated[bool, typer.Option("--renew", help="Replace the consent on record.")] = False,
) -> None:
    """Record a person and the consent, before any crop is made."""
    from facefusion_finetune.people import profile

    expires = consent_expires.date() if consent_expires else None
    record = profile.create_consent(
        consent, consent_note, consent_scope or profile.DEFAULT_SCOPE, expires
    )
    person = profile.add_person(name, record, renew)
    typer.echo(f"{person.name}: consent recorded in {person.directory / 'person.toml'}.")


@person_app.command("list")
def list_persons(as_json: Json = False) -> None:
    """List everybody on record."""
    from facefusion_finetune.people import profile

    names = profile.list_names()
    if as_json:
        typer.echo(json.dumps(names))
    else:
        print_lines(names, "Nobody is on record.")


@person_app.command("show")
def show_person(name: str, as_json: Json = False) -> None:
    """Show what is held about a person."""
    from facefusion_finetune.dataset.manifest import read_manifest
    from facefusion_finetune.people import profile
    from facefusion_finetune.training.run import list_runs

    person = profile.load_person(name)
    records = read_manifest(person)
    kept = [record for record in records if record.kept]
    values = person.model_dump(mode="json") | {
        "folder": str(person.directory),
        "crops_kept": len(kept),
        "crops_rejected": len(records) - len(kept),
        "shots": len({record.shot for record in kept}),
        "sources": sorted({record.source for record in records}),
        "runs": [run.reference for run in list_runs(person)],
    }
    typer.echo(json.dumps(values, indent=2) if as_json else describe(values))


@person_app.command("remove")
def remove_person(
    name: str,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    host: HostOption = None,
) -> None:
    """Delete a person's crops, vectors, runs and models, in FaceFusion's folders too."""
    from facefusion_finetune.host.locate import locate
    from facefusion_finetune.people import profile, removal

    person = profile.load_person(name)
    if not yes and not typer.confirm(f"Delete everything held about {name}?"):
        raise typer.Abort
    removed = removal.remove_person(person, locate(host).path if host else None)
    for path in removed:
        typer.echo(f"removed {path}")
    typer.echo(f"{name}: {len(removed)} files are gone; nothing is held about this person.")
