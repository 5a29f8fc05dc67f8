"""`facefusion-finetune person ...`."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from facefusion_finetune.cli.shared import HostOption, Json, print_lines

person_app = typer.Typer(help="Persons and their consent: add, show, remove.", no_args_is_help=True)


@person_app.command("add")
def add_person(
    name: Annotated[str, typer.Argument(help="Letters, digits, '_', '-', '.'.")],
    consent: Annotated[
        Path | None, typer.Option(help="A signed form or a recording; only its digest is stored.")
    ] = None,
    consent_note: Annotated[
        str | None, typer.Option(help="A sentence: who agreed to what, and when.")
    ] = None,
    consent_scope: Annotated[str | None, typer.Option(help="What the consent covers.")] = None,
    consent_expires: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day it is valid.")
    ] = None,
    renew: Annotated[bool, typer.Option("--renew", help="Replace the consent on record.")] = False,
) -> None:
    """Add a person and their consent, which is required before any crop is made."""
    from facefusion_finetune.people import profile

    expires = consent_expires.date() if consent_expires else None
    record = profile.create_consent(
        consent, consent_note, consent_scope or profile.DEFAULT_SCOPE, expires
    )
    person = profile.add_person(name, record, renew)
    typer.echo(f"{person.name}: consent recorded in {person.directory / 'person.toml'}.")


@person_app.command("list")
def list_persons(as_json: Json = False) -> None:
    """List all persons on record.

    Persons with damaged records are listed as well, with the file and the reason; in JSON, a list
    of objects with a `name`, these are in `damaged`, which is null for an intact record.
    """
    from facefusion_finetune.people.profile import DamagedPerson, scan_people

    rows = [
        (person.name, person.error.cause if isinstance(person, DamagedPerson) else None)
        for person in scan_people()
    ]
    if as_json:
        typer.echo(json.dumps([{"name": name, "damaged": why} for name, why in rows], indent=2))
    else:
        lines = (name if why is None else f"{name}  damaged: {why}" for name, why in rows)
        print_lines(lines, "No persons are on record.")


@person_app.command("show")
def show_person(name: str, as_json: Json = False) -> None:
    """Show everything that is held about a person, and where."""
    from facefusion_finetune.privacy.inventory import take_inventory
    from facefusion_finetune.privacy.text import describe_inventory

    held = take_inventory(name)
    if as_json:
        typer.echo(json.dumps(held.as_dict(), indent=2))
    else:
        print_lines(describe_inventory(held), "")


@person_app.command("remove")
def remove_person(
    name: str,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    exports: Annotated[
        bool, typer.Option("--exports", help="Also delete exported files of the person's models.")
    ] = False,
    host: HostOption = None,
) -> None:
    """Delete a person's crops, embeddings, runs and models, also in FaceFusion's folders."""
    from facefusion_finetune.host.locate import locate
    from facefusion_finetune.people import elsewhere, profile
    from facefusion_finetune.privacy import removal
    from facefusion_finetune.privacy.text import describe_removal

    directory = profile.find_directory(name)
    if not yes:
        entries = elsewhere.recall(directory).elsewhere
        exported = [entry.path for entry in entries if entry.kind == "export"]
        for exported_file in () if exports else exported:
            typer.echo(f"kept unless you add --exports: {exported_file}")
        if not typer.confirm(f"Delete everything held about {name}?"):
            raise typer.Abort
    done = removal.remove_person(name, locate(host).path if host else None, exports)
    for path in done.removed:
        typer.echo(f"removed {path}")
    print_lines(describe_removal(done), "")
    done.require_complete()
