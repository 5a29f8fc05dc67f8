"""`facefusion-finetune models ...`."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from facefusion_finetune.cli.shared import HostOption, Json, describe, load_reference, print_lines
from facefusion_finetune.errors import HostError, RegistryError

if TYPE_CHECKING:
    from facefusion_finetune.people.profile import Person
    from facefusion_finetune.registry.versions import DamagedEntry, ListedVersion
    from facefusion_finetune.runs.run import Run

models_app = typer.Typer(help="Versions of a person's model.", no_args_is_help=True)


class Precision(StrEnum):
    """Precision of a file's weights."""

    FP32 = "fp32"
    FP16 = "fp16"


Reference = Annotated[str, typer.Argument(metavar="NAME[@VERSION]")]


@models_app.command("list")
def list_models(as_json: Json = False, host: HostOption = None) -> None:
    """List all versions of all persons.

    Damaged versions are listed as well, with the file and the reason; in JSON, these are in
    `damaged`, which is null for intact versions, and unknown values are null.
    """
    from facefusion_finetune.registry.versions import list_versions

    listing = list_versions(_find_host(host))
    rows = [_describe_version(version) for version in listing.versions]
    rows += [_describe_damage(entry) for entry in listing.damaged]
    rows.sort(key=_place)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    print_lines(map(_draw_row, rows), "There are no models yet.")


def _describe_version(version: "ListedVersion") -> dict[str, Any]:
    verdict = version.card.judge_result.get("verdict") if version.card else None
    return {
        "model": version.reference,
        "base": version.run.record.base_name,
        "preset": version.run.record.preset_name,
        "imported": version.run.is_imported,
        "finished": version.run.is_finished,
        "verdict": verdict and str(verdict),
        "proven": version.is_proven,
        "active": version.is_active,
        "damaged": version.error and version.error.cause,
    }


def _describe_damage(entry: "DamagedEntry") -> dict[str, Any]:
    unknown = dict.fromkeys(("base", "preset", "imported"))
    return {
        "model": entry.reference,
        **unknown,
        "finished": entry.is_finished,
        "verdict": None,
        "proven": False,
        "active": entry.is_active,
        "damaged": entry.error.cause,
    }


def _place(row: dict[str, Any]) -> tuple[str, int]:
    name, _, version = row["model"].partition("@")
    return name, int(version or 0)


def _draw_row(row: dict[str, Any]) -> str:
    unjudged = "not judged" if row["finished"] else "not finished"
    verdict = row["verdict"] or ("damaged" if row["damaged"] else unjudged)
    marks = [mark for mark in ("imported", "active") if row[mark]]
    damage = [f"damaged: {row['damaged']}"] if row["damaged"] else []
    return (
        f"{row['model']:24} {row['base'] or '-':20} {row['preset'] or '-':16} {verdict:14}"
        f" {'proven' if row['proven'] else 'unproven':9} {' '.join([*marks, *damage])}"
    )


@models_app.command("show")
def show_model(model: Reference, as_json: Json = False, host: HostOption = None) -> None:
    """Show a model's card."""
    from dataclasses import asdict

    from facefusion_finetune.registry import store
    from facefusion_finetune.registry.versions import require_version
    from facefusion_finetune.runs.run import find_run

    person, number = load_reference(model)
    run = find_run(person, number)
    store.require_finished(run)
    card = store.read_card(run.model_path)
    version = require_version(_find_host(host), run.reference)
    values = asdict(card)
    for key in ("person_vector", "person_source", "person_picture"):
        del values[key]
    values |= {"active": version.is_active, "file": str(run.model_path)}
    values["damaged"] = version.error and version.error.cause
    if as_json:
        typer.echo(json.dumps(values, indent=2))
        return
    if not values["damaged"]:
        del values["damaged"]
    typer.echo(describe(values))


@models_app.command("activate")
def activate(
    model: Reference,
    force: Annotated[
        bool, typer.Option("--force", help="Also activate an unproven model; its card says so.")
    ] = False,
    host: HostOption = None,
) -> None:
    """Make FaceFusion use this version (for NAME alone: the last finished one)."""
    from facefusion_finetune.host.locate import locate
    from facefusion_finetune.registry import store

    person, run = _find_finished(model)
    path = store.activate(person, run, locate(host).path, force)
    label = "" if store.read_card(run.model_path).judge_result.get("proven") else " (unproven)"
    typer.echo(f"{run.reference} is active{label}: {path}")
    typer.echo(
        "Use it with: facefusion headless-run --processors finetuned_swapper"
        f" --finetuned-swapper-model {person.name} -t TARGET -o OUTPUT"
    )


@models_app.command("deactivate")
def deactivate(model: Reference, host: HostOption = None) -> None:
    """Remove a person's models (or one version) from FaceFusion; the runs are kept."""
    from facefusion_finetune.host.locate import locate
    from facefusion_finetune.registry import store

    person, number = load_reference(model)
    removed = store.deactivate(person, locate(host).path, number)
    print_lines((f"removed {path}" for path in removed), f"No model of {model} is active.")


@models_app.command("verify")
def verify(model: Reference, host: HostOption = None) -> None:
    """Verify the active model of a person: checksum, card, base, structure."""
    from facefusion_finetune.host.locate import locate
    from facefusion_finetune.host.models import find_models, models_directory
    from facefusion_finetune.registry import store

    person, number = load_reference(model)
    directory = models_directory(locate(host).path)
    found = find_models(directory).get(person.name, {})
    paths = [path for version, path in found.items() if number in (None, version)]
    if not paths:
        raise RegistryError(
            f"model {model}",
            f"it is not active in {directory}.",
            f"Activate it: facefusion-finetune models activate {model}.",
        )
    for path in paths:
        card = store.verify(path)
        typer.echo(f"{path.name}: intact, {card.base_name} tuned to {card.person}")


@models_app.command("remove")
def remove(
    model: Annotated[str, typer.Argument(metavar="NAME@VERSION")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    host: HostOption = None,
) -> None:
    """Delete one version: its run, its exports, and its model in FaceFusion."""
    from facefusion_finetune.registry.versions import finish_removal, remove_version
    from facefusion_finetune.runs.run import find_run, run_directory

    person, number = load_reference(model)
    if number is None:
        raise typer.BadParameter("give a version, for example NAME@2")
    removed = finish_removal(person, number)
    if not removed or run_directory(person, number).exists():
        run = find_run(person, number)
        question = f"Delete {run.reference} with its checkpoints and report?"
        if not yes and not typer.confirm(question):
            raise typer.Abort
        removed += remove_version(person, run, _find_host(host))
    print_lines((f"removed {path}" for path in removed), "")


@models_app.command("export")
def export(
    model: Reference,
    output: Annotated[Path, typer.Option(help="File to write.")],
    standalone: Annotated[
        bool, typer.Option("--standalone", help="Include all weights, so that no base is needed.")
    ] = False,
    precision: Annotated[
        Precision, typer.Option(help="fp16 halves the size of the weights; implies --standalone.")
    ] = Precision.FP32,
    strength: Annotated[
        float, typer.Option(help="Strength of a gated change, 0 to 1; unproven below 1.")
    ] = 1.0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing file.")
    ] = False,
) -> None:
    """Export a model to a file for another machine (for NAME alone: the last finished one)."""
    from facefusion_finetune.registry import transfer

    person, run = _find_finished(model)
    half = precision is Precision.FP16
    exported = transfer.export_model(person, run, output, standalone, half, overwrite, strength)
    typer.echo(f"{run.reference}: {exported.path} ({exported.size / 1e6:.1f} MB)")
    if exported.base is not None:
        typer.echo(
            f"It contains only the tuned weights. The other machine needs {exported.base}; if it"
            " does not have it, export with --standalone."
        )


@models_app.command("import")
def import_model(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file from `models export`.")],
    name: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="Person here; default: as in its card."),
    ] = None,
    host: HostOption = None,
) -> None:
    """Import a model from another machine as the person's next version."""
    from facefusion_finetune.host.models import models_directory
    from facefusion_finetune.registry import transfer

    folder = _find_host(host)
    active = models_directory(folder) if folder else None
    imported = transfer.import_model(file, name, [active.parent, active] if active else [])
    run = imported.run
    origin = f"{file} (originally {imported.origin})"
    if imported.is_new:
        typer.echo(f"{run.reference}: imported from {origin}, unproven.")
        typer.echo(imported.note or f"It is linked to {run.record.base_name} on this machine.")
    else:
        typer.echo(f"{run.reference}: already imported from {origin}, unproven.")
    typer.echo(f"Use it with: facefusion-finetune models activate {run.reference} --force")


def _find_finished(model: str) -> "tuple[Person, Run]":
    """The run of the given version, or the person's last finished one."""
    from facefusion_finetune.runs.run import DamagedRun, find_run, scan_runs

    person, number = load_reference(model)
    if number is None:
        for run in reversed(scan_runs(person)):
            if not run.is_finished:
                continue
            if isinstance(run, DamagedRun):
                raise run.error
            return person, run
    return person, find_run(person, number)


def _find_host(host: Path | None) -> Path | None:
    """The host's folder; None if none was given and none is found."""
    from facefusion_finetune.host.locate import locate

    try:
        return locate(host).path
    except HostError:
        if host is not None:
            raise
        return None
